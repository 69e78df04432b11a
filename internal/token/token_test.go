package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTokenNeverPrints(t *testing.T) {
	const secret = "s3cr3t-value"
	tok, err := New(secret, "jwt1:x", noon, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", tok, "nested", struct{ T Token }{tok}, "pointer", &tok)
	body, err := json.Marshal(map[string]any{"t": tok, "p": &tok})
	if err != nil {
		t.Fatal(err)
	}
	wrapped := struct{ T Token }{tok}
	hidden := struct {
		t     Token
		p     *Token
		list  []Token
		byKey map[string]Token
	}{tok, &tok, []Token{tok}, map[string]Token{"k": tok}}
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "hidden", hidden, "list", []any{hidden})
	for _, text := range []string{
		fmt.Sprint(tok), fmt.Sprint(wrapped), fmt.Sprintf("%v %+v %#v %s %q %x %d", tok, tok, tok, tok, tok, tok, tok),
		fmt.Sprintf("%+v %#v", wrapped, &wrapped), fmt.Sprintf("%v %+v %#v", hidden, &hidden, hidden), fmt.Errorf("%v: %w", tok, errors.New("x")).Error(), log.String(), string(body),
	} {
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("token leaked into %q", text)
		}
	}
	if tok.Reveal() != secret || tok.ID() != "jwt1:x" {
		t.Error("token lost its value or id")
	}
}

func TestNewRefuses(t *testing.T) {
	cases := map[string]struct {
		value           string
		issued, expires time.Time
	}{
		"empty":           {"", noon, noon.Add(1)},
		"line break":      {"a\r\nX: y", noon, noon.Add(1)},
		"space":           {"a b", noon, noon.Add(1)},
		"NUL":             {"a\x00", noon, noon.Add(1)},
		"DEL":             {"a\x7f", noon, noon.Add(1)},
		"above ASCII":     {"aé", noon, noon.Add(1)},
		"expired at once": {"a", noon, noon},
		"backwards":       {"a", noon, noon.Add(-1)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tok, err := New(c.value, "", c.issued, c.expires)
			if err == nil || !tok.IsZero() {
				t.Errorf("New(%q) = %v, %v; want an error and no token", c.value, tok.IsZero(), err)
			}
		})
	}
}
