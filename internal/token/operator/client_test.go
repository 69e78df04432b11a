package operator

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

var request = token.Request{Identity: "billing", Audience: "https://ledger.internal"}

// configure returns a configuration for this authority, with a fresh state folder
// and the good ticket.
func configure(t *testing.T, a *authority) Config {
	t.Helper()
	dir := t.TempDir()
	config := Config{Base: a.base, StateDir: filepath.Join(dir, "billing"), TicketFile: filepath.Join(dir, "ticket")}
	writeFile(t, config.TicketFile, goodTicket+"\n")
	return config
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newClient(t *testing.T, config Config) *Client {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func fetch(t *testing.T, c *Client) token.Token {
	t.Helper()
	tok, err := c.Fetch(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// wantError checks an error's class and words, and that it holds no ticket.
func wantError(t *testing.T, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("error %v, want %v", err, class)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), goodTicket) {
		t.Errorf("error %q holds the ticket", err)
	}
}

func TestEnrolAndFetch(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.Environment = map[string]string{"hostname": "web-1"}
	c := newClient(t, config)
	if id := c.WorkloadID(); id != "" {
		t.Errorf("workload id %q before enrolment", id)
	}
	before := time.Now().Truncate(time.Second)
	tok := fetch(t, c)
	if left := tok.Expires().Sub(before); left < time.Hour || left > time.Hour+10*time.Second {
		t.Errorf("expires %v after it was asked for, want an hour", left)
	}
	if !strings.HasPrefix(tok.ID(), "jwt1:") || strings.Count(tok.Reveal(), ".") != 2 {
		t.Errorf("token has id %q", tok.ID())
	}
	if c.WorkloadID() != fmt.Sprintf("pr1:%024d", 1) {
		t.Errorf("workload id %q", c.WorkloadID())
	}
	last := a.last()
	if got := string(last.body["audience"]); got != `["https://ledger.internal"]` {
		t.Errorf("asked for audience %s", got)
	}
	if _, there := last.body["ttl_seconds"]; there {
		t.Error("asked for a life that nobody configured")
	}
	if got := string(a.requests[0].body["environment"]); got != `{"hostname":"web-1"}` {
		t.Errorf("told environment %s", got)
	}

	if _, err := c.Fetch(t.Context(), token.Request{Identity: "billing"}); err != nil {
		t.Fatal(err)
	}
	if got, there := a.last().body["audience"]; there {
		t.Errorf("asked for audience %s, want none", got)
	}
	if n := a.count(registerPath); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

func TestLifeAskedFor(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.TTL = 90 * time.Second
	tok := fetch(t, newClient(t, config))
	if life := tok.Expires().Sub(tok.Issued()); life != 90*time.Second {
		t.Errorf("life %v", life)
	}
}

func TestEnrolmentLasts(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	first := newClient(t, config)
	fetch(t, first)
	id := first.WorkloadID()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Fetch(t.Context(), request); err == nil {
		t.Error("a closed client fetched")
	}
	if err := os.Remove(config.TicketFile); err != nil {
		t.Fatal(err)
	}
	second := newClient(t, config)
	fetch(t, second)
	if second.WorkloadID() != id || a.count(registerPath) != 1 {
		t.Errorf("workload %s after %d registrations, want %s after 1", second.WorkloadID(), a.count(registerPath), id)
	}
}

func TestManyCallersEnrolOnce(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := c.Fetch(t.Context(), request); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := a.count(registerPath); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

func TestBadTickets(t *testing.T) {
	cases := map[string]struct {
		content string
		change  func(*ticket)
		words   []string
	}{
		"wrong":       {"tkt-unknown", nil, []string{"wrong, expired, used up or deactivated"}},
		"expired":     {goodTicket, func(k *ticket) { k.expired = true }, []string{"expired"}},
		"used up":     {goodTicket, func(k *ticket) { k.uses = 0 }, []string{"used up"}},
		"deactivated": {goodTicket, func(k *ticket) { k.deactivated = true }, []string{"deactivated"}},
		"empty":       {" \n", nil, []string{"one ticket on one line"}},
		"two lines":   {goodTicket + "\n" + goodTicket, nil, []string{"one ticket on one line"}},
		"too large":   {strings.Repeat("x", maxTicket+1), nil, []string{"one ticket on one line"}},
		"enormous":    {strings.Repeat("x", maxStateFile+1), nil, []string{"larger than"}},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			config := configure(t, a)
			writeFile(t, config.TicketFile, k.content)
			if k.change != nil {
				k.change(a.tickets[goodTicket])
			}
			c := newClient(t, config)
			_, err := c.Fetch(t.Context(), request)
			wantError(t, err, token.ErrNotEnrolled, append(k.words, config.TicketFile)...)
			if c.WorkloadID() != "" {
				t.Error("has a workload id")
			}
		})
	}
}

func TestTicketThatComesLater(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	if err := os.Remove(config.TicketFile); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, config)
	_, err := c.Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, config.TicketFile, "lanyard ticket create")
	if len(a.requests) != 0 {
		t.Error("asked the authority without a ticket")
	}
	writeFile(t, config.TicketFile, goodTicket)
	fetch(t, c)
}

func TestRefusedEnrolmentIsNotRepeatedAtOnce(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	now := time.Now()
	config.Now = func() time.Time { return now }
	a.tickets[goodTicket].deactivated = true
	c := newClient(t, config)
	for range 20 {
		_, err := c.Enrol(t.Context())
		wantError(t, err, token.ErrNotEnrolled)
	}
	if n := a.count(registerPath); n != 1 {
		t.Errorf("registered %d times", n)
	}
	a.set(func() { a.tickets[goodTicket].deactivated = false })
	now = now.Add(refusalPause)
	if _, err := c.Enrol(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEchoedTicketIsKeptOut(t *testing.T) {
	a := startAuthority(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"code":401,"message":"no such ticket %s\u0007"}`, goodTicket)
		return true
	}
	_, err := newClient(t, configure(t, a)).Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, "no such ticket (ticket)?")
}

func TestDeactivatedAfterEnrolment(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	a.set(func() { a.tickets[goodTicket].deactivated = true })
	_, err := c.Fetch(t.Context(), request)
	var refused *token.RefusedError
	if !errors.As(err, &refused) || refused.Message != "ticket tk1:1 is deactivated" {
		t.Errorf("error %v, want the control's message", err)
	}
}

func TestForgottenWorkload(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	c := newClient(t, config)
	fetch(t, c)
	a.set(func() { clear(a.workloads) })
	_, err := c.Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, c.WorkloadID(), config.StateDir)
}

func TestInterruptedEnrolment(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	first := newClient(t, config)
	// The authority enrols us, and its answer is lost.
	a.after = func(string) { panic(http.ErrAbortHandler) }
	_, err := first.Fetch(t.Context(), request)
	wantError(t, err, token.ErrUnreachable)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	a.set(func() { a.after = nil })
	second := newClient(t, config)
	fetch(t, second)
	if len(a.workloads) != 1 || len(a.tickets[goodTicket].enrolled) != 1 {
		t.Errorf("%d workloads, %d uses; want one of each", len(a.workloads), len(a.tickets[goodTicket].enrolled))
	}
}

func TestLeftoverOfAWrite(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	if err := os.MkdirAll(config.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{keyFile, enrolmentFile} {
		writeFile(t, filepath.Join(config.StateDir, name+newSuffix), "half of i")
	}
	fetch(t, newClient(t, config))
	assertPrivateFiles(t, config.StateDir)
}

// assertPrivateFiles checks that the folder holds what it should, for its owner
// only.
func assertPrivateFiles(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %v, error %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
		info, err := entry.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, error %v; want 0600", entry.Name(), info.Mode(), err)
		}
	}
	if got := strings.Join(names, " "); got != "enrolment.json key.pem lock" {
		t.Errorf("folder holds %s", got)
	}
}

func TestStateFolder(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	c := newClient(t, config)
	fetch(t, c)
	assertPrivateFiles(t, config.StateDir)
	data, err := os.ReadFile(filepath.Join(config.StateDir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(data); block == nil {
		t.Error("key is not PEM")
	}
	for _, s := range a.requests {
		if strings.Contains(fmt.Sprint(s), string(data)) {
			t.Error("private key left the host")
		}
	}
	for _, text := range []string{fmt.Sprint(c.member.Load().signer.key), fmt.Sprintf("%#v", c.member.Load().signer.key)} {
		if !strings.HasPrefix(text, "key ") {
			t.Errorf("key prints as %q", text)
		}
	}
}

func TestDamagedState(t *testing.T) {
	cases := map[string]struct {
		damage func(t *testing.T, dir string)
		words  string
	}{
		"key is no key":        {func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, keyFile), "x") }, "fresh ticket"},
		"key is missing":       {func(t *testing.T, dir string) { remove(t, dir, keyFile) }, "no key.pem"},
		"enrolment is no JSON": {func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, enrolmentFile), "{") }, "damaged"},
		"key open to others": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "mode 0644"},
		"key is a folder": {func(t *testing.T, dir string) {
			remove(t, dir, keyFile)
			if err := os.Mkdir(filepath.Join(dir, keyFile), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			config := configure(t, a)
			c := newClient(t, config)
			fetch(t, c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			k.damage(t, config.StateDir)
			_, err := newClient(t, config).Fetch(t.Context(), request)
			if err == nil || !strings.Contains(err.Error(), k.words) || !strings.Contains(err.Error(), config.StateDir) {
				t.Errorf("error %v, want one about %q that names the folder", err, k.words)
			}
			if n := a.count(registerPath); n != 1 {
				t.Errorf("registered %d times", n)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestOtherBase(t *testing.T) {
	a, b := startAuthority(t), startAuthority(t)
	config := configure(t, a)
	c := newClient(t, config)
	fetch(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	config.Base = b.base
	_, err := newClient(t, config).Fetch(t.Context(), request)
	wantError(t, err, ErrOtherBase, a.base, b.base, config.StateDir)
	if len(b.requests) != 0 {
		t.Error("asked the other operator")
	}
}

func TestFolderIsLocked(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	first := newClient(t, config)
	fetch(t, first)

	second := newClient(t, config)
	_, err := second.Fetch(t.Context(), request)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d uses it", os.Getpid())) {
		t.Fatalf("error %v, want one that names the process", err)
	}
	done := make(chan error, 1)
	go func() { // waits while its predecessor stops
		_, err := second.Fetch(t.Context(), request)
		done <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the first let go: %v", err)
	}
}

func TestUnusableFolder(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.StateDir = filepath.Join(config.TicketFile, "below-a-file")
	_, err := newClient(t, config).Fetch(t.Context(), request)
	if err == nil || !strings.Contains(err.Error(), "make state folder") {
		t.Errorf("error %v", err)
	}
}

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
