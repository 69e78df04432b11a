//go:build linux

package probe

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Whoever starts processes has a verdict cached of each; where that fails, one line tells.
func TestVerdictsThatFailFillNoLog(t *testing.T) {
	var out bytes.Buffer
	p := &Probe{log: slog.New(slog.NewTextHandler(&out, nil)), lines: logbudget.New(logbudget.Config{})}
	p.connect.Verdicts = &ebpf.Map{} // takes nothing
	for pid := range uint32(100) {
		p.Bystander(workload.Flow{Image: workload.Image{PID: pid}, UID: 1000, PlaceID: 7})
	}
	if lines := strings.Count(out.String(), "cannot cache a verdict"); lines != 1 {
		t.Errorf("%d lines about 100 processes of one party, want 1", lines)
	}
}
