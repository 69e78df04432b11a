package authority

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// TestTheHostFieldIsNoBase: security.md 15. What a request says of where it was
// sent to decides neither what it must be bound to nor what is issued.
func TestTheHostFieldIsNoBase(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	const elsewhere = "http://evil.example/operator"
	send := func(path, bearer, body string) answer {
		t.Helper()
		request, err := http.NewRequest("POST", f.base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "evil.example"
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Authorization": bearer, "X-Forwarded-Host": "evil.example",
			"X-Forwarded-Proto": "http", "X-Forwarded-For": "192.0.2.1", "Forwarded": `for=192.0.2.1;host="evil.example";proto=http`,
		} {
			request.Header.Set(name, value)
		}
		response, err := f.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		var raw json.RawMessage
		if err := json.NewDecoder(response.Body).Decode(&raw); err != nil {
			t.Fatal(err)
		}
		return answer{response.StatusCode, response.Header, string(raw)}
	}

	send(idTokenPath, "Bearer "+m.assertion(claims{"aud": elsewhere}), "{}").refused(t, 401)
	registration, err := json.Marshal(f.newMember().registration(ticket.Ticket, claims{"aud": elsewhere}))
	if err != nil {
		t.Fatal(err)
	}
	send(registerPath, "", string(registration)).refused(t, 401)

	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(tokenOf(t, send(idTokenPath, "Bearer "+m.assertion(), "{}")), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var issued struct {
		Issuer   string   `json:"iss"`
		Audience []string `json:"aud"`
	}
	if err := json.Unmarshal(payload, &issued); err != nil {
		t.Fatal(err)
	}
	if issued.Issuer != f.OperatorID() || len(issued.Audience) != 0 {
		t.Errorf("issued %+v, want issuer %s and no audience", issued, f.OperatorID())
	}
	for _, e := range f.events() {
		if e.Source != "127.0.0.1" {
			t.Errorf("activity believes the source %s of %+v", e.Source, e)
		}
	}
}
