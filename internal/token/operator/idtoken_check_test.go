package operator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/jose"
	"github.com/lanyardhq/lanyard/internal/token"
)

// signature stands where one is; nobody here verifies it.
const signature = "c2lnbmF0dXJlLXRoYXQtbXVzdC1ub3QtYmUtcXVvdGVkLWFueXdoZXJl"

// compact writes a token of any content.
func compact(header, payload string) string {
	return encode(header) + "." + encode(payload) + "." + signature
}

const es256 = `{"alg":"ES256","typ":"JWT"}`

// goodClaims are those of a token that is as asked.
func goodClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": operatorID, "sub": fmt.Sprintf("pr1:%024d", 1), "aud": []string{request.Audience}, "jti": "jwt1:x",
		"iat": now, "nbf": now, "exp": now + 3600,
	}
}

// with returns the good claims, changed; nil takes one away.
func with(change map[string]any) string {
	claims := goodClaims()
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err) // what the table holds can be written
	}
	return string(text)
}

// answerToken has the authority answer every request with this token.
func (a *authority) answerToken(compact string) {
	a.set(func() {
		a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			_ = json.NewEncoder(w).Encode(map[string]string{"jwt_id_token": compact})
			return true
		}
	})
}

type claims = map[string]any

// TestWrongTokensAreNotKept: a lying authority, and a sloppy one. The error says
// what was asked and what differs, and holds nothing of the token.
func TestWrongTokensAreNotKept(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	tokens := map[string]struct{ token, words string }{
		"another service's aud": {compact(es256, with(claims{"aud": []string{"https://payroll.internal"}})),
			`aud "https://ledger.internal" alone was asked for, and it has "https://payroll.internal"`},
		"two aud":            {compact(es256, with(claims{"aud": []string{request.Audience, "https://payroll.internal"}})), "it has 2"},
		"the same aud twice": {compact(es256, with(claims{"aud": []string{request.Audience, request.Audience}})), "it has 2"},
		"no aud":             {compact(es256, with(claims{"aud": nil})), "it has none"},
		"empty aud":          {compact(es256, with(claims{"aud": []string{}})), "it has none"},
		"aud with a slash":   {compact(es256, with(claims{"aud": request.Audience + "/"})), "alone was asked for"},
		"aud in capitals":    {compact(es256, with(claims{"aud": strings.ToUpper(request.Audience)})), "alone was asked for"},
		"aud with a break":   {compact(es256, with(claims{"aud": "https://x\nlevel=INFO"})), "it has another"},
		"aud is long":        {compact(es256, with(claims{"aud": strings.Repeat("x", 65)})), "it has another"},
		"aud is a number":    {compact(es256, with(claims{"aud": 7})), `"aud" is neither`},
		"another workload":   {compact(es256, with(claims{"sub": "pr1:other"})), `for workload "pr1:other" (sub), and pr1:000000000000000000000001 asked`},
		"no sub":             {compact(es256, with(claims{"sub": nil})), `"sub" is missing`},
		"sub is a list":      {compact(es256, with(claims{"sub": []string{"x"}})), `"sub" is not a string`},
		"another operator":   {compact(es256, with(claims{"iss": "op1:other"})), `iss is "op1:other", which is neither operator ` + operatorID},
		"another URL":        {compact(es256, with(claims{"iss": "https://issuer.example"})), "LANYARD_ISSUER"},
		"no iss":             {compact(es256, with(claims{"iss": nil})), `"iss" is missing`},
		"alg none":           {compact(`{"alg":"none"}`, with(nil)), `alg is "none", which is none of ES256, RS256, EdDSA`},
		"alg None":           {compact(`{"alg":"None"}`, with(nil)), `alg is "None"`},
		"no alg":             {compact(`{}`, with(nil)), "alg is absent"},
		"HMAC":               {compact(`{"alg":"HS256"}`, with(nil)), `alg is "HS256"`},
		"alg with a break":   {compact(`{"alg":"a\nb"}`, with(nil)), "alg is another"},
		"crit":               {compact(`{"alg":"ES256","crit":["x"],"x":1}`, with(nil)), `"crit" is refused`},
		"alg twice":          {compact(`{"alg":"ES256","alg":"none"}`, with(nil)), "twice"},
		"an assertion":       {compact(`{"alg":"ES256","typ":"`+assertionType+`"}`, with(nil)), `typ is "lanyard-client+jwt"`},
		"exp in 100 years":   {compact(es256, with(claims{"exp": in(100 * 365 * 24 * time.Hour)})), "more than 48h0m0s ahead"},
		"exp in three days":  {compact(es256, with(claims{"exp": in(72 * time.Hour)})), "more than 48h0m0s ahead"},
		"exp past":           {compact(es256, with(claims{"iat": in(-2 * time.Hour), "nbf": nil, "exp": in(-time.Second)})), "expired at"},
		"no exp":             {compact(es256, with(claims{"exp": nil})), `"exp" is missing`},
		"exp is text":        {compact(es256, with(claims{"exp": "1"})), `"exp" is not a date`},
		"exp is negative":    {compact(es256, with(claims{"exp": -1})), `"exp" is not a date`},
		"exp is no time":     {compact(es256, with(claims{"exp": 1e300})), `"exp" is not a date`},
		"exp before iat":     {compact(es256, with(claims{"iat": in(30 * time.Second), "exp": in(20 * time.Second)})), "not after"},
		"iat to come":        {compact(es256, with(claims{"iat": in(10 * time.Minute)})), "(iat)"},
		"iat is text":        {compact(es256, with(claims{"iat": "x"})), `"iat" is not a date`},
		"nbf to come":        {compact(es256, with(claims{"nbf": in(10 * time.Minute)})), "(nbf)"},
		"nbf is null":        {compact(es256, strings.Replace(with(claims{"nbf": 7}), `"nbf":7`, `"nbf":null`, 1)), `"nbf" is not a date`},
		"sub twice":          {compact(es256, strings.Replace(with(nil), `{`, `{"sub":"pr1:other",`, 1)), "twice"},
		"two parts":          {encode(es256) + "." + encode(with(nil)), "not three parts"},
		"four parts":         {compact(es256, with(nil)) + ".x", "not three parts"},
		"padding":            {compact(es256, with(nil)) + "=", "not base64url"},
		"a line break":       {compact(es256, with(nil)) + "\r\n", "not base64url"},
		"a break inside":     {strings.Replace(compact(es256, with(nil)), ".", ".\n", 1), "not base64url"},
		"spaces around":      {" " + compact(es256, with(nil)), "not base64url"},
		"JSON serialisation": {`{"payload":"` + encode(with(nil)) + `","protected":"` + encode(es256) + `","signature":"` + signature + `"}`, "not three parts"},
		"claims are a list":  {compact(es256, `[]`), "not"},
		"too long":           {compact(es256, with(claims{"x": strings.Repeat("y", 16<<10)})), "longer than 16384"},
		"empty":              {"", "not three parts"},
	}
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	for name, k := range tokens {
		t.Run(name, func(t *testing.T) {
			a.answerToken(k.token)
			tok, err := c.Fetch(t.Context(), request)
			wantError(t, err, token.ErrWrongToken, k.words)
			if !tok.IsZero() {
				t.Error("a token and an error")
			}
			for part := range strings.SplitSeq(k.token, ".") {
				if len(part) > 20 && strings.Contains(err.Error(), part[:20]) {
					t.Errorf("error %q holds a part of the token", err)
				}
			}
			if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("no line of a log: %q", err)
			}
		})
	}
}

// TestRightTokensAreKept: what the checks must not be too strict about.
func TestRightTokensAreKept(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	now := time.Now()
	for name, k := range map[string]struct {
		token, id string
	}{
		"as it is":              {compact(es256, with(nil)), "jwt1:x"},
		"aud is one string":     {compact(es256, with(claims{"aud": request.Audience})), "jwt1:x"},
		"no typ":                {compact(`{"alg":"EdDSA","kid":"k"}`, with(nil)), "jwt1:x"},
		"RSA":                   {compact(`{"alg":"RS256","typ":"jwt"}`, with(nil)), "jwt1:x"},
		"a whole media type":    {compact(`{"alg":"ES256","typ":"application/jwt"}`, with(nil)), "jwt1:x"},
		"48 hours":              {compact(es256, with(claims{"exp": now.Add(48 * time.Hour).Unix()})), "jwt1:x"},
		"no iat and no nbf":     {compact(es256, with(claims{"iat": nil, "nbf": nil})), "jwt1:x"},
		"a clock that is ahead": {compact(es256, with(claims{"iat": now.Unix() + 30, "nbf": now.Unix() + 30})), "jwt1:x"},
		"issuer is the base":    {compact(es256, with(claims{"iss": a.base})), "jwt1:x"},
		"issuer is above it":    {compact(es256, with(claims{"iss": strings.TrimSuffix(a.base, "/operator")})), "jwt1:x"},
		"issuer with a slash":   {compact(es256, with(claims{"iss": strings.TrimSuffix(a.base, "operator")})), "jwt1:x"},
		"jti with a bell":       {compact(es256, with(claims{"jti": "a\ab"})), ""},
		"jti is long":           {compact(es256, with(claims{"jti": strings.Repeat("x", maxNameLength+1)})), ""},
		"jti is a number":       {compact(es256, with(claims{"jti": 1})), ""},
		"no jti":                {compact(es256, with(claims{"jti": nil})), ""},
	} {
		t.Run(name, func(t *testing.T) {
			a.answerToken(k.token)
			if tok := fetch(t, c); tok.Reveal() != k.token || tok.ID() != k.id {
				t.Errorf("token with id %q, want %q", tok.ID(), k.id)
			}
		})
	}
}

// TestIssuer: what may be iss, with and without a configured one.
func TestIssuer(t *testing.T) {
	const base = "https://id.example/lanyard/operator"
	for _, k := range []struct {
		configured, iss string
		right           bool
	}{
		{"", operatorID, true},
		{"", base, true},
		{"", "https://id.example/lanyard", true},
		{"", "https://id.example/", true},
		{"", "https://id.example", true},
		{"", "https://id.example/lan", false},
		{"", "https://id.example/other", false},
		{"", "https://id.exampl", false},
		{"", "http://id.example", false},
		{"", "https://id.example:443", false},
		{"", "https:", false},
		{"", "https:/", false},
		{"", "https://", false},
		{"", "h", false},
		{"", base + "/v1", false},
		{"", "https://id.example?x", false},
		{"", "op1:other", false},
		{"https://issuer.example", "https://issuer.example", true},
		{"https://issuer.example", "https://issuer.example/", false},
		{"https://issuer.example", operatorID, false},
		{"https://issuer.example", base, false},
		{operatorID, operatorID, true},
		{operatorID, "https://id.example", false},
	} {
		err := issuer{configured: k.configured, operator: operatorID, base: base}.check(k.iss)
		if (err == nil) != k.right {
			t.Errorf("configured %q, iss %q: %v", k.configured, k.iss, err)
		}
	}
}

// TestFormOfTheIssuer: what no authority could have is refused before anything is asked.
func TestFormOfTheIssuer(t *testing.T) {
	for configured, right := range map[string]bool{
		"": true, operatorID: true, "https://issuer.example": true, "https://issuer.example/a/": true, "http://127.0.0.1:8700": true,
		"%%": false, "a b": false, "op1": false, "op1:": false, "op1:a b": false, "op1:%%": false, "issuer.example": false, "https://": false,
		"ftp://issuer.example": false, "https://user:hunter2@issuer.example": false, "https://issuer.example?x": false,
		"https://issuer.example#x": false, "https://issuer.example/%%": false, "https://issuer.example/ä": false,
	} {
		_, err := New(Config{Base: "https://id.example/operator", StateDir: "/x", Issuer: configured})
		if (err == nil) != right || err != nil && (!strings.Contains(err.Error(), "LANYARD_ISSUER") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: %v", configured, err)
		}
	}
}

// TestConfiguredIssuerCounts through a client.
func TestConfiguredIssuerCounts(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.Issuer = "https://issuer.example"
	c := newClient(t, config)
	_, err := c.Fetch(t.Context(), request)
	wantError(t, err, token.ErrWrongToken, operatorID, `LANYARD_ISSUER is "https://issuer.example"`)
	a.answerToken(compact(es256, with(claims{"iss": config.Issuer})))
	fetch(t, c)
}

// TestNoAudienceAskedFor: a token that some service takes is not one without.
func TestNoAudienceAskedFor(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	none := token.Request{Identity: "billing"}
	for _, aud := range []any{nil, []string{}} {
		if _, err := c.Fetch(t.Context(), none); err != nil {
			t.Fatal(err)
		}
		a.answerToken(compact(es256, with(claims{"aud": aud})))
	}
	for _, aud := range []any{"", "https://payroll.internal", []string{"a", "b"}} {
		a.answerToken(compact(es256, with(claims{"aud": aud})))
		_, err := c.Fetch(t.Context(), none)
		wantError(t, err, token.ErrWrongToken, "none was asked for in aud")
	}
}

// TestLongerThanAskedFor: the life asked for bounds what is kept.
func TestLongerThanAskedFor(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.TTL = 10 * time.Minute
	c := newClient(t, config)
	fetch(t, c)
	a.answerToken(compact(es256, with(nil)))
	_, err := c.Fetch(t.Context(), request)
	wantError(t, err, token.ErrWrongToken, "more than 10m0s ahead")
}

// TestWrongTokensAreNotAskedForWithoutPause: callers hear of it at once, and the
// authority by the cache's back-off.
func TestWrongTokensAreNotAskedForWithoutPause(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	a.answerToken(compact(`{"alg":"none"}`, with(nil)))
	cache := token.NewCache(token.CacheConfig{})
	defer cache.Close()
	cache.Update(map[string]token.Source{request.Identity: c})
	before, start := a.count(idTokenPath), time.Now()
	for range 1000 {
		if _, err := cache.Get(t.Context(), request); err == nil {
			t.Fatal("a token")
		} else {
			wantError(t, err, token.ErrWrongToken)
		}
	}
	// The first pause is half a second, give or take a quarter, and they double.
	allowed := 2 + int(time.Since(start)/(300*time.Millisecond))
	if n := a.count(idTokenPath) - before; n > allowed {
		t.Errorf("asked %d times, want %d at most", n, allowed)
	}
}

// A token that a receiver takes is not too long for us, nor the other way round.
func TestLengthOfATokenIsTheReceivers(t *testing.T) {
	padded := func(n int) string { return compact(es256, with(claims{"pad": strings.Repeat("x", n)})) }
	pad := 0
	for ; len(padded(pad)) < jose.MaxIDTokenLength; pad++ {
		pad += (jose.MaxIDTokenLength - len(padded(pad))) / 2
	}
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	for length, accepted := range map[int]bool{pad - 3: true, pad + 3: false} {
		a.answerToken(padded(length))
		if _, err := c.Fetch(t.Context(), request); (err == nil) != accepted {
			t.Errorf("%d bytes: %v", len(padded(length)), err)
		}
	}
}
