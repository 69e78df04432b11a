package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is all that one run found out.
type Report struct {
	Machine  Machine    `json:"machine"`
	Token    int        `json:"token_bytes"`
	Rows     []Row      `json:"rows"`
	Arms     []ArmCost  `json:"arms"`
	Latency  []Latency  `json:"latency"`
	Hooks    []HookCost `json:"hooks"`
	Memory   []Memory   `json:"memory"`
	Findings []string   `json:"findings"` // what went wrong
}

// Machine says where and with what was measured.
type Machine struct {
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Kernel   string            `json:"kernel"`
	Versions map[string]string `json:"versions"`
}

// Row is a comparison of two arms under one load.
type Row struct {
	Load      string     `json:"load"`
	A         string     `json:"a"`
	B         string     `json:"b"`
	CPU       Estimate   `json:"cpu"`  // A's CPU time per request, as a share of B's
	Rate      Estimate   `json:"rate"` // A's requests per second, as a share of B's
	Pairs     []Pair     `json:"pairs"`
	Discarded int        `json:"discarded"`
	Must      *Criterion `json:"must,omitempty"`
}

// Pair is two adjacent cells.
type Pair struct{ A, B Cell }

// Criterion is what performance must be. It is about the median, or, where that
// is said, about an end of the interval.
type Criterion struct {
	What string  `json:"what"`
	Held bool    `json:"held"`
	Seen float64 `json:"seen"`
}

// ArmCost is the median of an arm's cells under one load.
type ArmCost struct {
	Load   string  `json:"load"`
	Arm    string  `json:"arm"`
	Cells  int     `json:"cells"`
	Rate   float64 `json:"requests_per_second"`
	Client float64 `json:"client_us"`
	Hop    float64 `json:"hop_us"`
	Server float64 `json:"server_us"`
}

// Latency is how long requests take at a fixed rate, in microseconds.
type Latency struct {
	Arm      string  `json:"arm"`
	Requests int     `json:"requests"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
}

// HookCost is what a kernel program costs, by the kernel's own statistics.
type HookCost struct {
	Caller  string  `json:"caller"`
	Program string  `json:"program"`
	Runs    float64 `json:"runs_per_connection"`
	Nanos   float64 `json:"ns_per_run"`
}

// Memory is the resident memory of a hop, in KiB.
type Memory struct {
	Arm     string  `json:"arm"`
	Idle    int     `json:"idle_kib"` // without connections
	Pairs   int     `json:"pairs"`
	Held    int     `json:"held_kib"` // with that many idle pairs
	PerPair float64 `json:"kib_per_pair"`
}

// JSON writes the report as one object.
func (r *Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Print writes the report as tables in Markdown, as they stand in the documentation.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d cores, Linux %s", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel)
	for _, name := range slices.Sorted(maps.Keys(r.Machine.Versions)) {
		fmt.Fprintf(w, ", %s %s", name, r.Machine.Versions[name])
	}
	fmt.Fprintf(w, "; token of %d bytes.\n", r.Token)
	table(w, "load|A : B|CPU per request|requests/s|pairs (discarded)|must|", func(row func(...any)) {
		for _, c := range r.Rows {
			must := "–"
			if c.Must != nil {
				must = fmt.Sprintf("%s: %s (%.3f)", c.Must.What, map[bool]string{true: "held", false: "**missed**"}[c.Must.Held], c.Must.Seen)
			}
			row(c.Load, c.A+" : "+c.B, c.CPU, c.Rate, fmt.Sprintf("%d (%d)", len(c.Pairs), c.Discarded), must)
		}
	})
	table(w, "load|arm|requests/s|client µs|hop µs|server µs|sum µs|cells|", func(row func(...any)) {
		for _, a := range r.Arms {
			row(a.Load, a.Arm, fmt.Sprintf("%.0f", a.Rate), micros(a.Client), micros(a.Hop), micros(a.Server), micros(a.Client+a.Hop+a.Server), a.Cells)
		}
	})
	table(w, "latency at a fixed rate|p50 µs|p99 µs|p99.9 µs|requests|", func(row func(...any)) {
		for _, l := range r.Latency {
			row(l.Arm, fmt.Sprintf("%.0f", l.P50), fmt.Sprintf("%.0f", l.P99), fmt.Sprintf("%.0f", l.P999), l.Requests)
		}
	})
	table(w, "connections of|program|runs per connection|ns per run|", func(row func(...any)) {
		for _, c := range r.Hooks {
			row(c.Caller, c.Program, fmt.Sprintf("%.2f", c.Runs), fmt.Sprintf("%.0f", c.Nanos))
		}
	})
	table(w, "memory of|without connections, KiB|idle pairs|with them, KiB|KiB per pair|", func(row func(...any)) {
		for _, m := range r.Memory {
			row(m.Arm, m.Idle, m.Pairs, m.Held, fmt.Sprintf("%.1f", m.PerPair))
		}
	})
	for _, finding := range r.Findings {
		fmt.Fprintln(w, "! "+finding)
	}
}

// String shows an estimate as it stands in a table.
func (e Estimate) String() string { return fmt.Sprintf("%.3f [%.3f, %.3f]", e.Median, e.Low, e.High) }

func micros(us float64) string { return fmt.Sprintf("%.1f", us) }

// table writes one table, unless it would be empty.
func table(w io.Writer, head string, fill func(row func(...any))) {
	columns := strings.Split(strings.TrimSuffix(head, "|"), "|")
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	rows := 0
	line := func(cells []string) { fmt.Fprintln(t, "| "+strings.Join(cells, "\t| ")+"\t|") }
	fill(func(values ...any) {
		if rows == 0 {
			fmt.Fprintln(w)
			line(columns)
			line(slices.Repeat([]string{"---"}, len(columns)))
		}
		rows++
		cells := make([]string, len(values))
		for i, v := range values {
			cells[i] = fmt.Sprint(v)
		}
		line(cells)
	})
	_ = t.Flush() // to standard output, or to a test's buffer
}
