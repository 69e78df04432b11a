// Package guestcheck holds the tests of the emulated machine itself: that it is
// the kernel it should be, with everything mounted that other tests rely on.
//
// It must not know any other package of this module. Its tests are built only for
// the guest, with the tag lanyard_guest.
package guestcheck
