package serverurl

import (
	"errors"
	"net/http"
)

// errUpgrade is why an answer is not taken.
var errUpgrade = errors.New("the server answers 101 (Switching Protocols), which it was not asked for")

// WithoutUpgrade returns a transport for whose answers a context, and a client's limit of
// time, hold to the end: those of net/http let go of a connection whose protocol has
// changed (RFC 9110 section 15.2.2), and who reads on waits for as long as the server
// likes. Requests must not ask for a change.
func WithoutUpgrade(transport *http.Transport) Transport { return Transport{transport} }

// Transport is what WithoutUpgrade makes of an http.Transport. It is safe for concurrent
// use.
type Transport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		return nil, errors.Join(errUpgrade, response.Body.Close())
	}
	return response, err
}
