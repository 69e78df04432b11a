package localapi

import (
	"net"
	"net/http"

	"github.com/lanyardhq/lanyard/internal/admission"
)

// AdminHeader is what a request of an administrator's command must have: what was made
// to connect here, as a proxy of root's, has it not.
const AdminHeader = "Lanyard-Admin"

// AdminOnly keeps a handler for processes that were root's when they connected to the
// Unix socket (SO_PEERCRED). Whom such a process hands its connection to is its own
// choice, so that the handler may tell what root may know, and no token.
func AdminOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromRoot(r) || r.Header.Get(AdminHeader) != "1" || len(r.Header.Values("Origin")) > 0 {
			w.Header().Set("Connection", "close")
			write(w, http.StatusForbidden, struct {
				Code    int32  `json:"code"`
				Message string `json:"message"`
			}{http.StatusForbidden, "only root may ask this, over the Unix socket"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fromRoot(r *http.Request) bool {
	conn, ok := callerOf(r.Context()).conn.(*net.UnixConn)
	if !ok {
		return false
	}
	uid, known := admission.PeerUser(conn)
	return known && uid == 0
}
