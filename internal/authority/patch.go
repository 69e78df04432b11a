package authority

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/lanyardhq/lanyard/internal/strictjson"
)

// merged is a spec after a merge patch (RFC 7396), read strictly.
func merged[Spec any](old Spec, change json.RawMessage) (spec Spec, err error) {
	// Read for its errors alone: a null takes a member out, and with it a misspelt name.
	var named Spec
	if err := strictjson.Unmarshal(change, &named); err != nil {
		return spec, err
	}
	before, err := json.Marshal(old)
	if err != nil {
		return spec, err
	}
	after, err := merge(before, change)
	if err != nil {
		return spec, err
	}
	err = strictjson.Unmarshal(after, &spec)
	return spec, err
}

// merge is MergePatch of RFC 7396 §2 for a patch that is an object.
func merge(target, patch json.RawMessage) (json.RawMessage, error) {
	changes, err := strictjson.Object(patch)
	if err != nil {
		return nil, err
	}
	members := map[string]json.RawMessage{}
	if isObject(target) {
		if members, err = strictjson.Object(target); err != nil {
			return nil, err
		}
	}
	for name, value := range changes {
		switch {
		case string(value) == "null":
			delete(members, name)
		case isObject(value):
			if members[name], err = merge(members[name], value); err != nil {
				return nil, err
			}
		default:
			members[name] = value
		}
	}
	return json.Marshal(members)
}

func isObject(value json.RawMessage) bool { return len(value) > 0 && value[0] == '{' }

// changedMembers returns the names of the members in which two specs differ.
func changedMembers(old, now any) ([]string, error) {
	var members [2]map[string]json.RawMessage
	for i, spec := range []any{old, now} {
		data, err := json.Marshal(spec)
		if err != nil {
			return nil, err
		}
		if members[i], err = strictjson.Object(data); err != nil {
			return nil, err
		}
	}
	var changed []string
	for name, value := range members[0] {
		if !bytes.Equal(value, members[1][name]) {
			changed = append(changed, name)
		}
	}
	for name := range members[1] {
		if _, both := members[0][name]; !both {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed, nil
}
