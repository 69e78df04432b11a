package operator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
)

// authority is a strict server of the operator protocol, with moods. It checks
// every proof with jwx, and stands at a fixed address of this host between stop
// and start.
type authority struct {
	t       *testing.T
	address string
	base    string
	signing *ecdsa.PrivateKey

	mu        sync.Mutex
	offset    time.Duration // of its clock
	life      time.Duration
	tickets   map[string]*ticket   // by the ticket itself
	workloads map[string]*workload // by id
	spent     map[string]bool      // jti
	requests  []seen
	answer    func(w http.ResponseWriter, r *http.Request) bool // reports whether it answered
	after     func(path string)                                 // before the answer is written
	noDate    bool

	server *http.Server
	served chan struct{}
}

type ticket struct {
	uses                 int
	expired, deactivated bool
	enrolled             map[string]string // thumbprint to workload id
}

type workload struct {
	key     jwk.Key
	ticket  *ticket
	refused string
}

type seen struct {
	path   string
	body   map[string]json.RawMessage
	claims map[string]any // of proof or assertion
	header http.Header
}

const operatorID = "op1:000000000000000000000001"

const goodTicket = "tkt-4Jk2nVx9pQ7wZr3sTb8m"

func startAuthority(t *testing.T) *authority {
	t.Helper()
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{
		t: t, signing: signing, life: time.Hour, spent: map[string]bool{}, workloads: map[string]*workload{},
		tickets: map[string]*ticket{goodTicket: {uses: 1}}, address: "127.0.0.1:0",
	}
	a.start()
	a.base = "http://" + a.address + "/operator"
	t.Cleanup(a.stop)
	return a
}

func (a *authority) start() {
	a.t.Helper()
	l, err := net.Listen("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.address = l.Addr().String()
	a.server, a.served = &http.Server{Handler: a}, make(chan struct{})
	go func() {
		defer close(a.served)
		_ = a.server.Serve(l)
	}()
}

func (a *authority) stop() {
	_ = a.server.Close()
	<-a.served
}

func (a *authority) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *authority) now() time.Time { return time.Now().Add(a.offset) }

// count returns how many requests came for a path.
func (a *authority) count(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, s := range a.requests {
		if s.path == "/operator"+path {
			n++
		}
	}
	return n
}

// last returns the latest request.
func (a *authority) last() seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[len(a.requests)-1]
}

// problem is a refusal: status and message.
type problem struct {
	status  int
	message string
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Date", a.now().UTC().Format(http.TimeFormat))
	if a.noDate {
		w.Header()["Date"] = nil
	}
	if a.answer != nil && a.answer(w, r) {
		a.requests = append(a.requests, seen{path: r.URL.Path, header: r.Header})
		return
	}
	body, p := a.read(r)
	s := seen{path: r.URL.Path, body: body, header: r.Header}
	var out any
	if p == nil {
		switch r.URL.Path {
		case "/operator/v1/register":
			out, p = a.register(body, &s)
		case "/operator/v1/id_token":
			out, p = a.idToken(r, body, &s)
		case "/operator/v1/key":
			out, p = a.replaceKey(r, body, &s)
		default:
			p = &problem{404, "no such path"}
		}
	}
	a.requests = append(a.requests, s)
	if a.after != nil {
		a.after(r.URL.Path)
	}
	w.Header().Set("Content-Type", "application/json")
	if p != nil {
		w.WriteHeader(p.status)
		out = map[string]any{"code": p.status, "message": p.message}
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		a.t.Error(err)
	}
}

func (a *authority) read(r *http.Request) (map[string]json.RawMessage, *problem) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		return nil, &problem{400, "not a POST of JSON"}
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, &problem{400, err.Error()}
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, &problem{400, err.Error()}
	}
	return body, nil
}

func text(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

// verify checks a compact JWS by this key, of this type, and returns its claims.
func (a *authority) verify(compact string, key jwk.Key, typ string) (map[string]any, error) {
	m, err := jws.Parse([]byte(compact), jws.WithCompact()) // no other serialization, of which jwx reads more than was signed
	if err != nil {
		return nil, err
	}
	h := m.Signatures()[0].ProtectedHeaders()
	thumbprint := thumbprintOf(a.t, key)
	if h.Algorithm() != jwa.ES256 || h.Type() != typ || h.JWK() != nil || h.KeyID() != thumbprint {
		return nil, fmt.Errorf("header is alg %q, typ %q, kid %q", h.Algorithm(), h.Type(), h.KeyID())
	}
	payload, err := jws.Verify([]byte(compact), jws.WithCompact(), jws.WithKey(jwa.ES256, key))
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, err
	}
	jti, _ := claims["jti"].(string)
	iat, _ := claims["iat"].(float64)
	switch age := a.now().Sub(time.Unix(int64(iat), 0)); {
	case claims["aud"] != a.base:
		return nil, fmt.Errorf("aud is %v", claims["aud"])
	case len(jti) < 22 || a.spent[jti]:
		return nil, fmt.Errorf("jti %q is short or spent", jti)
	case age.Abs() > 60*time.Second:
		return nil, fmt.Errorf("iat is %v old", age)
	}
	a.spent[jti] = true
	return claims, nil
}

func (a *authority) register(body map[string]json.RawMessage, s *seen) (any, *problem) {
	refused := &problem{401, "enrolment refused"}
	key, err := jwk.ParseKey(body["jwk"])
	if err != nil || strings.Contains(string(body["jwk"]), `"d"`) {
		a.t.Errorf("jwk %v is not a public key: %v", err, err == nil)
		return nil, refused
	}
	if s.claims, err = a.verify(text(body["proof"]), key, registrationType); err != nil {
		a.t.Logf("proof refused: %v", err)
		return nil, refused
	}
	secret := text(body["ticket"])
	digest := sha256.Sum256([]byte(secret))
	thumbprint := thumbprintOf(a.t, key)
	if s.claims["ticket_sha256"] != base64.RawURLEncoding.EncodeToString(digest[:]) || s.claims["jkt"] != thumbprint {
		a.t.Errorf("proof binds ticket %v and key %v", s.claims["ticket_sha256"], s.claims["jkt"])
		return nil, refused
	}
	known := a.tickets[secret]
	if known == nil || known.expired || known.deactivated {
		return nil, refused
	}
	id, again := known.enrolled[thumbprint]
	if !again {
		if len(known.enrolled) >= known.uses {
			return nil, refused
		}
		id = fmt.Sprintf("pr1:%024d", len(a.workloads)+1)
		if known.enrolled == nil {
			known.enrolled = map[string]string{}
		}
		known.enrolled[thumbprint] = id
		a.workloads[id] = &workload{key: key, ticket: known}
	}
	return map[string]string{"workload_id": id, "operator_id": operatorID}, nil
}

// authenticate returns the workload of an assertion.
func (a *authority) authenticate(r *http.Request, s *seen) *workload {
	assertion, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	unverified, err := jwt.ParseInsecure([]byte(assertion))
	if err != nil {
		return nil
	}
	w := a.workloads[unverified.Subject()]
	if w == nil {
		return nil
	}
	if s.claims, err = a.verify(assertion, w.key, assertionType); err != nil {
		a.t.Logf("assertion refused: %v", err)
		return nil
	}
	return w
}

func (a *authority) idToken(r *http.Request, body map[string]json.RawMessage, s *seen) (any, *problem) {
	refused := &problem{401, "client authentication failed"}
	w := a.authenticate(r, s)
	if w == nil {
		return nil, refused
	}
	life, _ := s.claims["exp"].(float64)
	life -= s.claims["iat"].(float64)
	if s.claims["iss"] != s.claims["sub"] || life <= 0 || life > 60 {
		a.t.Errorf("assertion has iss %v, sub %v and lives %v s", s.claims["iss"], s.claims["sub"], life)
		return nil, refused
	}
	switch {
	case w.ticket.deactivated:
		return nil, &problem{403, "ticket tk1:1 is deactivated"}
	case w.refused != "":
		return nil, &problem{403, w.refused}
	}
	subject, _ := s.claims["sub"].(string)
	return map[string]string{"jwt_id_token": a.issue(subject, body)}, nil
}

// issue makes an ID token that echoes what was asked for.
func (a *authority) issue(subject string, body map[string]json.RawMessage) string {
	var audience []string
	_ = json.Unmarshal(body["audience"], &audience)
	life := a.life
	var ttl int64
	if json.Unmarshal(body["ttl_seconds"], &ttl) == nil && ttl > 0 {
		life = time.Duration(ttl) * time.Second
	}
	claims := jwt.New()
	for name, value := range map[string]any{
		"jti": fmt.Sprintf("jwt1:%024d", len(a.requests)), "aud": audience, "sub": subject, "iss": operatorID,
		"iat": a.now(), "nbf": a.now(), "exp": a.now().Add(life),
	} {
		if err := claims.Set(name, value); err != nil {
			a.t.Error(err)
		}
	}
	signed, err := jwt.Sign(claims, jwt.WithKey(jwa.ES256, a.signing))
	if err != nil {
		a.t.Error(err)
	}
	return string(signed)
}

func thumbprintOf(t *testing.T, key jwk.Key) string {
	digest, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Error(err)
	}
	return base64.RawURLEncoding.EncodeToString(digest)
}
