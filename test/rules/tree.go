package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// module is the path of the product's module.
const module = "github.com/lanyardhq/lanyard"

// Tree is what stands in the repository.
type Tree struct {
	Root     string
	Files    []string // every file, relative to Root, with slashes
	Packages []Package
}

// Package is a folder with Go files. All of them are looked at, whatever system
// they are built for.
type Package struct {
	Dir   string // relative to the root
	Files []File
}

// File is one Go file.
type File struct {
	Path      string // relative to the root
	Lines     int
	Generated bool
	Syntax    *ast.File
}

// IsTest reports whether the file is built for tests only.
func (f File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Name is the package's name: that of its files which are not tests, if any.
func (p Package) Name() string {
	for _, f := range p.Files {
		if !f.IsTest() {
			return f.Syntax.Name.Name
		}
	}
	return strings.TrimSuffix(p.Files[0].Syntax.Name.Name, "_test")
}

// Read reads the tree below root. Folders that hold modules of their own, test
// data, what was built and what git keeps are not part of it.
func Read(root string) (*Tree, error) {
	t := &Tree{Root: root}
	byDir := map[string][]File{}
	err := filepath.WalkDir(root, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			return enter(full, relative)
		}
		t.Files = append(t.Files, relative)
		if !strings.HasSuffix(relative, ".go") || strings.Contains("/"+relative, "/testdata/") {
			return nil
		}
		file, err := parse(full, relative)
		if err != nil {
			return err
		}
		byDir[path.Dir(relative)] = append(byDir[path.Dir(relative)], file)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	for dir, files := range byDir {
		t.Packages = append(t.Packages, Package{Dir: dir, Files: files})
	}
	slices.SortFunc(t.Packages, func(a, b Package) int { return strings.Compare(a.Dir, b.Dir) })
	return t, nil
}

func enter(full, relative string) error {
	switch relative {
	case ".":
		return nil
	case ".git", "bin", "dist":
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(full, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func parse(full, relative string) (File, error) {
	text, err := os.ReadFile(full)
	if err != nil {
		return File{}, err
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), relative, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return File{}, err
	}
	return File{
		Path:      relative,
		Lines:     strings.Count(string(text), "\n"),
		Generated: ast.IsGenerated(syntax),
		Syntax:    syntax,
	}, nil
}

// Imports lists what the package imports in files that are not tests, sorted.
// What is our own is written as its folder.
func (p Package) Imports() []string {
	var imports []string
	for _, f := range p.Files {
		if f.IsTest() {
			continue
		}
		for _, spec := range f.Syntax.Imports {
			name := strings.Trim(spec.Path.Value, `"`)
			imports = append(imports, strings.TrimPrefix(name, module+"/"))
		}
	}
	slices.Sort(imports)
	return slices.Compact(imports)
}

// Below reports whether a folder or import path is dir or stands below it.
func Below(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }
