// Package localapi is the API that the processes of this host fetch raw tokens
// from, as the original client has it: the calls under /peer/v1, their errors, the
// key that guards them and the servers that speak it. The agent and the client
// mode both serve it.
//
// It must not know how a caller is recognised, where tokens come from or which
// identities there are: whoever serves it says so.
package localapi
