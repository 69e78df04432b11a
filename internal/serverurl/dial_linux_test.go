package serverurl

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// hostsEnv has this program dial localhost where /etc/hosts is the file that it names.
const hostsEnv = "LANYARD_TEST_SERVERURL_HOSTS"

func TestMain(m *testing.M) {
	if hosts := os.Getenv(hostsEnv); hosts != "" {
		tellWhereLocalhostIs(hosts, os.Args[1])
		return
	}
	os.Exit(m.Run())
}

// tellWhereLocalhostIs dials it by name and by DialContext, in a mount namespace of its
// own, and writes the addresses.
func tellWhereLocalhostIs(hosts, port string) {
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		panic(err)
	}
	for _, dial := range []func(ctx context.Context, network, address string) (net.Conn, error){
		(&net.Dialer{Timeout: 5 * time.Second}).DialContext, DialContext(5 * time.Second),
	} {
		conn, err := dial(context.Background(), "tcp", "localhost:"+port)
		if err != nil {
			panic(err)
		}
		fmt.Println(conn.RemoteAddr())
		_ = conn.Close()
	}
}

// Whatever /etc/hosts says, localhost is this host's loopback address. (Here it says
// 127.0.0.2, so that nothing leaves the host.)
func TestLocalhostIsDialledAtLoopback(t *testing.T) {
	lab.RequireRoot(t)
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.2 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, port)
	cmd.Env, cmd.Stderr = []string{hostsEnv + "=" + hosts, "GOCOVERDIR=" + t.TempDir()}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	output, err := cmd.Output()
	if want := "127.0.0.2:" + port + "\n127.0.0.1:" + port + "\n"; err != nil || string(output) != want {
		t.Errorf("%v: it is at\n%s, want\n%s", err, output, want)
	}
}

func TestDialContext(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		for _, host := range []string{"localhost", "LocalHost", strings.Trim(strings.TrimSuffix(address, ":0"), "[]")} {
			conn, err := DialContext(5*time.Second)(t.Context(), "tcp", net.JoinHostPort(host, port))
			if err != nil {
				t.Errorf("%s: %v", host, err)
				continue
			}
			_ = conn.Close()
		}
		if _, err := DialContext(5*time.Second)(t.Context(), "tcp", "localhost"); err == nil {
			t.Error("dialled without a port")
		}
	}
}
