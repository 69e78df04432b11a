package authority

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
		case http.StatusCreated, http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		default:
			t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
		}
	})
}
