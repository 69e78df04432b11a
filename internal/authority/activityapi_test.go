package authority

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// addEvents adds n events of a kind, a second apart.
func (f *fixture) addEvents(n int, kind string) {
	f.t.Helper()
	err := f.store.Write(f.t.Context(), func(tx *store.Tx) error {
		for i := range n {
			e := store.Event{At: startTime.Add(time.Duration(i) * time.Second), Kind: kind, Source: "192.0.2.1", Allowed: i%2 == 0, WorkloadID: fmt.Sprint("w", i%10), Class: store.Classes()[1+i%4], Audiences: []string{"<a>"}}
			if err := tx.AppendEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// atStart is how many events the first start has: the keys that it makes.
const atStart = 3

// sequences numbers events from the first one after the start.
func sequences(all []resource.Activity) string {
	var text []string
	for _, a := range all {
		if a.Sequence > atStart {
			text = append(text, fmt.Sprint(a.Sequence-atStart))
		}
	}
	return strings.Join(text, " ")
}

func TestActivityListing(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})                     // 1
	m := f.enrol(ticket.Ticket)                                         // 2
	token := tokenOf(t, m.idToken(`{"audience":["https://a"]}`))        // 3
	f.setStatus(ticket, resource.StatusDeactivated)                     // 4
	m.idToken(nil).refused(t, 403)                                      // 5
	f.send("POST", idTokenPath, "Bearer nonsense", nil).refused(t, 401) // 6
	f.addEvents(3, "other")                                             // 7 8 9
	admin := f.events()[len(f.events())-1].AdminID
	seq := func(n int) string { return fmt.Sprint(n + atStart) }
	for query, want := range map[string]string{
		"":                                  "9 8 7 6 5 4 3 2 1",
		"kind=id_token":                     "6 5 3",
		"kind=id_token&outcome=refused":     "6 5",
		"outcome=allowed":                   "9 7 4 3 2 1",
		"workload=" + m.id:                  "5 3 2",
		"ticket=" + ticket.Name:             "5 4 3 2 1",
		"admin=" + admin:                    "4 1",
		"source=192.0.2.1":                  "9 8 7",
		"source=::ffff:192.0.2.1":           "9 8 7",
		"since=2026-03-04T05:06:08Z":        "9 8",
		"since=2026-03-04T06:06:09%2B01:00": "9",
		"until=2026-03-04T05:06:08Z":        "7 6 5 4 3 2 1",
		"after=" + seq(6):                   "9 8 7",
		"before=" + seq(3):                  "2 1",
		"after=" + seq(3) + "&before=" + seq(6) + "&format=json": "5 4",
		"limit=2":      "9 8",
		"kind=nothing": "",
	} {
		var page resource.Page[resource.Activity]
		f.send("GET", resource.ActivityPath+"?"+query, "Bearer "+f.admin, nil).decode(t, 200, &page)
		if got := sequences(page.Items); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
		if next := page.Next; (query == "limit=2") != (next == seq(8)) {
			t.Errorf("%s: next %q", query, next)
		}
		// A stream has the same events, the other way around.
		if !strings.Contains(query, "limit") && !strings.Contains(query, "before") {
			streamed := f.lines(query + "&format=jsonl")
			slices.Reverse(streamed)
			if got := sequences(streamed); got != want {
				t.Errorf("stream of %s: %s, want %s", query, got, want)
			}
		}
	}
	all := f.send("GET", resource.ActivityPath, "Bearer "+f.admin, nil).body
	for _, secret := range []string{ticket.Ticket, f.admin, token} {
		if strings.Contains(all, secret) {
			t.Errorf("a secret is in %s", all)
		}
	}
	for _, query := range []string{
		"limit=0", "limit=201", "limit=x", "after=-1", "after=x", "before=1.5", "kind=", "kind=a&kind=b", "outcome=maybe", "source=here",
		"since=yesterday", "until=0001-01-01T00:00:00Z", "format=xml", "follow=false", "unknown=1", "%zz", "format=jsonl&limit=1",
		"follow=true&before=1", "kind=" + strings.Repeat("a", 257),
	} {
		f.send("GET", resource.ActivityPath+"?"+query, "Bearer "+f.admin, nil).refused(t, 400)
	}
	f.send("DELETE", resource.ActivityPath, "Bearer "+f.admin, nil).refused(t, 405)
	f.send("GET", resource.ActivityPath, "Bearer "+m.assertion(), nil).refused(t, 401)
}

// lines reads a whole stream.
func (f *fixture) lines(query string) []resource.Activity {
	f.t.Helper()
	got := f.send("GET", resource.ActivityPath+"?"+strings.TrimPrefix(query, "&"), "Bearer "+f.admin, nil)
	if got.status != 200 || got.header.Get("Content-Type") != "application/x-ndjson" {
		f.t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
	var all []resource.Activity
	decoder := json.NewDecoder(strings.NewReader(got.body))
	for {
		var one resource.Activity
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, one)
	}
}

// TestActivityExport: all that matches, beyond what is in memory at once; and who
// has an export can compute the chain anew.
func TestActivityExport(t *testing.T) {
	f := start(t)
	const n = 2*streamPage + 7
	f.addEvents(n, "k")
	all := f.lines("format=jsonl")
	if len(all) != n+atStart || len(f.lines("format=jsonl&outcome=refused")) != n/2 || len(f.lines("format=jsonl&workload=w3")) != n/10+1 {
		t.Errorf("%d events", len(all))
	}
	// A listing looks as far back as it must.
	var page resource.Page[resource.Activity]
	f.send("GET", resource.ActivityPath+"?workload=w0&until=2026-03-04T05:06:08Z", "Bearer "+f.admin, nil).decode(t, 200, &page)
	if sequences(page.Items) != "1" {
		t.Errorf("listed %s", sequences(page.Items))
	}
	f.send("GET", resource.ActivityPath+"?limit=200&workload=w1", "Bearer "+f.admin, nil).decode(t, 200, &page)
	if len(page.Items) != n/10+1 {
		t.Errorf("listed %d", len(page.Items))
	}
	hashes, newest := map[string]string{}, ""
	for _, a := range all {
		hash := store.Event{
			Sequence: a.Sequence, At: a.At, Kind: a.Kind, Allowed: a.Outcome == "allowed", Reason: a.Reason, Source: a.Source,
			AdminID: a.Admin, TicketID: a.Ticket, WorkloadID: a.Workload, TokenID: a.TokenID, Resource: a.Resource,
			Audiences: a.Audiences, Count: a.Count,
		}.Hash(hashes[a.Class])
		if hashes[a.Class], newest = hash, hash; hash != a.Hash {
			t.Fatalf("event %d: hash %s, want %s", a.Sequence, a.Hash, hash)
		}
	}
	var chain resource.ActivityChain
	f.send("GET", resource.ActivityVerifyPath, "Bearer "+f.admin, nil).decode(t, 200, &chain)
	if !chain.Intact || chain.First != 1 || chain.Last != n+atStart || chain.Hash != newest || len(chain.Classes) != len(store.Classes()) {
		t.Errorf("chain %+v", chain)
	}
	for _, c := range chain.Classes {
		if c.Hash != hashes[c.Class] {
			t.Errorf("class %q ends in %s, want %s", c.Class, c.Hash, hashes[c.Class])
		}
	}
	if got := f.send("HEAD", resource.ActivityPath+"?format=jsonl", "Bearer "+f.admin, nil); got.status != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.status, got.body)
	}
}

func TestTamperedActivityIsReported(t *testing.T) {
	f := start(t)
	f.addEvents(3, "k")
	f.rawExec("DROP TRIGGER events_no_update", "UPDATE events SET workload_id = 'somebody' WHERE seq = 2")
	var chain resource.ActivityChain
	f.send("GET", resource.ActivityVerifyPath, "Bearer "+f.admin, nil).decode(t, 200, &chain)
	if chain.Intact || !strings.Contains(chain.Problem, "event 2") {
		t.Errorf("%+v", chain)
	}
	f.send("GET", resource.ActivityVerifyPath+"?x=1", "Bearer "+f.admin, nil).refused(t, 400)
}

// follow opens a stream that goes on.
func (f *fixture) follow(query, token string) (*http.Response, *bufio.Scanner) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.base+resource.ActivityPath+"?follow=true"+query, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := f.client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = response.Body.Close() })
	return response, bufio.NewScanner(response.Body)
}

func next(t *testing.T, lines *bufio.Scanner) resource.Activity {
	t.Helper()
	var one resource.Activity
	if !lines.Scan() {
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
		t.Fatal(err)
	}
	return one
}

func TestFollow(t *testing.T) {
	f := start(t)
	f.addEvents(3, "before")
	_, fromNow := f.follow("", f.admin)
	_, fromOne := f.follow("&after=1&kind=ticket.create", f.admin)
	_, fromStart := f.follow("&after=0", f.admin)
	f.createTicket(resource.TicketSpec{})
	if got := next(t, fromNow); got.Kind != "ticket.create" || got.Sequence != 4+atStart {
		t.Errorf("from now: %+v", got)
	}
	if got := next(t, fromOne); got.Sequence != 4+atStart {
		t.Errorf("with a filter: %+v", got)
	}
	for want := range int64(4 + atStart) {
		if got := next(t, fromStart); got.Sequence != want+1 {
			t.Errorf("from the start: %+v", got)
		}
	}
	f.createTicket(resource.TicketSpec{})
	for name, lines := range map[string]*bufio.Scanner{"now": fromNow, "one": fromOne, "start": fromStart} {
		if got := next(t, lines); got.Sequence != 5+atStart {
			t.Errorf("from %s: %+v", name, got)
		}
	}
	// They hold up no stop, and end in good order.
	began := time.Now()
	f.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if fromNow.Scan() || fromNow.Err() != nil {
		t.Errorf("after the stop: %q, %v", fromNow.Text(), fromNow.Err())
	}
}

// TestFollowersAreBounded, and a place is free again once its client has gone.
func TestFollowersAreBounded(t *testing.T) {
	f := start(t)
	var last *http.Response
	for i := range maxStreams - maxStreamsOfOne {
		if err := f.streams.places.enter(fmt.Sprint("another ", i/maxStreamsOfOne)); err != nil {
			t.Fatal(err)
		}
	}
	for range maxStreamsOfOne - 1 {
		response, _ := f.follow("", f.admin)
		if response.StatusCode != 200 {
			t.Fatalf("status %d", response.StatusCode)
		}
		last = response
	}
	if err := f.streams.places.enter("yet another"); err != nil {
		t.Fatal(err)
	}
	f.send("GET", resource.ActivityPath+"?format=jsonl", "Bearer "+f.admin, nil).refused(t, 503)
	f.send("GET", resource.ActivityPath, "Bearer "+f.admin, nil).decode(t, 200, &resource.Page[resource.Activity]{})
	if err := last.Body.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if got := f.send("GET", resource.ActivityPath+"?format=jsonl", "Bearer "+f.admin, nil); got.status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place is not free")
		}
	}
}

// TestARevokedAdministratorFollowsNoMore: a stream does not outlive its token.
func TestARevokedAdministratorFollowsNoMore(t *testing.T) {
	for name, end := range map[string]func(*fixture, resource.AdminToken){
		"revoked": func(f *fixture, token resource.AdminToken) {
			if got := f.send("DELETE", resource.AdminTokensPath+"/"+url.PathEscape(token.Name), "Bearer "+f.admin, nil); got.status != 204 {
				f.t.Fatal(got)
			}
		},
		"expired": func(f *fixture, _ resource.AdminToken) { f.clock.Advance(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			var token resource.AdminToken
			f.send("POST", resource.AdminTokensPath, "Bearer "+f.admin, `{"spec":{"role":"viewer","expires_at":"2026-03-04T06:06:07Z"}}`).decode(t, 201, &token)
			f.secrets = append(f.secrets, token.Token)
			_, lines := f.follow("", token.Token)
			f.addEvents(1, "seen")
			if got := next(t, lines); got.Kind != "seen" {
				t.Errorf("%+v", got)
			}
			end(f, token)
			f.addEvents(1, "not seen")
			if lines.Scan() || lines.Err() == nil {
				t.Errorf("still follows: %q, %v", lines.Text(), lines.Err())
			}
		})
	}
}
