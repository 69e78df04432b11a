//go:build linux

package bench

import (
	"math"
	"slices"
	"testing"
	"time"
)

// ladder is one run of the data path's benchmark.
type ladder struct {
	comparison
	host *host
	arms map[string]arm
}

// BenchmarkLadder makes every comparison once, whatever b.N is.
func BenchmarkLadder(b *testing.B) {
	l := &ladder{comparison: newComparison(b)}
	l.skipUnless(slices.Concat(names(rows(load{what: fixedLoad})), []string{"latency", "hooks", "memory"}))
	l.host = newHost(b)
	l.arms = l.host.arms()
	l.measure = func(arm string, under load, length time.Duration) (Cell, error) {
		return l.host.measure(l.arms[arm], under, length)
	}
	l.report.Machine, l.report.Token = thisMachine(b), len(l.host.token)
	fixed := load{what: fixedLoad, connections: keptConnections, rate: l.rate()}
	for _, r := range rows(fixed) {
		l.compare(r)
	}
	l.summarise()
	l.latency(fixed)
	l.hooks()
	l.memory()
	l.publish("ladder")
}

// fixedLoad is what the rows at a fixed rate are called.
const fixedLoad = "kept connections, fixed rate"

// rows are the comparisons. The first of a load are of an arm with itself: no
// ratio closer to 1 than their interval says anything.
func rows(fixed load) []row {
	closed := load{what: "kept connections, closed loop", connections: keptConnections}
	fresh := load{what: "a connection per request", connections: newConnections, perRequest: true}
	return []row{
		{fixed, "H", "H", nil},
		{fixed, "P", "H", cpuAtMost(1.15)},
		{fixed, "P", "N", nil},
		{fixed, "P", "R", nil},
		{fixed, "R", "H", nil},
		{fixed, "P", "T", nil},
		{fixed, "T", "D", nil},
		{closed, "H", "H", nil},
		{closed, "P", "R", rateAtLeast(0.9)},
		{closed, "P", "H", nil},
		{closed, "P", "N", nil},
		{closed, "P", "T", nil},
		{fresh, "H", "H", nil},
		{fresh, "P", "H", nil},
		{fresh, "P", "N", nil},
		{fresh, "P", "R", nil},
		{closed, "B", "D", rateReaches(0.98)},
		{fresh, "D", "D", nil},
		{fresh, "B", "D", rateReaches(0.98)},
	}
}

// rate is that of the fixed rows: about half of what the slowest arm can do.
func (l *ladder) rate() float64 {
	rate := *fixedRate
	if rate == 0 {
		rate = math.Inf(1)
		for _, name := range []string{"P", "R", "H", "N"} {
			cell, err := l.measure(name, load{what: "calibration", connections: keptConnections}, 2*time.Second)
			if err != nil {
				l.b.Fatal(err)
			}
			rate = min(rate, cell.rate()/2)
		}
	}
	step := float64(keptConnections) // h2load wants a whole rate for each connection
	return math.Floor(rate/step/10) * step * 10
}
