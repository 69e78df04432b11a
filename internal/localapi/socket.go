package localapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// Socket is the local API's Unix socket. It is safe for concurrent use.
type Socket struct {
	*net.UnixListener
	path  string
	bound fs.FileInfo // of the file that was made; while it is bound no other one has its number
}

// ListenUnix makes the local API's Unix socket, and its folder where that is missing.
// A socket that a crash left is replaced; one that answers is another agent's. A folder
// in which others could put another socket in its place is a *trustedpath.UntrustedError.
func ListenUnix(ctx context.Context, path string) (*Socket, error) {
	if err := trustedpath.MakeSharedFolder(filepath.Dir(path)); err != nil {
		return nil, untrustedFolder(err)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the local API socket: %w", err)
	}
	s := &Socket{UnixListener: l.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false) // by then another one may be there
	if s.bound, err = os.Lstat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("look at the local API socket: %w", err), l.Close())
	}
	// Anybody may connect: the key decides.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("open the local API socket: %w", err), s.Close())
	}
	return s, nil
}

func untrustedFolder(err error) error {
	return fmt.Errorf("use folder of the local API socket: %w; or set LANYARD_LOCAL_SOCKET to a path in a folder that only root can write", err)
}

// Check reports whether who connects to the path comes here, and nobody else can change
// that: nil, or what has happened to the socket or its folder.
func (s *Socket) Check() error {
	if err := s.checkPath(); err != nil {
		return err
	}
	if err := trustedpath.CheckFolder(filepath.Dir(s.path)); err != nil {
		return untrustedFolder(err)
	}
	return nil
}

func (s *Socket) checkPath() error {
	there, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("listen on %s: the socket was removed", s.path)
	case err != nil:
		return fmt.Errorf("look at the local API socket: %w", err)
	case !os.SameFile(there, s.bound):
		return fmt.Errorf("listen on %s: something else was put in the place of the socket; remove it, or set LANYARD_LOCAL_SOCKET", s.path)
	}
	return nil
}

// Close ends listening, and removes the socket if it is still the one at the path.
func (s *Socket) Close() error {
	var removed error
	if s.Check() == nil {
		removed = os.Remove(s.path)
	}
	return errors.Join(s.UnixListener.Close(), removed)
}

// removeStale removes a socket on which nobody listens any more. Nothing else is
// removed, and neither is a socket whose queue is full: somebody listens there.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("listen on %s: something else than a socket is there; move it away, or set LANYARD_LOCAL_SOCKET", path)
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen on %s: another agent answers there; stop it, or set LANYARD_LOCAL_SOCKET", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace the local API socket: %w", err)
	}
	return nil
}
