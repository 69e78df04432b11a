package rules_test

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/rules"
)

type pkg = rules.Package

// top is everything that may stand at the top, beside dot files. Whoever looks
// for something new has one of these places to look in.
var top = []string{
	"bpf", "cmd", "agent", "injector", "internal", "test", "go.mod", "go.sum", "Makefile", "Dockerfile",
	"docs", "deploy", "README.md", "CHANGELOG.md", "LICENSE",
}

func TestTopLevelIsFixed(t *testing.T) {
	for _, name := range tree(t).Files {
		first, _, _ := strings.Cut(name, "/")
		if !strings.HasPrefix(first, ".") && !slices.Contains(top, first) {
			t.Errorf("%s: the top level is fixed; find a place below it", name)
		}
	}
}

// homes are folders that exist on one person's machine only.
var homes = regexp.MustCompile(`/(root/go|Users/[a-z]+|home/[a-z]+/(go|src|work))/`)

func TestNoPathOfAMachine(t *testing.T) {
	all := tree(t)
	root, err := filepath.Abs(all.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all.Files {
		text := readText(t, all, name)
		if bytes.Contains(text, []byte(root+"/")) {
			t.Errorf("%s: holds %s, which is the checkout on this machine", name, root)
		}
		if path := homes.Find(text); path != nil {
			t.Errorf("%s: holds %s, which is a folder of one machine", name, path)
		}
	}
}

// link finds the targets of Markdown links.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	all := tree(t)
	for _, name := range all.Files {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, match := range link.FindAllSubmatch(readText(t, all, name), -1) {
			target, _, _ := strings.Cut(string(match[1]), "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(all.Root, path.Dir(name), target)); err != nil {
				t.Errorf("%s: link to %s leads nowhere", name, target)
			}
		}
	}
}

// readText returns the contents of a file, or nothing where it is no text.
func readText(t *testing.T, tree *rules.Tree, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree.Root, name))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	return text
}
