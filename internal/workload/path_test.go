package workload

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestIsSafePath(t *testing.T) {
	for text, want := range map[string]bool{
		"/": true, "/a": true, "/a/": true, "/a/b.c/d-e_f~g": true, "/!$&'()*+,=:@": true, "/%41%2b%40/%3A": true,
		"/..x": true, "/x..": true, "/.x": true, "/x.": true, "/%C3%a9": true, "/a%E2%82%ACb": true, "/%F0%9F%98%80/x": true,
		"": false, "a": false, "*": false, "//": false, "/a//b": false, "//a": false, "/a/../b": false, "/..": false, "/.": false, "/a/.": false,
		"/a/./b": false, "/...": false, "/%2e%2e/x": false, "/.%2e/x": false, "/a%2eb": false, "/%2f": false, "/%5c": false, `/a\b`: false, "/%25": false,
		"/%252e": false, "/%u002e": false, "/%": false, "/%4": false, "/%zz": false, "/a;b": false, "/..;/x": false, "/%3b": false, "/a%00": false,
		"/a%20": false, "/a b": false, "/a%0d": false, "/a#b": false, "/a%23b": false, "/a?b": false, "/a%3fb": false, "/é": false, "/{a}": false, "/a|b": false,
		"/%c0%ae": false, "/%c0%ae%c0%ae/": false, "/%e0%80%ae": false, "/%ed%a0%80": false, "/%C3": false, "/%C3/": false, "/%C3/%a9": false,
		"/%C3x": false, "/%C3%41": false, "/%a9": false, "/%ff": false, "/%F4%90%80%80": false, "/a\x00": false, "/a\x7f": false,
	} {
		if got := IsSafePath(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
		if got := IsSafePath([]byte(text)); got != want {
			t.Errorf("%q as bytes: %t", text, got)
		}
	}
	long := []byte("/a/%C3%a9/" + strings.Repeat("b", 1000))
	if n := testing.AllocsPerRun(100, func() { IsSafePath(long) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// safe is the rule as a grammar, which shares nothing with the code.
var safe = regexp.MustCompile(`^(/([A-Za-z0-9._~!$&'()*+,=:@-]|%(2[146789A-Da-d]|3[0-9AaDd]|4[0-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe]|[89A-Fa-f][0-9A-Fa-f]))*)+$`)

// FuzzIsSafePath holds the code against the grammar, and what it takes against what
// servers do: decoding twice, cleaning and taking parameters off change nothing.
func FuzzIsSafePath(f *testing.F) {
	for _, seed := range []string{"/", "/a/b/", "/%C3%a9", "/..;/", "/%252e/", "/a//b", "/%c0%ae", "/.%2e/x", "/%2b%24", "/a/../b", "/%F0%9F%98%80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := IsSafePath(text)
		decoded, err := url.PathUnescape(text)
		want := err == nil && safe.MatchString(text) && utf8.ValidString(decoded)
		inner := strings.TrimSuffix(strings.TrimPrefix(text, "/"), "/")
		for _, s := range strings.Split(inner, "/") {
			want = want && (strings.Trim(s, ".") != "" || text == "/")
		}
		// A character must not be spread over segments, or be cut by another one.
		for _, s := range regexp.MustCompile(`(%[89A-Fa-f][0-9A-Fa-f])+`).FindAllString(text, -1) {
			d, err := url.PathUnescape(s)
			want = want && err == nil && utf8.ValidString(d)
		}
		if got != want {
			t.Fatalf("%q is safe: %t, by the grammar: %t", text, got, want)
		}
		if !got {
			return
		}
		if twice, err := url.PathUnescape(decoded); err != nil || twice != decoded {
			t.Fatalf("%q decodes to %q, and that to %q", text, decoded, twice)
		}
		if cleaned := path.Clean(decoded); cleaned != strings.TrimSuffix(decoded, "/") && decoded != "/" {
			t.Fatalf("%q is cleaned to %q", decoded, cleaned)
		}
		if strings.ContainsAny(decoded, ";\\%?# \x00") {
			t.Fatalf("%q decodes to %q", text, decoded)
		}
	})
}
