package workload

// Anonymous says why what an identity sent to a destination, or to the address of
// one, went out without its token. It is the same word in log and metric.
type Anonymous string

// The reasons. docs/architecture.md says what to do about each.
const (
	AnonymousObserved      Anonymous = "observed"          // enforce: false
	AnonymousNotListed     Anonymous = "not_listed"        // the destination lists other identities
	AnonymousMethod        Anonymous = "method"            // outside the rule's methods
	AnonymousPath          Anonymous = "path"              // outside the rule's paths
	AnonymousUnsafePath    Anonymous = "unsafe_path"       // a path that servers read in different ways, and the rule names paths
	AnonymousTrace         Anonymous = "trace"             // TRACE or TRACK: the server would send the token back
	AnonymousConnect       Anonymous = "connect"           // CONNECT, and what goes through its tunnel
	AnonymousScheme        Anonymous = "scheme"            // an absolute target of another scheme than http
	AnonymousOwn           Anonymous = "own_authorization" // existing_authorization: keep
	AnonymousUnverified    Anonymous = "unverified"        // the address is not known to be that host
	AnonymousPort          Anonymous = "other_port"        // Host names another port than the connection went to
	AnonymousUnknownHost   Anonymous = "unknown_host"      // no destination has the Host, and the address is one's
	AnonymousNoHost        Anonymous = "no_host"           // HTTP/1.0 without a Host, or an empty one
	AnonymousAmbiguous     Anonymous = "ambiguous"         // on_failure: open, and two identities match equally well
	AnonymousUnknownCaller Anonymous = "unknown_caller"    // on_failure: open, and the caller could not be looked at, or is gone
	AnonymousNoToken       Anonymous = "no_token"          // on_failure: open, and no token could be had
	AnonymousNotHTTP       Anonymous = "not_http"          // on_failure: open, or no token is due: bytes that are no HTTP/1
	AnonymousDoubtful      Anonymous = "doubtful"          // no token is due: requests that servers read in different ways
)
