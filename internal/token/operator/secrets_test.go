package operator

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// TestNoErrorHoldsASecret has whoever answers send back what it received, in
// every way in which an answer gets into an error.
func TestNoErrorHoldsASecret(t *testing.T) {
	message := func(status int, padding int) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, secret string) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"message":"%s%s"}`, strings.Repeat("x", padding), secret)
		}
	}
	answers := map[string]func(w http.ResponseWriter, secret string){
		"refused":      message(401, 0),
		"forbidden":    message(403, 0),
		"bad request":  message(400, 0),
		"other path":   message(404, 0),
		"busy":         message(429, 0),
		"broken":       message(500, 0),
		"cut in two":   message(400, serverurl.MaxWords-len(goodTicket)/2),
		"redirect":     func(w http.ResponseWriter, s string) { w.Header().Set("Location", "/?"+s); w.WriteHeader(302) },
		"not the JSON": func(w http.ResponseWriter, s string) { _, _ = io.WriteString(w, s) },
		"no id": func(w http.ResponseWriter, s string) {
			_, _ = fmt.Fprintf(w, `{"workload_id":"%s\n","jwt_id_token":"%s."}`, s, s)
		},
		"no HTTP": func(w http.ResponseWriter, s string) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, s+"\r\n\r\n")
			_ = conn.Close()
		},
		"bad field": func(w http.ResponseWriter, s string) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+s+"\r\n\r\n")
			_ = conn.Close()
		},
	}
	for name, answer := range answers {
		for _, enrolled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, enrolled %v", name, enrolled), func(t *testing.T) {
				a := startAuthority(t)
				c := newClient(t, configure(t, a))
				if enrolled {
					fetch(t, c)
				}
				secret := goodTicket
				a.set(func() {
					a.answer = func(w http.ResponseWriter, r *http.Request) bool {
						if enrolled {
							secret = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
						}
						answer(w, secret)
						return true
					}
				})
				_, err := c.Fetch(t.Context(), request)
				if err == nil {
					t.Fatal("no error")
				}
				for size := len(secret); size >= len(goodTicket)/2; size /= 2 {
					if text := err.Error(); strings.Contains(text, secret[:size]) {
						t.Fatalf("error holds %d bytes of the secret: %s", size, text)
					}
				}
			})
		}
	}
}

func TestNothingPrintsAPrivateKey(t *testing.T) {
	k, err := makeKey()
	if err != nil {
		t.Fatal(err)
	}
	private, err := k.private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	number := new(big.Int).SetBytes(private) // as the type's own fields would print it
	s := signer{key: k}
	for _, holder := range []any{k, *k, s, &s, member{signer: s}, struct{ m *member }{&member{signer: s}}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			text := fmt.Sprintf(verb, holder)
			for _, form := range []string{string(private), fmt.Sprintf("%x", private), number.String(), fmt.Sprintf("%x", number)} {
				if strings.Contains(text, form) {
					t.Errorf("%s of %T prints the key", verb, holder)
				}
			}
		}
	}
}

// TestDamagedSecretsAreNotQuoted: what is wrong with a file that holds a secret
// is said without its content.
func TestDamagedSecretsAreNotQuoted(t *testing.T) {
	const secret = "tkt-4Jk2nVx9pQ7wZr3sTb8m"
	for name, content := range map[string]string{
		"two lines": secret + "\n" + secret, "a space": secret + " x", "a control byte": secret + "\x00", "too long": strings.Repeat(secret, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			config := configure(t, startAuthority(t))
			writeFile(t, config.TicketFile, content)
			if _, err := newClient(t, config).Fetch(t.Context(), request); err == nil || strings.Contains(err.Error(), secret[:8]) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("key", func(t *testing.T) {
		config := configure(t, startAuthority(t))
		if err := os.MkdirAll(config.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, config.StateDir+"/"+keyFile, "-----BEGIN PRIVATE KEY-----\n"+secret+"\n-----END PRIVATE KEY-----\n")
		_, err := newClient(t, config).Fetch(t.Context(), request)
		if err == nil || errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("error %v", err)
		}
	})
}
