package agent

import "net/netip"

// WhyPath is where the Unix socket answers what becomes of a request, to root alone.
const WhyPath = "/lanyard/v1/why"

// WhyQuestion is what somebody asks of the agent.
type WhyQuestion struct {
	URL     string     `json:"url"`
	Method  string     `json:"method,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	PID     uint32     `json:"pid,omitempty"` // or else:
	// Executable and User describe a process that need not run; Unit is its systemd
	// unit, or "".
	Executable string `json:"exe,omitempty"`
	User       string `json:"user,omitempty"`
	Unit       string `json:"systemd_unit,omitempty"`
}
