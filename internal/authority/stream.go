package authority

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

const (
	// maxStreams bounds the answers that go on for longer than others, and maxStreamsOfOne
	// those to one administrator.
	maxStreams      = 32
	maxStreamsOfOne = 8
	streamRetry     = 9 * time.Second
	// streamPage is how many events of a stream are in memory at once.
	streamPage = 500
	// eventWindow is how many events one query looks at: a filter that few pass must
	// not keep a connection to the database from others.
	eventWindow = 1000
	// takeTimeout is how long a client may take for one write.
	takeTimeout = 30 * time.Second
)

// streams are the answers that go on for longer than others. They end when the
// authority stops.
type streams struct {
	places      *places
	takeTimeout time.Duration   // how long a client may take for one write
	ctx         context.Context // ends when they are to end
	stop        context.CancelFunc
}

func newStreams(parent context.Context) *streams {
	ctx, stop := context.WithCancel(parent)
	return &streams{places: newPlaces(maxStreams, maxStreamsOfOne), takeTimeout: takeTimeout, ctx: ctx, stop: stop}
}

// stream is one of them: a JSON value a line.
type stream struct {
	ctx     context.Context // of the client
	stopped <-chan struct{} // closed when the authority stops
	w       http.ResponseWriter

	takeTimeout time.Duration
}

// reply is an answer, to the administrator, that run writes.
func (s *streams) reply(by store.AdminToken, run func(*stream) error) (reply, error) {
	return reply{
		status:   http.StatusOK,
		header:   map[string]string{"Content-Type": resource.MediaTypeLines},
		streamBy: by.ID,
		stream: func(w http.ResponseWriter, r *http.Request) error {
			return run(&stream{ctx: r.Context(), stopped: s.ctx.Done(), takeTimeout: s.takeTimeout, w: w})
		},
	}, nil
}

// enterStream takes a place for a stream to the administrator, or refuses.
func (a *Authority) enterStream(by string) error {
	err := a.streams.places.enter(by)
	switch {
	case errors.Is(err, errTooManyOfOne):
		return a.tooMany(byAdministrator, streamRetry)
	case err != nil:
		return &refusal{
			status:  http.StatusServiceUnavailable,
			message: fmt.Sprintf("%d streams are being served already; try again later", maxStreams),
			header:  map[string]string{"Retry-After": "10"},
		}
	}
	return nil
}

// sendStream writes the answer as it comes. One that fails is cut off, so that
// nobody takes what there is of it for the whole.
func (a *Authority) sendStream(w http.ResponseWriter, r *http.Request, answer reply) {
	defer a.streams.places.leave(answer.streamBy)
	if r.Method == http.MethodHead {
		return
	}
	err := answer.stream(w, r)
	if err == nil {
		return
	}
	if r.Context().Err() == nil {
		a.log.WarnContext(r.Context(), "a stream was cut off", "path", r.URL.Path, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// write sends values, a line each, and gives the client some time to take
// them.
func (s *stream) write(values ...any) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	for _, value := range values {
		if err := encoder.Encode(value); err != nil {
			return fmt.Errorf("write stream: %w", err)
		}
	}
	control := http.NewResponseController(s.w)
	if err := control.SetWriteDeadline(time.Now().Add(s.takeTimeout)); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	if _, err := s.w.Write(lines.Bytes()); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	if err := control.Flush(); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	return nil
}

// streamActivity sends the events that there are, and with follow those to come.
func (a *Authority) streamActivity(s *stream, query activityQuery, by store.AdminToken) error {
	at, err := a.startOf(s, query)
	if err != nil {
		return err
	}
	if err := s.write(); err != nil { // the head: the client knows that it gets what is to come
		return err
	}
	for {
		appended := a.store.Appended() // before the look: what comes after it rings
		oldest, newest, err := a.store.Read(s.ctx).EventSequences()
		if err != nil {
			return err
		}
		at = max(at, oldest-1)
		if at, err = a.streamUpTo(s, query, by, at, newest); err != nil || !query.follow {
			return err
		}
		select {
		case <-appended:
		case <-s.stopped:
			return nil
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// startOf is the sequence number after which the stream begins: without one in the
// query, that of the newest event for who follows.
func (a *Authority) startOf(s *stream, query activityQuery) (int64, error) {
	if query.after >= 0 || !query.follow {
		return query.after, nil
	}
	_, newest, err := a.store.Read(s.ctx).EventSequences()
	return newest, err
}

// streamUpTo sends the events behind at, up to the newest, and returns where it got.
func (a *Authority) streamUpTo(s *stream, query activityQuery, by store.AdminToken, at, newest int64) (int64, error) {
	for at < newest {
		if s.over() || !a.stillAdministrator(s.ctx, by) {
			return at, errCutOff
		}
		end, err := a.store.Read(s.ctx).EventWindowAfter(at, eventWindow)
		if err != nil {
			return at, err
		}
		if end = min(end, newest); end == at { // what was there is gone meanwhile
			return newest, nil
		}
		events, err := costly(a, s.ctx, func() ([]store.Event, error) {
			return a.store.Read(s.ctx).EventsAfter(query.filter, at, end+1, streamPage)
		})
		if err != nil {
			return at, err
		}
		if at = end; len(events) == streamPage {
			at = events[streamPage-1].Sequence
		}
		lines := make([]any, len(events))
		for i, e := range events {
			lines[i] = activityOf(e)
		}
		if err := s.write(lines...); err != nil {
			return at, err
		}
	}
	return at, nil
}

// errCutOff ends a stream before its end.
var errCutOff = errors.New("the authority stops, or the administrator's token is no longer good")

func (s *stream) over() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// stillAdministrator reports whether the token is still good: a stream outlives it
// otherwise.
func (a *Authority) stillAdministrator(ctx context.Context, token store.AdminToken) bool {
	now, err := a.store.Read(ctx).AdminToken(token.ID)
	return err == nil && now.CreatedAt.Equal(token.CreatedAt) && (now.ExpiresAt.IsZero() || a.now().Before(now.ExpiresAt))
}
