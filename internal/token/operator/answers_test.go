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
	jwt := func(payload string) string {
		return fmt.Sprintf(`{"jwt_id_token":"e30.%s.c2ln"}`, encode(payload))
	}
	future := time.Now().Add(time.Hour).Unix()
	cases := map[string]struct {
		status int
		body   string
		class  error
		words  string
	}{
		"redirect":        {307, "", token.ErrUnreachable, "not followed"},
		"gateway":         {502, "<html>", token.ErrUnreachable, "502"},
		"busy":            {429, `{"message":"slow down"}`, token.ErrUnreachable, "slow down"},
		"other path":      {404, "", nil, "is " + "http://127.0.0.1"},
		"bad request":     {400, `{"message":"audience is not allowed\nx"}`, nil, "audience is not allowed?x"},
		"long message":    {400, `{"message":"` + strings.Repeat("y", 1000) + `"}`, nil, strings.Repeat("y", maxMessage)},
		"portal":          {200, "<html>log in", token.ErrUnreachable, "something else than the JSON"},
		"endless":         {200, strings.Repeat(" ", maxAnswer+1), token.ErrUnreachable, "longer than"},
		"no token":        {200, `{}`, nil, "not a compact JWT"},
		"not base64":      {200, `{"jwt_id_token":"a.!.c"}`, nil, "not base64url"},
		"not claims":      {200, `{"jwt_id_token":"a.` + encode("[]") + `.c"}`, nil, "not a JSON object"},
		"no exp":          {200, jwt(`{"jti":"x","iat":1}`), nil, "no exp"},
		"exp is text":     {200, jwt(`{"exp":"1"}`), nil, "not a JSON object"},
		"exp is negative": {200, jwt(`{"exp":-1}`), nil, "not a date"},
		"exp is too far":  {200, jwt(`{"exp":1e300}`), nil, "not a date"},
		"exp before iat":  {200, jwt(fmt.Sprintf(`{"iat":%d,"exp":%d}`, future, future-1)), nil, "expires"},
		"no header value": {200, fmt.Sprintf(`{"jwt_id_token":"e30.%s.a\r\nX: y"}`, encode(fmt.Sprintf(`{"exp":%d}`, future))), nil, "cannot stand in a header"},
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

func TestOddTokenID(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	for _, id := range []string{`"a\u0007b"`, `"` + strings.Repeat("x", maxNameLength+1) + `"`, `""`} {
		payload := fmt.Sprintf(`{"jti":%s,"exp":%d}`, id, time.Now().Add(time.Hour).Unix())
		a.set(func() {
			a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
				_, _ = fmt.Fprintf(w, `{"jwt_id_token":"e30.%s.c2ln"}`, encode(payload))
				return true
			}
		})
		if tok := fetch(t, c); tok.ID() != "" {
			t.Errorf("id %q", tok.ID())
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
	wantError(t, err, token.ErrUnreachable)
}
