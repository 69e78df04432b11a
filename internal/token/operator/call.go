package operator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/token"
)

const (
	dialTimeout    = 5 * time.Second
	maxAnswer      = 256 << 10 // a secret can be the longest
	maxAnswerHead  = 32 << 10
	maxRetryAfter  = 10 * time.Minute
	contentType    = "application/json"
	credentialType = "Bearer "
)

// message is one request: what proves who sends it depends on the time.
type message struct {
	method string // POST if ""; a GET has no body
	bearer string // "" for a registration, which proves itself in its body
	ticket string // of a registration: it is in the body
	body   any
}

// withhold takes our secrets out of a text of the other side's making: whoever
// answers at a wrong address may send back what it received, and errors are logged.
func (m message) withhold(text string) string {
	for name, secret := range map[string]string{"(assertion)": m.bearer, "(ticket)": m.ticket} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, name)
		}
	}
	return text
}

// answerError is an answer that is no success.
type answerError struct {
	status  int
	message string
}

func (e *answerError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("authority answered %d", e.status)
	}
	return fmt.Sprintf("authority answered %d: %s", e.status, e.message)
}

// unusable is an answer that came, and of which nothing can be made: it counts as none.
type unusable struct{ error }

// answered returns an unusable answer; the format goes on from "authority answered".
func answered(format string, values ...any) error {
	return unusable{fmt.Errorf("authority answered "+format, values...)}
}

// Unwrap returns what the answer was.
func (e unusable) Unwrap() error { return e.error }

// Is makes it a token.ErrUnreachable, without its words.
func (unusable) Is(target error) bool { return target == token.ErrUnreachable }

// caller sends requests to one operator base.
type caller struct {
	base    string
	timeout time.Duration
	client  *http.Client
	clock   *clock
	busy    atomic.Pointer[token.BusyError] // the last answer that wants us to wait
}

// newTransport returns a transport without proxy and without connections kept
// open: a token an hour needs none, and a connection that the authority closes
// meanwhile would cost a single-use assertion.
func newTransport(roots *x509.CertPool, timeout time.Duration) serverurl.Transport {
	return serverurl.WithoutUpgrade(&http.Transport{
		Proxy:                  nil,
		DialContext:            serverurl.DialContext(dialTimeout),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: maxAnswerHead,
		DisableKeepAlives:      true,
		DisableCompression:     true,
	})
}

// exchange sends what build makes for a time by the authority's clock and reads the
// answer into out; it returns when the answer was received. A 401 that may be due
// to the clock is tried once more with the clock corrected; where the clocks are
// too far apart for that, the error is a *ClockError. While the authority wants not
// to be asked, nothing is sent: one workload is limited as a whole, whatever it asks
// for.
func (c *caller) exchange(ctx context.Context, path string, build func(at time.Time) (message, error), out any) (time.Time, error) {
	if busy := c.busy.Load(); busy != nil && c.clock.now().Before(busy.Until) {
		return time.Time{}, busy
	}
	for retried := false; ; retried = true {
		m, err := build(c.clock.authority())
		if err != nil {
			return time.Time{}, err
		}
		a, err := c.send(ctx, path, m)
		if err != nil {
			return time.Time{}, err
		}
		wrong, clockErr := a.learn(c.clock)
		if a.status == http.StatusOK || a.status == http.StatusCreated {
			if err := json.Unmarshal(a.body, out); err != nil {
				return time.Time{}, answered("something else than the JSON expected of %s%s; is that the operator's base?", c.base, path)
			}
			return a.received, nil
		}
		failure := c.failure(path, a, m)
		switch {
		case a.status != http.StatusUnauthorized:
			return time.Time{}, failure
		case clockErr != nil:
			return time.Time{}, fmt.Errorf("%w; %w", failure, clockErr)
		case !retried && wrong.Abs() > clockTolerance:
			continue
		}
		if d := c.clock.difference(); d != nil {
			return time.Time{}, fmt.Errorf("%w (asked with the clock corrected: %v)", failure, d)
		}
		return time.Time{}, failure
	}
}

// answer is what came back.
type answer struct {
	status         int
	header         http.Header
	body           []byte
	sent, received time.Time
}

// learn corrects the clock by the answer's Date.
func (a *answer) learn(c *clock) (time.Duration, error) {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return 0, nil // nothing to learn from
	}
	return c.learn(date, a.sent, a.received)
}

// request builds the HTTP request.
func (m message) request(ctx context.Context, url string) (*http.Request, error) {
	if m.method == http.MethodGet {
		return http.NewRequestWithContext(ctx, m.method, url, nil)
	}
	body, err := json.Marshal(m.body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err == nil {
		request.Header.Set("Content-Type", contentType)
	}
	return request, err
}

// send does one exchange.
func (c *caller) send(ctx context.Context, path string, m message) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := m.request(ctx, c.base+path)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	request.Header.Set("Accept", contentType)
	request.Header.Set("User-Agent", "lanyard")
	if m.bearer != "" {
		request.Header.Set("Authorization", credentialType+m.bearer)
	}
	a := &answer{sent: c.clock.now()}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, unreachable(err, m)
	}
	defer func() { _ = response.Body.Close() }()
	a.received = c.clock.now()
	a.status, a.header = response.StatusCode, response.Header
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, unreachable(err, m)
	}
	if len(a.body) > maxAnswer {
		return nil, answered("more than %d bytes at %s%s, which no answer is longer than; is that the operator's base?", maxAnswer, c.base, path)
	}
	return a, nil
}

// unreachable explains why there was no answer.
func unreachable(err error, m message) error {
	hint := "is it running, and is its address right?"
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		hint = "if a private CA signed its certificate, name that CA's file (LANYARD_CA_FILE)"
	}
	// An answer that is no HTTP, or a Location that is no URL, is quoted.
	if text := serverurl.Printable(m.withhold(err.Error())); text != err.Error() {
		err = errors.New(text)
	}
	return fmt.Errorf("%w: %w; %s", token.ErrUnreachable, err, hint)
}

// failure turns an answer that is no success into an error.
func (c *caller) failure(path string, a *answer, m message) error {
	e := &answerError{status: a.status, message: serverurl.Printable(m.withhold(authorityMessage(a.body)))}
	switch {
	case a.status >= 300 && a.status < 400:
		return answered("%d: %s%s redirects to %q, which is not followed; name that base if it is right",
			a.status, c.base, path, serverurl.Printable(m.withhold(a.header.Get("Location"))))
	case a.status == http.StatusTooManyRequests || a.status >= 500:
		return c.wait(a, unusable{e})
	case a.status == http.StatusNotFound:
		return fmt.Errorf("%w; is %s the operator's base?", e, c.base)
	}
	return e
}

// wait remembers how long the answer wants us to wait, if it says so (RFC 9110
// section 10.2.3), and returns the error that says it.
func (c *caller) wait(a *answer, err error) error {
	after, ok := a.retryAfter()
	if !ok {
		return err
	}
	busy := &token.BusyError{Until: a.received.Add(after), Err: err}
	c.busy.Store(busy)
	return busy
}

// retryAfter returns how long the answer wants us to wait, ten minutes at most:
// whoever answers in the authority's place must not silence us for days.
func (a *answer) retryAfter() (time.Duration, bool) {
	field := a.header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(field, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter), seconds > 0
	}
	date, err := http.ParseTime(field)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		now = a.received
	}
	return min(date.Sub(now), maxRetryAfter), date.After(now)
}

// authorityMessage returns what the protocol's error body says.
func authorityMessage(body []byte) string {
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	return e.Message
}
