package injector

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Whatever a destination answers, every request that the client sent whole has one
// record, in turn and at once, and so has every connection. (In the corpora of requests
// judge holds that.)
func TestRequestsInOutcomesOut(t *testing.T) {
	c := &corpus{t: t, r: corpusWorld(t), workers: 48, judge: judgeAnswered}
	c.play(func(yield func(pieces ...string)) {
		play := func(answer string) {
			first := get + answerField + ": " + base64.StdEncoding.EncodeToString([]byte(answer)) + "\r\n\r\n"
			rest := "PUT /a HTTP/1.1\r\n" + toLedger + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n" +
				"POST /b HTTP/1.1\r\n" + toLedger + "Content-Length: 3\r\n\r\nabc" + canary
			yield(first, rest)
			yield(first + rest)
			yield(first, rest[:30], rest[30:]+get)
		}
		for _, shapes := range []map[string]string{doubtfulAnswers, endlessResponses} {
			for _, answer := range shapes {
				if len(answer) < 16<<10 { // it has to fit into a request's head
					play(answer)
				}
			}
		}
		for _, v := range readVectors(t, "response") {
			play(string(v.Payload))
		}
		for _, response := range append(validResponses, doubtfulResponses...) {
			play(response)
			for i, m := range mutate(response) {
				if i%16 == 0 {
					play(m.bytes)
				}
			}
		}
	})
	if c.forwarded+c.refused != c.cases {
		t.Errorf("%d of %d were neither forwarded nor refused", c.cases-c.forwarded-c.refused, c.cases)
	}
	c.print(t, "requests in, outcomes out")
}

// judgeAnswered is judge for destinations that answer anything.
func judgeAnswered(t *talk) error {
	answers := strings.Join(t.answers, "")
	switch {
	case t.lost != nil:
		return fmt.Errorf("the client lost the connection: %w", t.lost)
	case len(t.uses) == 0:
		return errors.New("nothing was recorded")
	case !isRefused(t) && !strings.HasPrefix(answers, t.received), len(t.answers) > 0 && !strings.HasPrefix(t.received, t.answers[0]):
		return fmt.Errorf("the destination sent %q, the client received %q", t.answers, t.received)
	}
	return judgeCount(t)
}
