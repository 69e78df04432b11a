package bench

const (
	// maxSteal is the share of CPU time taken from this machine, and maxForeign
	// that used by anybody who is not part of the benchmark, in a cell that counts.
	maxSteal   = 0.02
	maxForeign = 0.05
)

// Cell is one measurement of one arm.
type Cell struct {
	Arm      string  `json:"arm"`
	Seconds  float64 `json:"seconds"`
	Requests uint64  `json:"requests"` // as the origin counted them
	Client   float64 `json:"client_us"`
	Hop      float64 `json:"hop_us"`
	Server   float64 `json:"server_us"` // CPU time per request, in microseconds
	Steal    float64 `json:"steal"`
	Foreign  float64 `json:"foreign"` // shares of the machine's CPU time

	micros []float64
}

// rate is requests per second.
func (c Cell) rate() float64 { return float64(c.Requests) / c.Seconds }

// cpu is the CPU time of the whole system per request, in microseconds.
func (c Cell) cpu() float64 { return c.Client + c.Hop + c.Server }

// disturbed reports whether somebody else was using the machine.
func (c Cell) disturbed() bool { return c.Steal > maxSteal || c.Foreign > maxForeign }
