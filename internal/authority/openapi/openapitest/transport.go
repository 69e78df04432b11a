package openapitest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

// Transport lets requests through, and tells of each exchange when its answer was read
// or closed. It is safe for concurrent use if its functions are.
type Transport struct {
	Inner    http.RoundTripper
	Document func() *Document
	// Done learns what the document says of an exchange: its operation, nil if there is
	// none, and what is wrong with it.
	Done func(operation *Operation, status int, err error)
}

// RoundTrip sends the request by Inner.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	exchange := Exchange{Method: request.Method, URL: request.URL, Sent: request.Header.Clone()}
	asked := &recording{}
	if request.Body != nil && request.Body != http.NoBody {
		asked.ReadCloser = request.Body
		request = request.Clone(request.Context())
		request.Body = asked
	}
	document := t.Document() // that of who answers now
	response, err := t.Inner.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	exchange.Status, exchange.Got = response.StatusCode, response.Header.Clone()
	answer := &recording{ReadCloser: response.Body}
	answer.done = sync.OnceFunc(func() {
		exchange.Asked, _ = asked.read()
		exchange.Answer, exchange.Whole = answer.read()
		operation, err := document.Check(exchange)
		t.Done(operation, exchange.Status, err)
	})
	response.Body = answer
	return response, nil
}

// CloseIdleConnections closes those that Inner keeps.
func (t *Transport) CloseIdleConnections() {
	(&http.Client{Transport: t.Inner}).CloseIdleConnections()
}

// recording keeps what is read of a body.
type recording struct {
	io.ReadCloser
	done func() // when it was read to its end, or closed; or nil

	mu    sync.Mutex // guards what follows
	text  bytes.Buffer
	whole bool
}

func (r *recording) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.mu.Lock()
	r.text.Write(p[:n])
	r.whole = r.whole || errors.Is(err, io.EOF)
	r.mu.Unlock()
	if err != nil && r.done != nil {
		r.done()
	}
	return n, err
}

func (r *recording) Close() error {
	if r.done != nil {
		r.done()
	}
	return r.ReadCloser.Close()
}

func (r *recording) read() (text []byte, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.text.Bytes()), r.whole
}
