package authority

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBodyIsReadBeforeTheAnswer also where nothing in it counts: a client that closes
// its connection afterwards would be reset while it sends, and not see the answer.
func TestBodyIsReadBeforeTheAnswer(t *testing.T) {
	f := start(t)
	for what, tt := range map[string]struct{ sent, unread int }{
		"a body":         {maxRegisterBytes + 1, 0},
		"nearly endless": {maxUnreadBytes + 1000, 1000},
	} {
		body := strings.NewReader(strings.Repeat(" ", tt.sent))
		request := httptest.NewRequest("POST", keyPath, body)
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		f.Handler().ServeHTTP(recorder, request)
		if recorder.Code != 401 || body.Len() != tt.unread {
			t.Errorf("%s: answered with %d, and %d bytes were not read, want 401 and %d", what, recorder.Code, body.Len(), tt.unread)
		}
	}
}
