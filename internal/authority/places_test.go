package authority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func TestPlaces(t *testing.T) {
	p := newPlaces(3, 2)
	for i, step := range []struct {
		key  string
		want error
	}{{"a", nil}, {"a", nil}, {"a", errTooManyOfOne}, {"b", nil}, {"c", errTooMany}, {"a", errTooManyOfOne}} {
		if err := p.enter(step.key); !errors.Is(err, step.want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	p.leave("a")
	if err := p.enter("c"); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		p.leave(key)
	}
	if p.taken != 0 || len(p.by) != 0 {
		t.Errorf("%d taken, by %v", p.taken, p.by)
	}
}

// TestOneAdministratorTakesNotAll: neither the streams nor the listings of the others.
func TestOneAdministratorTakesNotAll(t *testing.T) {
	f := start(t)
	var other resource.AdminToken
	f.send("POST", resource.AdminTokensPath, "Bearer "+f.admin, `{"spec":{"role":"viewer"}}`).decode(t, 201, &other)
	f.secrets = append(f.secrets, other.Token)
	tokens, err := f.store.Read(t.Context()).AdminTokens("", 10)
	if err != nil {
		t.Fatal(err)
	}
	mine := tokens[0].ID
	if mine == other.Name {
		mine = tokens[1].ID
	}
	for range maxStreamsOfOne {
		if err := f.streams.places.enter(mine); err != nil {
			t.Fatal(err)
		}
	}
	for range maxListingsOfOne {
		if err := f.listings.enter(mine); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{resource.ActivityPath + "?follow=true", resource.ActivityVerifyPath, resource.ActivityPath, resource.TicketsPath, resource.WorkloadsPath} {
		f.send("GET", path, "Bearer "+f.admin, nil).retryAfter(t)
		if path == resource.ActivityPath+"?follow=true" {
			path = resource.ActivityPath + "?format=jsonl"
		}
		if got := f.send("GET", path, "Bearer "+other.Token, nil); got.status != 200 {
			t.Errorf("the other one at %s: %d %s", path, got.status, got.body)
		}
	}
	f.wantMetric(`lanyard_authority_rate_limited_total{by="administrator"} 5`)
}

// TestCostlyReadsLeaveConnections to the database for workloads.
func TestCostlyReadsLeaveConnections(t *testing.T) {
	f := start(t)
	for range maxCostlyReads {
		f.costlyReads <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := costly(f.Authority, ctx, func() (int, error) { return 0, nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more: %v", err)
	}
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
	<-f.costlyReads
	f.send("GET", resource.TicketsPath, "Bearer "+f.admin, nil).decode(t, 200, &resource.Page[resource.Ticket]{})
}

// pipes is a listener whose connections buffer nothing.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p.conns
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestASlowReaderIsCutOff, and its place is free again.
func TestASlowReaderIsCutOff(t *testing.T) {
	f := start(t)
	f.streams.takeTimeout = 50 * time.Millisecond
	f.addEvents(streamPage, "k")
	listener := pipes{make(chan net.Conn)}
	server := &http.Server{Handler: f.Handler()}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	client, conn := net.Pipe()
	listener.conns <- conn
	if _, err := fmt.Fprintf(client, "GET %s?format=jsonl HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n", resource.ActivityPath, f.admin); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); f.streamsTaken() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slow reader still has its place")
		}
	}
	close(listener.conns)
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := errors.Join(server.Close(), client.Close()); err != nil {
		t.Error(err)
	}
}

func (f *fixture) streamsTaken() int {
	f.streams.places.mu.Lock()
	defer f.streams.places.mu.Unlock()
	return f.streams.places.taken
}
