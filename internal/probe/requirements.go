//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// ErrUnsupported says that this host cannot run the probe at all: a capability
// or a kernel feature is missing. The message says which, and what to do.
var ErrUnsupported = errors.New("this host cannot run the eBPF probe")

// Check reports what keeps the probe from being loaded on this host, or nil. It
// loads nothing that stays.
func Check() error {
	if err := checkCapabilities(); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return fmt.Errorf("%w: the kernel has no type information (/sys/kernel/btf/vmlinux); use a kernel built with CONFIG_DEBUG_INFO_BTF=y, 5.15 or newer", ErrUnsupported)
	}
	return checkHelpers()
}

// neededHelpers are those whose absence says most of a kernel. The whole list,
// with the kernel that brought each, is in docs/kernels.md.
func neededHelpers() []struct {
	program ebpf.ProgramType
	helper  asm.BuiltinFunc
} {
	return []struct {
		program ebpf.ProgramType
		helper  asm.BuiltinFunc
	}{
		{ebpf.CGroupSockAddr, asm.FnSkStorageGet},
		{ebpf.CGroupSockAddr, asm.FnSkcLookupTcp},
		{ebpf.CGroupSockAddr, asm.FnGetNetnsCookie},
		{ebpf.CGroupSockAddr, asm.FnGetCurrentTaskBtf},
		{ebpf.CGroupSockopt, asm.FnSkStorageGet},
		{ebpf.SockOps, asm.FnSkStorageGet},
		{ebpf.SockOps, asm.FnGetNetnsCookie},
	}
}

func checkHelpers() error {
	for _, need := range neededHelpers() {
		err := features.HaveProgramHelper(need.program, need.helper)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("%w: the kernel's %s programs lack the helper %s; use Linux 5.15 or newer with CONFIG_CGROUP_BPF=y",
				ErrUnsupported, need.program, need.helper)
		}
	}
	return nil
}

// namesErrors reports whether a connect hook can say with which error it refuses; where
// that cannot be told, the way of older kernels works.
func namesErrors() bool {
	return features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval) == nil
}

// checkCapabilities wants CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or
// CAP_SYS_ADMIN, which stood for all of them before Linux 5.8 and still does.
func checkCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	has := func(c uint) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	var missing []string
	for _, c := range []struct {
		number uint
		name   string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if !has(c.number) {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s missing; run as root, or grant CAP_SYS_ADMIN", ErrUnsupported, strings.Join(missing, ", "))
}

// explain adds to a loading error what the operator can do about it.
func explain(what string, err error) error {
	if unsupported := Check(); unsupported != nil {
		return fmt.Errorf("load %s: %w (%w)", what, unsupported, err)
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("load %s: %w: not permitted; run as root with CAP_SYS_ADMIN, and check that no LSM or seccomp profile denies bpf(2)", what, err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("load %s: %w: the kernel lacks a feature it needs; Linux 5.15 or newer is needed (%w)", what, ErrUnsupported, err)
	default:
		return fmt.Errorf("load %s: %w", what, err)
	}
}
