package openapitest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Keywords of JSON Schema 2020-12 that our document uses, by what they hold. Others are
// refused: to a validator a misspelt one is an annotation.
var (
	ofValues  = strings.Fields(`$ref type const enum default description examples format writeOnly required pattern minLength maxLength minimum maximum minItems maxItems uniqueItems maxProperties`)
	ofSchema  = strings.Fields(`items additionalProperties propertyNames`)
	ofSchemas = strings.Fields(`anyOf`)
	ofMembers = strings.Fields(`properties`)
)

// walk visits a schema and those in it, each with its JSON pointer.
func walk(pointer string, schema any, visit func(pointer string, schema map[string]any) error) error {
	if _, all := schema.(bool); all {
		return nil
	}
	keywords, ok := schema.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is no schema", pointer)
	}
	err := visit(pointer, keywords)
	for keyword, value := range keywords {
		below := pointer + "/" + keyword
		switch {
		case slices.Contains(ofValues, keyword):
		case slices.Contains(ofSchema, keyword):
			err = errors.Join(err, walk(below, value, visit))
		case slices.Contains(ofSchemas, keyword):
			for i, one := range value.([]any) {
				err = errors.Join(err, walk(fmt.Sprintf("%s/%d", below, i), one, visit))
			}
		case slices.Contains(ofMembers, keyword):
			for name, member := range value.(map[string]any) {
				err = errors.Join(err, walk(below+"/"+name, member, visit))
			}
		default:
			err = errors.Join(err, fmt.Errorf("%s is no keyword", below))
		}
	}
	return err
}
