// Command guest is the first process of the emulated machine. It prepares the
// machine, runs test programs one after another and switches the machine off.
//
// It must not know the product: what to run stands in its plan.
package main
