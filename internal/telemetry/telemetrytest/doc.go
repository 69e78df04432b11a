// Package telemetrytest is an OpenTelemetry collector for tests and the demo: it
// receives spans over gRPC and HTTP, waits for one, and searches everything that
// arrived for token material.
//
// It must not know what the product records or how: it sees what any collector
// would see, on the wire.
package telemetrytest
