//go:build linux

package attack

import "fmt"

// strangersResult is what test/attack/stranger counts.
type strangersResult struct{ Tries, Busy, Refused, Answers, Read int }

// victimResult is what test/attack/victim counts.
type victimResult struct {
	Made, Served, Anonymous, Failed, Tokens, Denied, Abandoned int
	First                                                      string
	Slowest                                                    int64 // request, in nanoseconds
	SlowestToken                                               int64 `json:"slowest_token"`
}

// row is one line of the table that is printed.
type row struct {
	attack    attack
	direct    bool // whether strangers may connect to the injector
	strangers strangersResult
	victim    victimResult
	crossed   tally // of the strangers' requests
	own       tally // of the victim's
}

// What `make test` shows in the end begins with "counts:".
const columns = "counts: %-10s %-8s %-5s %-8s %8v %6v %8v %8v %8v %5v | %7v %9v %6v"

func (row) header() string {
	return fmt.Sprintf(columns, "attack", "stranger", "agent", "direct", "tries", "busy", "refused", "answers", "crossed", "read", "victim", "anonymous", "failed")
}

func (r row) String() string {
	hooked, agent, direct := "unhooked", "runs", "refused"
	if r.attack.hooked {
		hooked = "hooked"
	}
	if r.attack.holding {
		agent = "held"
	}
	if r.direct {
		direct = "allowed"
	}
	return fmt.Sprintf(columns, r.attack.name, hooked, agent, direct, r.strangers.Tries, r.strangers.Busy, r.strangers.Refused, r.strangers.Answers,
		r.crossed.Valid, r.strangers.Read, r.victim.Served+r.victim.Tokens, r.victim.Anonymous, r.victim.Failed+r.victim.Denied)
}
