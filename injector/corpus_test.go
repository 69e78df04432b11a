package injector

import (
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// corpus plays many conversations at once and judges each.
type corpus struct {
	t       *testing.T
	r       *recorder
	workers int               // 0: a few for each processor
	judge   func(*talk) error // nil: judge
	tally
}

// play plays all conversations, each given as the pieces that its client sends.
func (c *corpus) play(each func(yield func(pieces ...string))) {
	c.t.Helper()
	queue := make(chan []string)
	var workers sync.WaitGroup
	n := c.workers
	if n == 0 {
		n = 8 * runtime.GOMAXPROCS(0)
	}
	for range n {
		workers.Go(func() {
			for pieces := range queue {
				c.playOne(pieces)
			}
		})
	}
	each(func(pieces ...string) { queue <- pieces })
	close(queue)
	workers.Wait()
}

func (c *corpus) playOne(pieces []string) {
	if c.failed() > maxFailures {
		return // each of the rest may take its patience too
	}
	talk, err := c.r.converse(pieces...)
	if err != nil {
		c.fail(c.t, "%q: %v", pieces, err)
		return
	}
	judged := judge
	if c.judge != nil {
		judged = c.judge
	}
	if err := judged(talk); err != nil {
		c.fail(c.t, "%q: %v", pieces, err)
	}
	if isBadRequest(talk) && isStrict(talk.sent) {
		c.fail(c.t, "%q is what it should be, and was refused: %v", pieces, talk.uses[refusedAt(talk)].Reason)
	}
	c.count(talk)
}

// Every valid request, alone and after every other one, and cut everywhere.
func TestValidRequests(t *testing.T) {
	c := &corpus{t: t, r: corpusWorld(t)}
	c.play(func(yield func(pieces ...string)) {
		for _, first := range validRequests {
			for i := 1; i < len(first); i++ {
				yield(first[:i], first[i:]+canary)
			}
			for _, second := range validRequests {
				both := first + second
				yield(both)
				yield(both + canary)
				yield(first, second)
				yield(both[:len(first)+1], both[len(first)+1:])
				yield(both[:len(both)-1], both[len(both)-1:])
			}
		}
	})
	if c.relayed > 0 || c.malformed > 0 {
		t.Errorf("%d were relayed, %d refused as malformed", c.relayed, c.malformed)
	}
	c.print(t, "valid requests")
}

// Every mutation of every valid request, between two other requests. The first
// line of a connection is a matter of its own, and so those of it come first too.
func TestMutatedRequests(t *testing.T) {
	c := &corpus{t: t, r: corpusWorld(t)}
	c.play(func(yield func(pieces ...string)) {
		for _, request := range validRequests {
			line := strings.Index(request, "\r\n") + len("\r\n")
			for i, m := range mutate(request) {
				yield(get+"\r\n"+m.bytes[:m.at], m.bytes[m.at:]+canary)
				if m.at < line || i%16 == 0 {
					yield(m.bytes + canary)
				}
			}
		}
	})
	c.print(t, "mutated requests")
}

// isStrict reports whether a client's bytes are nothing but requests that the
// strict reader takes, and that make sense.
func isStrict(sent string) bool {
	for rest := sent; rest != ""; {
		rest = strings.TrimPrefix(rest, "\r\n")
		m, err := readMessage(rest)
		if err != nil || !makesSense(&m) {
			return err == errUnfinished && m.method != "" && makesSense(&m)
		}
		if m.last {
			return true
		}
		rest = rest[len(m.raw):]
	}
	return true
}

var (
	hostValue      = regexp.MustCompile(`^(([A-Za-z0-9._~!$&'()*+,;=%-]*[A-Za-z0-9_~!$&'()*+,;=%-]\.?)(:0*[0-9]{0,4})?)?$`)
	portZero       = regexp.MustCompile(`:0+$`)
	absoluteTarget = regexp.MustCompile(`^(?i:http)://([^/?#]*)`)
	connectTarget  = regexp.MustCompile(`^[A-Za-z0-9._-]+:0*[1-9][0-9]{0,3}$`)
	nomination     = regexp.MustCompile(`(?i)(^|,)[ \t]*(authorization|host|content-length|transfer-encoding)[ \t]*(,|$)`)
)

// makesSense leaves out what is well-formed and refused for its meaning; DESIGN.md
// gives the reasons.
func makesSense(m *message) bool {
	if !hostValue.MatchString(m.host) || portZero.MatchString(m.host) || nomination.MatchString(strings.Join(m.values("Connection"), ",")) {
		return false
	}
	switch absolute := absoluteTarget.FindStringSubmatch(m.target); {
	case m.method == "CONNECT":
		return connectTarget.MatchString(m.target) && m.body == ""
	case m.target[0] == '/':
		return true
	case absolute != nil:
		return strings.EqualFold(absolute[1], m.host)
	}
	return m.target == "*" && m.method == "OPTIONS"
}
