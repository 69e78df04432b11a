//go:build linux

package attribution

import (
	"errors"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// lose begins a gap, in which the record cannot tell which images run, or ends it with
// nil. Either moves every epoch.
func (r *record) lose(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	for i := range r.alive {
		r.epochs[i.PID]++
	}
}

// While the kernel cannot tell which images run, and after it forgot those that it knew,
// one that was attributed before is not current.
func TestImageFromBeforeAGapIsNotCurrent(t *testing.T) {
	i := self()
	r := newRecord(i)
	a := attributor(t, r)
	mustAttribute(t, a, workload.Flow{Image: i})
	if !a.Current(i) {
		t.Fatal("not current before the gap")
	}
	r.lose(errors.New("a hook is missing"))
	if a.Current(i) {
		t.Error("current in the gap")
	}
	if _, err := a.Attribute(t.Context(), workload.Flow{Image: i}); err == nil {
		t.Error("attributed in the gap")
	}
	r.end(i)
	r.lose(nil)
	if a.Current(i) {
		t.Error("current after the gap")
	}
}
