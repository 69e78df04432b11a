package forgery

import (
	"fmt"
	"strings"
	"time"
)

// Misissued returns what only the issuer could have signed, and what a strict
// receiver refuses all the same: two readers could read it in two ways, or it is no
// token for a receiver.
func (i *Issuer) Misissued() []Forgery {
	good := claims(Workload, Audience, time.Now().Add(time.Hour))
	var all []Forgery
	for name, header := range map[string]string{
		"another type":        `{"alg":"ES256","kid":"ES256","typ":"at+jwt"}`,
		"type is a number":    `{"alg":"ES256","kid":"ES256","typ":1}`,
		"type is null":        `{"alg":"ES256","kid":"ES256","typ":null}`,
		"critical extension":  `{"alg":"ES256","kid":"ES256","crit":["exp"],"exp":1}`,
		"crit is empty":       `{"alg":"ES256","kid":"ES256","crit":[]}`,
		"b64":                 `{"alg":"ES256","kid":"ES256","b64":false,"crit":["b64"]}`,
		"b64 alone":           `{"alg":"ES256","kid":"ES256","b64":false}`,
		"compressed":          `{"alg":"ES256","kid":"ES256","zip":"DEF"}`,
		"nested":              `{"alg":"ES256","kid":"ES256","cty":"JWT"}`,
		"its own key":         `{"alg":"ES256","kid":"ES256","jwk":` + i.public["ES256"] + `}`,
		"keys elsewhere":      fmt.Sprintf(`{"alg":"ES256","kid":"ES256","jku":%q}`, i.trap),
		"certificate":         `{"alg":"ES256","kid":"ES256","x5c":["AAAA"]}`,
		"certificate's URL":   fmt.Sprintf(`{"alg":"ES256","kid":"ES256","x5u":%q}`, i.trap),
		"kid twice":           `{"alg":"ES256","kid":"other","kid":"ES256"}`,
		"alg twice":           `{"alg":"none","kid":"ES256","alg":"ES256"}`,
		"alg twice, escaped":  `{"alg":"ES256","kid":"ES256","\u0061lg":"none"}`,
		"kid is a number":     `{"alg":"ES256","kid":1}`,
		"kid is empty":        `{"alg":"ES256","kid":""}`,
		"no kid":              `{"alg":"ES256"}`,
		"no alg":              `{"kid":"ES256"}`,
		"alg in another case": `{"ALG":"ES256","kid":"ES256"}`,
		"another key's kid":   `{"alg":"ES256","kid":"EdDSA"}`,
		"another key's alg":   `{"alg":"EdDSA","kid":"ES256"}`,
		"header is a list":    `[]`,
		"header and more":     `{"alg":"ES256","kid":"ES256"}{}`,
	} {
		all = append(all, Forgery{name, i.Sign("ES256", header, encode(good))})
	}
	const header = `{"alg":"ES256","kid":"ES256","typ":"JWT"}`
	for name, payload := range oddPayloads(good) {
		all = append(all, Forgery{name, i.Sign("ES256", header, payload)})
	}
	return append(all,
		Forgery{"a token as payload", i.Sign("ES256", header, i.Genuine("ES256", Audience))},
		Forgery{"a token as payload, said", i.Sign("ES256", `{"alg":"ES256","kid":"ES256","cty":"JWT"}`, i.Genuine("ES256", Audience))},
	)
}

// oddPayloads are claims that are none, or not those of a token.
func oddPayloads(good map[string]any) map[string]string {
	all := map[string]string{
		"subject twice":          twice(good, "sub", Victim),
		"subject twice, escaped": strings.TrimSuffix(encode(good), "}") + `,"s\u0075b":"` + Victim + `"}`,
		"expiry twice":           twice(good, "exp", time.Now().Add(2*time.Hour).Unix()),
		"audience twice":         twice(good, "aud", Audience),
		"tags twice":             strings.Replace(encode(good), `"tags":`, `"tags":["admin"],"tags":`, 1),
		"payload is a list":      "[" + encode(good) + "]",
		"payload is a text":      encode(encode(good)),
		"payload is null":        "null",
		"payload is empty":       "",
		"payload and more":       encode(good) + "{}",
		"payload not UTF-8":      strings.Replace(encode(good), Workload, "pr1:\xff", 1),
		"half a surrogate":       strings.Replace(encode(good), Workload, `pr1:\ud800`, 1),
		"too deep":               strings.TrimSuffix(encode(good), "}") + `,"deep":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}",
	}
	for name, values := range map[string][]any{
		"sub":   {nil, "", 1, []string{Workload}, map[string]any{"a": 1}},
		"iss":   {nil, "", 1, []string{issuerID}},
		"jti":   {nil, "", 1},
		"aud":   {nil, 1, "", []any{nil, Audience}, []any{Audience, 1}, []any{[]string{Audience}}, map[string]any{Audience: 1}, []string{"", Audience}},
		"exp":   {nil, "4102444800", -1, 1e300, []int64{4102444800}, true},
		"nbf":   {nil, "0", -1, time.Now().Add(time.Hour).Unix()},
		"iat":   {nil, "0", -1, time.Now().Add(time.Hour).Unix()},
		"extra": {nil, 1, "tags", []string{"tags"}, map[string]any{"tags": nil}, map[string]any{"tags": "admin"}, map[string]any{"tags": []any{"a", nil}}, map[string]any{"tags": []int{1}}},
	} {
		for _, value := range values {
			all[fmt.Sprintf("%s is %s", name, encode(value))] = encode(with(good, map[string]any{name: value}))
		}
	}
	for _, name := range []string{"sub", "exp", "aud"} {
		lacking := with(good)
		delete(lacking, name)
		all["no "+name] = encode(lacking)
	}
	return all
}
