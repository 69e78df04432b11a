//go:build linux

package probe

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Where there is no BPF file system one is mounted, but never over somebody's files.
func TestEnsureBPFFS(t *testing.T) {
	lab.RequireRoot(t)
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, nil))

	full := t.TempDir()
	kept := filepath.Join(full, "kept")
	must(t, os.WriteFile(kept, nil, 0o600))
	err := ensureBPFFS(full, log)
	if err == nil {
		must(t, unix.Unmount(full, 0))
		t.Error("a BPF file system was mounted over files")
	} else if !strings.Contains(err.Error(), "kept") || !strings.Contains(err.Error(), "LANYARD_BPFFS") {
		t.Errorf("the refusal says %q; want the file that is in the way, and the setting", err)
	}

	absent := filepath.Join(full, "absent")
	if err := ensureBPFFS(absent, log); err == nil || !strings.Contains(err.Error(), "mount -t bpf -o mode=0700 bpf "+absent) {
		t.Errorf("an absent folder is answered with %v; want what to do", err)
	}

	empty := t.TempDir()
	must(t, ensureBPFFS(empty, log))
	t.Cleanup(func() { must(t, unix.Unmount(empty, 0)) })
	if is, err := isBPFFS(empty); err != nil || !is {
		t.Errorf("no BPF file system was mounted at an empty folder (%v)", err)
	}
	if n := strings.Count(lines.String(), "level=INFO"); n != 1 || !strings.Contains(lines.String(), empty) {
		t.Errorf("the log says %q; want one line on the mount", lines.String())
	}
	must(t, ensureBPFFS(empty, log)) // is there, and not mounted again
	must(t, os.Mkdir(filepath.Join(empty, "lanyard"), 0o700))
	must(t, ensureBPFFS(empty, log)) // also with something in it
	if n := strings.Count(lines.String(), "\n"); n != 1 {
		t.Errorf("it was mounted %d times, want once", n)
	}
}

// On a BPF file system that everybody can write to, a folder that another user made first
// is not taken for ours, nor is a link: its owner could lock it, or move the pins away.
func TestFolderOfAnotherUser(t *testing.T) {
	lab.RequireRoot(t)
	const stranger = 40130
	for _, folder := range []string{"lanyard", "lanyard/here", "lanyard/here/v*", "lanyard/here/v*/maps", "lanyard/here/v*/links"} {
		for _, link := range []bool{false, true} {
			bpffs := t.TempDir()
			must(t, unix.Mount("bpf", bpffs, "bpf", 0, "mode=1777"))
			t.Cleanup(func() { must(t, unix.Unmount(bpffs, 0)) })
			taken := filepath.Join(bpffs, strings.ReplaceAll(folder, "v*", fmt.Sprintf("v%d", abiVersion)))
			must(t, os.MkdirAll(filepath.Dir(taken), 0o700))
			wants := fmt.Sprintf("%s belongs to user %d", taken, stranger)
			if link {
				must(t, os.Symlink(t.TempDir(), taken))
				wants = taken + " is no folder"
			} else {
				must(t, os.Mkdir(taken, 0o700))
				must(t, os.Chown(taken, stranger, stranger))
			}
			p, err := openPins(bpffs, "here", slog.New(slog.DiscardHandler))
			if err == nil {
				must(t, p.release())
				t.Errorf("%s of another user, a link %t, is taken for ours", folder, link)
			} else if text := err.Error(); !strings.Contains(text, wants) || !link && !strings.Contains(text, "rm -r "+taken) {
				t.Errorf("%s: %q does not say %q, and what to do", folder, text, wants)
			}
			if link {
				continue
			}
			must(t, os.Chown(taken, 0, 0))
			p, err = openPins(bpffs, "here", slog.New(slog.DiscardHandler))
			must(t, err)
			must(t, p.release())
		}
	}
}
