// Package operator is the operator protocol's client: it enrols a workload with a
// ticket, keeps the workload's private key and renews it, proves possession of it on
// every call and obtains ID tokens, secrets and invites. It is a token.Source, which
// compares each token with what it asked for: audience, workload, issuer, algorithm
// and times.
//
// It must not know processes, destinations or what its tokens are used for, and
// nothing of the authority but the protocol. It keeps no tokens: the cache does.
// Secrets it keeps in memory, for minutes.
//
// It talks to the configured base only: redirects are not followed and proxies
// from the environment are not used, because either would hand an assertion, or
// a ticket, to somebody who is not the authority.
package operator
