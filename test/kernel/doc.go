// Package kernel runs the Go tests of other packages inside Debian 12's kernel
// (6.1) under software emulation: kernel, emulator and tools are Debian's packages,
// downloaded and unpacked into a cache, never installed.
//
// It must not know what the tests are about: it is given packages and patterns,
// and turns what happened in the guest into sub-tests.
package kernel
