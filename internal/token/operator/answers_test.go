package operator

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/serverurl/serverurltest"
	"github.com/lanyardhq/lanyard/internal/token"
)

func TestAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed a redirect, with %v", r.Header)
	}))
	defer elsewhere.Close()
	reply := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
			return true
		}
	}
	cases := map[string]struct {
		status int
		body   string
		class  error
		words  string
	}{
		"redirect":     {307, "", token.ErrUnreachable, "authority answered 307: "},
		"gateway":      {502, "<html>", token.ErrUnreachable, "authority answered 502"},
		"busy":         {429, `{"message":"slow down"}`, token.ErrUnreachable, "authority answered 429: slow down"},
		"other path":   {404, "", nil, "is " + "http://127.0.0.1"},
		"bad request":  {400, `{"message":"audience is not allowed\nx"}`, nil, "audience is not allowed?x"},
		"long message": {400, `{"message":"` + strings.Repeat("y", 1000) + `"}`, nil, strings.Repeat("y", serverurl.MaxWords)},
		"portal":       {200, "<html>log in", token.ErrUnreachable, "authority answered something else than the JSON"},
		"endless":      {200, strings.Repeat(" ", maxAnswer+1), token.ErrUnreachable, "authority answered more than 262144 bytes"},
		"no token":     {200, `{}`, token.ErrWrongToken, "not three parts"},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			c := newClient(t, configure(t, a))
			fetch(t, c)
			a.set(func() { a.answer = reply(k.status, k.body) })
			tok, err := c.Fetch(t.Context(), request)
			if err == nil || !tok.IsZero() || !strings.Contains(err.Error(), k.words) {
				t.Fatalf("error %v, want one that says %q", err, k.words)
			}
			if k.class != nil && !errors.Is(err, k.class) {
				t.Errorf("error %v is no %v", err, k.class)
			}
			if strings.Contains(err.Error(), "unreachable") {
				t.Errorf("error %v of an authority that answered", err)
			}
			if len(err.Error()) > 600 {
				t.Errorf("error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestUnusableRegistration(t *testing.T) {
	for _, body := range []string{`{}`, `{"workload_id":"pr1:x"}`, `{"workload_id":"a\nb","operator_id":"op1:x"}`} {
		a := startAuthority(t)
		a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = fmt.Fprint(w, body)
			return true
		}
		config := configure(t, a)
		_, err := newClient(t, config).Fetch(t.Context(), request)
		if err == nil || !strings.Contains(err.Error(), "no usable workload_id") {
			t.Errorf("%s: error %v", body, err)
		}
		if _, err := os.Stat(filepath.Join(config.StateDir, enrolmentFile)); err == nil {
			t.Errorf("%s: wrote an enrolment", body)
		}
	}
}

func TestSlowAuthority(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.Timeout = 50 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	a.answer = func(http.ResponseWriter, *http.Request) bool { <-release; return true }
	_, err := newClient(t, config).Fetch(t.Context(), request)
	wantError(t, err, token.ErrUnreachable, "authority unreachable: ")
}

// A server that changes the protocol, and then says nothing, keeps no call longer than the
// reading of its answer takes.
func TestAnswerThatChangesTheProtocol(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.Timeout = time.Minute // a call that ends by it has waited
	letGo := make(chan error, 1)
	a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		letGo <- serverurltest.ChangeProtocol(w, 30*time.Second)
		return true
	}
	_, err := newClient(t, config).Fetch(t.Context(), request)
	wantError(t, err, token.ErrUnreachable, "101 (Switching Protocols)")
	if err := <-letGo; err != nil {
		t.Error(err)
	}
}
