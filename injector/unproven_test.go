package injector

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

var errHung = errors.New("the file system does not answer")

// unattributed makes attribution fail, after the time that a decision has.
func unattributed(w *world, _ *Config) {
	w.attribute = func(ctx context.Context) (*workload.Process, error) {
		<-ctx.Done()
		return nil, errHung
	}
}

// byKernel makes the caller one that the kernel alone can tell to be an identity's,
// as by its user.
func byKernel(w *world, _ *Config) {
	p := *w.policies.Load()
	p.byKernel = true
	w.setPolicy(&p)
}

// overtime waits for a decision to begin, and lets its time pass.
func (w *world) overtime() {
	w.t.Helper()
	w.waitFor("a decision has begun", inPhase(phaseDeciding))
	w.pass(210 * time.Second)
}

// Attribution ends with the time of the decision. Who the kernel alone can tell to
// be an identity's is then no bystander, and a closed destination gets nothing of
// it; who only might be one passes, whatever the destination says.
func TestCallerThatCannotBeAttributed(t *testing.T) {
	tieByKernel := both(tied(ledger()), byKernel)
	for _, c := range []struct {
		name    string
		world   func(*world, *Config)
		refused bool // with 503, else forwarded as it is
		outcome workload.Outcome
	}{
		{"an identity's, closed", byKernel, true, workload.TokenUnavailable},
		{"a tie, closed", tieByKernel, true, workload.TokenUnavailable},
		{"an identity's, open", both(with(ledger(open)), byKernel), false, workload.TokenUnavailable},
		{"an identity's, observed", both(with(ledger(observe)), byKernel), false, workload.NoIdentity},
		{"an identity's, not listed", both(with(ledger(foreign)), byKernel), false, workload.NoIdentity},
		{"an identity's, unverified", both(byKernel, unverified), false, workload.DestinationUnverified},
		{"an identity's, outside the rule", both(with(ledger(onlyPosts)), byKernel), false, workload.Untouched},
		{"one that the kernel remembers, closed", func(w *world, _ *Config) { w.known.Store(true) }, true, workload.TokenUnavailable},
		{"might be one, closed", func(*world, *Config) {}, false, workload.NoIdentity},
		{"a bystander", stranger, false, workload.NoIdentity},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, shortLimits, c.world, unattributed)
			client, upstream := w.pair()
			client.send(get + "\r\n")
			w.overtime()
			if c.refused {
				client.expectProblem("503", c.outcome)
				upstream.expectEnd()
			} else {
				upstream.expect(get + "\r\n")
				upstream.close()
				client.expectEnd()
				client.close()
			}
			u := w.use(c.outcome)
			if c.outcome == workload.TokenUnavailable || c.outcome == workload.NoIdentity && c.name != "an identity's, not listed" {
				if !errors.Is(u.Reason, errHung) {
					t.Errorf("reason %v", u.Reason)
				}
			}
			if n := w.bystanders.Load(); n != 0 {
				t.Errorf("told the kernel %d times that nobody calls", n)
			}
		})
	}
}

// A caller that could not be attributed is looked at again with its next request.
func TestAttributionThatComesLater(t *testing.T) {
	w := newWorld(t, shortLimits, with(ledger(open)), byKernel, func(w *world, _ *Config) {
		attribute, first := w.attribute, true
		w.attribute = func(ctx context.Context) (*workload.Process, error) {
			if first {
				first = false
				<-ctx.Done()
				return nil, errHung
			}
			return attribute(ctx)
		}
	})
	client, upstream := w.pair()
	client.send(get + "\r\n")
	w.overtime()
	upstream.expect(get + "\r\n") // decided within the time of one decision
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.TokenUnavailable)
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
}

// A reload may want a fact that cannot be had any more. Who was attributed before
// is then still no bystander.
func TestFactsMissingAfterReload(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
	w.unknown.Store(true)
	w.setPolicy(&policy{destinations: []*workload.Destination{ledger()}}) // identifies nobody by the old facts
	client.send(get + "\r\n")
	client.expectProblem("503", workload.TokenUnavailable)
	upstream.expectEnd()
	w.use(workload.TokenUnavailable)
}
