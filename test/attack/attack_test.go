//go:build linux

package attack

import (
	"testing"
)

// attack is one way to try.
type attack struct {
	name    string
	hooked  bool // whether the agent's hooks see the strangers
	holding bool // whether the agent is held for moments, so that its queues fill
	share   int  // of the tries
}

// resets reports whether the attack can have the victim's connections reset, though
// not take anything: the kernel answers a SYN that falls into another half-open
// connection under the same four addresses with a reset. The refusal of direct
// connections keeps strangers that the hooks do not see from having one there.
func (a attack) resets(direct bool) bool { return a.name == "twin" && direct && !a.hooked }

// roomy is a host as it comes: the listener has room for thousands.
var roomy = []attack{
	{"dead", true, false, 4}, {"dead", true, true, 4}, {"dead", false, true, 4},
	{"redirected", true, false, 4}, {"redirected", true, true, 4},
	{"unhooked", false, false, 4}, {"unhooked", false, true, 4},
	{"rebinding", true, true, 4}, {"rebinding", false, false, 4},
	{"local", true, true, 4}, {"local", false, true, 4},
	{"handed", true, true, 2}, {"handed", false, false, 2},
	{"twin", true, true, 1}, {"twin", false, true, 1},
}

// full is a host whose listeners have room for very few, remember no handshake, and
// take data with the SYN.
var full = []attack{
	{"half-open", true, true, 4}, {"half-open", false, true, 4},
	{"dead", true, true, 1}, {"dead", false, true, 1},
	{"redirected", true, true, 1}, {"unhooked", false, true, 2},
	{"rebinding", true, true, 1}, {"rebinding", false, true, 1},
	{"local", true, true, 1}, {"local", false, true, 1},
	{"local-twin", true, true, 1}, {"local-twin", false, true, 1},
	{"twin", true, true, 2}, {"twin", false, true, 2},
}

var fullSettings = map[string]string{
	"core/somaxconn": "4", "ipv4/tcp_syncookies": "2",
	"ipv4/tcp_fastopen": "1027", // 0x403: both sides, and the server's without asking for it
}

// TestAttacks and TestAttacksOnAFullQueue try each attack with the kernel's refusal
// of direct connections off, so that what stands behind it is attacked, and on.
func TestAttacks(t *testing.T) { newWorld(t, nil).attackAll(t, roomy, false) }

func TestAttacksOnAFullQueue(t *testing.T) { newWorld(t, fullSettings).attackAll(t, full, true) }

func (w *world) attackAll(t *testing.T, attacks []attack, fastOpen bool) {
	w.startHands(t)
	t.Log(row{}.header())
	for _, direct := range []bool{true, false} {
		w.allowDirect(t, direct)
		for _, a := range attacks {
			if *only == "" || *only == a.name {
				w.try(t, a, direct, fastOpen)
			}
		}
	}
}

// triesOf is what an attack has of all tries: each is made twice.
func triesOf(a attack) int {
	shares := 0
	for _, list := range [][]attack{roomy, full} {
		for _, each := range list {
			shares += 2 * each.share
		}
	}
	return (*tries*a.share + shares - 1) / shares
}

// try has strangers attack a victim, and wants that nothing crossed and that the
// victim got all that is its own.
func (w *world) try(t *testing.T, a attack, direct, fastOpen bool) {
	t.Helper()
	victims := w.startVictim(t, fastOpen)
	release := w.hold(t, a)
	strangers := w.startStrangers(t, a)
	strangers.wait(t)
	release()
	victims.finish(t)

	r := row{attack: a, direct: direct}
	strangers.result(t, &r.strangers)
	victims.result(t, &r.victim)
	r.crossed, r.own = w.judge.take("attack/"+a.name), w.judge.take("victim/own")
	t.Log(r)
	if r.crossed.Valid+r.crossed.Invalid+r.strangers.Read > 0 {
		t.Errorf("%+v: the server saw %+v of the strangers' requests, and they read %d answers that were not theirs", a, r.crossed, r.strangers.Read)
	}
	if want := triesOf(a); r.strangers.Tries != want {
		t.Errorf("%+v: %d tries, want %d", a, r.strangers.Tries, want)
	}
	lost := r.victim.Anonymous + r.own.None + r.own.Invalid
	if !a.resets(direct) {
		lost += r.victim.Failed + r.victim.Denied
	}
	if lost > 0 || r.victim.Served == 0 {
		t.Errorf("%+v: the victim had %+v, the server saw %+v of its requests", a, r.victim, r.own)
	}
}
