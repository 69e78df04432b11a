//go:build linux

package bench

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

var (
	cellLength = flag.Duration("cell", 5*time.Second, "length of a cell")
	pairCount  = flag.Int("pairs", 6, "pairs of cells of each row")
	rowPattern = flag.String("rows", "", "regular expression: only the rows it matches, named LOAD A:B; also latency, hooks, memory")
	outFolder  = flag.String("out", "", "folder to write each report to, as NAME.json")
	fixedRate  = flag.Float64("rate", 0, "requests a second of the rows at a fixed rate; default is half of what the slowest arm can do")
	maxSteal   = flag.Float64("steal", 0.02, "share of CPU time that may be taken from this machine in a cell that counts")
	maxForeign = flag.Float64("foreign", 0.05, "share of CPU time that others on this machine may use in a cell that counts")
	idlePairs  = flag.Int("idle", 5000, "idle pairs of the memory rows")
)

// row is a comparison that is to be made.
type row struct {
	load load
	a, b string
	must *bound
}

// name is what -rows selects a row by.
func (r row) name() string { return fmt.Sprintf("%s %s:%s", r.load.what, r.a, r.b) }

func names(rows []row) []string {
	all := make([]string, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.name())
	}
	return all
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

// comparison is one run of a benchmark: arms are measured in pairs.
type comparison struct {
	b       *testing.B
	measure func(arm string, l load, length time.Duration) (Cell, error)
	wanted  *regexp.Regexp
	report  Report
	cells   map[[2]string][]Cell // by load and arm
}

func newComparison(b *testing.B) comparison {
	b.Helper()
	return comparison{b: b, wanted: regexp.MustCompile(*rowPattern), cells: map[[2]string][]Cell{}}
}

// skipUnless ends a benchmark of which nothing is wanted before it builds its host.
func (c *comparison) skipUnless(these []string) {
	if !slices.ContainsFunc(these, c.wanted.MatchString) {
		c.b.Skip("-rows wants nothing of this benchmark")
	}
}

// compare measures a row in the order A B B A, so that a drift of the machine
// falls on both, until it has its pairs or half as many were discarded.
func (c *comparison) compare(r row) {
	if !c.wanted.MatchString(r.name()) {
		return
	}
	out := Row{Load: c.label(r.load), A: r.a, B: r.b}
	most := disturbance{*maxSteal, *maxForeign}
	for i := 0; len(out.Pairs) < *pairCount && out.Discarded <= *pairCount/2; i++ {
		pair, err := c.pair(r, i%2 == 1)
		switch {
		case err != nil:
			c.report.Findings = append(c.report.Findings, err.Error())
			return
		case pair.A.disturbed(most) || pair.B.disturbed(most):
			out.Discarded++
		default:
			out.Pairs = append(out.Pairs, pair)
		}
	}
	out.estimate(r.must)
	c.report.Rows = append(c.report.Rows, out)
	c.b.Logf("%s: CPU %v, rate %v, %d pairs, %d discarded", r.name(), out.CPU, out.Rate, len(out.Pairs), out.Discarded)
}

func (c *comparison) label(of load) string {
	if of.rate > 0 {
		return fmt.Sprintf("%s of %.0f/s", of.what, of.rate)
	}
	return of.what
}

func (c *comparison) pair(r row, reversed bool) (pair Pair, err error) {
	order := []struct {
		arm  string
		cell *Cell
	}{{r.a, &pair.A}, {r.b, &pair.B}}
	if reversed {
		slices.Reverse(order)
	}
	for _, o := range order {
		if *o.cell, err = c.measure(o.arm, r.load, *cellLength); err != nil {
			return pair, err
		}
		key := [2]string{c.label(r.load), o.arm}
		c.cells[key] = append(c.cells[key], *o.cell)
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
func (c *comparison) summarise() {
	for _, r := range c.report.Rows {
		for _, arm := range []string{r.A, r.B} {
			key := [2]string{r.Load, arm}
			cells := c.cells[key]
			if len(cells) == 0 {
				continue // given already
			}
			delete(c.cells, key)
			of := func(figure func(Cell) float64) float64 {
				var all []float64
				for _, c := range cells {
					all = append(all, figure(c))
				}
				return median(all)
			}
			c.report.Arms = append(c.report.Arms, ArmCost{
				Load: r.Load, Arm: arm, Cells: len(cells), Rate: of(Cell.rate),
				Client: of(func(c Cell) float64 { return c.Client }),
				Hop:    of(func(c Cell) float64 { return c.Hop }),
				Server: of(func(c Cell) float64 { return c.Server }),
			})
		}
	}
}

// publish prints the report, writes it to the folder where that is wanted, and
// fails for what went wrong.
func (c *comparison) publish(name string) {
	c.report.Print(os.Stdout)
	if *outFolder != "" {
		c.writeJSON(filepath.Join(*outFolder, name+".json"))
	}
	for _, finding := range c.report.Findings {
		c.b.Error(finding)
	}
}

func (c *comparison) writeJSON(path string) {
	file, err := os.Create(path)
	if err == nil {
		err = c.report.JSON(file)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		c.b.Error(err)
	}
}
