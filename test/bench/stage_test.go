//go:build linux

package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// waitLimit bounds every wait for a part to be ready or to end.
const waitLimit = 30 * time.Second

// stage is a network namespace and a folder in which the parts of a benchmark run.
type stage struct {
	b      *testing.B
	folder string
	net    *lab.NetNS
	http   *http.Client // inside the namespace
}

func newStage(b *testing.B) *stage {
	b.Helper()
	s := &stage{b: b, folder: b.TempDir(), net: lab.NewNetNS(b)}
	s.http = &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}, Timeout: waitLimit}
	s.widenPorts()
	return s
}

// widenPorts lets a client have more than 28,000 connections behind it: those
// just closed keep their ports for a while.
func (s *stage) widenPorts() {
	s.b.Helper()
	err := s.net.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("10000 65535"), 0)
	})
	if err != nil {
		s.b.Fatalf("widen the range of ports: %v", err)
	}
}

func (s *stage) dial(_ context.Context, network, to string) (conn net.Conn, err error) {
	err = s.net.Do(func() error {
		conn, err = net.DialTimeout(network, to, waitLimit)
		return err
	})
	return conn, err
}

func (s *stage) path(name string) string { return filepath.Join(s.folder, name) }

func (s *stage) write(name, content string) string {
	s.b.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.b.Fatal(err)
	}
	return s.path(name)
}

// build builds one of our programs, with its symbols for whoever profiles it.
func (s *stage) build(name, pkg string) {
	s.b.Helper()
	build := exec.Command("go", "build", "-o", s.path(name), "github.com/lanyardhq/lanyard/"+pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		s.b.Fatalf("build %s: %v\n%s", pkg, err, output)
	}
}

// start starts a part of the host.
func (s *stage) start(name string, cgroup *lab.Cgroup, command []string, env ...string) *lab.Process {
	s.b.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder}, env...)
	return lab.StartProcess(s.b, lab.Place{Cgroup: cgroup, Net: s.net}, waitLimit, name, cmd)
}

// get returns the body of a URL inside the host.
func (s *stage) get(url string) (string, error) {
	response, err := s.http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, response.Status, body)
	}
	return string(body), err
}

// awaitOK waits until a part answers at a URL.
func (s *stage) awaitOK(p *lab.Process, url string) {
	s.b.Helper()
	p.WaitUntil(s.b, waitLimit, func() error {
		_, err := s.get(url)
		return err
	})
}
