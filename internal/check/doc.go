// Package check tells an administrator what a configuration would do on this
// host: what of it cannot work as it was meant, which running processes would
// get which identity, and which nearly would and why not.
//
// It must not know how a configuration is written down, and decides nothing: it
// looks at processes without the kernel's record of them, so that what it says
// is true of the moment only.
package check
