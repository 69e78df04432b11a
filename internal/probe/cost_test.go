//go:build linux

package probe

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// BenchmarkConnect4 reports what connect4 costs a connect(), by the kernel's own
// statistics (BPF_ENABLE_STATS). Run it with -benchtime=20000x.
func BenchmarkConnect4(b *testing.B) {
	h := newHost(b)
	h.serve(b, at(target4), "D")
	h.serve(b, "10.98.0.1:8081", "D")
	stop := h.injectAll(b)
	defer stop()
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	must(b, err)
	defer stats.Close()
	for _, arm := range []struct {
		name, addr string
		conditions []workload.Condition
	}{
		{"unwatched", "10.98.0.1:8081", []workload.Condition{named("billing")}},
		{"bystander", at(target4), []workload.Condition{named("curl")}},
		{"candidate", at(target4), []workload.Condition{named("billing")}},
	} {
		b.Run(arm.name, func(b *testing.B) {
			h.watch(b, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: arm.conditions})
			c := h.start(b, "billing")
			hookRuns, hookTime := h.cost(b, h.probe.connect.LanyardConnect4)
			opsRuns, opsTime := h.cost(b, h.probe.handshake.Sockops)
			b.ResetTimer()
			c.doMany(b, request{Do: "connect many", Addr: arm.addr, Number: b.N})
			b.StopTimer()
			runs, after := h.cost(b, h.probe.connect.LanyardConnect4)
			opsRunsAfter, opsAfter := h.cost(b, h.probe.handshake.Sockops)
			b.ReportMetric(float64(after-hookTime)/float64(runs-hookRuns), "ns/connect4")
			b.ReportMetric(float64(opsAfter-opsTime)/float64(b.N), "ns/sockops")
			b.ReportMetric(float64(opsRunsAfter-opsRuns)/float64(b.N), "runs/sockops")
		})
	}
}

func (h *host) cost(b *testing.B, program *ebpf.Program) (runs uint64, total time.Duration) {
	b.Helper()
	stats, err := program.Stats()
	must(b, err)
	return stats.RunCount, stats.Runtime
}
