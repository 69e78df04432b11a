// Package store keeps what the authority must remember: tickets, workloads,
// secrets, signing keys, administrators' tokens, spent JWT ids and the activity log. It
// is SQLite in one file; everything that only SQLite understands is in sqlite.go
// and in migrations/sqlite.
//
// It must not know why something is allowed or refused, HTTP, or a secret in the
// clear: of tickets and administrators' tokens it gets a SHA-256, of signing
// keys and secrets a sealed box.
package store
