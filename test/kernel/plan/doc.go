// Package plan is what the host tells the emulated machine to do, and the lines by
// which the machine says how far it is.
//
// It must not know how either side carries it out.
package plan
