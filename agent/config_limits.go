package agent

import (
	"fmt"
	"strconv"
	"time"

	"github.com/lanyardhq/lanyard/internal/registry"
)

// Limits bound what a redirected connection may hold and how long it may wait. A zero
// field means the default.
type Limits struct {
	HeadBytes  int           // of a request's head
	HeadFields int           // field lines of a request's head
	HeadTime   time.Duration // from a head's first byte to its last
	Decision   time.Duration // attribution, verification and token together
	Dial       time.Duration // until an address of the destination has answered
	Pause      time.Duration // a peer takes no byte of what is written to it
	Idle       time.Duration // no byte either way on an HTTP connection
	TunnelIdle time.Duration // no byte either way on any other
}

// limitsEntry is what the configuration says of them; nil is the default.
type limitsEntry struct {
	HeadBytes    *text `yaml:"head_bytes"`
	HeadFields   *text `yaml:"head_fields"`
	HeadTime     *text `yaml:"head_time"`
	DecisionTime *text `yaml:"decision_time"`
	DialTime     *text `yaml:"dial_time"`
	ReaderPause  *text `yaml:"reader_pause"`
	Idle         *text `yaml:"idle"`
	TunnelIdle   *text `yaml:"tunnel_idle"`
}

// compile checks the limits. The minima keep ordinary programs from being refused, the
// maxima what is dead from staying.
func (e *limitsEntry) compile(l *Limits) (problems registry.Problems) {
	wrong := func(key, reason string) {
		problems = append(problems, registry.Problem{Path: "limits." + key, Reason: reason})
	}
	for _, n := range []struct {
		key         string
		written     *text
		field       *int
		least, most int
	}{
		{"head_bytes", e.HeadBytes, &l.HeadBytes, 16 << 10, 1 << 20},
		{"head_fields", e.HeadFields, &l.HeadFields, 64, 4096},
	} {
		if n.written == nil {
			continue
		}
		value, err := strconv.Atoi(string(*n.written))
		if err != nil || value < n.least || value > n.most {
			wrong(n.key, fmt.Sprintf("%s of %q is out of bounds; write a number from %d to %d", n.key, *n.written, n.least, n.most))
		}
		*n.field = value
	}
	for _, d := range []struct {
		key         string
		written     *text
		field       *time.Duration
		least, most time.Duration
	}{
		{"head_time", e.HeadTime, &l.HeadTime, 2 * time.Second, 10 * time.Minute},
		{"decision_time", e.DecisionTime, &l.Decision, 2 * time.Second, 5 * time.Minute},
		{"dial_time", e.DialTime, &l.Dial, time.Second, 10 * time.Minute},
		{"reader_pause", e.ReaderPause, &l.Pause, 10 * time.Second, 24 * time.Hour},
		{"idle", e.Idle, &l.Idle, time.Minute, 7 * 24 * time.Hour},
		{"tunnel_idle", e.TunnelIdle, &l.TunnelIdle, time.Minute, 30 * 24 * time.Hour},
	} {
		if d.written == nil {
			continue
		}
		value, err := time.ParseDuration(string(*d.written))
		if err != nil || value < d.least || value > d.most {
			wrong(d.key, fmt.Sprintf("%s of %q is out of bounds; write a duration from %v to %v, such as 30s or 5m", d.key, *d.written, d.least, d.most))
		}
		*d.field = value
	}
	return problems
}
