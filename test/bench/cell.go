package bench

// disturbance is the share of the machine's CPU time that others may take in a
// cell that counts: other machines (steal), and whoever on this one is no part of
// the benchmark.
type disturbance struct{ steal, foreign float64 }

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

// disturbed reports whether others took more than they may.
func (c Cell) disturbed(most disturbance) bool {
	return c.Steal > most.steal || c.Foreign > most.foreign
}
