package telemetrytest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// minPart is the length from which a part of a secret is material of its own: a
// segment of a JWT, say. Shorter ones would be found by chance.
const minPart = 16

// SearchFor looks for a secret in everything that arrived: every text and every
// byte string of every message, whatever field it stands in, and so also in
// attributes, names, events, links, status, trace state and resource. It looks
// for the whole secret, for each of its parts between dots (those of a JWT), and
// for each of those in base64 and hex. It returns where it found something.
func (r *Receiver) SearchFor(secret string) []string {
	needles := needlesOf(secret)
	exports, _ := r.received()
	var found []string
	for i, export := range exports {
		search(export.ProtoReflect(), fmt.Sprintf("export %d", i), func(path string, value []byte) {
			for _, needle := range needles {
				if bytes.Contains(value, needle) {
					found = append(found, path)
					return
				}
			}
		})
	}
	return found
}

func needlesOf(secret string) [][]byte {
	if secret == "" {
		return nil
	}
	parts := []string{secret}
	for part := range strings.SplitSeq(secret, ".") {
		if len(part) >= minPart && part != secret {
			parts = append(parts, part)
		}
	}
	var needles [][]byte
	for _, part := range parts {
		raw := []byte(part)
		needles = append(needles, raw,
			[]byte(hex.EncodeToString(raw)),
			[]byte(base64.RawStdEncoding.EncodeToString(raw)),
			[]byte(base64.RawURLEncoding.EncodeToString(raw)))
	}
	return needles
}

// search calls visit for every text and byte string below a message.
func search(m protoreflect.Message, path string, visit func(path string, value []byte)) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		here := path + "." + string(field.Name())
		if !field.IsList() {
			searchValue(field, value, here, visit)
			return true
		}
		for i := range value.List().Len() {
			searchValue(field, value.List().Get(i), fmt.Sprintf("%s[%d]", here, i), visit)
		}
		return true
	})
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		visit(path+" (unknown fields)", unknown)
	}
}

func searchValue(
	field protoreflect.FieldDescriptor, value protoreflect.Value, path string, visit func(string, []byte),
) {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		search(value.Message(), path, visit)
	case protoreflect.StringKind:
		visit(path, []byte(value.String()))
	case protoreflect.BytesKind:
		visit(path, value.Bytes())
	}
}
