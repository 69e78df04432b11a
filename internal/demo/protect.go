package demo

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/lanyardhq/lanyard/internal/verify"
)

// NewProtectedAPI returns a server that answers a request with a valid token with
// the claims it saw, and any other with 401. stop ends what keeps the keys fresh.
func NewProtectedAPI(ctx context.Context, jwksURL, audience string) (api http.Handler, stop func(), err error) {
	v, err := verify.New(ctx, verify.Config{KeysURL: jwksURL, Audience: audience})
	if err != nil {
		return nil, nil, err
	}
	api = v.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context()) // which has it: Protect lets no other pass
		w.Header().Set("Content-Type", "application/json")
		answer := map[string]any{"message": "welcome", "claims": claims}
		_ = json.NewEncoder(w).Encode(answer) // a client that went away is its own business
	}))
	return api, v.Close, nil
}
