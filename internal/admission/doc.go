// Package admission bounds the connections that an HTTP server holds, for everybody
// and for each party, so that no stranger keeps others from being served, or takes
// descriptors that are needed elsewhere.
//
// A connection is a stranger's until its request has shown whose it is. Strangers
// share a part of the places: what a party is in, such as a container, may have as many
// as are free there, and the party as many as that may still take. A newcomer who finds
// none takes that of the party with the most. The other part belongs to callers
// that were recognised: strangers never reach it, and what is recognised is never
// closed for somebody else. Callers that were recognised use both parts.
//
// It must not know what is served, or how a caller is recognised.
package admission
