//go:build linux

package probe

import (
	"fmt"

	"github.com/lanyardhq/lanyard/bpf"
)

// counterNames are the metric's label values, in the order of enum counter.
func counterNames() [bpf.ConnectCounterCOUNTERS]string {
	return [...]string{
		bpf.ConnectCounterCOUNT_WATCHED:          "watched",
		bpf.ConnectCounterCOUNT_EXEMPT:           "exempt",
		bpf.ConnectCounterCOUNT_KERNEL_THREAD:    "kernel_thread",
		bpf.ConnectCounterCOUNT_BYSTANDER:        "bystander",
		bpf.ConnectCounterCOUNT_BYSTANDER_CACHED: "bystander_cached",
		bpf.ConnectCounterCOUNT_CANDIDATE:        "candidate",
		bpf.ConnectCounterCOUNT_REDIRECTED:       "redirected",
		bpf.ConnectCounterCOUNT_NO_ROUTE:         "no_route",
		bpf.ConnectCounterCOUNT_BOUND_DEVICE:     "bound_device",
		bpf.ConnectCounterCOUNT_NO_LISTENER:      "no_listener",
		bpf.ConnectCounterCOUNT_HEARTBEAT_STALE:  "heartbeat_stale",
		bpf.ConnectCounterCOUNT_BUDGET:           "budget",
		bpf.ConnectCounterCOUNT_STATE_FAILED:     "state_failed",
		bpf.ConnectCounterCOUNT_REFUSED:          "refused",
		bpf.ConnectCounterCOUNT_REFUSED_UNKNOWN:  "refused_unknown",
		bpf.ConnectCounterCOUNT_PASSED:           "passed",
		bpf.ConnectCounterCOUNT_PASSED_UNKNOWN:   "passed_unknown",
		bpf.ConnectCounterCOUNT_PUBLISHED:        "published",
		bpf.ConnectCounterCOUNT_PUBLISH_FAILED:   "publish_failed",
		bpf.ConnectCounterCOUNT_TAKEN:            "taken",
		bpf.ConnectCounterCOUNT_WITHDRAWN:        "withdrawn",
		bpf.ConnectCounterCOUNT_LOCAL_API:        "local_api",
		bpf.ConnectCounterCOUNT_DIRECT:           "direct",
		bpf.ConnectCounterCOUNT_EXEC:             "image_exec",
		bpf.ConnectCounterCOUNT_EXIT:             "image_exit",
		bpf.ConnectCounterCOUNT_EVENT_LOST:       "event_lost",
	}
}

// Counters returns the hooks' statistics since they were loaded, by event. A
// takeover goes on counting.
func (p *Probe) Counters() (map[string]uint64, error) {
	names := counterNames()
	sums := make(map[string]uint64, len(names))
	for i, name := range names {
		var perCPU []uint64
		if err := p.connect.Counters.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read kernel counters: %w", err)
		}
		var sum uint64
		for _, n := range perCPU {
			sum += n
		}
		sums[name] = sum
	}
	return sums, nil
}
