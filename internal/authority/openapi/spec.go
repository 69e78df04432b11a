package openapi

import (
	"maps"
	"slices"
)

// Keywords of the schemas of specs that are looked at here.
const (
	keyProperties  = "properties"
	keyRequired    = "required"
	keyDefault     = "default"
	keyDescription = "description"
	keyWriteOnly   = "writeOnly"
	keyExamples    = "examples"
)

// answered is the schema of a spec in an answer: without what is only written, and
// without defaults, for an answer has its members.
func answered(spec map[string]any) map[string]any {
	members := map[string]any{}
	for name, member := range spec[keyProperties].(map[string]any) {
		shown := maps.Clone(member.(map[string]any))
		if shown[keyWriteOnly] == true {
			continue
		}
		if shown[keyProperties] != nil {
			shown = answered(shown)
		}
		delete(shown, keyDefault)
		members[name] = shown
	}
	schema := closed(spec, members)
	delete(schema, keyExamples) // they are of what is sent
	return schema
}

// declaration is the schema of a spec that is sent whole. What is left out, or null,
// is the default, and what has none must be there.
func declaration(spec map[string]any) map[string]any {
	schema := closed(spec, optionalMembers(spec, declaration))
	delete(schema, keyRequired)
	if must := mustHave(spec); len(must) > 0 {
		schema[keyRequired] = must
	}
	return schema
}

// change is the schema of a spec of which members are sent. Null makes a member its
// default again; what is left out stays, so that no member has a default here.
func change(spec map[string]any) map[string]any {
	members := optionalMembers(spec, change)
	for _, member := range members {
		delete(member.(map[string]any), keyDefault)
	}
	schema := closed(spec, members)
	delete(schema, keyRequired)
	return schema
}

// mustHave returns the members that an answer always has and that have no default.
func mustHave(spec map[string]any) []any {
	required, _ := spec[keyRequired].([]any)
	members := spec[keyProperties].(map[string]any)
	return slices.DeleteFunc(slices.Clone(required), func(name any) bool {
		member, _ := members[name.(string)].(map[string]any)
		_, hasDefault := member[keyDefault]
		return hasDefault
	})
}

// closed is the schema with these members and no others.
func closed(schema, members map[string]any) map[string]any {
	schema = maps.Clone(schema)
	schema[keyProperties], schema["additionalProperties"] = members, false
	return schema
}

// optionalMembers lets each member be null too, but for those that must be there. Of one
// that is a word of several, an empty word is the default.
func optionalMembers(spec map[string]any, inside func(map[string]any) map[string]any) map[string]any {
	members, must := map[string]any{}, mustHave(spec)
	for name, member := range spec[keyProperties].(map[string]any) {
		if slices.Contains(must, any(name)) {
			members[name] = member
			continue
		}
		value, about := maps.Clone(member.(map[string]any)), map[string]any{}
		for _, key := range []string{keyDescription, keyDefault, keyWriteOnly} {
			if said, there := value[key]; there {
				about[key] = said
				delete(value, key)
			}
		}
		if value[keyProperties] != nil {
			value = inside(value)
		}
		alternatives := []any{value, map[string]any{"type": "null"}}
		if word, ok := about[keyDefault].(string); ok && word != "" {
			alternatives = append(alternatives, map[string]any{"const": ""})
		}
		about["anyOf"] = alternatives
		members[name] = about
	}
	return members
}
