package injector

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// judgeOutOfStep reads what arrived as a server may that answered a request before it
// had all of it: it may take the next byte, or any one after that, for the first of
// another request, because it takes the body for ended, never begun, or skipped. None
// of the requests that it sees may have a token in its body.
func judgeOutOfStep(t *talk) error {
	for _, at := range t.early {
		for from := at; from < len(t.arrived); from++ {
			for rest := t.arrived[from:]; rest != ""; {
				m, err := readMessage(rest)
				if strings.Contains(m.body, theToken) {
					return fmt.Errorf("a server that answered after %d bytes, and reads on from %d, sees a token in the body %q", at, from, m.body)
				}
				if err != nil {
					break
				}
				rest = rest[len(m.raw):]
			}
		}
	}
	return nil
}

// answersDue returns how many answers a server gives that answers as soon as it has a
// head.
func answersDue(sent string) (n int) {
	for {
		m, err := readMessage(sent)
		if m.method != "" && (err == nil || errors.Is(err, errUnfinished)) {
			n++
		}
		if err != nil {
			return n
		}
		sent = sent[len(m.raw):]
	}
}

// prepared are requests whose body, to a server that is out of step, is the beginning
// of a request that would take in the next one.
var prepared = preparedRequests()

func preparedRequests() (all []string) {
	const (
		inner   = "POST /file HTTP/1.1\r\n" + toLedger + "Content-Length: 1000\r\n\r\n"
		chunked = "PUT /file HTTP/1.1\r\n" + toLedger + "Transfer-Encoding: chunked\r\n\r\n3e8\r\n"
	)
	for _, body := range []string{inner, "x\r\n" + chunked, inner + inner} {
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			head := "POST /up HTTP/1.1\r\n" + toLedger + expect
			all = append(all,
				fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body),
				fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body),
				fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n%x;a\r\n%s\r\n0\r\nX: y\r\n\r\n", head, len(body), body))
		}
	}
	return all
}

// A server answers before it has the body: wherever it goes on reading, it finds no
// token in a body, since no request is sent after that one.
func TestServersOutOfStep(t *testing.T) {
	c := &corpus{t: t, r: corpusWorld(t)}
	c.r.early = true
	c.play(func(yield func(pieces ...string)) {
		for _, request := range prepared {
			for i := 1; i < len(request); i++ {
				yield(request[:i], request[i:], get+"\r\n"+canary)
				yield(get+"\r\n"+request[:i], request[i:]+get+"\r\n")
			}
			yield(request[:strings.Index(request, "\r\n\r\n")+4], get+"\r\n") // as curl does after 417
		}
	})
	if c.forwarded != c.cases {
		t.Errorf("%d of %d were forwarded", c.forwarded, c.cases)
	}
	c.print(t, "servers out of step")
}
