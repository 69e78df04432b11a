package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// words returns what a pattern's first group finds in the sources below the top folder.
func words(t *testing.T, files, pattern string, atLeast int) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", files))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s: %v", files, err)
	}
	var found []string
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1])
		}
	}
	if len(found) < atLeast {
		t.Fatalf("%s has %d words (%v), expected %d or more: has the way changed that they are written?", files, len(found), found, atLeast)
	}
	return found
}

// TestEveryWordHasASection: what an operator meets in log, metrics and /readyz is
// explained, and nothing else is.
func TestEveryWordHasASection(t *testing.T) {
	parts := words(t, "agent/*.go", `(?m)^(?:const)?\s*part[A-Z]\w* *= "([^"]+)"`, 8)
	parts = append(parts, words(t, "agent/*.go", `(?m)^(?:const)?\s*kind[A-Z]\w* *= "([^"]+)"`, 3)...)
	for kind, want := range map[string][]string{
		"Outcome":   words(t, "internal/workload/outcome.go", `Outcome = "(\w+)"`, 13),
		"Readiness": parts,
		"Token":     words(t, "internal/token/reason.go", `Reason = "(\w+)"`, 8),
	} {
		var have []string
		for _, s := range Sections() {
			if s.Kind == kind {
				have = append(have, s.Word)
				if len(s.Text) < 40 {
					t.Errorf("the section %s `%s` says next to nothing", kind, s.Word)
				}
			}
		}
		for _, word := range want {
			if !slices.Contains(have, word) {
				t.Errorf("docs/troubleshooting.md has no section \"### %s `%s`\"", kind, word)
			}
		}
		for i, word := range have {
			if !slices.Contains(want, word) || slices.Contains(have[:i], word) {
				t.Errorf("docs/troubleshooting.md has \"### %s `%s`\", which nothing says, or twice", kind, word)
			}
		}
	}
}

// TestEveryBadRequestIsExplained: refusals of responses (502) are told to nobody.
func TestEveryBadRequestIsExplained(t *testing.T) {
	reasons := words(t, "injector/*.go", `refusal\{(?:4\d\d|501|503|504|505), "(\w+)"`, 25)
	for _, reason := range reasons {
		if BadRequest(reason) == "" {
			t.Errorf("docs/troubleshooting.md has no line about the bad_request reason `%s`", reason)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(About("bad_request")[0].Text, -1) {
		for _, code := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(m[1], -1) {
			if !slices.Contains(reasons, code[1]) {
				t.Errorf("docs/troubleshooting.md explains the bad_request reason `%s`, which there is not", code[1])
			}
		}
	}
}
