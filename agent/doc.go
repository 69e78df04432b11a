// Package agent is the host agent: its configuration, its local API, and the one
// place where kernel, attribution, registry, tokens, injector and telemetry are
// joined.
//
// It must not know how any of them works: it reads the configuration, makes the
// parts, and starts and stops them in order.
package agent
