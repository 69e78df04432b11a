package telemetry

import "go.opentelemetry.io/otel/attribute"

// The names of our spans and of the attributes for which OpenTelemetry has no
// convention. Dashboards hold on to them: renaming one is a breaking change.
const (
	spanUse       = "use of a token"
	spanObtaining = "obtaining of a token"

	attributeOutcome     = attribute.Key("lanyard.outcome")          // workload.Outcome
	attributeIdentity    = attribute.Key("lanyard.identity")         // name
	attributeDestination = attribute.Key("lanyard.destination")      // name
	attributeAudience    = attribute.Key("lanyard.audience")         // of the token
	attributeTokenID     = attribute.Key("lanyard.token.id")         // jti
	attributeExpiresIn   = attribute.Key("lanyard.token.expires_in") // seconds, from the end of the span
)

// The names of our metrics and their labels.
const (
	metricRequests    = "lanyard_requests_total"
	metricRefusals    = "lanyard_bad_requests_total"
	metricAnonymous   = "lanyard_anonymous_requests_total"
	metricFetches     = "lanyard_token_fetches_total"
	metricKernel      = "lanyard_kernel_events_total"
	metricConnections = "lanyard_open_connections"
	metricHooks       = "lanyard_hooks_up"
	metricProblems    = "lanyard_problems"
	metricBuild       = "lanyard_build_info"
	metricSpans       = "lanyard_trace_spans_total"

	metricLocalAPICalls  = "lanyard_local_api_requests_total"
	metricListenerUp     = "lanyard_listener_up"
	metricListenerOpen   = "lanyard_listener_connections"
	metricListenerClosed = "lanyard_listener_closed_connections_total"

	metricLimit     = "lanyard_max_connections"
	metricAdded     = "lanyard_request_added_latency_seconds"
	metricResponses = "lanyard_upstream_responses_total"
	metricMisses    = "lanyard_probable_misses_total"
	metricFetchTime = "lanyard_token_fetch_duration_seconds"
	metricReload    = "lanyard_config_last_reload_successful"
	metricReloaded  = "lanyard_config_last_reload_success_timestamp_seconds"

	metricIdentities     = "lanyard_identities"
	metricTokenAvailable = "lanyard_identity_token_available"
	metricTokenExpiry    = "lanyard_identity_token_expiry_timestamp_seconds"
	metricTokenSuccess   = "lanyard_identity_token_last_success_timestamp_seconds"
	metricTokenFailing   = "lanyard_identity_token_failing"

	labelOutcome     = "outcome"
	labelDestination = "destination"
	labelIdentity    = "identity"
	labelClass       = "status_class"
	labelReason      = "reason"
	labelResult      = "result"
	labelEvent       = "event"
	labelVersion     = "version"
	labelGoVersion   = "go_version"
	labelState       = "state"
	labelSeverity    = "severity"
	labelListener    = "listener"
	labelAddress     = "address"
)
