package demo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lanyardhq/lanyard/test/forgery"
)

// The demo's API lets no forged token in, and shows what a genuine one says.
func TestProtectedAPIRefusesForgeries(t *testing.T) {
	issuer := forgery.NewIssuer(t)
	api, stop, err := NewProtectedAPI(t.Context(), issuer.KeysURL, forgery.Audience)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	server := httptest.NewServer(api)
	defer server.Close()
	forged := append(issuer.Forgeries(), issuer.Misissued()...)
	for _, f := range forged {
		if status := forgery.Ask(t, server.Listener.Addr().String(), "/", f.Token); status == http.StatusOK {
			t.Errorf("%s: accepted", f.Name)
		}
	}
	t.Logf("%d forged tokens", len(forged))
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("Authorization", "Bearer "+issuer.Genuine("ES256", forgery.Audience))
	recorder := httptest.NewRecorder()
	api.ServeHTTP(recorder, request)
	var answer struct {
		Claims map[string]any `json:"claims"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); recorder.Code != http.StatusOK || err != nil || answer.Claims["sub"] != forgery.Workload {
		t.Errorf("the genuine token: %d %s", recorder.Code, recorder.Body)
	}
}
