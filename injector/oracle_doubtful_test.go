package injector

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// isDoubtful reports whether a conversation ended with a request that is none for a
// strict server, and that went to another host than a registered one.
func isDoubtful(t *talk) bool {
	n := len(t.uses)
	return n > 0 && t.uses[n-1].Outcome == workload.NoDestination && t.uses[n-1].Refusal != ""
}

// headEnd ends a head for a reader that minds no bare LF.
var headEnd = regexp.MustCompile("\n\r?\n")

// judgeDoubtful holds that what came before such a request is in order, that it arrived
// as it was sent, without a token and without a registered host anywhere in its head,
// and that nothing came after it.
func judgeDoubtful(t *talk) error {
	before := &talk{messages: t.messages, uses: t.uses[:len(t.uses)-1]}
	if len(t.messages) > len(before.uses) { // the tests' reader takes it
		before.messages = t.messages[:len(before.uses)]
	}
	if err := judgeRecords(before); err != nil {
		return err
	}
	rest, arrived := t.sent[len(emptyLine.FindString(t.sent)):], t.arrived
	for _, m := range before.messages {
		var err error
		if rest, err = judgeBytes(m, rest); err != nil {
			return err
		}
		arrived = arrived[len(m.raw):]
	}
	end := headEnd.FindStringIndex(arrived)
	switch {
	case end == nil:
		return errors.New("a doubtful request without an end")
	case !strings.HasPrefix(strings.TrimPrefix(rest, "\r\n"), arrived):
		return fmt.Errorf("%q arrived for %q", arrived, rest)
	case strings.Contains(arrived, theToken):
		return fmt.Errorf("a token in %q", arrived)
	case strings.Contains(strings.ToLower(arrived[:end[1]]), "ledger.internal"), strings.Contains(strings.ToLower(arrived[:end[1]]), "refusing.internal"):
		return fmt.Errorf("a registered host is in the doubtful %q", arrived)
	case t.received != strings.Join(t.answers, ""):
		return fmt.Errorf("the client received %q", t.received)
	case strings.Contains(arrived[end[1]:], canary) && !strings.Contains(strings.ToLower(arrived[:end[1]]), "length"):
		return fmt.Errorf("a request arrived after the doubtful one: %q", arrived)
	}
	return nil
}
