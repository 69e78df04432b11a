package rules_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/rules"
)

// net/http lets go of a connection whose protocol has changed: past that, no context and
// no limit of time ends the reading of an answer. The product's clients take 101 for an
// error.
func TestClientsTakeNoUpgrade(t *testing.T) {
	clients := 0
	for _, pkg := range tree(t).Packages {
		// Examples have none of our packages; theirs reads no answer but of status 200.
		if rules.Below(pkg.Dir, "test") || rules.Below(pkg.Dir, "docs/examples") || strings.HasSuffix(pkg.Name(), "test") {
			continue
		}
		for _, f := range pkg.Files {
			if f.IsTest() {
				continue
			}
			found, wrong := clientsIn(f.Syntax)
			clients += found
			for _, what := range wrong {
				t.Errorf("%s: %s; make transports by serverurl.WithoutUpgrade(&http.Transport{…}), and name one in each client", f.Path, what)
			}
		}
	}
	if clients < 5 {
		t.Errorf("%d clients found; is the rule still looking at them?", clients)
	}
}

func TestClientsAreFound(t *testing.T) {
	for code, wrong := range map[string]int{
		`&http.Client{Transport: serverurl.WithoutUpgrade(&http.Transport{})}`: 0,
		`(*http.Client)(nil)`:                      0,
		`&http.Client{Transport: transport}`:       0,
		`http.Client{}`:                            1,
		`&http.Client{Timeout: time.Second}`:       1,
		`&http.Client{Transport: nil}`:             1,
		`new(http.Client)`:                         1,
		`struct{ c http.Client }{}`:                1,
		`&http.Transport{}`:                        1,
		`wrapped(&http.Transport{})`:               1,
		`new(http.Transport)`:                      1,
		`http.DefaultClient.Do(request)`:           1,
		`http.DefaultTransport`:                    1,
		`http.Get("https://id.example")`:           1,
		`http.PostForm("https://id.example", nil)`: 1,
	} {
		syntax, err := parser.ParseFile(token.NewFileSet(), "", "package p\nvar _ = "+code, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := clientsIn(syntax); len(got) != wrong {
			t.Errorf("%s: %q, want %d", code, got, wrong)
		}
	}
}

// clientsIn counts the clients that a file makes, and says which of what it uses follows
// a change of the protocol.
func clientsIn(file *ast.File) (clients int, wrong []string) {
	// What stands where it may: a type behind a star, or of a literal that is as it should be.
	fine := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StarExpr:
			fine[n.X] = true
		case *ast.CallExpr:
			if isSelector(n.Fun, "serverurl", "WithoutUpgrade") && len(n.Args) == 1 {
				fine[literalType(n.Args[0])] = true
			}
		case *ast.CompositeLit:
			if isSelector(n.Type, "http", "Client") {
				clients++
				fine[n.Type] = setsTransport(n)
			}
		case *ast.SelectorExpr:
			for _, name := range []string{"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"} {
				if isSelector(n, "http", name) && !fine[n] {
					wrong = append(wrong, fmt.Sprintf("http.%s follows a server that changes the protocol", name))
				}
			}
		}
		return true
	})
	return clients, wrong
}

// literalType returns the type of &T{…}, or nil.
func literalType(expression ast.Expr) ast.Node {
	if address, ok := expression.(*ast.UnaryExpr); ok && address.Op == token.AND {
		if literal, ok := address.X.(*ast.CompositeLit); ok {
			return literal.Type
		}
	}
	return nil
}

// setsTransport reports whether a client's literal names a transport.
func setsTransport(literal *ast.CompositeLit) bool {
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, isKey := pair.Key.(*ast.Ident)
		value, isIdent := pair.Value.(*ast.Ident)
		if isKey && key.Name == "Transport" {
			return !isIdent || value.Name != "nil"
		}
	}
	return false
}
