package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// documentURL stands for the document in references. Nothing is fetched.
const documentURL = "file:///openapi.json"

// schemas are the JSON schemas of a document (draft 2020-12), compiled when they are
// used.
type schemas struct {
	mu       sync.Mutex // guards what follows
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema // by its text
}

func newSchemas(document []byte) (*schemas, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, err
	}
	s := &schemas{compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	s.compiler.DefaultDraft(jsonschema.Draft2020)
	s.compiler.AssertFormat()
	s.compiler.UseLoader(jsonschema.SchemeURLLoader{}) // has none for any scheme
	if err := s.compiler.AddResource(documentURL, root); err != nil {
		return nil, err
	}
	return s, nil
}

// checkNamed looks at the document's own schemas, whether or not they are used: at
// their keywords, and at the examples in them.
func (s *schemas) checkNamed(named map[string]json.RawMessage) error {
	var all []error
	for name, text := range named {
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		all = append(all, walk("#/components/schemas/"+name, schema, func(pointer string, schema map[string]any) error {
			values, _ := schema["examples"].([]any)
			if value, there := schema["default"]; there {
				values = append(values, value)
			}
			for _, value := range values {
				if err := s.checkValue(json.RawMessage(`{"$ref":"`+pointer+`"}`), value); err != nil {
					return fmt.Errorf("%s: an example, or the default: %w", pointer, err)
				}
			}
			return nil
		}))
	}
	return errors.Join(all...)
}

// check holds a JSON text against a schema, which may refer to the document's.
func (s *schemas) check(schema json.RawMessage, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return s.checkValue(schema, value)
}

func (s *schemas) checkValue(schema json.RawMessage, value any) error {
	compiled, err := s.compile(schema)
	if err != nil {
		return err
	}
	return compiled.Validate(value)
}

func (s *schemas) compile(schema json.RawMessage) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.compiled[string(schema)]; known != nil {
		return known, nil
	}
	whole := bytes.ReplaceAll(schema, []byte(`"#/`), []byte(`"`+documentURL+`#/`))
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(whole))
	if err != nil {
		return nil, err
	}
	if err := walk("", parsed, func(string, map[string]any) error { return nil }); err != nil {
		return nil, err
	}
	at := fmt.Sprintf("file:///inline/%d.json", len(s.compiled))
	if err := s.compiler.AddResource(at, parsed); err != nil {
		return nil, err
	}
	compiled, err := s.compiler.Compile(at)
	if err != nil {
		return nil, err
	}
	s.compiled[string(schema)] = compiled
	return compiled, nil
}
