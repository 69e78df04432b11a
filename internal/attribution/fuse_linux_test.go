package attribution

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fuseFS is a FUSE file system of one executable file, spoken to the kernel as
// include/uapi/linux/fuse.h has it, which stops answering when it is told to.
type fuseFS struct {
	dev     *os.File
	name    string
	content []byte
	known   uint64 // for how many seconds the kernel need not ask for a name again

	gate sync.Mutex // held while nothing is answered
}

const (
	fuseLookup, fuseForget, fuseGetattr, fuseOpen, fuseRead = 1, 2, 3, 14, 15
	fuseStatfs, fuseRelease, fuseFlush, fuseInit            = 17, 18, 25, 26
	fuseInterrupt, fuseBatchForget                          = 36, 42
	fuseRoot, fuseFile                                      = 1, 2
)

type fuseIn struct {
	Len, Opcode    uint32
	Unique, Node   uint64
	UID, GID, PID  uint32
	Extra, Padding uint16
}

type fuseAttr struct {
	Ino, Size, Blocks, Atime, Mtime, Ctime                            uint64
	AtimeNsec, MtimeNsec, CtimeNsec, Mode, Links, UID, GID, Rdev, Blk uint32
	Flags                                                             uint32
}

// mountFUSE mounts the file system at a folder; serve it.
func mountFUSE(at, name string, content []byte, known uint64) (*fuseFS, error) {
	// Not os.OpenFile, which watches it with epoll(7): until it is mounted it is in
	// error, and where that is seen in time no read of it is ever tried.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w", err)
	}
	dev := os.NewFile(uintptr(fd), "/dev/fuse")
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("fuse", at, "fuse.lanyard", 0, options); err != nil {
		return nil, err
	}
	return &fuseFS{dev: dev, name: name, content: content, known: known}, nil
}

func (f *fuseFS) serve() error {
	buf := make([]byte, 1<<20)
	for {
		n, err := f.dev.Read(buf)
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return err
		}
		var in fuseIn
		body := bytes.NewReader(buf[:n])
		if err := binary.Read(body, binary.NativeEndian, &in); err != nil {
			return err
		}
		f.gate.Lock()
		answer, errno := f.answer(in, body)
		f.gate.Unlock()
		if in.Opcode == fuseForget || in.Opcode == fuseBatchForget || in.Opcode == fuseInterrupt {
			continue
		}
		var out bytes.Buffer
		for _, part := range []any{uint32(16 + len(answer)), -int32(errno), in.Unique, answer} {
			if err := binary.Write(&out, binary.NativeEndian, part); err != nil {
				return err
			}
		}
		// ENOENT: who asked has gone.
		if _, err := f.dev.Write(out.Bytes()); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}

func (f *fuseFS) answer(in fuseIn, body io.Reader) ([]byte, unix.Errno) {
	var out bytes.Buffer
	put := func(parts ...any) ([]byte, unix.Errno) {
		for _, part := range parts {
			if err := binary.Write(&out, binary.NativeEndian, part); err != nil {
				return nil, unix.EIO
			}
		}
		return out.Bytes(), 0
	}
	switch in.Opcode {
	case fuseInit:
		return put(uint32(7), uint32(31), uint32(128<<10), uint32(0), uint16(16), uint16(12), uint32(128<<10), uint32(1), [9]uint32{})
	case fuseLookup:
		name, err := io.ReadAll(body)
		if err != nil || string(bytes.TrimRight(name, "\x00")) != f.name {
			return nil, unix.ENOENT
		}
		return put(uint64(fuseFile), uint64(1), f.known, uint64(0), uint32(0), uint32(0), f.attr(fuseFile))
	case fuseGetattr:
		return put(uint64(0), uint32(0), uint32(0), f.attr(in.Node))
	case fuseOpen:
		return put(uint64(0), uint32(2), uint32(0)) // keep what is cached
	case fuseRead:
		var read struct {
			Handle, Offset uint64
			Size           uint32
		}
		if err := binary.Read(body, binary.NativeEndian, &read); err != nil {
			return nil, unix.EIO
		}
		from := min(read.Offset, uint64(len(f.content)))
		return f.content[from:min(from+uint64(read.Size), uint64(len(f.content)))], 0
	case fuseStatfs:
		return put([10]uint64{})
	case fuseRelease, fuseFlush:
		return nil, 0
	}
	return nil, unix.ENOSYS
}

func (f *fuseFS) attr(node uint64) fuseAttr {
	a := fuseAttr{Ino: node, Links: 1, Blk: 4096}
	if node == fuseRoot {
		a.Mode = unix.S_IFDIR | 0o755
		return a
	}
	a.Mode, a.Size, a.Blocks = unix.S_IFREG|0o755, uint64(len(f.content)), uint64(len(f.content)+511)/512
	return a
}

// fuseAndExec serves a program on FUSE, runs it some times, and stops and goes on
// answering as it is told.
func fuseAndExec(args []string) error {
	at, path := args[0], args[1]
	known, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := mountFUSE(at, filepath.Base(path), content, known)
	if err != nil {
		return err
	}
	go func() {
		if err := f.serve(); err != nil {
			// The connection ends with us, and so does the wait of those who use it.
			fmt.Fprintln(os.Stderr, "fuse:", err)
			os.Exit(1)
		}
	}()
	var pids []string
	for range count {
		c := exec.Command(filepath.Join(at, filepath.Base(path)))
		if _, err := c.StdinPipe(); err != nil {
			return err
		}
		// They end with us, so that nothing is left that needs the file system.
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			return err
		}
		pids = append(pids, strconv.Itoa(c.Process.Pid))
	}
	fmt.Println(strings.Join(pids, " "))
	var word string
	for {
		if _, err := fmt.Scanln(&word); err != nil {
			return nil
		}
		if word == "hang" {
			f.gate.Lock()
		} else {
			f.gate.Unlock()
		}
		fmt.Println(word)
	}
}

// fuseServer is a process that runs programs on a FUSE of its own.
type fuseServer struct {
	*child
	dir  string // holds the mount point, "mount"
	pids []uint32
}

// onFUSE has a program run on a FUSE whose names the kernel knows for so many
// seconds.
func onFUSE(t *testing.T, known, count int) fuseServer {
	t.Helper()
	needRoot(t)
	dir := folder(t)
	path := program(t, filepath.Join(dir, "foreign"))
	at := filepath.Join(dir, "mount")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := helper(t, "fuse", at, path, strconv.Itoa(known), strconv.Itoa(count))
	// It ends with us, as threads that wait for its answers do not.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	s := fuseServer{child: start(t, cmd), dir: dir}
	for text := range strings.FieldsSeq(s.line(t)) {
		pid, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		s.pids = append(s.pids, uint32(pid))
		until(t, func() bool {
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			return err == nil && filepath.Base(exe) == "foreign"
		})
	}
	return s
}

// seeing has an attributor see the mounts of the server.
func (s fuseServer) seeing(a *Attributor) *Attributor {
	a.reader.root = fmt.Sprintf("/proc/%d/root", s.pid())
	a.reader.here = &mountTable{path: fmt.Sprintf("/proc/%d/mountinfo", s.pid())}
	return a
}

func (s fuseServer) tell(t *testing.T, word string) {
	t.Helper()
	if _, err := io.WriteString(s.stdin, word+"\n"); err != nil {
		t.Fatal(err)
	}
	if got := s.line(t); got != word {
		t.Fatalf("got %q", got)
	}
}
