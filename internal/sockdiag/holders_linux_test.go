package sockdiag

import (
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Established connections to a port, of both families and through a mapped address, and
// the process that has them; nothing that is closed, listens, or goes elsewhere.
func TestConnectionsAndWhoHasThem(t *testing.T) {
	_, d := openOwners(t)
	for _, k := range []struct{ name, listen string }{{"IPv4", "127.0.0.1:0"}, {"IPv6", "[::1]:0"}} {
		t.Run(k.name, func(t *testing.T) {
			l, err := net.Listen("tcp", k.listen)
			must(t, err)
			defer l.Close()
			at := l.Addr().(*net.TCPAddr).AddrPort()
			kept, err := net.Dial("tcp", at.String())
			must(t, err)
			defer kept.Close()
			closed, err := net.Dial("tcp", at.String())
			must(t, err)
			must(t, closed.Close())
			inode := inodeOf(t, kept.(*net.TCPConn))

			sockets, err := d.Connected(at.Port())
			must(t, err)
			if len(sockets) != 1 || sockets[0].Inode != inode || sockets[0].Remote != at || sockets[0].State != Established {
				t.Fatalf("connections to %v are %+v, want the one with inode %d", at, sockets, inode)
			}
			holders, err := Holders("/proc", map[uint32]bool{inode: true, 1: true})
			must(t, err)
			if got := holders[inode]; !slices.Equal(got, []uint32{uint32(os.Getpid())}) || len(holders) != 1 {
				t.Errorf("processes %v have sockets, want this one, %d, to have %d", holders, os.Getpid(), inode)
			}
			must(t, d.Destroy(sockets[0]))
			if _, err := kept.Read(make([]byte, 1)); err == nil {
				t.Error("the connection lives on")
			}
			if sockets, err := d.Connected(at.Port()); err != nil || len(sockets) != 0 {
				t.Errorf("connections to %v are %+v (%v), want none", at, sockets, err)
			}
		})
	}
}

// A socket that several processes have is all theirs.
func TestHoldersOfASharedSocket(t *testing.T) {
	lab.RequireRoot(t)
	_, d := openOwners(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer conn.Close()
	file, err := conn.(*net.TCPConn).File()
	must(t, err)
	defer file.Close()
	child, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{Files: []*os.File{nil, nil, nil, file}})
	must(t, err)
	defer func() {
		_ = child.Kill()
		_, _ = child.Wait()
	}()
	sockets, err := d.Connected(l.Addr().(*net.TCPAddr).AddrPort().Port())
	must(t, err)
	inode := sockets[0].Inode
	holders, err := Holders("/proc", map[uint32]bool{inode: true})
	must(t, err)
	got := holders[inode]
	slices.Sort(got)
	want := []uint32{uint32(os.Getpid()), uint32(child.Pid)}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("processes %v have the socket, want %v", got, want)
	}
}

func inodeOf(t *testing.T, conn *net.TCPConn) uint32 {
	t.Helper()
	file, err := conn.File()
	must(t, err)
	defer file.Close()
	info, err := file.Stat()
	must(t, err)
	return uint32(info.Sys().(*syscall.Stat_t).Ino)
}
