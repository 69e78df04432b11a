//go:build linux

package probe

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// childMarker in the environment makes the test program a client instead: see
// runClient.
const childMarker = "LANYARD_PROBE_CLIENT"

// The first thread runs init only; a client keeps its main goroutine there, so
// that it knows which thread leads.
func init() {
	if os.Getenv(childMarker) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(childMarker) != "" {
		runClient()
		return
	}
	leave, err := enterOwnCgroup()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the tests need root and cgroup2, and run in the cgroup they were started in:", err)
		leave = func() {}
	}
	status := m.Run()
	leave()
	os.Exit(status)
}

// enterOwnCgroup moves this program into a cgroup of its own: as the agent of these
// tests, it has hooks attached to its cgroup, where nobody else must be.
func enterOwnCgroup() (leave func(), err error) {
	root, err := CgroupRoot()
	if err != nil {
		return nil, err
	}
	root, err = os.MkdirTemp(root, "lanyard-test-probe-")
	if err != nil {
		return nil, err
	}
	former, err := currentCgroup()
	if err == nil {
		err = moveTo(root)
	}
	if err != nil {
		return nil, err
	}
	return func() {
		if err := moveTo(former); err == nil {
			_ = os.Remove(root) // one that is left harms nobody
		}
	}, nil
}

func moveTo(cgroup string) error {
	return os.WriteFile(cgroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0)
}

func currentCgroup() (string, error) {
	root, err := CgroupRoot()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	return root + unifiedPath(string(text)), nil
}

// unifiedPath returns the cgroup2 path of a /proc/PID/cgroup.
func unifiedPath(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path
		}
	}
	return ""
}
