//go:build linux

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// startWatching starts the agent of a bare host, as that of newHost.
func (h *host) startWatching(t *testing.T) {
	t.Helper()
	h.startAgent(t)
	must(t, h.listen(h.net.Do))
	h.run()
	must(t, h.probe.beat())
	h.watch(t, everyone(watched))
}

// requirePins waits until all is pinned again that was, by the kernel's ids.
func (h *host) requirePins(t *testing.T, links map[string]link.ID, pinned map[string]ebpf.MapID) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		var errs []error
		for name := range links {
			_, err := os.Stat(filepath.Join(h.probe.pins.links(), name))
			errs = append(errs, err)
		}
		for name := range pinned {
			_, err := os.Stat(filepath.Join(h.probe.pins.maps(), name))
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if now := h.pinnedLinks(t); !maps.Equal(now, links) {
		t.Errorf("links are %v, were %v", now, links)
	}
	if now := h.pinnedMaps(t); !maps.Equal(now, pinned) {
		t.Errorf("maps are %v, were %v", now, pinned)
	}
}

// Pins that somebody removed, or hid below another mount, come back, and no connection
// is missed meanwhile.
func TestUnlinkedPins(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(*testing.T, *host)
	}{
		{"links", func(t *testing.T, h *host) { removeEntries(t, h.probe.pins.links()) }},
		{"maps", func(t *testing.T, h *host) { removeEntries(t, h.probe.pins.maps()) }},
		{"folder of links", func(t *testing.T, h *host) { must(t, os.RemoveAll(h.probe.pins.links())) }},
		{"folder of all", func(t *testing.T, h *host) { must(t, os.RemoveAll(filepath.Join(h.config.BPFFS, "lanyard"))) }},
		{"another mount over them", func(t *testing.T, h *host) { must(t, unix.Mount("bpf", h.config.BPFFS, "bpf", 0, "")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newBareHost(t)
			covered := openDir(t, h.config.BPFFS)
			t.Cleanup(func() { uncover(t, h.config.BPFFS, covered) }) // after the agent's end
			h.startWatching(t)
			h.serve(t, at(target4), "D")
			c := h.start(t, "billing")
			stop := h.injectAll(t)
			defer stop()
			links, pinned := h.pinnedLinks(t), h.pinnedMaps(t)
			c.do(t, request{Do: "hammer", Addr: at(target4), Number: 1})
			test.lose(t, h)
			h.requirePins(t, links, pinned)
			h.requireHooks(t, "")
			must(t, h.probe.Pins())
			missed := c.do(t, request{Do: "stop hammer"}).Counts
			if missed["D"] != 0 || len(missed) == 0 {
				t.Errorf("while the pins were away connects ended so: %v; want none at the destination", missed)
			}
			for _, folder := range []string{h.probe.pins.links(), h.probe.pins.maps(), h.probe.pins.instance} {
				if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
					t.Errorf("%s has mode %v (%v), want 0700", folder, info.Mode(), err)
				}
			}
			if _, err := openAgent(h.config, here); err == nil || !strings.Contains(err.Error(), "another agent") {
				t.Errorf("a second agent of the same instance: %v", err)
			}
		})
	}
}

func removeEntries(t *testing.T, folder string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	must(t, err)
	for _, e := range entries {
		must(t, os.Remove(filepath.Join(folder, e.Name())))
	}
}

func openDir(t *testing.T, path string) *os.File {
	t.Helper()
	dir, err := os.Open(path)
	must(t, err)
	return dir
}

// uncover takes away what was mounted over an open folder. An agent that ended has left
// nothing in either.
func uncover(t *testing.T, path string, dir *os.File) {
	t.Helper()
	defer dir.Close()
	at, err := os.Stat(path)
	must(t, err)
	below, err := dir.Stat()
	must(t, err)
	if os.SameFile(at, below) {
		return
	}
	if pins := lab.Pins(t, path); len(pins) != 0 {
		t.Errorf("pins remain: %v", pins)
	}
	must(t, unix.Unmount(path, 0))
}

// Hooks that cannot be pinned work on, and that they are not pinned is told.
func TestHooksThatCannotBePinned(t *testing.T) {
	for _, test := range []struct {
		name       string
		lose, mend func(*testing.T, *host)
		says       string
	}{
		{"no BPF file system", func(t *testing.T, h *host) {
			must(t, unix.Mount("tmpfs", h.config.BPFFS, "tmpfs", 0, ""))
		}, func(t *testing.T, h *host) {
			must(t, unix.Unmount(h.config.BPFFS, 0))
		}, "mount it: mount -t bpf -o mode=0700 bpf "},
		{"another file in place of the folder", func(t *testing.T, h *host) {
			h.betweenLooks(func() {
				must(t, os.RemoveAll(filepath.Dir(h.probe.pins.instance)))
				must(t, os.Symlink("nowhere", filepath.Dir(h.probe.pins.instance)))
			})
		}, func(t *testing.T, h *host) {
			must(t, os.Remove(filepath.Dir(h.probe.pins.instance)))
		}, "make pin folder"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			links, pinned := h.pinnedLinks(t), h.pinnedMaps(t)
			c := h.start(t, "billing")
			test.lose(t, h)
			mended := false
			defer func() {
				if !mended {
					test.mend(t, h)
				}
			}()
			h.requireUnpinned(t, test.says)
			must(t, h.probe.Hooks())
			h.awaitRedirected(t, c)
			test.mend(t, h)
			mended = true
			h.requireUnpinned(t, "")
			h.requirePins(t, links, pinned)
			h.awaitRedirected(t, c)
		})
	}
}

// An agent whose folder was removed does not get in the way of another, which has made
// one in its place.
func TestFolderOfAnotherAgent(t *testing.T) {
	h := newHost(t)
	links, pinned := h.pinnedLinks(t), h.pinnedMaps(t)
	var other *pinFolder
	h.betweenLooks(func() {
		must(t, os.RemoveAll(h.probe.pins.instance))
		var err error
		other, err = openPins(h.config.BPFFS, h.config.Instance, slog.New(slog.DiscardHandler))
		must(t, err)
	})
	h.requireUnpinned(t, "another agent uses this instance")
	must(t, h.probe.Hooks())
	if pins := lab.Pins(t, h.config.BPFFS); len(pins) != 0 {
		t.Errorf("in another agent's folder we pinned %v", pins)
	}
	must(t, other.release())
	h.requireUnpinned(t, "")
	h.requirePins(t, links, pinned)
}

// requireUnpinned waits until the probe says of its pins what is wanted: nothing, if
// that is "".
func (h *host) requireUnpinned(t *testing.T, says string) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		switch err := h.probe.Pins(); {
		case says == "" && err != nil:
			return fmt.Errorf("the pins: %w", err)
		case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			return fmt.Errorf("of the pins the probe says %v, want %q", err, says)
		}
		return nil
	})
}
