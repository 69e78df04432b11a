//go:build linux

package bench

import (
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

var (
	cellLength = flag.Duration("cell", 5*time.Second, "length of a cell")
	pairCount  = flag.Int("pairs", 6, "pairs of cells of each row")
	rowPattern = flag.String("rows", "", "regular expression: only the rows it matches, named LOAD A:B; also latency, hooks, memory")
	jsonFile   = flag.String("json", "", "file to write the report to")
	fixedRate  = flag.Float64("rate", 0, "requests a second of the rows at a fixed rate; default is half of what the slowest arm can do")
	maxSteal   = flag.Float64("steal", 0.02, "share of CPU time that may be taken from this machine in a cell that counts")
	maxForeign = flag.Float64("foreign", 0.05, "share of CPU time that others on this machine may use in a cell that counts")
	idlePairs  = flag.Int("idle", 5000, "idle pairs of the memory rows")
)

// ladder is one run of the benchmark.
type ladder struct {
	b      *testing.B
	host   *host
	arms   map[string]arm
	wanted *regexp.Regexp
	report Report
	cells  map[[2]string][]Cell // by load and arm
}

// row is a comparison that is to be made.
type row struct {
	load load
	a, b string
	must *bound
}

// bound is a criterion before it is measured.
type bound struct {
	what string
	of   func(Row) float64
	held func(float64) bool
}

func cpuAtMost(most float64) *bound {
	return &bound{fmt.Sprintf("CPU ≤ %.2f", most), func(r Row) float64 { return r.CPU.Median }, func(v float64) bool { return v <= most }}
}

func rateAtLeast(least float64) *bound {
	return &bound{fmt.Sprintf("rate ≥ %.2f", least), func(r Row) float64 { return r.Rate.Median }, func(v float64) bool { return v >= least }}
}

func rateReaches(least float64) *bound {
	return &bound{fmt.Sprintf("interval reaches %.2f", least), func(r Row) float64 { return r.Rate.High }, func(v float64) bool { return v >= least }}
}

// BenchmarkLadder makes every comparison once, whatever b.N is.
func BenchmarkLadder(b *testing.B) {
	l := &ladder{b: b, host: newHost(b), wanted: regexp.MustCompile(*rowPattern), cells: map[[2]string][]Cell{}}
	l.arms = l.host.arms()
	l.report.Machine, l.report.Token = thisMachine(b), len(l.host.token)
	fixed := load{what: "kept connections, fixed rate", connections: keptConnections, rate: l.rate()}
	for _, r := range rows(fixed) {
		l.compare(r)
	}
	l.summarise()
	l.latency(fixed)
	l.hooks()
	l.memory()
	l.report.Print(os.Stdout)
	if *jsonFile != "" {
		l.writeJSON(*jsonFile)
	}
	for _, finding := range l.report.Findings {
		b.Error(finding)
	}
}

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
			cell, err := l.host.measure(l.arms[name], load{what: "calibration", connections: keptConnections}, 2*time.Second)
			if err != nil {
				l.b.Fatal(err)
			}
			rate = min(rate, cell.rate()/2)
		}
	}
	step := float64(keptConnections) // h2load wants a whole rate for each connection
	return math.Floor(rate/step/10) * step * 10
}

// compare measures a row in the order A B B A, so that a drift of the machine
// falls on both, until it has its pairs or half as many were discarded.
func (l *ladder) compare(r row) {
	name := fmt.Sprintf("%s %s:%s", r.load.what, r.a, r.b)
	if !l.wanted.MatchString(name) {
		return
	}
	out := Row{Load: l.label(r.load), A: r.a, B: r.b}
	most := disturbance{*maxSteal, *maxForeign}
	for i := 0; len(out.Pairs) < *pairCount && out.Discarded <= *pairCount/2; i++ {
		pair, err := l.pair(r, i%2 == 1)
		switch {
		case err != nil:
			l.report.Findings = append(l.report.Findings, err.Error())
			return
		case pair.A.disturbed(most) || pair.B.disturbed(most):
			out.Discarded++
		default:
			out.Pairs = append(out.Pairs, pair)
		}
	}
	out.estimate(r.must)
	l.report.Rows = append(l.report.Rows, out)
	l.b.Logf("%s: CPU %v, rate %v, %d pairs, %d discarded", name, out.CPU, out.Rate, len(out.Pairs), out.Discarded)
}

func (l *ladder) label(of load) string {
	if of.rate > 0 {
		return fmt.Sprintf("%s of %.0f/s", of.what, of.rate)
	}
	return of.what
}

func (l *ladder) pair(r row, reversed bool) (pair Pair, err error) {
	order := []struct {
		arm  string
		cell *Cell
	}{{r.a, &pair.A}, {r.b, &pair.B}}
	if reversed {
		slices.Reverse(order)
	}
	for _, o := range order {
		if *o.cell, err = l.host.measure(l.arms[o.arm], r.load, *cellLength); err != nil {
			return pair, err
		}
		key := [2]string{l.label(r.load), o.arm}
		l.cells[key] = append(l.cells[key], *o.cell)
	}
	return pair, nil
}

// estimate fills in the ratios.
func (r *Row) estimate(must *bound) {
	var cpu, rate []float64
	for _, p := range r.Pairs {
		cpu = append(cpu, p.A.cpu()/p.B.cpu())
		rate = append(rate, p.A.rate()/p.B.rate())
	}
	r.CPU, r.Rate = estimate(cpu), estimate(rate)
	if must != nil {
		seen := must.of(*r)
		r.Must = &Criterion{What: must.what, Seen: seen, Held: must.held(seen)}
	}
}

// summarise gives the medians of each arm, in the order of the rows.
func (l *ladder) summarise() {
	for _, r := range l.report.Rows {
		for _, arm := range []string{r.A, r.B} {
			key := [2]string{r.Load, arm}
			cells := l.cells[key]
			if len(cells) == 0 {
				continue // given already
			}
			delete(l.cells, key)
			of := func(figure func(Cell) float64) float64 {
				var all []float64
				for _, c := range cells {
					all = append(all, figure(c))
				}
				return median(all)
			}
			l.report.Arms = append(l.report.Arms, ArmCost{
				Load: r.Load, Arm: arm, Cells: len(cells), Rate: of(Cell.rate),
				Client: of(func(c Cell) float64 { return c.Client }),
				Hop:    of(func(c Cell) float64 { return c.Hop }),
				Server: of(func(c Cell) float64 { return c.Server }),
			})
		}
	}
}

func (l *ladder) writeJSON(path string) {
	file, err := os.Create(path)
	if err == nil {
		err = l.report.JSON(file)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		l.b.Error(err)
	}
}
