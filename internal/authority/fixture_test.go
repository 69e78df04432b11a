package authority

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/openapi/openapitest"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// startTime is when every test begins.
var startTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// testClock stands still unless it is moved.
type testClock struct {
	mu      sync.Mutex
	now     time.Time
	elapsed time.Duration // what a clock says that nobody sets
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.elapsed = c.now.Add(d), c.elapsed+d
}

// Jump is what a clock does that somebody sets.
func (c *testClock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *testClock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elapsed
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// fixture is an authority that serves real HTTP over a real database. What its client
// sends and gets is held against the authority's own OpenAPI document.
type fixture struct {
	*Authority
	t       testing.TB
	client  *http.Client
	promise *openapitest.Document
	seen    map[string]map[int]bool // by operation: the statuses it was answered with
	config  Config
	clock   *testClock
	logs    *syncBuffer
	base    string
	admin   string              // the administrator's token
	secrets []string            // must never be logged or stored
	through func(*http.Request) // what a proxy does to requests; nil: there is none
	stop    func()
}

func start(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	f := newFixture(t, &testClock{now: startTime}, &syncBuffer{})
	f.config = Config{
		DataDir:       filepath.Join(t.TempDir(), "data"),
		RatePerSecond: 1e6,
		RateBurst:     1e6,

		WorkloadRatePerSecond: 1e6,
		WorkloadRateBurst:     1e6,

		Now:     f.clock.Now,
		Elapsed: f.clock.Elapsed,
		Logger:  slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&f.config)
	}
	f.serve("127.0.0.1:0")
	f.readAdminToken()
	t.Cleanup(func() {
		f.stop()
		for _, secret := range f.secrets {
			if strings.Contains(f.logs.String(), secret) {
				t.Errorf("a secret is in the log: %s", f.logs)
			}
		}
	})
	return f
}

// newFixture is one that is yet to be configured, and served.
func newFixture(t testing.TB, clock *testClock, logs *syncBuffer) *fixture {
	f := &fixture{t: t, clock: clock, logs: logs, seen: map[string]map[int]bool{}}
	f.client = f.watchedClient()
	return f
}

func (f *fixture) serve(address string) {
	f.t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.config.URL == "" {
		f.config.URL = "http://" + listener.Addr().String()
	}
	f.base = f.config.URL
	if f.Authority, err = New(f.config); err != nil {
		f.t.Fatal(err)
	}
	f.promise = f.promised()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, listener) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Errorf("Serve: %v", err)
		}
		if err := f.Close(); err != nil {
			f.t.Errorf("Close: %v", err)
		}
	})
}

// promises are documents that were parsed, by what of the configuration matters to whom
// a path belongs.
var promises sync.Map

// promised is what the authority's document says of its paths.
func (f *fixture) promised() *openapitest.Document {
	f.t.Helper()
	key := [...]string{pathOf(f.config.URL), pathOf(f.config.Issuer), strconv.FormatBool(f.config.Issuer != "")}
	if known, there := promises.Load(key); there {
		return known.(*openapitest.Document)
	}
	document, err := openapitest.Parse(f.describedBy().text)
	if err != nil {
		f.t.Fatal(err)
	}
	promises.Store(key, document)
	return document
}

// describedBy is the authority's own document.
func (f *fixture) describedBy() document {
	f.t.Helper()
	made, err := f.document()
	if err != nil {
		f.t.Fatal(err)
	}
	return made
}

// watchedClient keeps no connections: one that was dialled ahead and not used would
// hold up the server's stop.
func (f *fixture) watchedClient() *http.Client {
	var mu sync.Mutex // guards f.seen
	return &http.Client{Transport: &openapitest.Transport{
		Inner:    &http.Transport{DisableKeepAlives: true},
		Document: func() *openapitest.Document { return f.promise },
		Done: func(operation *openapitest.Operation, status int, err error) {
			if err != nil {
				f.t.Errorf("not as the OpenAPI document says: %v", err)
			}
			if operation == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if f.seen[operation.ID] == nil {
				f.seen[operation.ID] = map[int]bool{}
			}
			f.seen[operation.ID][status] = true
		},
	}}
}

func (f *fixture) readAdminToken() {
	f.t.Helper()
	secret, err := os.ReadFile(f.AdminTokenFile())
	if err != nil {
		f.t.Fatal(err)
	}
	f.admin = strings.TrimSpace(string(secret))
	f.secrets = append(f.secrets, f.admin)
}

// restart stops the authority and starts it anew over the same folder.
func (f *fixture) restart() {
	f.t.Helper()
	f.stop()
	f.serve(strings.TrimPrefix(f.base, "http://"))
}

// answer is an HTTP answer, read.
type answer struct {
	status int
	header http.Header
	body   string
}

// same is what must be equal for two answers to be told apart by nobody.
func (a answer) same() string {
	header := maps.Clone(a.header)
	delete(header, "Date")
	return fmt.Sprint(a.status, header, a.body)
}

// send asks, with further header fields by name and value.
func (f *fixture) send(method, path, authorization string, body any, fields ...string) answer {
	f.t.Helper()
	a, err := f.trySend(method, path, authorization, body, fields...)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func (f *fixture) trySend(method, path, authorization string, body any, fields ...string) (answer, error) {
	var content io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(body)
	default:
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequest(method, f.base+path, content)
	if err != nil {
		return answer{}, err
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	for field := range slices.Chunk(fields, 2) {
		request.Header.Set(field[0], field[1])
	}
	if f.through != nil {
		f.through(request)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(data)}, err
}

func (a answer) decode(t testing.TB, status int, v any) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// refused checks the protocol's error body and returns its message.
func (a answer) refused(t testing.TB, status int) string {
	t.Helper()
	var body errorBody
	a.decode(t, status, &body)
	if body.Code != status || body.Message == "" {
		t.Errorf("body %s", a.body)
	}
	return body.Message
}

func (f *fixture) createTicket(spec resource.TicketSpec) resource.Ticket {
	f.t.Helper()
	var ticket resource.Ticket
	f.send("POST", resource.TicketsPath, "Bearer "+f.admin, map[string]any{"spec": spec}).decode(f.t, 201, &ticket)
	f.secrets = append(f.secrets, ticket.Ticket)
	return ticket
}

func (f *fixture) setStatus(ticket resource.Ticket, status string) {
	f.t.Helper()
	var changed resource.Ticket
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"status":"`+status+`"}}`).decode(f.t, 200, &changed)
}

// member is a workload with its key, whose messages can be bent.
type member struct {
	f      *fixture
	key    *ecdsa.PrivateKey
	public jose.PublicKey
	id     string
}

func (f *fixture) newMember() *member {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	public, err := jose.NewPublicKey(&key.PublicKey)
	if err != nil {
		f.t.Fatal(err)
	}
	return &member{f: f, key: key, public: public}
}

// claims, and headers, by name; a nil value removes one.
type claims map[string]any

// signed returns base with the changes, signed by the member with another
// implementation than the authority's. "header." names are of the header.
func (m *member) signed(typ string, base claims, changes ...claims) string {
	m.f.t.Helper()
	payload := maps.Clone(base)
	header := jws.NewHeaders()
	set := func(name string, value any) {
		if err := header.Set(name, value); err != nil {
			m.f.t.Fatal(err)
		}
	}
	set("typ", typ)
	set("kid", m.public.Thumbprint())
	for _, change := range changes {
		for name, value := range change {
			if name, isHeader := strings.CutPrefix(name, "header."); isHeader {
				if value == nil {
					_ = header.Remove(name)
				} else {
					set(name, value)
				}
			} else if value == nil {
				delete(payload, name)
			} else {
				payload[name] = value
			}
		}
	}
	data, err := json.Marshal(payload)
	if err != nil {
		m.f.t.Fatal(err)
	}
	compact, err := jws.Sign(data, jws.WithKey(jwa.ES256, m.key, jws.WithProtectedHeaders(header)))
	if err != nil {
		m.f.t.Fatal(err)
	}
	return string(compact)
}

func (m *member) proof(ticket string, changes ...claims) string {
	return m.signed(typeRegistration, claims{
		"aud": m.f.OperatorBase(), "iat": m.f.clock.Now().Unix(), "jti": freshJTI(),
		"ticket_sha256": jose.Digest([]byte(ticket)), "jkt": m.public.Thumbprint(),
	}, changes...)
}

func (m *member) assertion(changes ...claims) string {
	now := m.f.clock.Now().Unix()
	return m.signed("lanyard-client+jwt", claims{
		"iss": m.id, "sub": m.id, "aud": m.f.OperatorBase(), "iat": now, "exp": now + 60, "jti": freshJTI(),
	}, changes...)
}

func freshJTI() string { return rand.Text() }

// registration is a registration's body, to be bent.
func (m *member) registration(ticket string, changes ...claims) map[string]any {
	return map[string]any{"ticket": ticket, "jwk": json.RawMessage(m.public.JWK()), "proof": m.proof(ticket, changes...)}
}

func (m *member) register(ticket string, changes ...claims) answer {
	m.f.t.Helper()
	return m.f.send("POST", registerPath, "", m.registration(ticket, changes...))
}

// enrol registers a new member by the ticket.
func (f *fixture) enrol(ticket string) *member {
	f.t.Helper()
	m := f.newMember()
	var got registerResponse
	m.register(ticket).decode(f.t, 200, &got)
	m.id = got.WorkloadID
	return m
}

func (m *member) idToken(body any, changes ...claims) answer {
	m.f.t.Helper()
	return m.f.send("POST", idTokenPath, "Bearer "+m.assertion(changes...), body)
}

// events returns what was decided about requests, newest first.
func (f *fixture) events() []store.Event {
	f.t.Helper()
	return withoutUpkeep(f.allEvents())
}

func withoutUpkeep(events []store.Event) []store.Event {
	return slices.DeleteFunc(events, func(e store.Event) bool { return strings.HasPrefix(e.Kind, "signing_key.") && e.Source == "" })
}

// newest returns the last event about a request.
func (f *fixture) newest() store.Event {
	f.t.Helper()
	events, err := f.store.Read(f.t.Context()).Events(10)
	if err != nil {
		f.t.Fatal(err)
	}
	return withoutUpkeep(events)[0]
}

// allEvents returns also what the authority did to its keys by itself.
func (f *fixture) allEvents() []store.Event {
	f.t.Helper()
	events, err := f.store.Read(f.t.Context()).Events(1000)
	if err != nil {
		f.t.Fatal(err)
	}
	return events
}

// rawExec changes the database behind the authority's back.
func (f *fixture) rawExec(queries ...string) {
	f.t.Helper()
	rawExecAt(f.t, filepath.Join(f.config.DataDir, databaseFile), queries...)
}

func rawExecAt(t testing.TB, path string, queries ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, query := range queries {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
}
