package localapi

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
	"github.com/lanyardhq/lanyard/test/lab"
)

func listenAt(t *testing.T, path string) *Socket {
	t.Helper()
	s, err := ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.UnixListener.Close() })
	return s
}

// stay makes a listener at the path that removes nothing.
func stay(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { _ = l.Close() })
}

// TestLostSocket: whatever takes the socket's place shows, and is left there.
func TestLostSocket(t *testing.T) {
	for name, k := range map[string]struct {
		lose func(path string) error
		says string
	}{
		"removed":         {os.Remove, "the socket was removed"},
		"with its folder": {func(path string) error { return os.RemoveAll(filepath.Dir(path)) }, "the socket was removed"},
		"renamed":         {func(path string) error { return os.Rename(path, path+".old") }, "the socket was removed"},
		"a file":          {func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) }, "something else was put"},
		"a link": {func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.Symlink(path+".old", path))
		}, "something else was put"},
		"another socket":     {func(path string) error { err := os.Remove(path); stay(t, path); return err }, "something else was put"},
		"everybody's folder": {func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) }, "run chmod go-w "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lanyard", "agent.sock")
			s := listenAt(t, path)
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			if err := k.lose(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			if err := s.Check(); err == nil || !strings.Contains(err.Error(), k.says) || !strings.Contains(err.Error(), filepath.Dir(path)) {
				t.Errorf("%v; want %s", err, k.says)
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if after, _ := os.Lstat(path); before != nil && !os.SameFile(before, after) {
				t.Error("what was there in its place was removed")
			}
		})
	}
}

// TestClosedSocketIsRemoved, as it is still there.
func TestClosedSocketIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	if err := listenAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

// TestSocketFolder: a missing one is made for all to go through, and nothing is made
// where others could put their own socket.
func TestSocketFolder(t *testing.T) {
	lab.RequireRoot(t)
	const stranger = 65533
	for name, k := range map[string]struct {
		prepare func(run, folder string) error
		says    string
	}{
		"missing": {func(string, string) error { return nil }, ""},
		"ours":    {func(_, folder string) error { return os.Mkdir(folder, 0o750) }, ""},
		"a stranger's": {func(_, folder string) error {
			return errors.Join(os.Mkdir(folder, 0o755), os.Chown(folder, stranger, 0))
		}, "run chown root "},
		"everybody's": {func(_, folder string) error { return errors.Join(os.Mkdir(folder, 0o700), os.Chmod(folder, 0o777)) }, "run chmod go-w "},
		"a group's":   {func(_, folder string) error { return errors.Join(os.Mkdir(folder, 0o700), os.Chmod(folder, 0o775)) }, "run chmod go-w "},
		"sticky": {func(_, folder string) error {
			return errors.Join(os.Mkdir(folder, 0o700), os.Chmod(folder, 0o777|os.ModeSticky))
		}, "run chmod go-w "},
		"in everybody's":  {func(run, _ string) error { return os.Chmod(run, 0o777) }, "run chmod go-w "},
		"in a stranger's": {func(run, _ string) error { return os.Chown(run, stranger, 0) }, "run chown root "},
		"a stranger's link": {func(run, folder string) error {
			return errors.Join(os.Symlink(run, folder), os.Lchown(folder, stranger, 0))
		}, "run chown -h root "},
		"a link of our own": {func(run, folder string) error { return os.Symlink(run, folder) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			run := filepath.Join(t.TempDir(), "run")
			folder := filepath.Join(run, "lanyard")
			path := filepath.Join(folder, "agent.sock")
			if err := errors.Join(os.Mkdir(run, 0o755), k.prepare(run, folder)); err != nil {
				t.Fatal(err)
			}
			s, err := ListenUnix(t.Context(), path)
			if k.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(s.Check(), s.Close()); err != nil {
					t.Error(err)
				}
				return
			}
			var untrusted *trustedpath.UntrustedError
			if !errors.As(err, &untrusted) || !strings.Contains(err.Error(), k.says) || !strings.Contains(err.Error(), "LANYARD_LOCAL_SOCKET") {
				t.Errorf("%v; want %s", err, k.says)
			}
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it was made: %v", err)
			}
		})
	}
}
