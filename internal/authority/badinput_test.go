package authority

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// form is a request that is answered well, and what the API says of its members.
// From that follow all the ways in which it can be wrong.
type form struct {
	name     string
	method   string
	route    string        // the path of the endpoint
	path     func() string // called for each request, as are bearer and body
	bearer   func() string // "": none
	body     func() map[string]any
	into     []reflect.Type  // what the authority reads the body, and those of its members in raw, into
	rules    map[string]rule // of every member, by its path in dots
	limit    int             // of the body, in bytes
	optional bool            // there may be no body
	merges   bool            // what is left out stays as it was
	accepted int             // status of an answer to what is in order
}

// rule is what the API says of a member. Its type is that of the value in the body.
type rule struct {
	required bool   // it can be neither left out nor null
	empty    bool   // "", [] or {} is good
	free     bool   // an object of whatever members
	beyond   []any  // values of its type that are refused
	lacks    string // what an empty object lacks
}

// Values that a map cannot hold.
type (
	twice    struct{ value any } // the member occurs twice
	verbatim string              // as it stands
)

// render writes a body.
func render(value any) string {
	switch value := value.(type) {
	case verbatim:
		return string(value)
	case map[string]any:
		var members []string
		for _, name := range slices.Sorted(maps.Keys(value)) {
			content, copies := value[name], 1
			if double, ok := content.(twice); ok {
				content, copies = double.value, 2
			}
			member := render(name) + ":" + render(content)
			members = append(members, slices.Repeat([]string{member}, copies)...)
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// mutation is one way in which a member can be wrong, or yet right.
type mutation struct {
	what   string
	change func(object map[string]any, name string)
	good   bool
	names  string // what the refusal names; "": the member
}

func set(value any) func(map[string]any, string) {
	return func(object map[string]any, name string) { object[name] = value }
}

// wrongTypes are values that are no value's type.
func wrongTypes(value any) []any {
	all := map[string][]any{
		"string": {7, 1.5, true, []string{}, []string{"x"}, map[string]any{}},
		"number": {"7", "", true, 1.5, verbatim("1e30"), verbatim("9223372036854775808"), -1, []int{}, map[string]any{}},
		"bool":   {"true", "", 1, 0, []bool{}, map[string]any{}},
		"list":   {"x", "", 7, true, map[string]any{}, []int{7}, []bool{true}, []any{nil}, [][]string{{}}, []any{map[string]any{}}},
		"object": {"x", "", 7, true, []string{}, []any{map[string]any{}}},
	}
	switch value := value.(type) {
	case string:
		return all["string"]
	case int:
		return all["number"]
	case bool:
		return all["bool"]
	case []string:
		return append(all["list"], append(slices.Clone(value), value[0])) // and none twice
	}
	return all["object"]
}

// mutations are all that can be done to the member of that value.
func (f form) mutations(path string, value any) []mutation {
	r := f.rules[path]
	all := []mutation{
		{"left out", func(object map[string]any, name string) { delete(object, name) }, !r.required || f.merges && strings.Contains(path, "."), ""},
		{"null", set(nil), !r.required, ""},
		{"twice", func(object map[string]any, name string) { object[name] = twice{object[name]} }, false, ""},
		{"deep", set(verbatim(strings.Repeat("[", 500) + strings.Repeat("]", 500))), false, "nested deeper"},
		{"in other case", func(object map[string]any, name string) {
			object[strings.ToUpper(name)] = object[name]
			delete(object, name)
		}, false, strings.ToUpper(path[strings.LastIndex(path, ".")+1:])},
	}
	switch value := value.(type) {
	case string:
		all = append(all, mutation{"empty", set(""), r.empty, ""})
	case []string:
		all = append(all, mutation{"empty", set([]string{}), r.empty, ""})
	case map[string]any:
		all = append(all, mutation{"empty", set(map[string]any{}), r.empty, r.lacks})
		if r.free {
			for _, wrong := range []any{nil, 7, true, []string{}, map[string]any{}} {
				all = append(all, mutation{"with " + render(wrong) + " in it", set(map[string]any{"name": wrong}), false, ""})
			}
		} else {
			all = append(all, mutation{"unknown member in it", func(map[string]any, string) { value["nonsense"] = 1 }, false, "nonsense"})
		}
	}
	for _, wrong := range wrongTypes(value) {
		all = append(all, mutation{"wrong type " + render(wrong), set(wrong), false, ""})
	}
	for _, beyond := range r.beyond {
		all = append(all, mutation{fmt.Sprintf("out of bounds %.40s", render(beyond)), set(beyond), false, ""})
	}
	return all
}

// members are the paths of all members, also those in others.
func members(prefix string, object map[string]any, rules map[string]rule) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		path := prefix + name
		all = append(all, path)
		if inner, ok := object[name].(map[string]any); ok && !rules[path].free {
			all = append(all, members(path+".", inner, rules)...)
		}
	}
	return all
}

// holderOf returns the object that holds the member, and the member's own name.
func holderOf(body map[string]any, path string) (object map[string]any, name string) {
	for {
		outer, rest, inner := strings.Cut(path, ".")
		if !inner {
			return body, outer
		}
		body, path = body[outer].(map[string]any), rest
	}
}

// namesOf are the names of all members that a type can be read from.
func namesOf(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		all = append(all, name)
		inner := field.Type
		if inner.Kind() == reflect.Struct && inner.PkgPath() != "time" {
			all = append(all, namesOf(inner)...)
		}
	}
	return all
}

// complete checks that nothing is left out: the body has every member that the
// authority reads, and each has its rule.
func (f form) complete(t *testing.T) {
	t.Helper()
	paths := members("", f.body(), f.rules)
	if got := slices.Sorted(maps.Keys(f.rules)); !slices.Equal(got, slices.Sorted(slices.Values(paths))) {
		t.Errorf("rules for %v, the body has %v", got, paths)
	}
	for _, into := range f.into {
		for _, name := range namesOf(into) {
			if !slices.ContainsFunc(paths, func(path string) bool { return path == name || strings.HasSuffix(path, "."+name) }) {
				t.Errorf("%v has the member %q, which the body lacks", into, name)
			}
		}
	}
}

// watcher notices whether anything at all is written to the database.
type watcher struct {
	t  *testing.T
	db *sql.DB
}

func (f *fixture) watch(t *testing.T) watcher {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(f.config.DataDir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1) // the version is one connection's
	t.Cleanup(func() { _ = db.Close() })
	return watcher{t, db}
}

// version changes with each transaction that writes.
func (w watcher) version() int {
	w.t.Helper()
	var version int
	if err := w.db.QueryRowContext(w.t.Context(), "PRAGMA data_version").Scan(&version); err != nil {
		w.t.Fatal(err)
	}
	return version
}

// sendBody sends a body under the fields of header, over those that are usual.
func (f *fixture) sendBody(form form, body string, header http.Header) answer {
	f.t.Helper()
	f.through = func(r *http.Request) { maps.Copy(r.Header, header) }
	defer func() { f.through = nil }()
	bearer := form.bearer()
	if bearer != "" {
		bearer = "Bearer " + bearer
	}
	return f.send(form.method, form.path(), bearer, body)
}

// refuses checks that the body is refused with that status, by a message that names
// what is wrong, and that nothing at all was written.
func (f *fixture) refuses(t *testing.T, w watcher, form form, what, body string, header http.Header, status int, names string) {
	t.Helper()
	before := w.version()
	got := f.sendBody(form, body, header)
	if got.status != status {
		t.Errorf("%s: status %d, want %d: %.200s", what, got.status, status, got.body)
		return
	}
	if message := got.refused(t, status); !strings.Contains(message, names) || len(message) > 300 {
		t.Errorf("%s: message %q does not name %s", what, message, names)
	}
	if w.version() != before {
		t.Errorf("%s: something was written", what)
	}
}

func (f *fixture) accepts(t *testing.T, form form, what, body string, header http.Header) {
	t.Helper()
	if got := f.sendBody(form, body, header); got.status != form.accepted {
		t.Errorf("%s: status %d, want %d: %.200s", what, got.status, form.accepted, got.body)
	}
}

// TestEveryMemberOfEveryRequest: missing, null, of another type, empty, beyond its
// bounds, twice, under another name, or beside one that is not known.
func TestEveryMemberOfEveryRequest(t *testing.T) {
	f := start(t)
	watch := f.watch(t)
	count := 0
	for _, form := range f.forms(t) {
		t.Run(form.name, func(t *testing.T) {
			form.complete(t)
			f.accepts(t, form, "as it should be", render(form.body()), nil)
			for _, path := range members("", form.body(), form.rules) {
				object, name := holderOf(form.body(), path)
				for i := range form.mutations(path, object[name]) {
					body := form.body() // anew: proofs and names are good for one request
					object, name := holderOf(body, path)
					m := form.mutations(path, object[name])[i]
					m.change(object, name)
					what := path + " " + m.what
					count++
					if m.good {
						f.accepts(t, form, what, render(body), nil)
					} else {
						f.refuses(t, watch, form, what, render(body), nil, 400, cmp.Or(m.names, name))
					}
				}
			}
			body := form.body()
			body["nonsense"] = 1
			f.refuses(t, watch, form, "unknown member", render(body), nil, 400, "nonsense")
		})
	}
	t.Logf("%d bodies", count)
	if strings.Contains(f.logs.String(), "panic") {
		t.Errorf("there was a panic: %s", f.logs)
	}
}

// TestEveryBodyOfEveryRequest: what is no object, not whole, too large or of another
// type.
func TestEveryBodyOfEveryRequest(t *testing.T) {
	f := start(t)
	watch := f.watch(t)
	padded := func(body string, length int) string { return body + strings.Repeat(" ", length-len(body)) }
	typed := func(types ...string) http.Header { return http.Header{"Content-Type": types} }
	for _, form := range f.forms(t) {
		t.Run(form.name, func(t *testing.T) {
			valid := func() string { return render(form.body()) }
			for what, body := range map[string]string{
				"no JSON":       "nonsense",
				"list":          "[]",
				"list of it":    "[" + valid() + "]",
				"null":          "null",
				"string":        `"x"`,
				"number":        "7",
				"cut off":       valid()[:len(valid())-1],
				"two":           valid() + valid(),
				"more after it": valid() + "x",
				"byte order":    "\ufeff" + valid(),
				"NUL":           valid() + "\x00",
				"no UTF-8":      strings.Replace(valid(), "{", "{\"\xff\":1,", 1),
				"deep":          strings.Repeat(`{"a":`, 600) + "1" + strings.Repeat("}", 600),
				"deep in lists": `{"nonsense":` + strings.Repeat("[", form.limit-100),
				"a form":        "ticket=x&spec=y",
			} {
				f.refuses(t, watch, form, what, body, nil, 400, "parse JSON")
			}
			f.refuses(t, watch, form, "too large", padded(valid(), form.limit+1), nil, 413, "longer than")
			f.accepts(t, form, "as large as can be", padded(valid(), form.limit), nil)
			for what, header := range map[string]http.Header{
				"no type":      typed(),
				"text":         typed("text/plain"),
				"form":         typed("application/x-www-form-urlencoded"),
				"two in one":   typed("application/json, text/plain"),
				"broken type":  typed("application/json; charset"),
				"another JSON": typed("application/json-patch+json"),
			} {
				f.refuses(t, watch, form, what, valid(), header, 415, "Content-Type")
			}
			f.accepts(t, form, "with a charset", valid(), typed("application/json; charset=utf-8"))
			if form.optional {
				f.accepts(t, form, "no body", "", nil)
			} else {
				f.refuses(t, watch, form, "no body", "", nil, 400, "parse JSON")
			}
		})
	}
	if strings.Contains(f.logs.String(), "panic") {
		t.Errorf("there was a panic: %s", f.logs)
	}
}
