//go:build linux

package attack

import (
	"os/exec"
	"strconv"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// TestExecEndsTheIdentity has the victim become a stranger while a connection of its
// own is open, before its first request and after it.
func TestExecEndsTheIdentity(t *testing.T) {
	w := newWorld(t, nil)
	const each, requests = 25, 4
	total := strangersResult{}
	for n := range 2 * each {
		arguments := []string{"-become", stranger(), "-target", ledgerV4.String(), "--"}
		if n%2 == 0 {
			arguments = append(arguments, "ask-before")
		}
		arguments = append(arguments, "-attack", "exec", "-inherited", "-tries", strconv.Itoa(requests), "-target", ledgerV4.String())
		p := program{lab.StartProcess(t, w.as(victimUser, w.programs), waitLimit, "victim", exec.Command(victim(), arguments...)), attackLimit}
		p.wait(t)
		var r strangersResult
		p.result(t, &r)
		total.Tries += r.Tries
		total.Answers += r.Answers
		total.Read += r.Read
	}
	crossed, own := w.judge.take("attack/exec"), w.judge.take("victim/own")
	t.Logf("counts: %d requests after exec: %d answered, %d with a token", total.Tries, total.Answers, crossed.Valid)
	if crossed.Valid+crossed.Invalid+total.Read > 0 || total.Tries != 2*each*requests {
		t.Errorf("after exec: %+v, the server saw %+v", total, crossed)
	}
	if own.Valid != each || own.None > 0 {
		t.Errorf("before exec the server saw %+v, want %d with the token", own, each)
	}
}
