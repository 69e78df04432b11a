//go:build linux

package probe

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestCheckNamesMissingCapabilities(t *testing.T) {
	h := newBareHost(t)
	for _, test := range []struct {
		keep    int
		missing string
	}{
		{-1, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON missing"},
		{unix.CAP_BPF, ": CAP_NET_ADMIN, CAP_PERFMON missing"},
		{unix.CAP_SYS_ADMIN, ""},
	} {
		c := h.start(t, "lanyard")
		c.do(t, request{Do: "keep only capability", Number: test.keep})
		got := c.try(t, request{Do: "check"}).Error
		if (got == "") != (test.missing == "") || !strings.Contains(got, test.missing) {
			t.Errorf("with capability %d only: %q, want %q", test.keep, got, test.missing)
		}
		if got != "" && !strings.Contains(got, "run as root") {
			t.Errorf("%q does not say what to do", got)
		}
		if test.missing != "" {
			got = c.try(t, request{Do: "open agent", Agent: h.config}).Error
			if !strings.Contains(got, test.missing) {
				t.Errorf("open with capability %d only: %q, want %q", test.keep, got, test.missing)
			}
		}
	}
	must(t, Check())
}

func TestExplain(t *testing.T) {
	newBareHost(t) // needs root, as Check does
	for _, test := range []struct {
		err         error
		unsupported bool
		says        string
	}{
		{fmt.Errorf("load program: %w", unix.EPERM), false, "no LSM or seccomp profile denies bpf(2)"},
		{fmt.Errorf("map create: %w", ebpf.ErrNotSupported), true, "Linux 5.15 or newer is needed"},
		{errors.New("invalid argument"), false, "load connect programs: invalid argument"},
	} {
		err := explain("connect programs", test.err)
		if !errors.Is(err, test.err) || errors.Is(err, ErrUnsupported) != test.unsupported || !strings.Contains(err.Error(), test.says) {
			t.Errorf("explained as %v", err)
		}
	}
}
