package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"text/template"

	"github.com/goccy/go-yaml"
)

// Kind is a kind of resource, and what is served of it beside GET.
type Kind struct {
	Name                   string // as in a declaration
	Path                   string // below the authority's base
	Create, Change, Remove bool
}

// words are what is particular to a kind: a file in kinds/.
type words struct {
	About     string         `yaml:"about"`     // what it is, in sentences
	Names     string         `yaml:"names"`     // what its names look like
	Secret    secret         `yaml:"secret"`    // in the answer to its creation
	Conflicts conflicts      `yaml:"conflicts"` // why 409 is answered
	Spec      map[string]any `yaml:"spec"`      // schema, as it is answered
	Status    map[string]any `yaml:"status"`    // schema
}

type secret struct {
	Member      string `yaml:"member"`
	Pattern     string `yaml:"pattern"`
	Description string `yaml:"description"`
}

type conflicts struct {
	Change string `yaml:"change"`
	Remove string `yaml:"remove"`
}

// described is what kind.yaml is filled in with.
type described struct {
	Kind
	words
	Noun   string // with its article, like "a ticket factory"
	Nouns  string // like "ticket factories"
	Tag    string // like "Ticket factories"
	Plural string // like "TicketFactories"
}

// CreatedSchema is the name of the schema of a resource that was just made.
func (d described) CreatedSchema() string {
	if d.Secret.Member == "" {
		return d.Name
	}
	return "Created" + d.Name
}

// describe returns the part of the document about the kind.
func (k Kind) describe() (map[string]any, error) {
	d, err := k.inWords()
	if err != nil {
		return nil, err
	}
	const shared = "kind.yaml"
	text, err := sources.ReadFile(shared)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	form, err := template.New(shared).Funcs(template.FuncMap{"quote": quote}).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shared, err)
	}
	var filled bytes.Buffer
	if err := form.Execute(&filled, d); err != nil {
		return nil, fmt.Errorf("fill in %s: %w", shared, err)
	}
	part, err := parse(shared, filled.Bytes())
	if err != nil {
		return nil, err
	}
	schemas := map[string]any{k.Name + "Spec": answered(d.Spec), k.Name + "Status": answered(d.Status)}
	if k.Change {
		schemas[k.Name+"SpecDeclaration"], schemas[k.Name+"SpecChange"] = declaration(d.Spec), change(d.Spec)
	}
	return part, merge(part, map[string]any{"components": map[string]any{"schemas": schemas}})
}

func (k Kind) inWords() (described, error) {
	name := "kinds/" + k.Name + ".yaml"
	text, err := sources.ReadFile(name)
	if err != nil {
		return described{}, fmt.Errorf("read source: %w", err)
	}
	d := described{Kind: k, Nouns: strings.ReplaceAll(path.Base(k.Path), "-", " ")}
	if err := yaml.UnmarshalWithOptions(text, &d.words, yaml.Strict()); err != nil {
		return described{}, fmt.Errorf("read %s: %w", name, err)
	}
	d.Noun = withArticle(k.Name)
	d.Tag = capital(d.Nouns)
	for word := range strings.FieldsSeq(d.Nouns) {
		d.Plural += capital(word)
	}
	return d, nil
}

// withArticle makes "a ticket factory" of TicketFactory.
func withArticle(name string) string {
	noun := ""
	for i, letter := range name {
		if i > 0 && letter >= 'A' && letter <= 'Z' {
			noun += " "
		}
		noun += strings.ToLower(string(letter))
	}
	if strings.Contains("aeio", noun[:1]) {
		return "an " + noun
	}
	return "a " + noun
}

func capital(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// quote writes a text as JSON, which is YAML too.
func quote(text string) (string, error) {
	quoted, err := json.Marshal(text)
	return string(quoted), err
}
