package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// maxDeclarations bounds a file of declarations, in bytes.
const maxDeclarations = 4 << 20

// Declared is a resource that a file declares.
type Declared struct {
	Kind        resource.KindInfo
	Declaration resource.Declaration[json.RawMessage]
}

// ReadDeclarations reads YAML documents, or JSON, which is YAML. file is what
// errors call it. What a spec may hold is for the authority to judge.
func ReadDeclarations(r io.Reader, file string) ([]Declared, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDeclarations+1))
	if err != nil {
		return nil, fmt.Errorf("read declarations: %w", err)
	}
	if len(data) > maxDeclarations {
		return nil, fmt.Errorf("read declarations: %s is longer than %d bytes", file, maxDeclarations)
	}
	var all []Declared
	for i, text := range documents(data) {
		var said struct { // no pointer to it: the decoder would leave that nil
			Kind string         `yaml:"kind"`
			Name string         `yaml:"name"`
			Spec map[string]any `yaml:"spec"`
		}
		err := yaml.NewDecoder(bytes.NewReader(text.content), yaml.Strict()).Decode(&said)
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read declarations: %s%s", file, whereAndWhy(err, text.line))
		case said.Kind == "" && said.Name == "" && said.Spec == nil:
			continue // a document of comments
		}
		one, err := declared(said.Kind, said.Name, said.Spec)
		if err != nil {
			return nil, fmt.Errorf("read declarations: %s, document %d: %w", file, i+1, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// document is one of a file, with the number of lines before it.
type document struct {
	content []byte
	line    int
}

// documents splits a file at its document markers (YAML 1.2.2 §9.1.2), which can be
// nothing else. The library's own decoder takes an empty document for the end of the
// file, and leaves out what follows without a word.
func documents(data []byte) []document {
	all := []document{{}}
	number := 0
	for line := range bytes.Lines(data) {
		if isMarker(line) {
			all = append(all, document{line: number})
			line = append([]byte("   "), line[3:]...)
		}
		last := &all[len(all)-1]
		last.content = append(last.content, line...)
		number++
	}
	return slices.DeleteFunc(all, func(d document) bool { return len(bytes.TrimSpace(d.content)) == 0 })
}

func isMarker(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return false
	}
	return len(line) == 3 || strings.ContainsRune(" \t\r\n", rune(line[3]))
}

func declared(word, name string, spec map[string]any) (Declared, error) {
	kind, known := resource.FindKind(word)
	if !known || word != kind.Kind {
		var kinds []string
		for _, k := range resource.Kinds() {
			kinds = append(kinds, k.Kind)
		}
		return Declared{}, fmt.Errorf("kind is %q, not one of %s", word, strings.Join(kinds, ", "))
	}
	if name == "" {
		return Declared{}, errors.New("name is missing")
	}
	if spec == nil {
		// Taken for an empty one it would make everything its default.
		return Declared{}, errors.New("spec is missing; for a resource of defaults alone say spec: {}")
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return Declared{}, errors.New("spec has something that JSON cannot hold")
	}
	return Declared{kind, resource.Declaration[json.RawMessage]{Kind: kind.Kind, Name: name, Spec: data}}, nil
}

// whereAndWhy leaves out the lines of the file that the YAML library quotes: one of
// them may be a secret.
func whereAndWhy(err error, linesBefore int) string {
	var located yaml.Error
	if !errors.As(err, &located) {
		return ": not YAML"
	}
	why, _, _ := strings.Cut(located.GetMessage(), "\n")
	if at := located.GetToken(); at != nil && at.Position != nil {
		return fmt.Sprintf(":%d:%d: %s", linesBefore+at.Position.Line, at.Position.Column, why)
	}
	return ": " + why
}
