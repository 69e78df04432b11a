//go:build linux

package probe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/test/lab"
)

// loseHook closes a link of the agent's and unlinks its pin, so that the hook is gone.
func (h *host) loseHook(t *testing.T, hook string) {
	t.Helper()
	for name, l := range h.probe.hookSet.attached {
		if strings.HasPrefix(name, hook+"-") {
			must(t, errors.Join(os.Remove(filepath.Join(h.probe.pins.links(), name)), l.Close()))
		}
	}
}

// An exec, or an exit, in a moment without the hook that sees it is not noticed by the
// kernel. Until it is known again which images run, none is known to.
func TestEndOfAnImageInAGap(t *testing.T) {
	for hook, end := range map[string]func(*testing.T, *process){
		"exec": func(t *testing.T, c *process) { c.exec(t, "exec", executable(t, "other")) },
		"exit": func(t *testing.T, c *process) { c.end(t) },
		"fork": func(*testing.T, *process) {}, // who runs on is asked for anew
	} {
		t.Run(hook, func(t *testing.T) {
			h := newHost(t)
			c := h.start(t, "billing")
			image := h.seen(t, c)
			epoch := h.probe.Epoch(image.PID)
			h.betweenLooks(func() {
				h.loseHook(t, hook)
				end(t, c)
				if alive, err := h.probe.Alive(image); !alive || err != nil {
					t.Errorf("the end of %v was seen (%v): this tests nothing", image, err)
				}
				if err := errors.Join(h.probe.hookSet.check()...); err == nil || !strings.Contains(err.Error(), hook) {
					t.Errorf("of a lost hook the probe says %v", err)
				}
				if alive, err := h.probe.Alive(image); alive || !errors.Is(err, ErrGap) {
					t.Errorf("without the %s hook it is said of %v that it runs: %v, %v; want that nobody can tell", hook, image, alive, err)
				}
				if now := h.probe.Epoch(image.PID); now == epoch {
					t.Error("whoever knows the image is not made to ask")
				}
			})
			h.requireKnowsNobody(t)
			h.requireHooks(t, "")
			if hook == "exit" {
				return
			}
			again := h.seen(t, c)
			epoch = h.probe.Epoch(again.PID)
			c.exec(t, "exec", executable(t, "third"))
			h.requireEnded(t, again, epoch)
		})
	}
}

// requireKnowsNobody waits until the probe can tell again which images run, and
// requires that it knows of none.
func (h *host) requireKnowsNobody(t *testing.T) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		if h.probe.hookSet.missed.Load() {
			return errors.New("the gap has not ended")
		}
		return nil
	})
	var pid uint32
	if err := h.probe.connect.Images.NextKey(nil, &pid); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("process %d is on record still (%v)", pid, err)
	}
	h.requireImages(t, map[uint32]int64{})
}

// An agent that finds no hook of a former one to take over cannot know which of its
// images still run.
func TestTakeoverAfterAGap(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *host){
		"links":   func(t *testing.T, h *host) { removeEntries(t, h.probe.pins.links()) },
		"maps":    func(t *testing.T, h *host) { removeEntries(t, h.probe.pins.maps()) },
		"one map": func(t *testing.T, h *host) { must(t, os.Remove(filepath.Join(h.probe.pins.maps(), "epochs"))) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			c := h.start(t, "billing")
			image := h.seen(t, c)
			must(t, h.leave())
			lose(t, h)
			c.exec(t, "exec", executable(t, "other"))
			h.startWatching(t)
			if alive, err := h.probe.Alive(image); alive || err != nil {
				t.Errorf("%v, which ended in the gap, is said to run (%v)", image, err)
			}
			image = h.seen(t, c)
			epoch := h.probe.Epoch(image.PID)
			c.exec(t, "exec", executable(t, "third"))
			h.requireEnded(t, image, epoch)
		})
	}
}

// An agent that finds the hooks of a former one goes on with what that knew.
func TestTakeoverWithoutAGap(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	image := h.seen(t, c)
	must(t, h.leave())
	h.startAgent(t)
	h.requireRuns(t, c, image)
	must(t, h.leave())
	c.exec(t, "exec", executable(t, "other"))
	h.startAgent(t)
	if alive, err := h.probe.Alive(image); alive || err != nil {
		t.Errorf("%v, which ended while no agent ran, is said to run (%v)", image, err)
	}
}
