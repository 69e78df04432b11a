package rules_test

import (
	"go/ast"
	"strings"
	"testing"
)

// net/http itself answers "OPTIONS *" with 200, past whatever the handler asks for: the
// product's servers, and those that people copy, leave it to the handler.
func TestServersLeaveEveryRequestToTheirHandlers(t *testing.T) {
	servers := 0
	for _, pkg := range tree(t).Packages {
		if strings.HasPrefix(pkg.Dir, "test/") || strings.HasSuffix(pkg.Name(), "test") {
			continue // they stand for others
		}
		for _, f := range pkg.Files {
			if f.IsTest() {
				continue
			}
			ast.Inspect(f.Syntax, func(n ast.Node) bool {
				literal, ok := n.(*ast.CompositeLit)
				if !ok || !isSelector(literal.Type, "http", "Server") {
					return true
				}
				servers++
				if !setsTrue(literal, "DisableGeneralOptionsHandler") {
					t.Errorf("%s: an http.Server without DisableGeneralOptionsHandler answers OPTIONS * itself", f.Path)
				}
				return true
			})
		}
	}
	if servers < 5 {
		t.Errorf("%d servers found; is the rule still looking at them?", servers)
	}
}

func isSelector(expression ast.Expr, pkg, name string) bool {
	selector, ok := expression.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != name {
		return false
	}
	of, ok := selector.X.(*ast.Ident)
	return ok && of.Name == pkg
}

// setsTrue reports whether a literal sets that field to true.
func setsTrue(literal *ast.CompositeLit, field string) bool {
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, isKey := pair.Key.(*ast.Ident)
		value, isValue := pair.Value.(*ast.Ident)
		if isKey && isValue && key.Name == field {
			return value.Name == "true"
		}
	}
	return false
}
