package agent

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// partAgent is the part of health that is the whole agent: it starts, it stops.
const partAgent = "agent"

// health answers whether the agent lives and whether it does its job: it is the
// problems of the agent's named parts. It is safe for concurrent use.
type health struct {
	mu       sync.Mutex // guards what follows
	problems map[string]problem
	looked   func() []degradation // what is degraded at the moment of a report, or nil
}

// degradation is what is wrong with a part that the data path does without.
type degradation struct{ part, reason string }

// problem is what is wrong with a part.
type problem struct {
	reason string
	fatal  bool // connections get no tokens
}

func newHealth() *health {
	return &health{problems: map[string]problem{partAgent: {"starting", true}}}
}

// fail says that the data path cannot work for what is wrong with a part, and reports
// whether that is news.
func (h *health) fail(part, reason string) (news bool) { return h.set(part, problem{reason, true}) }

// degrade says what is wrong with a part that the data path does without, and reports
// whether that is news.
func (h *health) degrade(part, reason string) (news bool) {
	return h.set(part, problem{reason, false})
}

func (h *health) set(part string, p problem) (news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.problems[part]; ok && old == p {
		return false
	}
	h.problems[part] = p
	return true
}

// ok says that a part works, and reports whether that is news.
func (h *health) ok(part string) (news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, news = h.problems[part]
	delete(h.problems, part)
	return news
}

// count returns how many parts do not work.
func (h *health) count() (failing, degraded int) {
	problems, look := h.now()
	if look != nil {
		degraded = len(look())
	}
	for _, p := range problems {
		if p.fatal {
			failing++
		} else {
			degraded++
		}
	}
	return failing, degraded
}

// lookAlso has every report ask what else is degraded at that moment.
func (h *health) lookAlso(look func() []degradation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looked = look
}

func (h *health) now() (problems map[string]problem, look func() []degradation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.problems), h.looked
}

// report is what /readyz answers: 503 where the data path cannot work, and a line for
// each part that does not.
func (h *health) report() (status int, text string) {
	problems, look := h.now()
	var failing, degraded []string
	for _, part := range slices.Sorted(maps.Keys(problems)) {
		p := problems[part]
		if p.fatal {
			failing = append(failing, line("failing", part, p.reason))
		} else {
			degraded = append(degraded, line("degraded", part, p.reason))
		}
	}
	if look != nil {
		for _, d := range look() {
			degraded = append(degraded, line("degraded", d.part, d.reason))
		}
	}
	if len(failing) > 0 {
		return http.StatusServiceUnavailable, strings.Join(append(failing, degraded...), "\n")
	}
	return http.StatusOK, strings.Join(append([]string{"ok"}, degraded...), "\n")
}

// line is one line of a report, whatever the reason holds.
func line(state, part, reason string) string {
	return state + ": " + part + ": " + strings.Join(strings.Fields(reason), " ")
}

// probes serves /healthz (the process lives) and /readyz (connections are being
// redirected and the configuration is in force).
func (h *health) probes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, text := h.report()
		writeText(w, status, text)
	})
	return mux
}

// handler is probes, and /metrics.
func (h *health) handler(metrics http.Handler) http.Handler {
	mux := h.probes()
	mux.Handle("GET /metrics", metrics)
	return mux
}

// besides is probes, and everything else by another handler.
func (h *health) besides(other http.Handler) http.Handler {
	mux := h.probes()
	mux.Handle("/", other)
	return mux
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the prober may be gone
}
