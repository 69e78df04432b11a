package standing

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// table is a board with a clock and a cache of the test's own.
type table struct {
	*Board
	now  time.Time
	held map[token.Request]time.Time
	log  bytes.Buffer
}

func newTable() *table {
	w := &table{now: time.Unix(1_000_000, 0), held: map[token.Request]time.Time{}}
	w.Board = New(Config{
		Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Held: func(r token.Request) (time.Time, bool) {
			expires, ok := w.held[r]
			return expires, ok && w.now.Before(expires)
		},
	})
	w.Configure(map[string][]string{"billing": {"a", "b"}, "reports": {"a"}, "local": nil}, never)
	return w
}

func never(string) bool { return false }

func ask(identity, audience string) token.Request {
	return token.Request{Identity: identity, Audience: audience}
}

func (w *table) fails(r token.Request, err error, renewal bool) {
	w.Obtained(token.Obtaining{End: w.now, Request: r, Err: fmt.Errorf("obtain: %w", err), Renewal: renewal})
}

func (w *table) succeeds(r token.Request) {
	w.held[r] = w.now.Add(time.Hour)
	w.Obtained(token.Obtaining{End: w.now, Request: r, Expires: w.held[r]})
}

func (w *table) of(t *testing.T, name string) Identity {
	t.Helper()
	all := w.Report()
	i := slices.IndexFunc(all, func(i Identity) bool { return i.Name == name })
	if i < 0 {
		t.Fatalf("%s is not reported", name)
	}
	return all[i]
}

func (w *table) lines(text string) int { return strings.Count(w.log.String(), text) }

const none, again = `msg="an identity has no token"`, `msg="an identity has a token again"`

func TestFailureIsSaidOnceForEachIdentityAndAudience(t *testing.T) {
	w := newTable()
	for range 65 {
		w.fails(ask("billing", "a"), token.ErrNotEnrolled, false)
		w.fails(ask("reports", "a"), token.ErrNotEnrolled, false)
		w.now = w.now.Add(time.Second)
	}
	if w.lines(none) != 2 || w.lines("identity=billing") != 1 || w.lines("identity=reports") != 1 || w.lines("reason=not_enrolled") != 2 {
		t.Fatalf("the log says\n%s", w.log.String())
	}
	got := w.of(t, "billing")
	if !got.Without() || len(got.Failing) != 1 || got.Failing[0].Failures != 65 || got.Failing[0].Reason != token.ReasonNotEnrolled ||
		!got.Failing[0].Since.Equal(time.Unix(1_000_000, 0)) {
		t.Errorf("reported %+v", got)
	}
	w.fails(ask("billing", "a"), token.ErrUnreachable, false) // something else is wrong now
	if w.lines(none) != 3 {
		t.Errorf("another reason is not said:\n%s", w.log.String())
	}
	w.succeeds(ask("billing", "a"))
	w.succeeds(ask("billing", "a"))
	if w.lines(again) != 1 || w.lines("failures=66 failed_for=1m5s") != 1 {
		t.Errorf("recovery is not said once:\n%s", w.log.String())
	}
	if got := w.of(t, "billing"); got.Without() || len(got.Failing) > 0 || got.Tokens != 1 || !got.LastSuccess.Equal(w.now) {
		t.Errorf("after recovery reported %+v", got)
	}
	if got := w.of(t, "reports"); !got.Without() {
		t.Errorf("the other one: reported %+v", got)
	}
}

// What is renewed while a token serves is the cache's to log, and is reported.
func TestFailedRenewal(t *testing.T) {
	w := newTable()
	w.succeeds(ask("billing", "a"))
	w.fails(ask("billing", "a"), token.ErrUnreachable, true)
	got := w.of(t, "billing")
	if got.Without() || len(got.Failing) != 1 || !got.Failing[0].Until.Equal(w.held[ask("billing", "a")]) || !got.Expires.Equal(got.Failing[0].Until) {
		t.Errorf("reported %+v", got)
	}
	w.now = w.now.Add(2 * time.Hour)
	if got := w.of(t, "billing"); !got.Without() || !got.Failing[0].Until.IsZero() {
		t.Errorf("after expiry reported %+v", got)
	}
	if w.log.Len() > 0 {
		t.Errorf("logged %s", w.log.String())
	}
}

func TestDue(t *testing.T) {
	w := newTable()
	due := func(want ...token.Request) {
		t.Helper()
		if got := w.Due(); !slices.Equal(got, want) {
			t.Errorf("due are %v, want %v", got, want)
		}
	}
	due(ask("billing", "a"), ask("reports", "a"))
	w.succeeds(ask("billing", "a"))
	w.fails(ask("reports", "a"), token.ErrUnreachable, false)
	w.fails(ask("billing", "b"), token.ErrUnreachable, false)
	due()
	w.now = w.now.Add(retryAfter)
	due(ask("billing", "b"), ask("reports", "a"))
	w.fails(ask("billing", "b"), token.ErrUnreachable, true)
	w.fails(ask("reports", "a"), token.ErrUnreachable, false)
	w.held[ask("billing", "b")] = w.now.Add(time.Hour) // the cache renews it
	w.now = w.now.Add(retryAfter)
	due(ask("reports", "a"))

	w.fails(ask("reports", "a"), token.ErrNotEnrolled, false)
	w.Configure(map[string][]string{"billing": {"b"}, "reports": {"a"}, "new": {"c"}}, func(name string) bool { return name == "reports" })
	due(ask("new", "c"), ask("reports", "a")) // with its new ticket, at once
	if got := w.of(t, "billing"); got.LastSuccess.IsZero() {
		t.Error("what was known of an identity that stays is forgotten")
	}
	w.fails(ask("gone", "a"), token.ErrUnreachable, false)
	w.fails(ask("new", "whatever a caller asks for"), token.ErrUnreachable, false)
	w.fails(ask("new", ""), token.ErrUnreachable, false)
	if got := w.of(t, "new"); len(w.Report()) != 3 || len(got.Failing) > 0 {
		t.Errorf("what is not configured is reported: %+v", w.Report())
	}
}

func TestStateOfAToken(t *testing.T) {
	w := newTable()
	if s := w.Token(ask("billing", "a")); s.Held || s.Tried || s.Failure != nil {
		t.Errorf("at first %+v", s)
	}
	w.fails(ask("billing", "a"), errors.New("disk full"), false)
	if s := w.Token(ask("billing", "a")); s.Held || !s.Tried || s.Failure.Reason != token.ReasonOther {
		t.Errorf("after a failure %+v", s)
	}
	w.succeeds(ask("billing", "a"))
	if s := w.Token(ask("billing", "a")); !s.Held || !s.Tried || s.Failure != nil {
		t.Errorf("after a success %+v", s)
	}
}
