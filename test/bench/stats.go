package bench

import (
	"math/rand/v2"
	"slices"
)

// median returns the middle of values, which must not be empty and stay as they are.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// quantile returns the value below which the share q of the sorted values lies.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// Resampling: enough that the ends of the interval do not move in their third
// digit, and from a fixed seed, so that a table can be recomputed from the JSON.
const (
	resamples = 10_000
	seed      = 20_08
)

// Estimate is the median of ratios with its bootstrap 95 % interval (percentile
// method).
type Estimate struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// estimate resamples the ratios of pairs. Of none it is zero.
func estimate(ratios []float64) Estimate {
	if len(ratios) == 0 {
		return Estimate{}
	}
	random := rand.New(rand.NewPCG(seed, seed))
	medians := make([]float64, resamples)
	drawn := make([]float64, len(ratios))
	for i := range medians {
		for j := range drawn {
			drawn[j] = ratios[random.IntN(len(ratios))]
		}
		medians[i] = median(drawn)
	}
	slices.Sort(medians)
	return Estimate{Median: median(ratios), Low: quantile(medians, 0.025), High: quantile(medians, 0.975)}
}
