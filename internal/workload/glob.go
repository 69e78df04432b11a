package workload

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPattern bounds the length of a pattern in bytes: as long as the longest
// path that Linux accepts.
const maxPattern = 4096

// Weights of what stands in a pattern. They only ever grow when a pattern is
// narrowed, so that of two patterns that match one text, and of which one
// matches everything that the other does, the narrower is never the lighter.
const (
	weightAny     = 1 // one character, whichever: ?
	weightClass   = 2 // one character of a few: [a-z]
	weightLiteral = 3 // one character
	weightNoStar  = 1 // the length is fixed
)

// IsGlob reports whether a character of the text has a meaning in a pattern.
func IsGlob(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

type globKind uint8

const (
	globLiteral globKind = iota // the character itself
	globAny                     // any one character
	globClass                   // one of a class of characters
	globStar                    // any number of any characters
)

// globToken is one element of a pattern.
type globToken struct {
	kind    globKind
	literal rune
	class   []runeRange
	negated bool
}

type runeRange struct{ low, high rune }

// glob is a compiled pattern for a whole text.
type glob []globToken

// parseGlob compiles a pattern: * is any run of characters, ? any one, [a-z]
// and [!a-z] one inside or outside a class, and \ takes the next character's
// meaning away. All must match, from the first character to the last.
func parseGlob(pattern string) (glob, error) {
	if !utf8.ValidString(pattern) {
		return nil, errors.New("the pattern is not UTF-8; write ? for the odd byte")
	}
	var g glob
	for rest := pattern; rest != ""; {
		token, after, err := nextGlobToken(rest)
		if err != nil {
			return nil, err
		}
		// Two stars in a row mean what one does, and cost more to match.
		if token.kind != globStar || len(g) == 0 || g[len(g)-1].kind != globStar {
			g = append(g, token)
		}
		rest = after
	}
	return g, nil
}

func nextGlobToken(s string) (globToken, string, error) {
	r, size := utf8.DecodeRuneInString(s)
	rest := s[size:]
	switch r {
	case '*':
		return globToken{kind: globStar}, rest, nil
	case '?':
		return globToken{kind: globAny}, rest, nil
	case '[':
		return parseGlobClass(rest)
	case '\\':
		if rest == "" {
			return globToken{}, "", errors.New(`the pattern ends in \, which takes the next character's meaning away; write \\ for a backslash`)
		}
		r, size = utf8.DecodeRuneInString(rest)
		return globToken{literal: r}, rest[size:], nil
	}
	return globToken{literal: r}, rest, nil
}

// parseGlobClass reads a class after its opening bracket. A ] that comes first
// belongs to the class, as in every shell.
func parseGlobClass(s string) (globToken, string, error) {
	errOpen := errors.New(`a class opened with [ is not closed; write \[ for the character itself`)
	token := globToken{kind: globClass}
	if s != "" && (s[0] == '!' || s[0] == '^') {
		token.negated = true
		s = s[1:]
	}
	for first := true; ; first = false {
		if s == "" {
			return globToken{}, "", errOpen
		}
		if s[0] == ']' && !first {
			return token, s[1:], nil
		}
		low, rest, ok := classRune(s)
		if !ok {
			return globToken{}, "", errOpen
		}
		high := low
		if len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			if high, rest, ok = classRune(rest[1:]); !ok {
				return globToken{}, "", errOpen
			}
		}
		if high < low {
			return globToken{}, "", errors.New("a range of a class runs backwards; write the lower end first")
		}
		token.class = append(token.class, runeRange{low, high})
		s = rest
	}
}

func classRune(s string) (rune, string, bool) {
	if s != "" && s[0] == '\\' {
		s = s[1:]
	}
	if s == "" {
		return 0, "", false
	}
	r, size := utf8.DecodeRuneInString(s)
	return r, s[size:], true
}

// matchOne reports whether a token that is no star matches the character that
// starts the text, and how long that character is.
func (t globToken) matchOne(s string) (int, bool) {
	r, size := utf8.DecodeRuneInString(s)
	invalid := r == utf8.RuneError && size == 1
	switch t.kind {
	case globAny:
		return size, true
	case globClass:
		in := false
		for _, c := range t.class {
			in = in || (!invalid && c.low <= r && r <= c.high)
		}
		return size, in != t.negated
	default:
		return size, !invalid && r == t.literal
	}
}

// match reports whether the whole text matches. It goes back to the last star
// only, which is enough: an earlier star could gain nothing that the later one
// cannot.
func (g glob) match(s string) bool {
	token, pos := 0, 0
	star, starPos := -1, 0
	for pos < len(s) {
		if token < len(g) {
			if g[token].kind == globStar {
				star, starPos = token, pos
				token++
				continue
			}
			if size, ok := g[token].matchOne(s[pos:]); ok {
				token++
				pos += size
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(s[starPos:])
		starPos += size
		token, pos = star+1, starPos
	}
	return token == len(g) || (token == len(g)-1 && g[token].kind == globStar)
}

// literal returns the one text that the pattern stands for, if it is only one.
func (g glob) literal() (string, bool) {
	var b strings.Builder
	for _, t := range g {
		if t.kind != globLiteral {
			return "", false
		}
		b.WriteRune(t.literal)
	}
	return b.String(), true
}

// tail returns the literal text at the end of the pattern, "" if it ends in
// something else.
func (g glob) tail() string {
	start := len(g)
	for start > 0 && g[start-1].kind == globLiteral {
		start--
	}
	text, _ := g[start:].literal()
	return text
}

// hasLiteral reports whether any character of the text is fixed.
func (g glob) hasLiteral() bool { return g.has(globLiteral) }

func (g glob) hasStar() bool { return g.has(globStar) }

func (g glob) has(kind globKind) bool {
	return slices.ContainsFunc(g, func(t globToken) bool { return t.kind == kind })
}

// weight says how specific the pattern is.
func (g glob) weight() int {
	sum := g.singles()
	if !g.hasStar() {
		sum += weightNoStar
	}
	return sum
}

// singles is the weight of all that stands for exactly one character.
func (g glob) singles() int {
	sum := 0
	for _, t := range g {
		switch t.kind {
		case globLiteral:
			sum += weightLiteral
		case globClass:
			sum += weightClass
		case globAny:
			sum += weightAny
		}
	}
	return sum
}
