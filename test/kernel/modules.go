//go:build linux

package kernel

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// moduleOrder returns the files of the named modules and of all that they depend
// on, each once and after its dependencies. Names that are built into the kernel
// have no file and are an error.
func moduleOrder(folder string, names []string) ([]string, error) {
	files, err := moduleFiles(folder)
	if err != nil {
		return nil, err
	}
	var order []string
	for _, name := range names {
		if order, err = addModule(order, files, name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func addModule(order []string, files map[string]string, name string) ([]string, error) {
	file, known := files[moduleName(name)]
	if !known {
		return nil, fmt.Errorf("find kernel module %s: no such file", name)
	}
	if slices.Contains(order, file) {
		return order, nil
	}
	dependencies, err := moduleDependencies(file)
	if err != nil {
		return nil, err
	}
	for _, dependency := range dependencies {
		if order, err = addModule(order, files, dependency); err != nil {
			return nil, fmt.Errorf("dependency of %s: %w", name, err)
		}
	}
	return append(order, file), nil
}

// moduleFiles maps module names to files.
func moduleFiles(folder string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(entry.Name(), ".ko"); ok && err == nil {
			files[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list kernel modules: %w", err)
	}
	return files, nil
}

// moduleDependencies reads the "depends" entry of a module's .modinfo section.
func moduleDependencies(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read kernel module: %w", err)
	}
	defer file.Close()
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read kernel module %s: no .modinfo section", path)
	}
	content, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read kernel module %s: %w", path, err)
	}
	for entry := range strings.SplitSeq(string(content), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// moduleName makes one name of the two spellings that a module may have.
func moduleName(name string) string {
	return strings.ReplaceAll(name, "-", "_")
}
