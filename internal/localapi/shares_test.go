package localapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// hangs is callers and tokens of which some never come: those of user 1000 and of
// identity "hung".
type hangs struct{}

func (hangs) Identify(ctx context.Context, f workload.Flow) (*workload.Identity, error) {
	if f.UID == 1000 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &workload.Identity{Name: map[uint32]string{1: "hung"}[f.UID], LocalAPI: true}, nil
}

func (hangs) Get(ctx context.Context, r token.Request) (token.Token, error) {
	if r.Identity == "hung" {
		<-ctx.Done()
		return token.Token{}, ctx.Err()
	}
	now := time.Now()
	return token.New("token-of-"+r.Identity+".", "jwt1:x", now, now.Add(time.Hour))
}

// askAs has a process of a user ask for its token, and returns the status and after
// which time.
func askAs(a *API, uid uint32) (status int, took time.Duration) {
	start := time.Now()
	r := httptest.NewRequest(http.MethodGet, "/peer/v1/id_token", nil)
	r.Host = "localhost"
	r.Header.Set(WorkloadHeader, "1")
	by := &caller{party: workload.UserParty(uid), flow: &workload.Flow{UID: uid}}
	answered := httptest.NewRecorder()
	a.Handler().ServeHTTP(answered, r.WithContext(context.WithValue(r.Context(), callerKey{}, by)))
	return answered.Code, time.Since(start)
}

// TestOneCallersTurnsAreNotAnothers: a user whose processes cannot be looked at, and an
// identity whose tokens do not come, wait for themselves, and not for ever.
func TestOneCallersTurnsAreNotAnothers(t *testing.T) {
	for name, c := range map[string]struct {
		uid     uint32
		longest time.Duration
	}{"looks": {1000, lookLimit}, "calls": {1, callLimit}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := keyedAPI(io.Discard, nil)
				a.config.Callers, a.config.Tokens = hangs{}, hangs{}
				var tasks sync.WaitGroup
				for range 200 {
					tasks.Go(func() {
						if status, took := askAs(a, c.uid); status/100 == 2 || took > c.longest {
							t.Errorf("who hangs got %d after %v", status, took)
						}
					})
				}
				synctest.Wait()
				for range 100 {
					if status, took := askAs(a, 2); status != http.StatusOK || took > 0 {
						t.Fatalf("another one got %d after %v", status, took)
					}
				}
				tasks.Wait()
			})
		})
	}
}

// TestRefusedCallersLoseTheirConnection, with what they send besides.
func TestRefusedCallersLoseTheirConnection(t *testing.T) {
	for _, header := range []string{"", "Authorization: Bearer guess\r\n", "Origin: null\r\n"} {
		conn, err := net.Dial("tcp", serveLocalAPI(t, fakeFlow{}, "keyed"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(conn, "POST /peer/v1/generate/invite HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n"+header+"\r\n{")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := io.ReadAll(conn); err != nil || time.Since(start) > readTimeout/2 {
			t.Errorf("%q: the connection ended after %v with %v", header, time.Since(start), err)
		}
		_ = conn.Close()
	}
}
