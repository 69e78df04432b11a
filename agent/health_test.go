package agent

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealth(t *testing.T) {
	h := newHealth()
	const starting, metrics = "failing: agent: starting\n", "degraded: metrics: taken\n"
	for _, step := range []struct {
		name   string
		change func() (news bool)
		news   bool
		status int
		says   string
	}{
		{"starting", func() bool { return false }, false, 503, starting},
		{"a listener is missing meanwhile", func() bool { return h.degrade("metrics", "taken") }, true, 503, starting + metrics},
		{"still", func() bool { return h.degrade("metrics", "taken") }, false, 503, starting + metrics},
		{"running", func() bool { return h.ok(partAgent) }, true, 200, "ok\n" + metrics},
		{"running on", func() bool { return h.ok(partAgent) }, false, 200, "ok\n" + metrics},
		{"for another reason", func() bool { return h.degrade("metrics", "denied") }, true, 200, "ok\ndegraded: metrics: denied\n"},
		{"mended", func() bool { return h.ok("metrics") }, true, 200, "ok\n"},
		{"hooks gone", func() bool { return h.fail("hooks", "gone") }, true, 503, "failing: hooks: gone\n"},
		{"hooks doubtful", func() bool { return h.degrade("hooks", "gone") }, true, 200, "ok\ndegraded: hooks: gone\n"},
		{"hooks again", func() bool { return h.ok("hooks") }, true, 200, "ok\n"},
		{"stopping", func() bool { return h.fail(partAgent, "stopping") }, true, 503, "failing: agent: stopping\n"},
	} {
		if news := step.change(); news != step.news {
			t.Errorf("%s: news: %v", step.name, news)
		}
		for name, handler := range map[string]http.Handler{
			"metrics": h.handler(http.NotFoundHandler()), "socket": h.besides(http.NotFoundHandler()),
		} {
			for path, want := range map[string]int{"/healthz": 200, "/readyz": step.status, "/peer/v1/id_token": 404} {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != want || path == "/readyz" && w.Body.String() != step.says {
					t.Errorf("%s: %s at %s: %d %q, want %d %q", step.name, path, name, w.Code, w.Body, want, step.says)
				}
			}
		}
	}
}
