package demo

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/lanyardhq/lanyard/internal/verify"
)

// NewProtectedAPI returns a server that answers a request with a valid token with
// the claims it saw, and any other with 401.
func NewProtectedAPI(ctx context.Context, jwksURL, audience string) (http.Handler, error) {
	v, err := verify.New(ctx, verify.Config{KeysURL: jwksURL, Audience: audience})
	if err != nil {
		return nil, err
	}
	return v.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := map[string]any{"message": "welcome", "claims": verify.Claims(r.Context())}
		_ = json.NewEncoder(w).Encode(answer) // a client that went away is its own business
	})), nil
}
