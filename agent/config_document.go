package agent

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/lanyardhq/lanyard/internal/registry"
)

// maxNesting bounds how deep brackets, and list entries on one line, are nested:
// a configuration needs four. The parser's time grows with its square.
const maxNesting = 32

// document is a configuration with where in the file everything stands.
type document struct {
	name string
	root ast.Node
	file configFile

	unknown ConfigErrors // keys, which are no longer in the tree
}

// parseDocument reads the YAML strictly: an unknown or repeated key, a key
// without a value, an anchor, a tag or a second document is an error.
func parseDocument(name string, content []byte) (*document, error) {
	d := &document{name: name}
	tokens := lexer.Tokenize(string(content))
	if deep := nestedTooDeep(tokens); deep != nil {
		return nil, ConfigErrors{d.errorAt(deep, fmt.Sprintf("nested more than %d deep; a configuration is not", maxNesting))}
	}
	parsed, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, ConfigErrors{d.yamlError(err)}
	}
	if d.root, err = d.onlyDocument(parsed); err != nil || d.root == nil {
		return d, err
	}
	if wrong := d.checkTree(); len(wrong) > 0 {
		return nil, wrong
	}
	if err := d.decode(); err != nil {
		return nil, append(inOrder(d.unknown), d.yamlError(err))
	}
	return d, nil
}

// maxUnknown bounds how many unknown keys are told at once: each is looked for anew.
const maxUnknown = 20

// decode reads the tree. Unknown keys are noted and taken out of it, so that they hide
// nothing else that is wrong.
func (d *document) decode() error {
	for {
		d.file = configFile{}
		err := yaml.NodeToValue(d.root, &d.file, yaml.Strict())
		unknown, ok := errors.AsType[*yaml.UnknownFieldError](err)
		if !ok || len(d.unknown) == maxUnknown || !removeKey(d.root, unknown.GetToken()) {
			return err
		}
		d.unknown = append(d.unknown, d.yamlError(err))
	}
}

// removeKey takes the key at this token, and its value, out of a tree.
func removeKey(root ast.Node, at *token.Token) (found bool) {
	for _, node := range ast.Filter(ast.MappingType, root) {
		mapping := node.(*ast.MappingNode)
		before := len(mapping.Values)
		mapping.Values = slices.DeleteFunc(mapping.Values, func(pair *ast.MappingValueNode) bool { return pair.Key.GetToken() == at })
		found = found || len(mapping.Values) < before
	}
	return found
}

// onlyDocument returns the file's one document, nil if it is empty.
func (d *document) onlyDocument(f *ast.File) (ast.Node, error) {
	var root ast.Node
	for _, doc := range f.Docs {
		if doc.Body == nil {
			continue
		}
		if _, comments := doc.Body.(*ast.CommentGroupNode); comments {
			continue
		}
		if root != nil {
			return nil, ConfigErrors{d.errorAt(doc.Body.GetToken(), "a second document begins here; write everything into one")}
		}
		root = doc.Body
	}
	return root, nil
}

// nestedTooDeep returns the token at which nesting passes the bound, or nil.
func nestedTooDeep(tokens token.Tokens) *token.Token {
	depth, line, entries := 0, 0, 0
	for _, t := range tokens {
		if t.Position != nil && t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			entries++
		}
		// Within brackets one line may well hold the whole file.
		if depth > maxNesting || (depth <= 0 && entries > maxNesting) {
			return t
		}
	}
	return nil
}

// checkTree finds what YAML allows and a configuration does not need.
func (d *document) checkTree() ConfigErrors {
	v := &treeChecker{document: d}
	ast.Walk(v, d.root)
	return v.wrong
}

type treeChecker struct {
	document *document
	wrong    ConfigErrors
}

// Visit implements ast.Visitor.
func (v *treeChecker) Visit(node ast.Node) ast.Visitor {
	reason := ""
	switch node.(type) {
	case *ast.NullNode:
		reason = "no value; write one, or leave the key out"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		reason = "anchors, aliases and merged keys are not read here; write the value out"
	case *ast.TagNode:
		reason = "tags are not read here; write the value alone"
	case *ast.DirectiveNode:
		reason = "directives are not read here; leave it out"
	}
	if reason == "" {
		return v
	}
	v.wrong = append(v.wrong, v.document.errorAt(node.GetToken(), reason))
	return nil
}

func (d *document) errorAt(t *token.Token, reason string) *ConfigError {
	return &ConfigError{d.placeOf(t), quotable(reason)}
}

// ticketText is what the authority's tickets look like.
var ticketText = regexp.MustCompile(`lyt_[0-9A-Za-z]+`)

// quotable makes a reason fit for a terminal or a log, whatever it quotes of the
// file. It takes out tickets, which stand where somebody wrote one in the place of
// the file that holds it.
func quotable(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, reason)
	return ticketText.ReplaceAllString(reason, "(a ticket, which belongs into a file)")
}

func (d *document) placeOf(t *token.Token) Place {
	p := Place{File: d.name}
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	return p
}

// yamlError takes the place and one line of what the YAML library says.
func (d *document) yamlError(err error) *ConfigError {
	if wrong, ok := errors.AsType[*nodeError](err); ok {
		return d.errorAt(wrong.node.GetToken(), wrong.reason)
	}
	var located yaml.Error
	if !errors.As(err, &located) {
		return &ConfigError{Place{File: d.name}, quotable(firstLine(err.Error()))}
	}
	reason := firstLine(located.GetMessage())
	switch located.(type) {
	case *yaml.UnknownFieldError:
		reason += "; correct the key or leave it out"
	case *yaml.TypeError, *yaml.UnexpectedNodeTypeError, *yaml.OverflowError:
		reason = "the value is of another kind than the key takes: " + reason
	case *yaml.DuplicateKeyError:
		reason += "; leave one of them out"
	case *yaml.SyntaxError:
		reason = "this is not valid YAML: " + reason + "; look at this line and the one before it (indentation, tabs, a missing colon, quote or bracket)"
	}
	return d.errorAt(located.GetToken(), reason)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// errors begins with unknown keys: what is missing may be what one of them was to say.
func (d *document) errors(problems registry.Problems) ConfigErrors {
	var wrong ConfigErrors
	for _, p := range problems {
		wrong = append(wrong, &ConfigError{d.locate(p.Path), quotable(p.Reason)})
	}
	return append(inOrder(d.unknown), inOrder(wrong)...)
}

func inOrder(wrong ConfigErrors) ConfigErrors {
	slices.SortStableFunc(wrong, func(a, b *ConfigError) int { return a.compare(b.Place) })
	return wrong
}

func (d *document) warnings(problems []registry.Problem) []Warning {
	var warnings []Warning
	for _, p := range problems {
		warnings = append(warnings, Warning{d.locate(p.Path), quotable(p.Reason)})
	}
	slices.SortStableFunc(warnings, func(a, b Warning) int { return a.compare(b.Place) })
	return warnings
}

func (p Place) compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// locate returns where the value at a path such as destinations[1].hosts[0]
// stands, or where the last part of the path stands that is in the file.
func (d *document) locate(path string) Place {
	node, at := d.root, (*token.Token)(nil)
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next, where := child(node, step)
		if next == nil {
			break
		}
		node, at = next, where
	}
	return d.placeOf(at)
}

// child returns a value below a node, and the token that a reader looks for: a
// key that holds more values, and otherwise the value itself.
func child(node ast.Node, step string) (ast.Node, *token.Token) {
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			if next, at := child(pair, step); next != nil {
				return next, at
			}
		}
	case *ast.MappingValueNode:
		if n.Key.GetToken().Value != step {
			return nil, nil
		}
		if isCollection(n.Value) {
			return n.Value, n.Key.GetToken()
		}
		return n.Value, n.Value.GetToken()
	case *ast.SequenceNode:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(n.Values) {
			return nil, nil
		}
		return n.Values[i], firstToken(n.Values[i])
	}
	return nil, nil
}

func isCollection(node ast.Node) bool {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return true
	}
	return false
}

// firstToken is where an entry of a list begins.
func firstToken(node ast.Node) *token.Token {
	switch n := node.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return node.GetToken()
}
