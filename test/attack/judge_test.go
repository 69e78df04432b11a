//go:build linux

package attack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/lanyardhq/lanyard/internal/verify"
)

// judge is the protected server. It knows who sent a request by its path, and whose
// the token on it is by its signature and claims.
type judge struct {
	verifier *verify.Verifier

	mu     sync.Mutex
	owners map[string]string // subject of each token, "" of one that is not valid
	seen   map[string]tally  // by the first two elements of the path
}

// tally is what came with the requests of one sender.
type tally struct {
	Valid   int    // with a valid token, which is the victim's: nobody else has one
	Invalid int    // with something else in its place
	None    int    // anonymous
	Subject string // of the last valid token
}

func newJudge(verifier *verify.Verifier) *judge {
	return &judge{verifier: verifier, owners: map[string]string{}, seen: map[string]tally{}}
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	subject := j.subject(r.Context(), r.Header.Values("Authorization"))
	j.count(sender(r.URL.Path), subject, len(r.Header.Values("Authorization")) > 0)
	_, _ = io.WriteString(w, fmt.Sprintf("%s token=%t", r.URL.Path, subject != ""))
}

func sender(path string) string {
	elements := strings.SplitN(path, "/", 4)
	if len(elements) < 4 {
		return path
	}
	return elements[1] + "/" + elements[2]
}

// subject returns whose token it is, or "".
func (j *judge) subject(ctx context.Context, fields []string) string {
	if len(fields) != 1 {
		return ""
	}
	compact := strings.TrimPrefix(fields[0], "Bearer ")
	j.mu.Lock()
	owner, known := j.owners[compact]
	j.mu.Unlock()
	if known {
		return owner
	}
	if claims, err := j.verifier.Verify(ctx, compact); err == nil {
		owner = claims.Subject
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.owners[compact] = owner
	return owner
}

func (j *judge) count(sender, subject string, credential bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.seen[sender]
	switch {
	case subject != "":
		t.Valid++
		t.Subject = subject
	case credential:
		t.Invalid++
	default:
		t.None++
	}
	j.seen[sender] = t
}

// take returns what came from a sender since it was last asked.
func (j *judge) take(sender string) tally {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.seen[sender]
	delete(j.seen, sender)
	return t
}
