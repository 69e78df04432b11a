package agent

import (
	"strings"
	"testing"
	"time"
)

// minimalConfig is one identity with one destination.
const minimalConfig = `
identities:
  - {name: billing, match: {user: billing}, source: {operator: {ticket_file: /run/ticket}}}
destinations:
  - {name: ledger, hosts: [ledger.internal], ports: [80], identities: [billing]}
`

func limited(block string) string { return minimalConfig + "limits:\n" + block }

func TestLimits(t *testing.T) {
	c, _, err := ParseConfig("agent.yaml", []byte(limited(
		"  head_bytes: 131072\n  head_fields: 500\n  head_time: 1m\n  decision_time: 5s\n  dial_time: 10s\n  reader_pause: 1h\n  idle: 30m\n  tunnel_idle: 48h\n")), testHost)
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{
		HeadBytes: 131072, HeadFields: 500, HeadTime: time.Minute, Decision: 5 * time.Second, Dial: 10 * time.Second,
		Pause: time.Hour, Idle: 30 * time.Minute, TunnelIdle: 48 * time.Hour,
	}
	if c.Limits != want {
		t.Errorf("%+v, want %+v", c.Limits, want)
	}
	if c, _, err = ParseConfig("agent.yaml", []byte(minimalConfig), testHost); err != nil || c.Limits != (Limits{}) {
		t.Errorf("without: %+v, %v", c, err)
	}
}

func TestLimitsRefused(t *testing.T) {
	for block, wants := range map[string][]string{
		"  head_bytes: 1024\n":          {"head_bytes", "1024", "from 16384 to 1048576"},
		"  head_bytes: 2097152\n":       {"from 16384 to 1048576"},
		"  head_bytes: 64KiB\n":         {"from 16384 to 1048576"},
		"  head_fields: 0\n":            {"head_fields", "from 64 to 4096"},
		"  head_time: 0s\n":             {"head_time", "from 2s to 10m0s"},
		"  reader_pause: 300\n":         {"reader_pause", "such as 30s or 5m"},
		"  reader_pause: -5m\n":         {"reader_pause"},
		"  idle: 1s\n":                  {"idle", "from 1m0s"},
		"  tunnel_idle: 10000h\n":       {"tunnel_idle", "to 720h0m0s"},
		"  dial_time: \"\"\n":           {"dial_time"},
		"  decision_time: soon\n":       {"decision_time"},
		"  head_byte: 65536\n":          {"head_byte", "unknown"},
		"  idle:\n":                     {"no value"},
		"  idle: [1h]\n":                {"text or a number"},
		"  head_bytes: 1\n  idle: 1s\n": {"head_bytes", "idle"},
	} {
		_, _, err := ParseConfig("agent.yaml", []byte(limited(block)), testHost)
		if err == nil {
			t.Errorf("%q is taken", block)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", block, err, want)
			}
		}
	}
}
