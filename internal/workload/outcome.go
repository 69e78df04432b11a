package workload

// Outcome is how a request, or a connection that is no request, ended. It is the
// same word in log, metric, span and in the answer to the client.
type Outcome string

// The outcomes. What happens in each is in docs/architecture.md.
const (
	Injected              Outcome = "injected"               // forwarded with the token
	Observed              Outcome = "observed"               // enforce: false; forwarded unchanged
	NoIdentity            Outcome = "no_identity"            // no identity, or none the destination lists; relayed unchanged
	NoDestination         Outcome = "no_destination"         // host not registered; forwarded unchanged
	Untouched             Outcome = "untouched"              // outside the rule; forwarded unchanged
	NotHTTP               Outcome = "not_http"               // relayed byte for byte
	ProtocolRefused       Outcome = "protocol_refused"       // no HTTP/1 to a destination that fails closed; ended
	DestinationUnverified Outcome = "destination_unverified" // forwarded without a token
	IdentityAmbiguous     Outcome = "identity_ambiguous"     // 503, or forwarded where on_failure is open
	TokenUnavailable      Outcome = "token_unavailable"      // 503, or forwarded where on_failure is open
	AgentUnavailable      Outcome = "agent_unavailable"      // decided in the kernel: connect refused
	Refused               Outcome = "refused"                // existing_authorization: refuse; 403
	NotSent               Outcome = "not_sent"               // the connection ended before it could be sent
	UpstreamFailed        Outcome = "upstream_failed"        // no address answers; reset
	BadRequest            Outcome = "bad_request"            // refused by the strict parser; 400, 431 or 501
)
