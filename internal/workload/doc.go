// Package workload holds the domain types that every other package speaks:
// who called (Image, Flow, Process), who that is (Selector, Identity), where it
// may go (Destination) and how it ended (Outcome).
//
// It must not know how any of them is obtained: no kernel, no /proc, no YAML,
// no network. It imports the standard library only. Values are immutable once
// made and therefore safe for concurrent use.
package workload
