package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// message is a JWS in its parts.
type message struct {
	header, claims map[string]any
	by             *member
}

// forgery is a message that must not be accepted in place of a genuine one.
type forgery struct {
	name   string
	text   string
	reason string // in the activity
	inBody bool   // no field of a header can hold it
	inForm bool   // as a member of a body it is refused for its form: 400, and no event
}

func encoded(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

// signature signs as ES256 says, with another implementation than the authority's.
func (m *member) signature(input string) []byte { return m.signatureBy(jwa.ES256, m.key, input) }

func (m *member) signatureBy(algorithm jwa.SignatureAlgorithm, key any, input string) []byte {
	m.f.t.Helper()
	signer, err := jws.NewSigner(algorithm)
	if err != nil {
		m.f.t.Fatal(err)
	}
	signature, err := signer.Sign([]byte(input), key)
	if err != nil {
		m.f.t.Fatal(err)
	}
	return signature
}

// text signs any header and payload.
func (m message) text(header, payload string) string {
	input := encoded([]byte(header)) + "." + encoded([]byte(payload))
	return input + "." + encoded(m.by.signature(input))
}

func (m message) String() string { return m.text(render(m.header), render(m.claims)) }

// with returns the message with that member of its claims, or, of "header." names, its
// header; nil removes one.
func (m message) with(name string, value any) message {
	m.header, m.claims = maps.Clone(m.header), maps.Clone(m.claims)
	target := m.claims
	if inHeader, ok := strings.CutPrefix(name, "header."); ok {
		target, name = m.header, inHeader
	}
	if target[name] = value; value == nil {
		delete(target, name)
	}
	return m
}

func (m message) signedBy(other *member) message {
	m.by = other
	return m
}

// parts are those of the genuine message's text.
func (m message) parts() (header, payload, signature string) {
	all := strings.Split(m.String(), ".")
	return all[0], all[1], all[2]
}

// claimForgeries lack a claim, or have one of another type, or twice.
func claimForgeries(m message) []forgery {
	var all []forgery
	for name, value := range m.claims {
		add := func(what string, value any, reason string) {
			all = append(all, forgery{name: name + " " + what, text: m.with(name, value).String(), reason: reason})
		}
		add("missing", nil, name)
		add("twice", twice{value}, "occurs twice")
		wrong := []any{verbatim("null"), "", true, []any{}, []any{value}, map[string]any{}, map[string]any{"a": value}, verbatim("1e300"), -1}
		if _, isText := value.(string); isText {
			wrong = append(wrong, 7)
		} else {
			wrong = append(wrong, render(value), verbatim("253402300800"))
		}
		for _, value := range wrong {
			add("as "+render(value), value, name)
		}
	}
	for what, payload := range map[string]string{"list": "[]", "list of it": "[" + render(m.claims) + "]", "null": "null", "empty": "", "no JSON": "x", "two": render(m.claims) + "{}", "deep": strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "no UTF-8": "{\"\xff\":1}"} {
		all = append(all, forgery{name: "payload " + what, text: m.text(render(m.header), payload), reason: "claims"})
	}
	return all
}

// headerForgeries choose their own key, or rules of their own, or are another type's.
func headerForgeries(stranger *member) func(message) []forgery {
	return func(m message) []forgery {
		var key map[string]any
		if err := json.Unmarshal([]byte(stranger.public.JWK()), &key); err != nil {
			m.by.f.t.Fatal(err)
		}
		const elsewhere = "https://attacker.example/keys"
		bare := m.with("header.kid", nil)
		all := []forgery{
			{name: "by another key", text: bare.signedBy(stranger).String(), reason: "signature"},
			{name: "by another key, named as ours", text: m.signedBy(stranger).String(), reason: "signature"},
			{name: "by another key, which it names", text: m.with("header.kid", stranger.public.Thumbprint()).signedBy(stranger).String(), reason: "another key"},
			{name: "foreign kid", text: m.with("header.kid", stranger.public.Thumbprint()).String(), reason: "another key"},
			{name: "kid a path", text: m.with("header.kid", "../../dev/null").String(), reason: "another key"},
			{name: "kid a number", text: m.with("header.kid", 7).String(), reason: `"kid"`},
			{name: "embedded jwk, by its key", text: bare.with("header.jwk", key).signedBy(stranger).String(), reason: `"jwk"`},
			{name: "embedded jwk and our kid", text: m.with("header.jwk", key).signedBy(stranger).String(), reason: `"jwk"`},
			{name: "embedded jwk null", text: m.with("header.jwk", verbatim("null")).String(), reason: `"jwk"`},
			{name: "jku", text: bare.with("header.jku", elsewhere).signedBy(stranger).String(), reason: `"jku"`},
			{name: "jku and our kid", text: m.with("header.jku", elsewhere).String(), reason: `"jku"`},
			{name: "x5u", text: m.with("header.x5u", elsewhere).String(), reason: `"x5u"`},
			{name: "x5c", text: m.with("header.x5c", []string{"AAAA"}).String(), reason: `"x5c"`},
			{name: "x5t", text: m.with("header.x5t", "AAAA").String(), reason: `"x5t"`},
			{name: "x5t#S256", text: m.with("header.x5t#S256", "AAAA").String(), reason: `"x5t#S256"`},
			{name: "crit known", text: m.with("header.crit", []string{"exp"}).with("header.exp", 1).String(), reason: `"crit"`},
			{name: "crit unknown", text: m.with("header.crit", []string{"x"}).with("header.x", 1).String(), reason: `"crit"`},
			{name: "crit empty", text: m.with("header.crit", []string{}).String(), reason: `"crit"`},
			{name: "crit null", text: m.with("header.crit", verbatim("null")).String(), reason: `"crit"`},
			{name: "b64", text: m.with("header.b64", false).String(), reason: `"b64"`},
			{name: "b64, critical", text: m.with("header.b64", false).with("header.crit", []string{"b64"}).String(), reason: "is refused"},
			{name: "zip", text: m.with("header.zip", "DEF").String(), reason: `"zip"`},
			{name: "enc", text: m.with("header.enc", "A128GCM").String(), reason: `"enc"`},
			{name: "header a list", text: m.text("[]", render(m.claims)), reason: "header"},
			{name: "header no JSON", text: m.text("x", render(m.claims)), reason: "header"},
			{name: "header empty", text: m.text("", render(m.claims)), reason: "header"},
			{name: "alg twice", text: m.with("header.alg", twice{"ES256"}).String(), reason: "twice"},
			{name: "alg in other case", text: m.with("header.alg", nil).with("header.ALG", "ES256").String(), reason: "algorithm"},
			{name: "typ null", text: m.with("header.typ", verbatim("null")).String(), reason: `"typ"`},
			{name: "typ a list", text: m.with("header.typ", []string{"JWT"}).String(), reason: `"typ"`},
		}
		for _, typ := range []string{"at+jwt", "lanyard-agent+jwt", "dpop+jwt", "logout+jwt", "application/jwt", "jwt", "JOSE", "JWE", "x"} {
			all = append(all, forgery{name: "typ " + typ, text: m.with("header.typ", typ).String(), reason: "typ"})
		}
		for _, algorithm := range []any{"ES384", "ES512", "ES256K", "RS256", "PS256", "EdDSA", "HS256", "es256", "none", "None", "", 256, verbatim("null"), []string{"ES256"}, nil} {
			all = append(all, forgery{name: "alg " + render(algorithm) + " over a good signature", text: m.with("header.alg", algorithm).String(), reason: "alg"})
		}
		return all
	}
}

// signatureForgeries are signed by no key, by another kind of key, or in another form.
func signatureForgeries(stranger *member) func(message) []forgery {
	return func(m message) []forgery {
		t := m.by.f.t
		header, payload, signature := m.parts()
		unsigned := func(algorithm string) string {
			return encoded([]byte(render(m.with("header.alg", algorithm).header))) + "." + payload + "."
		}
		raw := m.by.signature(header + "." + payload)
		r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		as := func(signature []byte) string { return header + "." + payload + "." + encoded(signature) }
		all := []forgery{
			{name: "alg none", text: unsigned("none"), reason: "algorithm"},
			{name: "alg None", text: unsigned("None"), reason: "algorithm"},
			{name: "alg nOnE and a signature", text: unsigned("nOnE") + signature, reason: "algorithm"},
			{name: "no signature", text: header + "." + payload + ".", reason: "signature"},
			{name: "signature in DER", text: as(der), reason: "signature"},
			{name: "halves exchanged", text: as(append(raw[32:64:64], raw[:32]...)), reason: "signature"},
			{name: "zeros", text: as(make([]byte, 64)), reason: "signature"},
			{name: "order of the curve", text: as(append(elliptic.P256().Params().N.Bytes(), elliptic.P256().Params().N.Bytes()...)), reason: "signature"},
			{name: "cut off", text: as(raw[:63]), reason: "signature"},
			{name: "a byte more", text: as(append(raw[:64:64], 0)), reason: "signature"},
			{name: "with zeros before each half", text: as(append(append(append([]byte{0}, raw[:32]...), 0), raw[32:]...)), reason: "signature"},
			{name: "of other claims", text: header + "." + encoded([]byte(render(m.with("jti", freshJTI()).claims))) + "." + signature, reason: "signature"},
			{name: "of another header", text: encoded([]byte(render(m.with("header.x", 1).header))) + "." + payload + "." + signature, reason: "signature"},
			{name: "of the claims alone", text: header + "." + payload + "." + encoded(m.by.signature(payload)), reason: "signature"},
		}
		spki, err := x509.MarshalPKIXPublicKey(&m.by.key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		point, err := m.by.key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for what, secret := range map[string][]byte{
			"JWK": []byte(m.by.public.JWK()), "DER": spki, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}),
			"point": point, "thumbprint": []byte(m.by.public.Thumbprint()), "nothing": {},
		} {
			input := encoded([]byte(render(m.with("header.alg", "HS256").header))) + "." + payload
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			all = append(all, forgery{name: "HMAC by the public key as " + what, text: input + "." + encoded(mac.Sum(nil)), reason: "algorithm"})
		}
		weak, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for algorithm, key := range map[jwa.SignatureAlgorithm]any{jwa.RS256: weak, jwa.PS256: weak, jwa.ES384: wide} {
			for _, said := range []string{algorithm.String(), "ES256"} {
				input := encoded([]byte(render(m.with("header.alg", said).header))) + "." + payload
				all = append(all, forgery{name: "by a key for " + algorithm.String() + " as " + said, text: input + "." + encoded(stranger.signatureBy(algorithm, key, input)), reason: "JWS"})
			}
		}
		return all
	}
}

// encodingForgeries are the genuine message, written in another way.
func encodingForgeries(m message) []forgery {
	header, payload, signature := m.parts()
	compact := header + "." + payload + "." + signature
	flat := map[string]any{"protected": header, "payload": payload, "signature": signature}
	general := map[string]any{"payload": payload, "signatures": []any{map[string]any{"protected": header, "signature": signature}}}
	// The last character of 64 bytes has four spare bits: another one decodes alike.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, signature[len(signature)-1])
	stray := header + "." + payload + "." + signature[:len(signature)-1] + alphabet[last|1:last|1+1]
	return []forgery{
		{name: "no JWS", text: "nonsense", reason: "three parts"},
		{name: "two parts", text: header + "." + payload, reason: "three parts"},
		{name: "four parts", text: compact + ".", reason: "three parts"},
		{name: "five parts", text: header + "." + compact + ".", reason: "three parts"},
		{name: "a dot before", text: "." + compact, reason: "three parts"},
		{name: "dots alone", text: "..", reason: "header"},
		{name: "no header", text: "." + payload + "." + signature, reason: "header"},
		{name: "no payload", text: header + ".." + signature, reason: "claims"},
		{name: "padding", text: compact + "==", reason: "base64url"},
		{name: "padding in the header", text: header + "=." + payload + "." + signature, reason: "base64url"},
		{name: "stray bits", text: stray, reason: "base64url"},
		{name: "base64", text: header + "." + payload + "." + strings.Repeat("+/", 43), reason: "base64url"},
		{name: "percent-encoded", text: strings.Replace(compact, ".", "%2E", 1), reason: "three parts"},
		{name: "quoted", text: `"` + compact + `"`, reason: "base64url"},
		{name: "space in it", text: header + ". " + payload + "." + signature, reason: "base64url"},
		{name: "line break in it", text: header + "." + payload + "." + signature[:10] + "\n" + signature[10:], reason: "base64url", inBody: true},
		{name: "line break after it", text: compact + "\n", reason: "base64url", inBody: true},
		{name: "NUL after it", text: compact + "\x00", reason: "base64url", inBody: true},
		{name: "with its scheme", text: "Bearer " + compact, reason: "base64url"},
		{name: "JSON, flattened", text: render(flat), reason: "three parts"},
		{name: "JSON, general", text: render(general), reason: "three parts"},
		{name: "two of them", text: compact + "," + compact, reason: "three parts"},
		{name: "huge", text: compact + text(9000), reason: "longer than", inForm: true},
		{name: "huge in its claims", text: m.with("more", text(9000)).String(), reason: "longer than", inForm: true},
		{name: "huge in its header", text: m.with("header.more", text(9000)).String(), reason: "longer than", inForm: true},
	}
}

// TestForgeriesAreBent: what is bent is, before that, accepted.
func TestForgeriesAreBent(t *testing.T) {
	f := start(t)
	for _, taker := range f.takers() {
		if got := taker.send(taker.genuine().String()); got.status != 200 {
			t.Errorf("%s: %d %s", taker.name, got.status, got.body)
		}
	}
}
