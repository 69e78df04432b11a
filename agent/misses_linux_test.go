package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

const missPolicy = `
identities:
  - {name: billing, match: {exe: /bin/one, user: root}, source: {operator: {ticket_file: /t}}}
  - {name: reports, match: {exe: /bin/two, user: root}, source: {operator: {ticket_file: /t}}}
destinations:
  - {name: ledger, hosts: [ledger.test, 10.1.0.7], ports: [80, 443], audience: a, identities: [billing]}
  - {name: payroll, hosts: [payroll.test], ports: [8080], audience: a, identities: [reports]}
  - {name: watched, hosts: [watched.test], ports: [80], audience: a, identities: [billing], enforce: false}
`

type discarded int

func (d *discarded) Use(telemetry.Use) { *d++ }

func TestProbableMisses(t *testing.T) {
	config, _ := parse(t, missPolicy)
	again, _ := parse(t, missPolicy)
	policy := config.Policy
	var log bytes.Buffer
	var handedOn discarded
	counted := map[string]int{}
	m := &misses{
		recorder: &handedOn, log: slog.New(slog.NewTextHandler(&log, nil)),
		policy: func() *registry.Policy { return policy },
		known: func() map[string][]netip.Addr {
			return map[string][]netip.Addr{"ledger.test": {netip.MustParseAddr("192.0.2.1")}, "watched.test": {netip.MustParseAddr("192.0.2.3")}}
		},
		count: func(identity, destination, reason string) { counted[identity+" "+destination+" "+reason]++ },
	}
	use := func(identity string, outcome workload.Outcome, host, to string) {
		u := telemetry.Use{Identity: identity, Outcome: outcome, Host: host}
		u.Peer.Original = netip.MustParseAddrPort(to)
		m.Use(u)
	}
	for range 3 {
		use("billing", workload.NotHTTP, "", "192.0.2.1:443")
		use("billing", workload.NotHTTP, "", "10.1.0.7:443")
		use("billing", workload.NoDestination, "ledger.test", "192.0.2.1:8080")
		use("reports", workload.NoDestination, "payroll.test", "192.0.2.9:80")
	}
	// None of these was meant, or none of them could have been found out.
	use("billing", workload.NotHTTP, "", "192.0.2.1:5432")
	use("billing", workload.NotHTTP, "", "192.0.2.2:443")
	use("billing", workload.NotHTTP, "", "192.0.2.3:80")
	use("reports", workload.NotHTTP, "", "192.0.2.1:443")
	use("", workload.NotHTTP, "", "192.0.2.1:443")
	use("billing", workload.NoDestination, "payroll.test", "192.0.2.9:80")
	use("billing", workload.NoDestination, "watched.test", "192.0.2.3:8080")
	use("billing", workload.NoDestination, "elsewhere.test", "192.0.2.9:80")
	use("billing", workload.NoIdentity, "ledger.test", "192.0.2.1:8080")
	use("billing", workload.Injected, "ledger.test", "192.0.2.1:80")
	want := map[string]int{"billing ledger not_http": 6, "billing ledger other_port": 3, "reports payroll other_port": 3}
	if fmt.Sprint(counted) != fmt.Sprint(want) || handedOn != 22 {
		t.Errorf("counted %v, want %v; %d of 22 were handed on", counted, want, handedOn)
	}
	lines := func(want int) {
		t.Helper()
		if n := strings.Count(log.String(), "level=INFO"); n != want {
			t.Errorf("%d lines, want %d:\n%s", n, want, &log)
		}
	}
	lines(4)
	if !strings.Contains(log.String(), `do="add 8080 to ports of ledger`) || !strings.Contains(log.String(), "host=payroll.test") {
		t.Errorf("logged\n%s", &log)
	}
	policy = again.Policy // reloaded
	use("billing", workload.NotHTTP, "", "192.0.2.1:443")
	lines(5)

	for i := range 3000 { // whatever names a program thinks of
		use("billing", workload.NoDestination, fmt.Sprint("h", i), "192.0.2.1:8080")
	}
	if n := len(m.seen["billing"]); n > maxPlaces {
		t.Errorf("%d places are remembered", n)
	}
	use("reports", workload.NoDestination, "payroll.test", "192.0.2.9:80") // is not silenced by another
	lines(6)
}

// What is not looked at costs nothing.
func TestUsesAreHandedOnWithoutAllocation(t *testing.T) {
	config, _ := parse(t, missPolicy)
	var handedOn discarded
	m := &misses{recorder: &handedOn, policy: func() *registry.Policy { return config.Policy }, known: func() map[string][]netip.Addr { return nil }}
	u := telemetry.Use{Identity: "billing", Outcome: workload.Injected}
	elsewhere := telemetry.Use{Identity: "billing", Outcome: workload.NoDestination, Host: "elsewhere.test"}
	m.Use(elsewhere)
	if n := testing.AllocsPerRun(100, func() { m.Use(u); m.Use(elsewhere) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
