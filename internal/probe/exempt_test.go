//go:build linux

package probe

import "testing"

// The agent may be inside what it watches: its own connections must not come back
// to it. Only its own process image is exempt, neither forks nor children.
func TestAgentIsExempt(t *testing.T) {
	h := newBareHost(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "lanyard")
	c.do(t, request{Do: "open agent", Agent: h.config})
	c.do(t, request{Do: "listen as agent"})
	c.do(t, request{Do: "watch", Number: watched})
	c.do(t, request{Do: "run agent"})
	defer c.do(t, request{Do: "close agent"})
	count := func(f func()) map[string]uint64 {
		before := c.do(t, request{Do: "count"}).Counts
		f()
		counts := map[string]uint64{}
		for name, n := range c.do(t, request{Do: "count"}).Counts {
			counts[name] = uint64(n - before[name])
		}
		return counts
	}
	counts := count(func() { requireErrno(t, "connect", c.connect(t, at(target4)), 0) })
	requireCount(t, counts, "exempt", 1)
	requireCount(t, counts, "redirected", 0)
	if greeting := c.do(t, request{Do: "read", Socket: "s"}).Text; greeting != "D" {
		t.Errorf("the agent read %q, want the destination's own greeting", greeting)
	}
	for what, r := range map[string]request{
		"fork":  {Do: "fork and connect", Addr: at(target4)},
		"child": {Do: "run and connect", Path: executable(t, "lanyard"), Addr: at(target4)},
	} {
		counts := count(func() { c.do(t, r) })
		if counts["exempt"] != 0 || counts["redirected"] != 1 {
			t.Errorf("%s of the agent: %v, want one redirected connection", what, counts)
		}
	}
}

func TestSelf(t *testing.T) {
	h := newHost(t)
	self := h.probe.Self()
	if got, want := self.StartTime/(1e9/100), startTimeTicks(t, self.PID); got != want {
		t.Errorf("the probe says that it started %d ticks after boot, want %d", got, want)
	}
}
