package agent

import (
	"net/http"
	"sync/atomic"
	"time"
)

const healthTimeout = 10 * time.Second

// health answers whether the agent lives and whether it does its job.
type health struct {
	// notReady says why the agent is not ready yet, or not any more; nil when it is.
	notReady atomic.Pointer[string]
}

func newHealth() *health {
	h := &health{}
	h.set("starting")
	return h
}

func (h *health) set(reason string) { h.notReady.Store(&reason) }
func (h *health) ready()            { h.notReady.Store(nil) }

// handler serves /healthz (the process lives), /readyz (connections are being
// redirected and the configuration is in force) and /metrics.
func (h *health) handler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reason := h.notReady.Load(); reason != nil {
			writeText(w, http.StatusServiceUnavailable, *reason)
			return
		}
		writeText(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}

func newHealthServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadTimeout: healthTimeout, WriteTimeout: healthTimeout}
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the prober may be gone
}
