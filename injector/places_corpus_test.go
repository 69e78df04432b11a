package injector

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// placesCorpus plays every mutation of every valid request, alone and after another
// one, in a world whose destinations were changed, and has each conversation judged.
func placesCorpus(t *testing.T, judge func(*talk) error, change ...func(*workload.Destination)) {
	t.Helper()
	var r *recorder
	newWorld(t, record(&r), func(w *world, _ *Config) {
		refusing := ledger(append(change, refuse)...)
		refusing.Name, refusing.Hosts = "refusing", []string{"refusing.internal"}
		w.setPolicy(&policy{identity: billing, destinations: []*workload.Destination{ledger(change...), refusing}})
	})
	queue := make(chan string)
	var c tally
	var workers sync.WaitGroup
	for range 8 * runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for sent := range queue {
				if c.failed() > maxFailures {
					continue
				}
				talk, err := r.converse(sent)
				if err == nil {
					err = judge(talk)
				}
				if err != nil {
					c.fail(t, "%q: %v", sent, err)
					continue
				}
				c.count(talk)
			}
		})
	}
	for _, request := range validRequests {
		line := strings.Index(request, "\r\n") + len("\r\n")
		for i, m := range mutate(request) {
			if m.at < line || i%8 == 0 {
				queue <- m.bytes + canary
			}
			if i%8 == 1 {
				queue <- get + "\r\n" + m.bytes + canary
			}
		}
	}
	close(queue)
	workers.Wait()
	c.print(t, "another place")
}

// Nothing is refused, or answered by us, where observing is all that there is to do.
func TestObservingRefusesNothing(t *testing.T) {
	placesCorpus(t, func(t *talk) error {
		for _, u := range t.uses {
			switch u.Outcome {
			case workload.Observed, workload.NoDestination, workload.Untouched, workload.NotHTTP:
			default:
				return fmt.Errorf("outcome %s: %v", u.Outcome, u.Reason)
			}
		}
		switch {
		case t.lost != nil:
			return t.lost
		case t.received != strings.Join(t.answers, ""):
			return fmt.Errorf("the client received %q", t.received)
		case len(t.uses) == 0:
			return fmt.Errorf("no outcome")
		case !strings.HasPrefix(t.sent, t.arrived) && !strings.Contains(t.sent, "\r\n\r\n\r\n"): // an empty line is dropped
			return fmt.Errorf("%q arrived", t.arrived)
		case len(t.messages) < len(t.uses) && t.odd == nil && t.arrived != t.sent:
			return fmt.Errorf("%d outcomes, %d requests arrived", len(t.uses), len(t.messages))
		}
		return nil
	}, observe)
}

// Whatever begins a connection, nothing but requests gets to a destination that fails
// closed, and each of those to the ledger has its token.
func TestNothingButRequestsWhereClosed(t *testing.T) {
	ended := 0
	var mu sync.Mutex
	placesCorpus(t, func(t *talk) error {
		if len(t.uses) == 1 && t.uses[0].Outcome == workload.ProtocolRefused {
			mu.Lock()
			ended++
			mu.Unlock()
			if t.arrived != "" || httpLine.MatchString(t.sent) || t.received == "" {
				return fmt.Errorf("ended, but %q arrived, and %q was answered", t.arrived, t.received)
			}
			return nil
		}
		if isRelayed(t) {
			return fmt.Errorf("relayed %q", t.arrived)
		}
		return judge(t)
	})
	if ended == 0 {
		t.Error("no connection was ended")
	}
}
