package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxMembers bounds the members of one object.
const MaxMembers = 256

// MaxDepth bounds how deep objects and lists stand in each other: whoever reads
// them level by level reads the innermost as often as it is deep.
const MaxDepth = 32

// maxNameInError bounds how much of a foreign member name an error repeats.
const maxNameInError = 40

// Object parses data as one JSON object and returns its members, unparsed. A
// repeated member, trailing data, deep nesting, invalid UTF-8 and numbers beyond
// float64, of which other readers make different things (RFC 8259 section 6), are
// errors.
func Object(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("parse JSON: not valid UTF-8")
	}
	if isDeep(data) {
		return nil, fmt.Errorf("parse JSON: nested deeper than %d", MaxDepth)
	}
	if holdsHugeNumber(data) {
		return nil, errors.New("parse JSON: a number is too large")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if err := expectKind(dec, '{'); err != nil {
		return nil, err
	}
	members := make(map[string]json.RawMessage)
	for dec.PeekKind() != '}' {
		if len(members) == MaxMembers {
			return nil, fmt.Errorf("parse JSON: more than %d members", MaxMembers)
		}
		name, err := memberName(dec)
		if err != nil {
			return nil, err
		}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("parse JSON: value of member %s is not valid%s", quote(name), twice(err))
		}
		members[name] = json.RawMessage(value.Clone())
	}
	if err := expectKind(dec, '}'); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse JSON: something follows the object")
	}
	return members, nil
}

// Unmarshal parses data as one JSON object into the struct that v points to. Each
// member must be named, exactly, by a json tag of the struct. A field whose type
// is a struct, or a pointer to one, is read just as strictly. A null leaves its
// field alone, unless the field is a json.RawMessage; in a list or a map it is an
// error.
func Unmarshal(data []byte, v any) error {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("parse JSON: target is %T, not a pointer to a struct", v)
	}
	return intoStruct(data, target.Elem())
}

func intoStruct(data []byte, target reflect.Value) error {
	members, err := Object(data)
	if err != nil {
		return err
	}
	fields := fieldsByName(target)
	for name, value := range members {
		field, known := fields[name]
		if !known {
			return fmt.Errorf("parse JSON: unknown member %s", quote(name))
		}
		if err := intoField(value, field); err != nil {
			return fmt.Errorf("member %s: %w", quote(name), err)
		}
	}
	return nil
}

func intoField(value json.RawMessage, field reflect.Value) error {
	if field.Type() == reflect.TypeFor[json.RawMessage]() {
		field.SetBytes(value) // the caller tells null from absent
		return nil
	}
	if string(value) == "null" {
		return nil
	}
	if field.Kind() == reflect.Pointer && isPlainStruct(field.Type().Elem()) {
		field.Set(reflect.New(field.Type().Elem()))
		field = field.Elem()
	}
	if isPlainStruct(field.Type()) {
		return intoStruct(value, field)
	}
	if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
		return fmt.Errorf("parse JSON: not a %s", describe(field.Type()))
	}
	if holdsNull(value, field.Kind()) {
		return fmt.Errorf("parse JSON: not a %s: null is among them", describe(field.Type()))
	}
	return nil
}

// holdsNull reports whether a list or an object holds a null, which encoding/json
// takes for an empty string.
func holdsNull(value json.RawMessage, kind reflect.Kind) bool {
	if !bytes.Contains(value, []byte("null")) {
		return false // nearly always, so the value is seldom parsed twice
	}
	switch kind {
	case reflect.Slice:
		var list []any
		return json.Unmarshal(value, &list) == nil && slices.Contains(list, nil)
	case reflect.Map:
		var object map[string]any
		return json.Unmarshal(value, &object) == nil && slices.Contains(slices.Collect(maps.Values(object)), nil)
	}
	return false
}

// isPlainStruct reports whether t is a struct that does not parse itself.
func isPlainStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

func fieldsByName(target reflect.Value) map[string]reflect.Value {
	fields := make(map[string]reflect.Value, target.NumField())
	for i := range target.NumField() {
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = target.Field(i)
		}
	}
	return fields
}

// describe says in JSON's words what a Go type wants.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "list of " + describe(t.Elem()) + "s"
	case reflect.Map:
		return "object of " + describe(t.Elem()) + "s"
	case reflect.Struct:
		return "RFC 3339 time"
	default:
		return "whole number in range"
	}
}

// isDeep reports whether brackets outside of strings are open deeper than MaxDepth.
// Of what is no JSON it need not be right.
func isDeep(data []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// holdsHugeNumber reports whether a number outside of strings is beyond float64. Of
// what is no JSON it need not be right.
func holdsHugeNumber(data []byte) bool {
	quoted := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted || c < '0' || c > '9':
		default:
			start := i
			for i+1 < len(data) && strings.IndexByte("0123456789.eE+-", data[i+1]) >= 0 {
				i++
			}
			if _, err := strconv.ParseFloat(string(data[start:i+1]), 64); errors.Is(err, strconv.ErrRange) {
				return true
			}
		}
	}
	return false
}

func expectKind(dec *jsontext.Decoder, want jsontext.Kind) error {
	token, err := dec.ReadToken()
	if err != nil || token.Kind() != want {
		return errors.New("parse JSON: not one complete object")
	}
	return nil
}

func memberName(dec *jsontext.Decoder) (string, error) {
	token, err := dec.ReadToken()
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "", fmt.Errorf("parse JSON: member %s occurs twice", quote(duplicate(err)))
	case errors.Is(err, jsontext.ErrNonStringName):
		return "", errors.New("parse JSON: a member name is not a string")
	case err != nil:
		return "", errors.New("parse JSON: not one complete object")
	}
	return token.String(), nil
}

// twice says which member of an object inside occurs twice, if that is what is wrong.
func twice(err error) string {
	if !errors.Is(err, jsontext.ErrDuplicateName) {
		return ""
	}
	return ": member " + quote(duplicate(err)) + " occurs twice"
}

// duplicate is the name that an ErrDuplicateName is about.
func duplicate(err error) string {
	var syntactic *jsontext.SyntacticError
	if !errors.As(err, &syntactic) {
		return ""
	}
	return syntactic.JSONPointer.LastToken()
}

func quote(name string) string {
	if len(name) > maxNameInError {
		name = name[:maxNameInError] + "…"
	}
	return fmt.Sprintf("%q", name)
}
