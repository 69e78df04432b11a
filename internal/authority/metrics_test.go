package authority

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

// The table of metrics in the documentation has each of ours, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	m := newMetrics()
	m.observe("/x", 200, time.Second)
	m.refusals.WithLabelValues(kindEnrol).Inc()
	m.limited.WithLabelValues(bySource).Inc()
	m.observeCertificate(func() time.Time { return startTime })
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := regexp.MustCompile(`^lanyard_`)
	var served []string
	for _, family := range families {
		if ours.MatchString(family.GetName()) {
			served = append(served, family.GetName())
		}
	}
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(lanyard_authority_[a-z_]+)` \\|").FindAllStringSubmatch(string(content), -1) {
		documented = append(documented, row[1])
	}
	slices.Sort(served)
	slices.Sort(documented)
	if !slices.Equal(served, documented) {
		t.Errorf("served     %q\ndocumented %q", served, documented)
	}
}
