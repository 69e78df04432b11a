// Package telemetry sets up OpenTelemetry and structured logs, and names the
// spans, attributes and metrics of the product in one place.
//
// It must not know how a request is handled or where a token comes from, and
// never sees a token: what it records are facts about one.
package telemetry
