package authority

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/strictjson"
)

// reply is a success.
type reply struct {
	status   int
	body     any
	header   map[string]string
	streamBy string                                         // the administrator whose stream it is
	stream   func(http.ResponseWriter, *http.Request) error // writes the body, instead of body
	handler  http.Handler                                   // writes all of the answer, instead of header and body
}

// refusal is an answer that is no success. Its message is for the caller: it
// says what they may know, and no more.
type refusal struct {
	status  int
	message string
	header  map[string]string
}

func (r *refusal) Error() string { return r.message }

func badRequest(format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

// unauthorized says no more than that: the same for every cause.
func unauthorized(message string) *refusal {
	return &refusal{
		status:  http.StatusUnauthorized,
		message: message,
		header:  map[string]string{"WWW-Authenticate": `Bearer realm="lanyard"`},
	}
}

// errorBody is the protocol's error body.
type errorBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// maxUnreadBytes is how much of a body that an endpoint has not read is read before
// the answer: as much as net/http reads by itself, but only of a connection that is kept.
const maxUnreadBytes = 256 << 10

// send writes the answer and returns its status. Its Date field is the clock that
// assertions are judged by, so that clients can correct theirs.
func (a *Authority) send(w http.ResponseWriter, r *http.Request, answer reply, err error) int {
	if err == nil && answer.stream != nil {
		err = a.enterStream(answer.streamBy)
	}
	if err != nil {
		answer = a.failure(r, err)
	}
	if answer.handler != nil {
		answer.handler.ServeHTTP(w, r)
		return answer.status
	}
	body, err := json.Marshal(answer.body)
	if err != nil {
		a.log.ErrorContext(r.Context(), "cannot write an answer", "path", r.URL.Path, "error", err)
		answer = reply{status: http.StatusInternalServerError}
		body = []byte(`{"code":500,"message":"internal error"}`)
	}
	// The system resets a connection that is closed on unread data, and the answer may
	// be lost with it. Who cannot send the whole body needs none.
	_, _ = io.CopyN(io.Discard, r.Body, maxUnreadBytes)
	header := w.Header()
	header.Set("Date", a.now().UTC().Format(http.TimeFormat))
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	for name, value := range answer.header {
		header.Set(name, value)
	}
	w.WriteHeader(answer.status)
	if answer.stream != nil {
		a.sendStream(w, r, answer)
		return answer.status
	}
	if answer.status == http.StatusNoContent || answer.status == http.StatusNotModified {
		return answer.status
	}
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
	return answer.status
}

// failure turns an error into an answer. What is not meant for the caller goes to
// the log only.
func (a *Authority) failure(r *http.Request, err error) reply {
	var known *refusal
	if !errors.As(err, &known) {
		a.log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
		known = &refusal{status: http.StatusInternalServerError, message: "internal error; the authority's log says more"}
		if isPassing(err) || r.Context().Err() != nil {
			known = &refusal{status: http.StatusServiceUnavailable, message: "the authority cannot answer now; try again"}
		}
	}
	return reply{status: known.status, body: errorBody{Code: known.status, Message: known.message}, header: known.header}
}

// isPassing reports whether the same request can succeed later.
func isPassing(err error) bool {
	return slices.ContainsFunc([]error{store.ErrClosed, store.ErrFull, store.ErrStorage, store.ErrDamaged},
		func(passing error) bool { return errors.Is(err, passing) })
}

// readJSON reads a body of one strict JSON object into v. With optional, no body
// at all is an empty object.
func readJSON(r *http.Request, v any, limit int64, optional bool) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &refusal{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("the body is longer than %d bytes", limit)}
	case err != nil:
		return badRequest("the body could not be read")
	case len(body) == 0 && optional:
		return nil
	}
	if !isJSON(r) {
		return &refusal{status: http.StatusUnsupportedMediaType, message: "the Content-Type must be application/json"}
	}
	if err := strictjson.Unmarshal(body, v); err != nil {
		return badRequest("%s", err)
	}
	return nil
}

// isJSON reports whether the body is said to be JSON, or where it is a change a merge
// patch (RFC 7396).
func isJSON(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && (media == "application/json" || media == "application/merge-patch+json" && r.Method == http.MethodPatch)
}
