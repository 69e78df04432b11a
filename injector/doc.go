// Package injector is the data path: it accepts the connections that the kernel
// redirected, dials where they wanted to go, and moves bytes. It changes one
// thing: a request to a registered, verified destination gets the Authorization
// field of the identity whose process image made the connection.
//
// It must not know eBPF, /proc, configuration files, keys or where a token comes
// from: everything it needs to learn it asks through the small interfaces in
// interfaces.go. It must not use net/http: that parses, allocates and rewrites,
// and here the client's own bytes go on. DESIGN.md, beside this file, follows a
// connection through the package and gives the reason for each decision.
package injector
