package bench

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
	values := []float64{2, 1}
	median(values)
	if values[0] != 2 {
		t.Error("the values were sorted in place")
	}
}

func TestQuantile(t *testing.T) {
	sorted := []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for q, want := range map[float64]float64{0: 0, 0.5: 5, 0.99: 9, 1: 9} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
}

func TestEstimate(t *testing.T) {
	if got := estimate([]float64{2, 2, 2}); got != (Estimate{2, 2, 2}) {
		t.Errorf("equal ratios: %+v", got)
	}
	if got := estimate(nil); got != (Estimate{}) {
		t.Errorf("no ratios: %+v", got)
	}
	// The interval of the median of n values reaches about from the n/2-√n th to
	// the n/2+√n th of them.
	var ratios []float64
	for i := range 101 {
		ratios = append(ratios, float64(i))
	}
	got := estimate(ratios)
	if got.Median != 50 || math.Abs(got.Low-40) > 3 || math.Abs(got.High-60) > 3 {
		t.Errorf("0…100: %+v, want about 50 within 40…60", got)
	}
	if again := estimate(ratios); again != got {
		t.Errorf("the same ratios gave %+v, then %+v", got, again)
	}
}
