package rules_test

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	for _, pkg := range tree(t).Packages {
		var documented []string
		text := ""
		for _, f := range pkg.Files {
			if f.Syntax.Doc != nil && !f.Generated && f.Syntax.Doc.Text() != "" {
				documented = append(documented, path.Base(f.Path))
				text = strings.Join(strings.Fields(f.Syntax.Doc.Text()), " ")
			}
		}
		if len(documented) != 1 {
			t.Errorf("%s: doc comments in %v; each package has exactly one", pkg.Dir, documented)
			continue
		}
		if pkg.Name() != "main" && documented[0] != "doc.go" {
			t.Errorf("%s: the doc comment stands in %s, readers look for it in doc.go", pkg.Dir, documented[0])
		}
		if !strings.Contains(text, "must not know") {
			t.Errorf("%s: the doc comment does not say what the package must not know", pkg.Dir)
		}
	}
}

func TestPackagesAreNamedAfterWhatTheyHold(t *testing.T) {
	nothing := []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "misc", "base", "lib"}
	for _, pkg := range tree(t).Packages {
		if slices.Contains(nothing, pkg.Name()) {
			t.Errorf("%s: package %s is named after nothing, so everything would fit into it", pkg.Dir, pkg.Name())
		}
	}
}

func TestPackagesDoNothingWhenImported(t *testing.T) {
	for _, pkg := range tree(t).Packages {
		for _, f := range pkg.Files {
			for _, declaration := range f.Syntax.Decls {
				function, ok := declaration.(*ast.FuncDecl)
				if ok && function.Recv == nil && function.Name.Name == "init" && !f.IsTest() {
					t.Errorf("%s: init runs in every program that imports the package, in an order nobody chose", f.Path)
				}
			}
		}
	}
}

// long names the files that may pass the limit, with the reason.
var long = map[string]string{}

func TestFilesAreShort(t *testing.T) {
	const limit, testLimit = 400, 600
	seen := map[string]bool{}
	for _, pkg := range tree(t).Packages {
		for _, f := range pkg.Files {
			most := limit
			if f.IsTest() {
				most = testLimit
			}
			if f.Generated || f.Lines <= most {
				continue
			}
			seen[f.Path] = true
			if long[f.Path] == "" {
				t.Errorf("%s has %d lines, the limit is %d: split it, or give a reason here", f.Path, f.Lines, most)
			}
		}
	}
	for name := range long {
		if !seen[name] {
			t.Errorf("%s is short now: take its exception out", name)
		}
	}
}

func TestCFilesAreNotBuiltByCgo(t *testing.T) {
	all := tree(t)
	for _, name := range all.Files {
		inPackage := slices.ContainsFunc(all.Packages, func(p pkg) bool { return p.Dir == path.Dir(name) })
		if path.Ext(name) != ".c" || !inPackage {
			continue
		}
		text, err := os.ReadFile(filepath.Join(all.Root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "//go:build ignore\n") {
			t.Errorf("%s does not begin with //go:build ignore: builds with cgo (-race) would compile it for the host", name)
		}
	}
}
