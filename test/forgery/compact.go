package forgery

import (
	"fmt"
	"strings"
	"time"
)

// Forgery is a token that no receiver may accept, and what is wrong with it.
type Forgery struct{ Name, Token string }

// Forgeries returns what somebody can make who holds genuine tokens: a valid one,
// an expired one, and one for another service.
func (i *Issuer) Forgeries() []Forgery {
	held := map[string]string{
		"valid":          i.Genuine("ES256", Audience),
		"expired":        i.genuine("ES256", claims(Workload, Audience, time.Now().Add(-time.Hour))),
		"other audience": i.Genuine("ES256", "https://other.test"),
	}
	all := []Forgery{{"expired", held["expired"]}, {"other audience", held["other audience"]}}
	for _, name := range []string{"valid", "expired", "other audience"} {
		for _, f := range jsonSerializations(held[name]) {
			all = append(all, Forgery{name + ", " + f.Name, f.Token})
		}
	}
	for _, algorithm := range Algorithms {
		for _, f := range append(encodings(i.Genuine(algorithm, Audience)), shapes(i.Genuine(algorithm, Audience))...) {
			all = append(all, Forgery{algorithm + ", " + f.Name, f.Token})
		}
	}
	return append(append(all, i.signatures(held["valid"])...), i.ownKeys()...)
}

// encodings are the genuine token's bytes as a lenient decoder would take them.
func encodings(genuine string) []Forgery {
	all := []Forgery{{"standard alphabet", strings.NewReplacer("-", "+", "_", "/").Replace(genuine)}}
	for n, name := range []string{"header", "payload", "signature"} {
		part := func(change func(string) string) string {
			parts := strings.Split(genuine, ".")
			parts[n] = change(parts[n])
			return strings.Join(parts, ".")
		}
		half := func(between string) func(string) string {
			return func(s string) string { return s[:len(s)/2] + between + s[len(s)/2:] }
		}
		all = append(all,
			Forgery{name + " in the standard alphabet", part(strings.NewReplacer("-", "+", "_", "/").Replace)},
			Forgery{name + " padded", part(func(s string) string { return s + strings.Repeat("=", max(1, (4-len(s)%4)%4)) })},
			Forgery{name + " with stray bits", part(strayBits)},
			Forgery{name + " with one character more", part(func(s string) string { return s + "A" })},
			Forgery{name + " with one character less", part(func(s string) string { return s[:len(s)-1] })},
			Forgery{name + " with a line break", part(half("\n"))},
			Forgery{name + " with a line break and more", part(half("\r\n "))},
			Forgery{name + " with a space", part(half(" "))},
			Forgery{name + " with a NUL", part(half("\x00"))},
			Forgery{name + " with a soft hyphen", part(half("\u00ad"))},
			Forgery{name + " percent-encoded", part(func(s string) string { return fmt.Sprintf("%%%02X", s[0]) + s[1:] })},
			Forgery{name + " empty", part(func(string) string { return "" })},
			Forgery{name + " twice", part(func(s string) string { return s + "." + s })},
		)
	}
	kept := all[:0]
	for _, f := range all {
		if f.Token != genuine { // what has no such character cannot be written otherwise
			kept = append(kept, f)
		}
	}
	return kept
}

// strayBits sets the bits of the last character that no byte has (RFC 4648 section
// 3.5).
func strayBits(part string) string {
	if len(part)%4 == 0 {
		return part
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(part) - 1
	return part[:last] + string(alphabet[strings.IndexByte(alphabet, part[last])+1])
}

// shapes are a genuine token with something around it or missing.
func shapes(genuine string) []Forgery {
	parts := strings.Split(genuine, ".")
	return []Forgery{
		{"trailing dot", genuine + "."},
		{"leading dot", "." + genuine},
		{"two parts", parts[0] + "." + parts[1]},
		{"five parts", genuine + ".AAAA.AAAA"},
		{"a part before", parts[0] + "." + genuine},
		{"disclosures behind", genuine + "~" + parts[1] + "~"},
		{"dots of another width", strings.ReplaceAll(genuine, ".", "．")},
		{"dots encoded", strings.ReplaceAll(genuine, ".", "%2E")},
		{"byte order mark", "\ufeff" + genuine},
		{"no-break space behind", genuine + "\u00a0"},
		{"next line behind", genuine + "\u0085"},
		{"form feed behind", genuine + "\f"},
		{"spaces around the dots", strings.Join(parts, " . ")},
		{"quoted", `"` + genuine + `"`},
		{"in a list", `["` + genuine + `"]`},
		{"twice", genuine + " " + genuine},
		{"twice with a comma", genuine + "," + genuine},
		{"with a parameter", genuine + `, realm="x"`},
		{"a scheme before", "Bearer " + genuine},
		{"encoded once more", b64.EncodeToString([]byte(genuine))},
		{"in upper case", strings.ToUpper(genuine)},
		{"over-long signature", genuine + strings.Repeat("A", 20<<10)},
		{"over-long payload", parts[0] + "." + parts[1] + strings.Repeat("A", 20<<10) + "." + parts[2]},
	}
}
