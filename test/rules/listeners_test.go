package rules_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/rules"
)

// listening names what makes a listener past internal/listen: functions and types of these
// packages, and methods of whatever they are called on.
var (
	listening = map[string][]string{
		"net":     {"Listen", "ListenConfig", "ListenTCP", "FileListener"},
		"tls":     {"Listen"},
		"syscall": {"Bind", "Listen"},
		"unix":    {"Bind", "Listen"},
	}
	listeningMethods = []string{"ListenAndServe", "ListenAndServeTLS"}
)

// mayListen names the files that may, with the reason.
var mayListen = map[string]string{
	"internal/listen/listen.go":       "it is where listeners are made",
	"internal/listen/listen_linux.go": "it is where listeners are made",
	"internal/listen/listen_other.go": "it is where listeners are made",
	"internal/localapi/socket.go":     "a Unix socket has a path, and nobody shares that",
	"internal/freeport/freeport.go":   "nobody is served: it looks whether a port is free, and must end no connection to find out",
}

// Go's listeners share their address with whoever bound it before with SO_REUSEADDR. What
// ships listens by internal/listen, which does not.
func TestListenersShareTheirAddressWithNobody(t *testing.T) {
	used := map[string]bool{}
	for _, pkg := range tree(t).Packages {
		if !ships(pkg) {
			continue
		}
		for _, f := range pkg.Files {
			if f.IsTest() {
				continue
			}
			for _, name := range listens(f.Syntax) {
				used[f.Path] = true
				if mayListen[f.Path] == "" {
					t.Errorf("%s: %s may share its address with another user's socket: use internal/listen, or give a reason here", f.Path, name)
				}
			}
		}
	}
	for path := range mayListen {
		if !used[path] {
			t.Errorf("%s makes no listener now: take its exception out", path)
		}
	}
}

// ships reports whether a package is part of the product. Tests, examples, and packages
// named like net/http/httptest stand for others.
func ships(pkg rules.Package) bool {
	return !rules.Below(pkg.Dir, "test") && !rules.Below(pkg.Dir, "docs") && !strings.HasSuffix(pkg.Name(), "test")
}

// listens returns what in a file makes listeners.
func listens(file *ast.File) (found []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		name := selector.Sel.Name
		if of, ok := selector.X.(*ast.Ident); ok && slices.Contains(listening[of.Name], name) {
			found = append(found, of.Name+"."+name)
		} else if slices.Contains(listeningMethods, name) {
			found = append(found, name)
		}
		return true
	})
	return found
}
