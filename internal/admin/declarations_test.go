package admin

import (
	"slices"
	"strings"
	"testing"
)

func TestReadDeclarations(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"one":             {"kind: Ticket\nname: a\nspec:\n  tags: [x]\n", []string{`Ticket a {"tags":["x"]}`}},
		"several":         {"kind: Ticket\nname: a\nspec: {}\n---\n\n---\nkind: AdminToken\nname: b\nspec: {role: viewer}\n---\n", []string{"Ticket a {}", `AdminToken b {"role":"viewer"}`}},
		"empty first":     {"---\n---\n# c\n--- # d\nkind: Ticket\nname: a\nspec: {}\n...\n---\n{kind: Ticket, name: b, spec: {}}", []string{"Ticket a {}", "Ticket b {}"}},
		"marker in text":  {"kind: Ticket\nname: a\nspec:\n  description: |\n    ---\n    x\n", []string{`Ticket a {"description":"---\nx\n"}`}},
		"line ends":       {"kind: Ticket\r\nname: a\r\nspec: {}\r\n---\r\nkind: Ticket\r\nname: b\r\nspec: {}\r\n", []string{"Ticket a {}", "Ticket b {}"}},
		"JSON":            {`{"kind":"Ticket","name":"a","spec":{"max_uses":3}}`, []string{`Ticket a {"max_uses":3}`}},
		"with a status":   {"kind: Ticket\nname: a\nspec: {}\nstatus:\n  state: active\n", []string{"Ticket a {}"}},
		"a list":          {"- kind: Ticket\n  name: a\n  spec: {tags: [x]}\n- kind: Ticket\n  name: b\n  spec: {}\n  status: {uses: 1}\n", []string{`Ticket a {"tags":["x"]}`, "Ticket b {}"}},
		"a list in JSON":  {`[{"kind":"Ticket","name":"a","spec":{}},{"kind":"Ticket","name":"b","spec":{}}]`, []string{"Ticket a {}", "Ticket b {}"}},
		"an empty list":   {"[]\n", nil},
		"nothing":         {"", nil},
		"only a comment":  {"# nothing\n", nil},
		"numbers as text": {"kind: Ticket\nname: a\nspec: {description: '1'}\n", []string{`Ticket a {"description":"1"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := ReadDeclarations(strings.NewReader(tt.text), "f.yaml")
			var got []string
			for _, d := range all {
				got = append(got, d.Kind.Kind+" "+d.Declaration.Name+" "+string(d.Declaration.Spec))
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestReadDeclarationsSaysWhatIsWrong, and quotes nothing: it may be a secret.
func TestReadDeclarationsSaysWhatIsWrong(t *testing.T) {
	for name, tt := range map[string]struct{ text, says string }{
		"no YAML":        {"kind: [hunter2", "f.yaml"},
		"unknown member": {"kind: Ticket\nname: a\nspecs: {content: hunter2}\n", "f.yaml:3:1"},
		"in the second":  {"kind: Ticket\nname: a\nspec: {}\n---\nkind: Ticket\nname: b\nspecs: {content: hunter2}\n", "f.yaml:7:1"},
		"twice":          {"kind: Ticket\nname: a\nname: hunter2\n", "f.yaml:3"},
		"no spec":        {"kind: Ticket\nname: a\n", "document 1: spec is missing"},
		"empty spec":     {"kind: Ticket\nname: a\nspec:\n", "document 1: spec is missing"},
		"spec a text":    {"kind: Ticket\nname: a\nspec: hunter2\n", "f.yaml:3"},
		"kind":           {"kind: tickets\nname: a\n", "document 1"},
		"no kind":        {"kind: Ticket\nname: a\nspec: {}\n---\nname: a\n", "document 2"},
		"no name":        {"kind: Ticket\n", "name is missing"},
		"in a list":      {"- kind: Ticket\n  name: a\n  spec: {}\n- kind: Ticket\n  spec: {}\n", "document 1, resource 2: name is missing"},
		"list, unknown":  {"- kind: Ticket\n  name: a\n  specs: {content: hunter2}\n", "f.yaml:3:"},
		"a text":         {"hunter2\n", "f.yaml:1"},
		"list of texts":  {"[hunter2]\n", "f.yaml:1"},
		"null in a list": {"- null\n", "document 1: kind is"},
		"too long":       {"# " + strings.Repeat("a", maxDeclarations), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := ReadDeclarations(strings.NewReader(tt.text), "f.yaml")
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, %v", all, err)
			}
		})
	}
}
