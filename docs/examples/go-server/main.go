// Command go-server is an example of a service that is called with Lanyard tokens.
// It needs nothing of Lanyard's: the authority's keys by URL, its own audience, and
// any JWT library, here jwx.
//
// It must not know Lanyard's packages: it stands for somebody else's service.
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
)

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: go-server LISTEN JWKS-URL [AUDIENCE]")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3:]...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve takes tokens for the audience. Without one it takes those for any service: who
// is called with a token can then call this one in its caller's name.
func serve(listen, keysURL string, audience ...string) error {
	keys := newIssuerKeys(keysURL)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go keys.keepFresh(ctx)

	http.HandleFunc("/protected", func(w http.ResponseWriter, r *http.Request) {
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "no bearer token", http.StatusUnauthorized)
			return
		}
		if !isCompact(token) { // before jwx sees it
			refuse(w)
			return
		}
		set, usable := keys.forToken(r.Context(), token)
		if !usable {
			http.Error(w, "the issuer's keys cannot be fetched", http.StatusServiceUnavailable)
			return
		}
		options := []jwt.ParseOption{
			jwt.WithKeySet(set, jws.WithInferAlgorithmFromKey(false)), // the algorithm is the key's, not the token's
			jwt.WithRequiredClaim(jwt.ExpirationKey),
			jwt.WithAcceptableSkew(30 * time.Second),
		}
		for _, mine := range audience {
			options = append(options, jwt.WithAudience(mine)) // a token for another service is none for this
		}
		claims, err := jwt.ParseString(token, options...)
		if err != nil {
			refuse(w)
			return
		}
		fmt.Fprintf(w, "Hello, fellow Workload %s!\n", claims.Subject())
	})
	server := &http.Server{Addr: listen, ReadHeaderTimeout: 5 * time.Second, DisableGeneralOptionsHandler: true}
	return server.ListenAndServe()
}

// isCompact reports whether a token is in compact serialization: three parts, each in
// the one spelling that base64url has for it. jwx reads JSON serializations too, and
// of those jwt.Parse takes claims that nobody signed.
func isCompact(token string) bool {
	parts := strings.Split(token, ".")
	for _, part := range parts {
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(decoded) != part {
			return false
		}
	}
	return len(parts) == 3
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	http.Error(w, "the token is not valid here", http.StatusUnauthorized)
}
