package authority

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// FuzzRegister: whatever is sent, the answer is one of those documented, and
// without a ticket nobody gets in.
func FuzzRegister(f *testing.F) {
	authority := start(f)
	m := authority.newMember()
	f.Add(`{"ticket":"lyt_x","jwk":` + m.public.JWK() + `,"proof":"` + m.proof("lyt_x") + `"}`)
	f.Add(`{"ticket":"a","jwk":null,"proof":"..","environment":{"a":"b"}}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, body string) {
		request := httptest.NewRequest("POST", registerPath, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		authority.Handler().ServeHTTP(recorder, request)
		switch recorder.Code {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge:
		default:
			t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
		}
	})
}

// FuzzTicketSpec: what is accepted can be stored and shown.
func FuzzTicketSpec(f *testing.F) {
	authority := start(f)
	f.Add(`{"spec":{"description":"x","tags":["a"],"expires_at":"2030-01-01T00:00:00Z","workload_ttl":"1h","max_uses":1}}`)
	f.Add(`{"spec":{"description":null}}`)
	f.Fuzz(func(t *testing.T, body string) {
		request := httptest.NewRequest("POST", resource.TicketsPath, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+authority.admin)
		recorder := httptest.NewRecorder()
		authority.Handler().ServeHTTP(recorder, request)
		switch recorder.Code {
		case http.StatusCreated, http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge:
		default:
			t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
		}
	})
}

// FuzzAssertion: whatever an enrolled workload signs, it gets a token only for an
// assertion that says who it is, to whom, and that it was made just now; and only
// once.
func FuzzAssertion(f *testing.F) {
	authority := start(f)
	m := authority.enrol(authority.createTicket(resource.TicketSpec{MaxUses: 1}).Ticket)
	now := authority.clock.Now().Unix()
	fill := strings.NewReplacer("$ID", m.id, "$BASE", authority.OperatorBase(), "$NOW", strconv.FormatInt(now, 10),
		"$SOON", strconv.FormatInt(now+60, 10), "$AGO", strconv.FormatInt(now-60, 10))
	for _, s := range []string{
		`{"iss":"$ID","sub":"$ID","aud":"$BASE","iat":$NOW,"exp":$SOON,"jti":"a"}`,
		`{"iss":"$ID","sub":"$ID","aud":"$BASE","iat":$AGO,"exp":$NOW,"jti":"b","nbf":$SOON}`,
		`{"iss":"$ID","sub":"$ID","aud":["$BASE"],"iat":$NOW.5,"exp":1e300,"jti":"c"}`,
		`{"iss":"$ID","iss":"x","sub":"$ID","aud":"$BASE","iat":$NOW,"exp":$SOON,"jti":"d"}`,
		`{"iss":"$ID","sub":"$ID","aud":"elsewhere","iat":$NOW,"exp":$SOON,"jti":"e"}`,
		`{"iss":"$ID","sub":"me","aud":"$BASE","iat":$NOW,"exp":$SOON,"jti":"f"}`,
		`{"iss":"$ID","sub":"$ID","aud":"$BASE","iat":$AGO,"exp":$SOON,"jti":"g"}`,
		`{"iss":"$ID","sub":"$ID","aud":"$BASE","iat":$NOW,"exp":$SOON,"jti":"h","nbf":9e9}`,
		`{"iss":"$ID","sub":"$ID","aud":"$BASE","iat":$NOW,"exp":$SOON}`,
		`{"iss":"$ID","sub":"$ID","aud":"$BASE","iat":9e9,"exp":9000000060,"jti":"i"}`,
	} {
		f.Add("lanyard-client+jwt", s)
	}
	f.Add("", `{"iss":"$ID"}`)
	f.Fuzz(func(t *testing.T, typ, payload string) {
		payload = fill.Replace(payload)
		header := jws.NewHeaders()
		if err := header.Set("typ", typ); err != nil {
			return
		}
		compact, err := jws.Sign([]byte(payload), jws.WithKey(jwa.ES256, m.key, jws.WithProtectedHeaders(header)))
		if err != nil {
			return
		}
		first, second := authority.ask(string(compact)), authority.ask(string(compact))
		if second != http.StatusUnauthorized || first != http.StatusOK && first != http.StatusUnauthorized {
			t.Fatalf("status %d, then %d", first, second)
		}
		if first == http.StatusOK && !(slices.Contains(assertionTypes, typ) && isFresh(payload, m.id, authority.OperatorBase(), now)) {
			t.Fatalf("accepted type %q and %s", typ, payload)
		}
	})
}

// ask asks for an ID token and returns the status of the answer.
func (f *fixture) ask(assertion string) int {
	request := httptest.NewRequest("POST", idTokenPath, strings.NewReader("{}"))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+assertion)
	recorder := httptest.NewRecorder()
	f.Handler().ServeHTTP(recorder, request)
	return recorder.Code
}

// isFresh reads an assertion's claims with encoding/json.
func isFresh(payload, id, base string, now int64) bool {
	var c struct {
		Issuer    string   `json:"iss"`
		Subject   string   `json:"sub"`
		Audience  string   `json:"aud"`
		ID        string   `json:"jti"`
		IssuedAt  float64  `json:"iat"`
		Expires   float64  `json:"exp"`
		NotBefore *float64 `json:"nbf"`
	}
	if json.Unmarshal([]byte(payload), &c) != nil {
		return false
	}
	at := float64(now)
	return c.Issuer == id && c.Subject == id && c.Audience == base && c.ID != "" && len(c.ID) <= maxJTILength &&
		c.Expires > c.IssuedAt && c.Expires-c.IssuedAt <= 60 && c.IssuedAt <= at+60 && c.Expires > at-60 &&
		(c.NotBefore == nil || *c.NotBefore <= at+60)
}
