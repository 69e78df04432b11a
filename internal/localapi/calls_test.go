package localapi

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// TestSecretAndInvite: the calls that ask the authority, and their errors.
func TestSecretAndInvite(t *testing.T) {
	const invite, factory = "POST /peer/v1/generate/invite", `{"ticket_factory_id":"tf1:x"}`
	withKey := "Bearer " + testKey
	for _, c := range []struct {
		name, identity, call, body, key string
		status                          int
		holds                           string
	}{
		{"secret", "keyed", "GET /peer/v1/secret/sec1:x", "", withKey, 200,
			`{"id":"sec1:x","content":"","created_at":"0001-01-01T00:00:00Z","expires_at":null,"description":"refresh false"}`},
		{"refreshed", "keyed", "GET /peer/v1/secret/sec1:x?force_refresh=true", "", withKey, 200, "refresh true"},
		{"not refreshed", "keyed", "GET /peer/v1/secret/sec1:x?force_refresh=false", "", withKey, 200, "refresh false"},
		{"odd refresh", "keyed", "GET /peer/v1/secret/sec1:x?force_refresh=1", "", withKey, 400, "true or false"},
		{"secret without key", "keyed", "GET /peer/v1/secret/sec1:x", "", "", 401, "missing"},
		{"secret by a wrong key", "keyed", "GET /peer/v1/secret/sec1:x", "", "Bearer x", 401, "wrong"},
		{"secret without identity", "", "GET /peer/v1/secret/sec1:x", "", withKey, 404, "local_api"},
		{"secret refused", "refused", "GET /peer/v1/secret/sec1:x", "", withKey, 403, "ticket deactivated"},
		{"no such secret", "lacking", "GET /peer/v1/secret/sec1:x", "", withKey, 404, "none of that id"},
		{"secret, authority away", "away", "GET /peer/v1/secret/sec1:x", "", withKey, 503, "unreachable"},
		{"secret, no source", "none", "GET /peer/v1/secret/sec1:x", "", withKey, 404, "no tokens"},
		{"no id", "keyed", "GET /peer/v1/secret/", "", withKey, 404, "no such call"},
		{"POST of a secret", "keyed", "POST /peer/v1/secret/sec1:x", "", withKey, 404, "no such call"},
		{"invite", "keyed", invite, factory, withKey, 200, `{"ticket_id":"lyt_of_tf1:x"}`},
		{"invite without key", "keyed", invite, factory, "", 401, "missing"},
		{"no orchestrator", "refused", invite, factory, withKey, 403, "ticket deactivated"},
		{"no such factory", "lacking", invite, factory, withKey, 404, "none of that id"},
		{"odd factory", "invalid", invite, factory, withKey, 400, "the factory is odd"},
		{"invite, authority away", "away", invite, factory, withKey, 503, "unreachable"},
		{"invite, no source", "none", invite, factory, withKey, 404, "no tokens"},
		{"no body", "keyed", invite, "", withKey, 400, "ticket_factory_id"},
		{"no factory", "keyed", invite, "{}", withKey, 400, "ticket_factory_id"},
		{"factory of another type", "keyed", invite, `{"ticket_factory_id":1}`, withKey, 400, "ticket_factory_id"},
		{"no object", "keyed", invite, `["tf1:x"]`, withKey, 400, "ticket_factory_id"},
		{"two bodies", "keyed", invite, factory + factory, withKey, 400, "ticket_factory_id"},
		{"long body", "keyed", invite, `{"ticket_factory_id":"` + strings.Repeat("x", maxBody) + `"}`, withKey, 400, "ticket_factory_id"},
		{"member of another version", "keyed", invite, `{"ticket_factory_id":"tf1:x","more":1}`, withKey, 200, "lyt_of"},
		{"GET of an invite", "keyed", "GET /peer/v1/generate/invite", "", withKey, 404, "no such call"},
	} {
		t.Run(c.name, func(t *testing.T) {
			method, path, _ := strings.Cut(c.call, " ")
			r, err := http.NewRequestWithContext(t.Context(), method,
				"http://"+serveLocalAPI(t, fakeFlow{}, c.identity)+path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.key != "" {
				r.Header.Set("Authorization", c.key)
			}
			status, body := do(t, r)
			if status != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("got %d %s, want %d with %q", status, body, c.status, c.holds)
			}
			checkErrorBody(t, status, body)
		})
	}
}

// TestCallersOfSecrets: a process needs local_api: true for them as for tokens.
func TestCallersOfSecrets(t *testing.T) {
	for pid, want := range map[uint32]int{1: 200, 2: 403, 3: 401} {
		address := serveLocalAPI(t, fakeFlow{pid, workload.FlowLocalAPI}, "keyed")
		status, body := getLocal(t, address, "/peer/v1/secret/sec1:x", "", map[string]string{WorkloadHeader: "1"})
		if status != want {
			t.Errorf("process %d: %d %s, want %d", pid, status, body, want)
		}
	}
}

func do(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// checkErrorBody checks that every error has the body of the original.
func checkErrorBody(t *testing.T, status int, body string) {
	t.Helper()
	if status < 400 {
		return
	}
	var e struct {
		Code    int32
		Message string
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code != int32(status) || e.Message == "" {
		t.Errorf("error body %s: %v", body, err)
	}
}

// TestBusyAuthority: who has nothing at hand tells the caller when to come again.
func TestBusyAuthority(t *testing.T) {
	address := serveLocalAPI(t, fakeFlow{}, "busy")
	for _, call := range []string{"/peer/v1/id_token", "/peer/v1/secret/sec1:x"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+call, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+testKey)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != 503 || !strings.Contains(string(body), "slow down") {
			t.Errorf("%s: %d %s, %v", call, response.StatusCode, body, err)
		}
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if err != nil || seconds < 3000 || seconds > 3600 {
			t.Errorf("%s: Retry-After %q", call, response.Header.Get("Retry-After"))
		}
	}
}
