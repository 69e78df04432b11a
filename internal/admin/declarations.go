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

// ReadDeclarations reads YAML documents, or JSON, which is YAML: each is a resource or
// a list of them. file is what errors call it. What a spec may hold is for the authority to judge.
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
		said, err := text.said()
		if err != nil {
			return nil, fmt.Errorf("read declarations: %s%s", file, whereAndWhy(err, text.line))
		}
		for j, one := range said {
			d, err := one.declared()
			if err != nil {
				where := fmt.Sprintf("document %d", i+1)
				if len(said) > 1 {
					where += fmt.Sprintf(", resource %d", j+1)
				}
				return nil, fmt.Errorf("read declarations: %s, %s: %w", file, where, err)
			}
			all = append(all, d)
		}
	}
	return all, nil
}

// said is what a file says of one resource. What the authority says of it, as lanyard
// get shows it, is read over: so what that shows can be changed and applied.
type said struct {
	Kind   string         `yaml:"kind"`
	Name   string         `yaml:"name"`
	Spec   map[string]any `yaml:"spec"`
	Status any            `yaml:"status"`
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

// said returns what the document says: of one resource, or of a list of them; of
// none where it has comments only.
func (d document) said() ([]said, error) {
	var shape any
	if err := d.decode(&shape); err != nil {
		return nil, err
	}
	switch shape.(type) {
	case nil:
		return nil, nil
	case []any:
		var list []said
		err := d.decode(&list)
		return list, err
	}
	one := make([]said, 1) // no pointer: the decoder would leave that nil
	return one, d.decode(&one[0])
}

func (d document) decode(into any) error {
	err := yaml.NewDecoder(bytes.NewReader(d.content), yaml.Strict()).Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func isMarker(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return false
	}
	return len(line) == 3 || strings.ContainsRune(" \t\r\n", rune(line[3]))
}

func (s said) declared() (Declared, error) {
	kind, known := resource.FindKind(s.Kind)
	if !known || s.Kind != kind.Kind {
		var kinds []string
		for _, k := range resource.Kinds() {
			kinds = append(kinds, k.Kind)
		}
		return Declared{}, fmt.Errorf("kind is %q, not one of %s", s.Kind, strings.Join(kinds, ", "))
	}
	if s.Name == "" {
		return Declared{}, errors.New("name is missing")
	}
	if s.Spec == nil {
		// Taken for an empty one it would make everything its default.
		return Declared{}, errors.New("spec is missing; for a resource of defaults alone say spec: {}")
	}
	data, err := json.Marshal(s.Spec)
	if err != nil {
		return Declared{}, errors.New("spec has something that JSON cannot hold")
	}
	return Declared{kind, resource.Declaration[json.RawMessage]{Kind: kind.Kind, Name: s.Name, Spec: data}}, nil
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
