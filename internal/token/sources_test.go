package token_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// implementation is a source whose issuer answers what the test says.
type implementation struct {
	form   token.Form
	source token.Source
	// answer has the issuer answer with this header and these claims, signed or not.
	answer func(header, claims map[string]any)
	// right are the claims of a token for the audience that is asked for.
	right map[string]any
}

// implementations are all that there are, by the folder of their package.
var implementations = map[string]func(t *testing.T) implementation{"operator": operatorSource}

const audience = "https://ledger.internal"

// TestSources is the contract of token.Source: what a source says of its tokens
// holds for all of them.
func TestSources(t *testing.T) {
	folders, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if folder.IsDir() && folder.Name() != "testdata" && implementations[folder.Name()] == nil {
			t.Errorf("%s: no contract test; give it a row of implementations", folder.Name())
		}
	}
	for name, start := range implementations {
		t.Run(name, func(t *testing.T) {
			i := start(t)
			if form := i.source.Form(); form != i.form || (form != token.CheckedJWT && form != token.Opaque) {
				t.Fatalf("form %v, want %v", form, i.form)
			}
			if i.form == token.CheckedJWT {
				testCheckedJWT(t, i)
			}
		})
	}
}

// testCheckedJWT: every lie is an error, and so not kept; the truth is a token.
func testCheckedJWT(t *testing.T, i implementation) {
	now := time.Now()
	good := map[string]any{"alg": "ES256"}
	fetch := func(header, change map[string]any) error {
		claims := maps.Clone(i.right)
		maps.Copy(claims, change)
		maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
		i.answer(header, claims)
		tok, err := i.source.Fetch(t.Context(), token.Request{Identity: "billing", Audience: audience})
		if (err == nil) == tok.IsZero() {
			t.Errorf("a token %v, and error %v", !tok.IsZero(), err)
		}
		return err
	}
	for lie, k := range map[string]struct{ header, claims map[string]any }{
		"another aud":      {good, map[string]any{"aud": "https://payroll.internal"}},
		"a further aud":    {good, map[string]any{"aud": []string{audience, "https://payroll.internal"}}},
		"no aud":           {good, map[string]any{"aud": nil}},
		"another sub":      {good, map[string]any{"sub": "pr1:other"}},
		"no sub":           {good, map[string]any{"sub": nil}},
		"another iss":      {good, map[string]any{"iss": "https://issuer.example"}},
		"no iss":           {good, map[string]any{"iss": nil}},
		"alg none":         {map[string]any{"alg": "none"}, nil},
		"alg HS256":        {map[string]any{"alg": "HS256"}, nil},
		"no alg":           {map[string]any{"typ": "JWT"}, nil},
		"crit":             {map[string]any{"alg": "ES256", "crit": []string{"exp"}}, nil},
		"exp in a century": {good, map[string]any{"exp": now.AddDate(100, 0, 0).Unix()}},
		"exp past":         {good, map[string]any{"exp": now.Add(-time.Minute).Unix()}},
		"no exp":           {good, map[string]any{"exp": nil}},
		"exp before iat":   {good, map[string]any{"iat": now.Add(2 * time.Hour).Unix()}},
		"nbf to come":      {good, map[string]any{"nbf": now.Add(time.Hour).Unix()}},
	} {
		if err := fetch(k.header, k.claims); !errors.Is(err, token.ErrWrongToken) {
			t.Errorf("%s: %v, want %v", lie, err, token.ErrWrongToken)
		}
	}
	if err := fetch(good, nil); err != nil {
		t.Errorf("the truth: %v", err)
	}
}

func operatorSource(t *testing.T) implementation {
	var compact atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/register") {
			fmt.Fprint(w, `{"workload_id":"pr1:x","operator_id":"op1:x"}`)
			return
		}
		fmt.Fprintf(w, `{"jwt_id_token":%q}`, *compact.Load())
	}))
	t.Cleanup(server.Close)
	ticket, err := operator.NewTicket("lyt_x")
	if err != nil {
		t.Fatal(err)
	}
	c, err := operator.New(operator.Config{
		Base: server.URL + "/operator", Ticket: ticket, StateDir: filepath.Join(t.TempDir(), "state"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	now := time.Now()
	return implementation{
		form: token.CheckedJWT, source: c,
		right: map[string]any{
			"iss": "op1:x", "sub": "pr1:x", "aud": []string{audience}, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		},
		answer: func(header, claims map[string]any) {
			text := encode(t, header) + "." + encode(t, claims) + ".c2ln"
			compact.Store(&text)
		},
	}
}

func encode(t *testing.T, part map[string]any) string {
	t.Helper()
	text, err := json.Marshal(part)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
