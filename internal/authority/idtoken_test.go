package authority

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func mustJWK(t *testing.T, m *member) jwk.Key {
	t.Helper()
	key, err := jwk.ParseKey([]byte(m.public.JWK()))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func unsignedProof(t *testing.T, m *member, ticket string) string {
	t.Helper()
	return unsigned(t, m.proof(ticket), typeRegistration)
}

// unsigned turns a signed message into one with alg "none".
func unsigned(t *testing.T, compact, typ string) string {
	t.Helper()
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"` + typ + `"}`))
	return header + "." + strings.Split(compact, ".")[1] + "."
}

func tokenOf(t testing.TB, a answer) string {
	t.Helper()
	var got idTokenResponse
	a.decode(t, 200, &got)
	return got.JWT
}

func decodeToken(t testing.TB, a answer) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(tokenOf(t, a), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(payload, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestIDToken(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{Tags: []string{"eyes"}})
	m := f.enrol(ticket.Ticket)
	now := float64(startTime.Unix())
	tests := map[string]struct {
		body    any
		aud     []any
		seconds float64
	}{
		"no body":   {nil, []any{}, 3600},
		"empty":     {`{}`, []any{}, 3600},
		"nulls":     {`{"audience":null,"ttl_seconds":null}`, []any{}, 3600},
		"audience":  {`{"audience":["https://ledger.internal"]}`, []any{"https://ledger.internal"}, 3600},
		"audiences": {`{"audience":["a","b"]}`, []any{"a", "b"}, 3600},
		"longest":   {`{"ttl_seconds":172800}`, []any{}, 172800},
		"shortest":  {`{"ttl_seconds":1}`, []any{}, 1},
	}
	ids := map[any]bool{}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := decodeToken(t, m.idToken(tt.body))
			if id, _ := got["jti"].(string); !hasForm(id, "jwt1:", 24) || ids[id] {
				t.Errorf("jti %q", id)
			}
			ids[got["jti"]] = true
			delete(got, "jti")
			want := map[string]any{
				"aud": tt.aud, "iss": f.OperatorID(), "sub": m.id, "iat": now, "nbf": now, "exp": now + tt.seconds,
				"extra": map[string]any{"actions": map[string]any{}, "ids": map[string]any{}, "tags": []any{"eyes"}},
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("claims\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// TestAVerifierAcceptsTheToken: as the first seed's sample server does, by JWKS.
func TestAVerifierAcceptsTheToken(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	issued := m.idToken(`{"audience":["https://ledger.internal"]}`)
	if issued.header.Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
	compact := tokenOf(t, issued)
	keys := f.send("GET", jwksPath, "", nil)
	if keys.status != 200 || keys.header.Get("Cache-Control") != jwksCacheControl || strings.Contains(keys.body, `"d"`) {
		t.Errorf("JWKS %d %v %s", keys.status, keys.header, keys.body)
	}
	set, err := jwk.Parse([]byte(keys.body))
	if err != nil {
		t.Fatal(err)
	}
	_, err = jwt.Parse([]byte(compact), jwt.WithKeySet(set), jwt.WithAudience("https://ledger.internal"), jwt.WithIssuer(f.OperatorID()),
		jwt.WithSubject(m.id), jwt.WithClock(jwt.ClockFunc(f.clock.Now)))
	if err != nil {
		t.Error(err)
	}
	message, err := jws.Parse([]byte(compact))
	if err != nil {
		t.Fatal(err)
	}
	if header := message.Signatures()[0].ProtectedHeaders(); header.Type() != "JWT" || header.Algorithm() != "ES256" || header.KeyID() == "" {
		t.Errorf("header %v", header)
	}
	if head := f.send("HEAD", jwksPath, "", nil); head.status != 200 || head.body != "" {
		t.Errorf("HEAD: %d %q", head.status, head.body)
	}
}

func TestIDTokenRequestForm(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	long := strings.Repeat("a", maxAudienceLength+1)
	for name, body := range map[string]string{
		"no JSON":             `nonsense`,
		"a list":              `[]`,
		"unknown member":      `{"audiences":["a"]}`,
		"twice":               `{"audience":["a"],"audience":["b"]}`,
		"audience a string":   `{"audience":"a"}`,
		"audience empty":      `{"audience":[""]}`,
		"audience twice":      `{"audience":["a","a"]}`,
		"audience with space": `{"audience":["a b"]}`,
		"audience newline":    `{"audience":["a\nb"]}`,
		"audience too long":   `{"audience":["` + long + `"]}`,
		"too many":            `{"audience":["1","2","3","4","5","6","7","8","9"]}`,
		"ttl zero":            `{"ttl_seconds":0}`,
		"ttl negative":        `{"ttl_seconds":-1}`,
		"ttl too long":        `{"ttl_seconds":172801}`,
		"ttl overflowing":     `{"ttl_seconds":9223372036854775807}`,
		"ttl beyond":          `{"ttl_seconds":92233720368547758070}`,
		"ttl a fraction":      `{"ttl_seconds":1.5}`,
		"ttl a string":        `{"ttl_seconds":"60"}`,
	} {
		t.Run(name, func(t *testing.T) { m.idToken(body).refused(t, 400) })
	}
	m.idToken(strings.Repeat(" ", maxIDTokenBytes+1)).refused(t, 413)
	f.send("GET", idTokenPath, "Bearer "+m.assertion(), nil).refused(t, 405)
}

// TestAssertions: security.md 15. Every refusal is the same answer.
func TestAssertions(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m, other := f.enrol(ticket.Ticket), f.enrol(ticket.Ticket)
	stranger := f.newMember()
	stranger.id = m.id
	now := startTime.Unix()
	tests := []struct {
		name      string
		assertion string
		reason    string
	}{
		{"none at all", "", "no bearer"},
		{"no JWS", "nonsense", "three parts"},
		{"two", m.assertion() + " " + m.assertion(), "no bearer"},
		{"by another key", stranger.assertion(claims{"header.kid": nil}), "signature"},
		{"foreign kid", stranger.assertion(), "another key"},
		{"another's workload id", m.assertion(claims{"iss": other.id, "sub": other.id, "header.kid": nil}), "signature"},
		{"embedded jwk", stranger.assertion(claims{"header.kid": nil, "header.jwk": mustJWK(t, stranger)}), `"jwk"`},
		{"jku", m.assertion(claims{"header.jku": "https://attacker.example"}), `"jku"`},
		{"x5u", m.assertion(claims{"header.x5u": "https://attacker.example"}), `"x5u"`},
		{"crit", m.assertion(claims{"header.crit": []string{"exp"}}), `"crit"`},
		{"crit unknown", m.assertion(claims{"header.crit": []string{"x"}, "header.x": 1}), `"crit"`},
		{"typ of an agent assertion", m.assertion(claims{"header.typ": "lanyard-agent+jwt"}), "typ"},
		{"typ of an access token", m.assertion(claims{"header.typ": "at+jwt"}), "typ"},
		{"typ of a registration", m.assertion(claims{"header.typ": typeRegistration}), "typ"},
		{"alg none", unsigned(t, m.assertion(), "JWT"), "algorithm"},
		{"HMAC by the public key", hmacBy(t, m), "algorithm"},
		{"no iss", m.assertion(claims{"iss": nil}), "iss"},
		{"unknown workload", m.assertion(claims{"iss": "pr1:" + strings.Repeat("0", 24)}), "no such workload"},
		{"iss of another form", m.assertion(claims{"iss": strings.Repeat("x", 5000)}), "iss"},
		{"no sub", m.assertion(claims{"sub": nil}), `"sub"`},
		{"sub of another", m.assertion(claims{"sub": other.id}), `"sub"`},
		{"no aud", m.assertion(claims{"aud": nil}), `"aud"`},
		{"aud in a list", m.assertion(claims{"aud": []string{f.OperatorBase()}}), `"aud"`},
		{"aud with another", m.assertion(claims{"aud": []string{f.OperatorBase(), "https://x"}}), `"aud"`},
		{"aud with slash", m.assertion(claims{"aud": f.OperatorBase() + "/"}), `"aud"`},
		{"aud is the endpoint", m.assertion(claims{"aud": f.base + idTokenPath}), `"aud"`},
		{"aud elsewhere", m.assertion(claims{"aud": "https://elsewhere.example/operator"}), `"aud"`},
		{"no iat", m.assertion(claims{"iat": nil}), `"iat"`},
		{"no exp", m.assertion(claims{"exp": nil}), `"exp"`},
		{"exp a string", m.assertion(claims{"exp": fmt.Sprint(now + 60)}), `"exp"`},
		{"lives too long", m.assertion(claims{"exp": now + 61}), "after iat"},
		{"exp before iat", m.assertion(claims{"exp": now - 1}), "after iat"},
		{"from the future", m.assertion(claims{"iat": now + 61, "exp": now + 100}), "clock"},
		{"old", m.assertion(claims{"iat": now - 120, "exp": now - 60}), "clock"},
		{"not yet valid", m.assertion(claims{"nbf": now + 61}), "not valid yet"},
		{"nbf a string", m.assertion(claims{"nbf": "x"}), `"nbf"`},
		{"no jti", m.assertion(claims{"jti": nil}), `"jti"`},
		{"long jti", m.assertion(claims{"jti": strings.Repeat("j", maxJTILength+1)}), `"jti"`},
	}
	var first answer
	for i, tt := range tests {
		authorization := ""
		if tt.assertion != "" {
			authorization = "Bearer " + tt.assertion
		}
		got := f.send("POST", idTokenPath, authorization, nil)
		if i == 0 {
			first = got
			first.refused(t, 401)
		}
		if got.same() != first.same() {
			t.Errorf("%s: answer %s, the first was %s", tt.name, got.same(), first.same())
		}
		if newest := f.events()[0]; newest.Kind != kindIDToken || newest.Allowed || !strings.Contains(newest.Reason, tt.reason) {
			t.Errorf("%s: activity %+v, want a refusal for %q", tt.name, newest, tt.reason)
		}
	}
	for name, change := range map[string]claims{
		"as our client does": {},
		"typ JWT":            {"header.typ": "JWT"},
		"no typ, no kid":     {"header.typ": nil, "header.kid": nil},
		"RFC 7523bis":        {"header.typ": "client-authentication+jwt"},
		"clock fast":         {"iat": now + 60, "exp": now + 120},
		"clock slow":         {"iat": now - 119, "exp": now - 59},
		"other claims":       {"nbf": now + 60, "anything": "else"},
	} {
		if got := m.idToken(nil, change); got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

func hmacBy(t *testing.T, m *member) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(m.assertion(), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.Sign(payload, jws.WithKey(jwa.HS256, []byte(m.public.JWK())))
	if err != nil {
		t.Fatal(err)
	}
	return string(compact)
}

func TestASecondAuthorizationFieldIsRefused(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	request, err := http.NewRequest("POST", f.base+idTokenPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header["Authorization"] = []string{"Bearer " + m.assertion(), "Bearer " + m.assertion()}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 401 {
		t.Errorf("status %d", response.StatusCode)
	}
}

// TestAnAssertionIsUsedOnce, at once and one after the other, over a restart, and
// until its age refuses it anyway.
func TestAnAssertionIsUsedOnce(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	for range 5 {
		bearer := "Bearer " + m.assertion()
		var wg sync.WaitGroup
		var mu sync.Mutex
		count := map[int]int{}
		for range 8 {
			wg.Go(func() {
				got, err := f.trySend("POST", idTokenPath, bearer, nil)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				count[got.status]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if count[200] != 1 || count[401] != 7 {
			t.Fatalf("answers %v, want one 200", count)
		}
	}
	// The longest that an assertion can be good for: a clock that is fast by a minute.
	now := f.clock.Now().Unix()
	bearer := "Bearer " + m.assertion(claims{"iat": now + 60, "exp": now + 120})
	f.send("POST", idTokenPath, bearer, nil).decode(t, 200, &idTokenResponse{})
	f.restart()
	for range 6 {
		f.clock.Advance(30 * time.Second)
		if err := f.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.send("POST", idTokenPath, bearer, nil).refused(t, 401)
	}
	f.clock.Advance(time.Second)
	if err := f.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.send("POST", idTokenPath, bearer, nil).refused(t, 401)
}

// TestTheDateFieldIsTheClockThatJudges: a client corrects its clock by it.
func TestTheDateFieldIsTheClockThatJudges(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	ahead := f.clock.Now().Add(10 * time.Minute).Unix()
	got := m.idToken(nil, claims{"iat": ahead, "exp": ahead + 60})
	got.refused(t, 401)
	date, err := http.ParseTime(got.header.Get("Date"))
	if err != nil || !date.Equal(startTime) {
		t.Fatalf("Date %v, %v; the authority's clock says %v", date, err, startTime)
	}
	m.idToken(nil, claims{"iat": date.Unix(), "exp": date.Unix() + 60}).decode(t, 200, &idTokenResponse{})
}
