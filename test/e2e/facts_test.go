//go:build linux

package e2e

import (
	"debug/elf"
	"os"
	"syscall"
)

// nobodyUser is an ordinary user.
func nobodyUser() *syscall.Credential {
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// hasInterpreter reports whether a program needs a dynamic loader.
func hasInterpreter(path string) (bool, error) {
	file, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}
