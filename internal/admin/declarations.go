package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	for document := 1; ; document++ {
		var said struct {
			Kind string         `yaml:"kind"`
			Name string         `yaml:"name"`
			Spec map[string]any `yaml:"spec"`
		}
		err := decoder.Decode(&said)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("read declarations: %s%s", file, whereAndWhy(err))
		case said.Kind == "" && said.Name == "" && said.Spec == nil:
			continue // an empty document
		}
		one, err := declared(said.Kind, said.Name, said.Spec)
		if err != nil {
			return nil, fmt.Errorf("read declarations: %s, document %d: %w", file, document, err)
		}
		all = append(all, one)
	}
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
		spec = map[string]any{}
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return Declared{}, errors.New("spec has something that JSON cannot hold")
	}
	return Declared{kind, resource.Declaration[json.RawMessage]{Kind: kind.Kind, Name: name, Spec: data}}, nil
}

// whereAndWhy leaves out the lines of the file that the YAML library quotes: one of
// them may be a secret.
func whereAndWhy(err error) string {
	var located yaml.Error
	if !errors.As(err, &located) {
		return ": not YAML"
	}
	why, _, _ := strings.Cut(located.GetMessage(), "\n")
	if at := located.GetToken(); at != nil && at.Position != nil {
		return fmt.Sprintf(":%d:%d: %s", at.Position.Line, at.Position.Column, why)
	}
	return ": " + why
}
