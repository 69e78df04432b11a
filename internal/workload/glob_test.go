package workload

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestGlobMatchesWholeText(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"curl", "curl", true},
		{"curl", "curl7", false},
		{"curl", "acurl", false},
		{"*", "", true},
		{"*", "anything / at all", true},
		{"c*l", "cl", true},
		{"c*l", "curly", false},
		{"*a*b*", "xxaxxbxx", true},
		{"*a*b*", "xxbxxaxx", false},
		{"*ab", "aab", true},
		{"**", "", true},
		{"?", "", false},
		{"?", "é", true},
		{"c?rl", "curl", true},
		{"c?rl", "crl", false},
		{"[a-c]x", "bx", true},
		{"[a-c]x", "dx", false},
		{"[!a-c]x", "dx", true},
		{"[^a-c]x", "ax", false},
		{"[]]", "]", true},
		{"[!]]", "]", false},
		{"[a-]", "-", true},
		{`[\]a]`, "]", true},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{`\\`, `\`, true},
		{"?", "\xff", true},
		{"\uFFFD", "\xff", false},
		{"[\uFFFD]", "\xff", false},
		{"java *-jar /srv/app.jar*", "java -Xmx1g -jar /srv/app.jar serve", true},
	} {
		g, err := parseGlob(tc.pattern)
		if err != nil {
			t.Errorf("parse %q: %v", tc.pattern, err)
			continue
		}
		if got := g.match(tc.text); got != tc.want {
			t.Errorf("%q matches %q: got %v", tc.pattern, tc.text, got)
		}
	}
}

func TestGlobRefusesMalformed(t *testing.T) {
	for _, pattern := range []string{"[", "[a", "[]", "[!", `a\`, `[\`, "[a-", "[z-a]", "\xff"} {
		if _, err := parseGlob(pattern); err == nil {
			t.Errorf("%q parsed", pattern)
		}
	}
}

func TestPathGlob(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		want          bool
	}{
		{"/usr/bin/curl", "/usr/bin/curl", true},
		{"/usr/bin/curl", "/usr/bin/curl/x", false},
		{"/usr/bin/*", "/usr/bin/curl", true},
		{"/usr/bin/*", "/usr/bin/a/b", false},
		{"/usr/*/curl", "/usr/local/bin/curl", false},
		{"/opt/**/java", "/opt/java", true},
		{"/opt/**/java", "/opt/a/b/java", true},
		{"/opt/**/java", "/opt/a/javac", false},
		{"/opt/**/bin/**/java", "/opt/x/bin/y/bin/java", true},
		{"/opt/**", "/opt/a/b", true},
		{"/opt/**", "/opt/a", true},
		{"/opt/**", "/opt", false},
		{"/**", "/x", true},
		{"/a?c", "/a/c", false},
		{"/a[!b]c", "/a/c", false},
		{"/", "/", true},
		{"/", "/a", false},
		{"/a", "a", false},
	} {
		p, err := parsePathGlob(tc.pattern)
		if err != nil {
			t.Errorf("parse %q: %v", tc.pattern, err)
			continue
		}
		if got := p.match(tc.path); got != tc.want {
			t.Errorf("%q matches %q: got %v", tc.pattern, tc.path, got)
		}
	}
}

func TestPathGlobBelow(t *testing.T) {
	p, err := parsePathGlob("/system.slice/x*.service")
	if err != nil {
		t.Fatal(err)
	}
	below := p.below()
	for path, want := range map[string]bool{
		"/system.slice/xy.service":     true,
		"/system.slice/xy.service/a/b": true,
		"/system.slice/xy.services":    false,
		"/system.slice":                false,
	} {
		if got := below.match(path); got != want {
			t.Errorf("%q: got %v", path, got)
		}
	}
	if p.match("/system.slice/xy.service/a") {
		t.Error("below changed the pattern it was made from")
	}
}

func TestPathGlobRefusesWhatTheKernelNeverReports(t *testing.T) {
	for _, pattern := range []string{"curl", "./curl", "", "/usr/bin/", "/usr//bin/x", "/usr/./x", "/usr/../x", "/a**/x", "/[/]x"} {
		if _, err := parsePathGlob(pattern); err == nil {
			t.Errorf("%q parsed", pattern)
		}
	}
}

// reference is the plainest way to match, to hold the fast one against.
func (g glob) reference(s string) bool {
	if len(g) == 0 {
		return s == ""
	}
	if g[0].kind == globStar {
		for rest := s; ; {
			if g[1:].reference(rest) {
				return true
			}
			if rest == "" {
				return false
			}
			_, size := utf8.DecodeRuneInString(rest) // a star ends between two characters
			rest = rest[size:]
		}
	}
	if s == "" {
		return false
	}
	size, ok := g[0].matchOne(s)
	return ok && g[1:].reference(s[size:])
}

func TestGlobAgreesWithReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	matched := 0
	for range 20000 {
		pattern, text := draw(r, "ab*?", 7), draw(r, "ab", 9)
		g, err := parseGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		got, want := g.match(text), g.reference(text)
		if got != want {
			t.Fatalf("%q on %q: got %v, want %v", pattern, text, got, want)
		}
		if got {
			matched++
		}
	}
	if matched < 1000 {
		t.Fatalf("only %d drawn pairs matched", matched)
	}
}

// TestNarrowerIsNeverLighter widens patterns step by step: what was widened must
// never weigh more, and a pattern without a wildcard outweighs each of them.
func TestNarrowerIsNeverLighter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		narrow := "/" + draw(r, "abc", 4) + "x/" + draw(r, "abc", 4) + "y"
		exact := mustPath(t, narrow)
		for range 4 {
			wide := widen(r, narrow)
			n, w := mustPath(t, narrow), mustPath(t, wide)
			if w.weight > n.weight {
				t.Fatalf("%q weighs %d, more than %q with %d", wide, w.weight, narrow, n.weight)
			}
			if IsGlob(wide) && w.weight >= exact.weight {
				t.Fatalf("%q weighs %d, no less than the path itself with %d", wide, w.weight, exact.weight)
			}
			narrow = wide
		}
	}
	if a, b := mustPath(t, "/a/c"), mustPath(t, "/a/**/c"); b.weight >= a.weight {
		t.Errorf("/a/**/c weighs %d, /a/c %d", b.weight, a.weight)
	}
	if a, b := mustPath(t, "/a/*"), mustPath(t, "/a/**"); b.weight >= a.weight {
		t.Errorf("/a/** weighs %d, /a/* %d", b.weight, a.weight)
	}
}

// widen replaces one character of a name by a wildcard that stands for it.
func widen(r *rand.Rand, pattern string) string {
	for {
		i := r.IntN(len(pattern))
		switch pattern[i] {
		case '/':
			continue
		case '?', '*':
			return pattern
		}
		wild := []string{"?", "*"}[r.IntN(2)]
		wide := pattern[:i] + wild + pattern[i+1:]
		for strings.Contains(wide, "**") {
			wide = strings.ReplaceAll(wide, "**", "*")
		}
		return wide
	}
}

func draw(r *rand.Rand, alphabet string, most int) string {
	b := make([]byte, r.IntN(most+1))
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

func mustPath(t *testing.T, pattern string) pathGlob {
	t.Helper()
	p, err := parsePathGlob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func FuzzGlob(f *testing.F) {
	f.Add("a*[b-d]?", "axxc!")
	f.Add(`[\]]*`, "]")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 20 || len(text) > 20 || strings.Count(pattern, "*") > 5 {
			return
		}
		g, err := parseGlob(pattern)
		if err != nil {
			return
		}
		if got, want := g.match(text), g.reference(text); got != want {
			t.Fatalf("%q on %q: got %v, want %v", pattern, text, got, want)
		}
	})
}
