package injector

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// script is a conversation: what both ends say, in which pieces, and what is
// special about the world meanwhile.
type script struct {
	client, server []byte
	pieces         []byte // lengths, in turn
	serverFirst    bool   // the server does not wait for the client
	token          token.Token
	serverStays    bool // the server does not end right after its last byte
	noToken        bool // none can be had
	refuse         bool // the destination refuses programs' own credentials
	records        atomic.Int32
}

const (
	flagServerFirst = 1 << iota
	flagNoToken
	flagRefuse
	flagServerStays
)

// afterSilence is set in the length of a piece that is said after a silence.
const afterSilence = 0x80

// FuzzConversation has a client and a server say anything over a connection of a
// real injector. Whatever that is, it ends; the server gets what the client said,
// in order and no more than that, but for the token where one is due, and nothing
// after a refusal; the client gets what the server said, and an answer of ours at
// most behind it, and never the token; and what went over it is recorded.
func FuzzConversation(f *testing.F) {
	const (
		chunkedHead = "POST / HTTP/1.1\r\nHost: ledger.internal\r\nTransfer-Encoding: chunked\r\n\r\n"
		last        = "HEAD / HTTP/1.1\r\nHost: ledger.internal\r\nConnection: close\r\n\r\n"
	)
	for _, s := range []struct {
		client, server string
		flags          byte
	}{
		{get + "\r\n", ok, 0}, {get + "\r\n", ok, flagServerFirst}, {get + "\r\n", ok, flagNoToken},
		{get + "Authorization: mine\r\n\r\n", ok, flagRefuse},
		{get + "Authorization: mine\r\nUpgrade: x\r\n\r\nraw", "HTTP/1.1 101 Switching Protocols\r\n\r\nraw too", 0},
		{get + "Upgrade: x\r\n\r\n" + get + "\r\n", ok + ok, flagServerStays},
		{get + "Upgrade: x\r\n\r\n" + get + "\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", flagServerStays},
		{chunkedHead + "3\r\nabc\r\n0\r\n\r\n" + get + "\r\n", ok + noLength, 0},
		{chunkedHead + "3\r\nabc\r\nX\r\n" + get + "\r\n", ok, flagServerStays},
		{get + "X : y\r\n\r\n", ok, 0},
		{last + get + "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + ok, flagServerStays},
		{last + get + "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", flagServerStays},
		{get + "Content-Length: 3\r\n\r\nabc\r\n" + get + "\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nall", 0},
		{"CONNECT ledger.internal:80 HTTP/1.1\r\nHost: ledger.internal\r\n\r\n" + get + "\r\n", ok, 0},
		{"GET / HTTP/1.1\r\nHost: ledger.internal:81\r\n\r\n", ok, 0}, {"GET / HTTP/1.1\r\nHost: other\r\n\r\n", ok, 0},
		{"TRACE / HTTP/1.1\r\nHost: ledger.internal\r\n\r\n", ok, 0}, {"GET https://ledger.internal/ HTTP/1.1\r\nHost: ledger.internal:443\r\n\r\n", ok, 0},
		{get + "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 0},
		{"SSH-2.0-x\r\n", "SSH-2.0-y\r\n", 0},
	} {
		f.Add([]byte(s.client), []byte(s.server), []byte{69, afterSilence | 100, 1}, s.flags)
		f.Add([]byte(s.client), []byte(s.server), []byte{0}, s.flags)
	}
	f.Fuzz(func(t *testing.T, client, server, pieces []byte, flags byte) {
		s := &script{
			client: spell(client), server: spell(server), pieces: pieces, token: someToken(t),
			serverFirst: flags&flagServerFirst != 0, serverStays: flags&flagServerStays != 0, noToken: flags&flagNoToken != 0, refuse: flags&flagRefuse != 0,
		}
		if secret := []byte(theToken); bytes.Contains(s.client, secret) || bytes.Contains(s.server, secret) {
			return
		}
		forwarded, answered := s.play(t)
		if !s.mayForward(forwarded) {
			t.Fatalf("the client said\n%q, the server was given\n%q", s.client, forwarded)
		}
		if !s.mayAnswer(answered) {
			t.Fatalf("the server said\n%q, the client was given\n%q", s.server, answered)
		}
	})
}

// Use forgets the record: a script may make more than anybody reads.
func (s *script) Use(telemetry.Use) { s.records.Add(1) }

// change makes the world as the script wants it.
func (s *script) change(w *world, cfg *Config) {
	if s.noToken {
		w.getToken = func(context.Context, token.Request) (token.Token, error) {
			return token.Token{}, errors.New("the authority is away")
		}
	}
	if s.refuse {
		with(ledger(func(d *workload.Destination) { d.ExistingAuthorization = workload.RefuseAuthorization }))(w, cfg)
	}
	cfg.Recorder = s
}

// play plays a conversation to its end, in a world of its own that finds out
// whether a goroutine or a socket is left, and returns what each end received.
func (s *script) play(t *testing.T) (forwarded, answered []byte) {
	t.Helper()
	w := newWorld(t, s.change)
	client, upstream := w.pair()
	until := time.Now().Add(patience)
	var received [2][]byte
	var failed [2]error
	var both sync.WaitGroup
	both.Go(func() {
		received[0], failed[0] = converse(client.conn, s.client, s.pieces, until, true, 0)
	})
	both.Go(func() {
		stay := time.Duration(0)
		if s.serverStays {
			stay = 3 * time.Millisecond
		}
		received[1], failed[1] = converse(upstream.conn, s.server, s.pieces, until, s.serverFirst, stay)
	})
	both.Wait()
	client.reset() // leaves no port behind that has to wait
	upstream.reset()
	eventually(t, "the connection is over", func() bool { return w.server.Open() == 0 })
	if s.records.Load() == 0 && len(received[0])+len(received[1]) > 0 {
		t.Fatal("nothing is recorded")
	}
	for i, name := range []string{"client", "server"} {
		if errors.Is(failed[i], os.ErrDeadlineExceeded) {
			t.Fatalf("the conversation does not end for the %s, which received %q", name, received[i])
		}
	}
	return received[1], received[0]
}

// converse says all of it in pieces, ends after a while, and reads to the end. Who
// is not first says nothing before it has received something, or the end.
func converse(conn *net.TCPConn, say, pieces []byte, until time.Time, first bool, stay time.Duration) ([]byte, error) {
	if err := conn.SetDeadline(until); err != nil {
		return nil, err
	}
	start := make([]byte, 1<<10)
	n := 0
	var err error
	if !first {
		n, err = conn.Read(start)
	}
	var saying sync.WaitGroup
	saying.Go(func() {
		for i := 0; len(say) > 0; i++ {
			k := len(say)
			if len(pieces) > 0 {
				k = min(k, 1+int(pieces[i%len(pieces)]&^afterSilence))
				if pieces[i%len(pieces)]&afterSilence != 0 && i < 3 { // more only take time
					time.Sleep(time.Millisecond)
				}
			}
			if _, err := conn.Write(say[:k]); err != nil {
				break // the other side has had enough, and may
			}
			say = say[k:]
		}
		time.Sleep(stay)
		_ = conn.CloseWrite()
	})
	defer saying.Wait()
	if err != nil {
		return start[:n], err
	}
	rest, err := io.ReadAll(conn)
	return append(start[:n], rest...), err
}

// mayForward reports whether the server may have been given this.
func (s *script) mayForward(got []byte) bool {
	if s.serverFirst || sniff(s.client) != http1 {
		if bytes.HasPrefix(s.client, got) {
			return true
		}
	}
	return s.mayFollow(got, s.client, true)
}

// mayFollow is mayForward for the requests from one on.
func (s *script) mayFollow(got, said []byte, first bool) bool {
	h, done, err := parseHead(said)
	if err != nil {
		return len(got) == 0 || mayDoubt(got, said)
	}
	if !done || s.answersItself(said, h) {
		return len(got) == 0
	}
	whole := said[:h.size()]
	if s.isDue(said, h) {
		whole = appendInjected(nil, said, h, s.token)
	}
	n, done := bodyLength(said[h.size():], h)
	said = said[h.size():]
	whole = append(whole[:len(whole):len(whole)], said[:n]...)
	said = said[n:]
	if len(got) <= len(whole) {
		return bytes.HasPrefix(whole, got)
	}
	got, fits := bytes.CutPrefix(got, whole)
	switch {
	case !fits || !done:
		return false
	case (h.upgrade || h.form == authorityForm) && bytes.HasPrefix(said, got):
		return true // it switched
	case h.last(), first && h.upgrade && bytes.HasPrefix(s.server, []byte("HTTP/1.1 101 ")):
		return false
	}
	return s.mayFollow(got, bytes.TrimPrefix(said, []byte("\r\n")), false)
}

// mayDoubt is mayForward for a request that only a lenient reader takes, and all that
// follows it: as it is, without a registered host anywhere in its head, and the last one.
func mayDoubt(got, said []byte) bool {
	h := new(head)
	h.reset()
	h.lenient = true
	done, err := h.parse(said)
	if err != nil || !done || !bytes.HasPrefix(said, got) || bytes.Contains(bytes.ToLower(said[:h.size()]), []byte("ledger.internal")) {
		return false
	}
	n, _ := bodyLength(said[h.size():], h)
	return len(got) <= h.size()+n || h.upgrade
}

// bodyLength is how many of the bytes are the body, and whether it ends there.
func bodyLength(b []byte, h *head) (int, bool) {
	if h.chunked {
		n, done, _ := feedAll(b, len(b)+1, true)
		return n, done
	}
	n := min(int64(len(b)), max(h.length, 0))
	return int(n), n == max(h.length, 0)
}

func (s *script) isDue(b []byte, h *head) bool {
	return h.authority == authority{"ledger.internal", 80} && h.form != foreignForm && h.form != authorityForm && !echoes(h.method.of(b))
}

func (s *script) answersItself(b []byte, h *head) bool {
	return s.isDue(b, h) && (s.noToken || s.refuse && h.credentials > 0)
}

// ownAnswer is the head of an answer of ours.
var ownAnswer = regexp.MustCompile(`HTTP/1\.1 \d{3} [A-Za-z ]+\r\nContent-Type: application/problem\+json\r\n` +
	`Cache-Control: no-store\r\nConnection: close\r\nContent-Length: (\d+)\r\n\r\n`)

// mayAnswer reports whether the client may have been given this.
func (s *script) mayAnswer(got []byte) bool {
	if bytes.Contains(got, []byte(theToken)) {
		return false
	}
	if bytes.HasPrefix(s.server, got) {
		return true
	}
	at := ownAnswer.FindSubmatchIndex(got)
	if at == nil || !bytes.HasPrefix(s.server, got[:at[0]]) {
		return false
	}
	length, err := strconv.Atoi(string(got[at[2]:at[3]]))
	body := len(got) - at[1]
	return err == nil && (body == length || body == 0) // 0 after HEAD
}
