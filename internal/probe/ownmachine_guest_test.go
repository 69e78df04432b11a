//go:build linux && lanyard_guest

package probe

// ownMachine says that the whole machine is there for the tests.
const ownMachine = true
