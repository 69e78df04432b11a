package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
	"golang.org/x/time/rate"

	"github.com/lanyardhq/lanyard/internal/serverurl"
)

const (
	// keysMinAge is how long keys are used at least before they are fetched again;
	// beyond it the issuer's Cache-Control counts.
	keysMinAge = time.Minute
	// clockSkew is how far the issuer's clock and ours may differ.
	clockSkew = 30 * time.Second
	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
)

// ErrConfig marks errors that a change of the configuration would solve.
var ErrConfig = errors.New("configuration")

// ErrKeys marks that the issuer's keys cannot be had: nothing is said about the
// token.
var ErrKeys = errors.New("the issuer's keys cannot be fetched")

// Refusal says why a token is not accepted. It is fit for whoever sent the token.
type Refusal struct {
	Description string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Description }

// Config says which tokens are accepted. KeysURL is required, and so is one of
// Audience and AnyAudience: a token for another service must not pass for one for
// this.
type Config struct {
	KeysURL     string
	Audience    string // that a token must be for
	AnyAudience bool
	Issuer      string // that a token must be from; "" leaves that to the keys
	// AllowInsecure permits http:// to a host that is not loopback.
	AllowInsecure bool

	Client *http.Client     // fetches the keys; nil: http.DefaultClient
	Now    func() time.Time // nil: time.Now
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	config Config
	keys   *jwk.Cache
	unseen *rate.Limiter // of fetches because of a key id that is not known
}

// New returns a verifier whose keys are fetched when they are first needed and kept
// fresh until ctx ends.
func New(ctx context.Context, config Config) (*Verifier, error) {
	if err := checkKeysURL(config.KeysURL, config.AllowInsecure); err != nil {
		return nil, err
	}
	if (config.Audience == "") != config.AnyAudience {
		return nil, fmt.Errorf("%w: say which audience tokens must be for (--audience), or that any will do (--any-audience)", ErrConfig)
	}
	if config.Client == nil {
		config.Client = http.DefaultClient
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	keys := jwk.NewCache(ctx)
	if err := keys.Register(config.KeysURL, jwk.WithMinRefreshInterval(keysMinAge), jwk.WithHTTPClient(config.Client)); err != nil {
		return nil, fmt.Errorf("watch keys at %s: %w", config.KeysURL, err)
	}
	return &Verifier{config: config, keys: keys, unseen: rate.NewLimiter(rate.Every(time.Minute), 1)}, nil
}

// checkKeysURL refuses keys that somebody on the way could exchange.
func checkKeysURL(keys string, allowInsecure bool) error {
	u, err := serverurl.Parse("the keys' URL (LANYARD_JWKS_URL, or else LANYARD_AUTHORITY_URL)", keys)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !allowInsecure && serverurl.InTheClear(u) {
		return fmt.Errorf("%w: keys from %s could be exchanged on their way; use https, or say --allow-insecure", ErrConfig, keys)
	}
	return nil
}

// Verify returns the claims of a compact token (RFC 7519) that is signed by one of
// the issuer's keys, is in its time, and is for us. An error is a *Refusal, or
// wraps ErrKeys.
func (v *Verifier) Verify(ctx context.Context, compact string) (jwt.Token, error) {
	keyID, err := checkHeader(compact)
	if err != nil {
		return nil, err
	}
	set, err := v.keySet(ctx, keyID)
	if err != nil {
		return nil, err
	}
	options := []jwt.ParseOption{
		jwt.WithKeySet(set, jws.WithInferAlgorithmFromKey(false)), jwt.WithClock(jwt.ClockFunc(v.config.Now)),
		jwt.WithRequiredClaim(jwt.ExpirationKey), jwt.WithRequiredClaim(jwt.SubjectKey),
		jwt.WithAcceptableSkew(clockSkew),
	}
	if !v.config.AnyAudience {
		options = append(options, jwt.WithAudience(v.config.Audience))
	}
	if v.config.Issuer != "" {
		options = append(options, jwt.WithIssuer(v.config.Issuer))
	}
	claims, err := jwt.ParseString(compact, options...)
	if err != nil {
		return nil, &Refusal{whyInvalid(err)}
	}
	return claims, nil
}

// checkHeader returns the id of the key that the token names. What a header may say
// beside that, RFC 7515 §4.1.11 has a recipient refuse, or we have no use for: the
// key is the issuer's choice, never the token's.
func checkHeader(compact string) (string, error) {
	if len(compact) > maxToken {
		return "", &Refusal{fmt.Sprintf("the token is longer than %d bytes", maxToken)}
	}
	message, err := jws.ParseString(compact)
	if err != nil || len(message.Signatures()) != 1 {
		return "", &Refusal{"it is no token"}
	}
	header := message.Signatures()[0].ProtectedHeaders()
	switch {
	case len(header.Critical()) > 0:
		return "", &Refusal{"the token's header has a critical extension"}
	case header.JWK() != nil || header.JWKSetURL() != "" || header.X509URL() != "" || header.X509CertChain() != nil:
		return "", &Refusal{"the token's header brings a key of its own"}
	case !slices.Contains([]string{"", "JWT"}, header.Type()):
		return "", &Refusal{"the token is of another type"}
	case header.KeyID() == "":
		return "", &Refusal{"the token's header names no key"}
	}
	return header.KeyID(), nil
}

// keySet returns the issuer's keys, anew if they lack the one that is named: the
// issuer may have begun to use it just now. That is done once a minute at most, or
// anybody could have us ask.
func (v *Verifier) keySet(ctx context.Context, keyID string) (jwk.Set, error) {
	set, err := v.keys.Get(ctx, v.config.KeysURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, withoutURL(err))
	}
	if _, known := set.LookupKeyID(keyID); known || !v.unseen.AllowN(v.config.Now(), 1) {
		return set, nil
	}
	if fresh, err := v.keys.Refresh(ctx, v.config.KeysURL); err == nil {
		return fresh, nil
	}
	return set, nil
}

// withoutURL keeps what went wrong and leaves out what net/http repeats of it.
func withoutURL(err error) error {
	var network *net.OpError
	if errors.As(err, &network) {
		return network
	}
	return err
}

// whyInvalid says what is wrong with a token without repeating any of it.
func whyInvalid(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired()):
		return "the token has expired"
	case errors.Is(err, jwt.ErrInvalidAudience()):
		return "the token is for another audience"
	case errors.Is(err, jwt.ErrInvalidIssuer()):
		return "the token is from another issuer"
	case errors.Is(err, jwt.ErrTokenNotYetValid()), errors.Is(err, jwt.ErrInvalidIssuedAt()):
		return "the token is not valid yet"
	case jwt.IsValidationError(err):
		return "the token lacks a claim"
	}
	return "the token is not signed by this issuer"
}
