package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/jose"
	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// clockSkew is how far the issuer's clock and ours may differ.
const clockSkew = 30 * time.Second

// ErrConfig marks errors that a change of the configuration would solve.
var ErrConfig = errors.New("configuration")

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

	Client *http.Client     // fetches the keys, without following redirects; nil: that of NewClient("")
	Now    func() time.Time // the date by which tokens are judged; nil: time.Now
	Log    *slog.Logger     // is told when keys cannot be fetched or used; nil: nothing is logged
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	config Config
	keys   *keys
	stop   context.CancelFunc
}

// New returns a verifier that begins to fetch the issuer's keys, and keeps them fresh
// until ctx ends or it is closed.
func New(ctx context.Context, config Config) (*Verifier, error) {
	keysURL, err := parseKeysURL(config.KeysURL, config.AllowInsecure)
	if err != nil {
		return nil, err
	}
	if (config.Audience == "") != config.AnyAudience {
		return nil, fmt.Errorf("%w: say which audience tokens must be for (--audience), or that any will do (--any-audience)", ErrConfig)
	}
	if config.Client == nil {
		if config.Client, err = NewClient(""); err != nil {
			return nil, err
		}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(ctx)
	keys := newKeys(ctx, keysConfig{url: keysURL, client: config.Client, random: rand.Float64, log: config.Log})
	return &Verifier{config: config, keys: keys, stop: stop}, nil
}

// Close stops fetching keys and waits until nothing is fetched any more. It may be
// called again.
func (v *Verifier) Close() {
	v.stop()
	v.keys.wait()
}

// parseKeysURL refuses keys that somebody on the way could exchange.
func parseKeysURL(keys string, allowInsecure bool) (*url.URL, error) {
	u, err := serverurl.Parse("the keys' URL (LANYARD_JWKS_URL, or else LANYARD_AUTHORITY_URL)", keys)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !allowInsecure && serverurl.InTheClear(u) {
		return nil, fmt.Errorf("%w: keys from %s could be exchanged on their way; use https, or say --allow-insecure", ErrConfig, keys)
	}
	return u, nil
}

// Verify returns the claims of a compact token (RFC 7519) that is signed by one of
// the issuer's keys, is in its time, and is for us. No other serialization is a
// token, and nothing but the signed claims is read. An error is a *Refusal, or wraps
// ErrKeys.
func (v *Verifier) Verify(ctx context.Context, compact string) (Claims, error) {
	if len(compact) > jose.MaxIDTokenLength {
		return Claims{}, &Refusal{fmt.Sprintf("the token is longer than %d bytes", jose.MaxIDTokenLength)}
	}
	message, err := jose.ParseUpTo(jose.MaxIDTokenLength, compact)
	if err != nil {
		return Claims{}, &Refusal{whyNoToken(err)}
	}
	if err := checkHeader(message); err != nil {
		return Claims{}, err
	}
	keys, err := v.keys.get(ctx, message.KeyID())
	if err != nil {
		return Claims{}, err
	}
	signed, err := message.VerifyBy(keys)
	if err != nil {
		return Claims{}, &Refusal{"the token is not signed by this issuer"}
	}
	claims, err := readClaims(signed)
	if err != nil {
		return Claims{}, err
	}
	if err := v.config.check(claims); err != nil {
		return Claims{}, err
	}
	return claims, nil
}

// whyNoToken says why a text is not read as a token, without repeating any of it.
// What a header may say beside type and key, RFC 7515 section 4.1.11 has a recipient
// refuse, or we have no use for: the key is the issuer's choice, never the token's.
func whyNoToken(err error) string {
	var header *jose.HeaderError
	switch {
	case !errors.As(err, &header):
		return "it is no token"
	case header.Member == "crit":
		return "the token's header has a critical extension"
	case slices.Contains([]string{"jwk", "jku", "x5u", "x5c"}, header.Member):
		return "the token's header brings a key of its own"
	}
	return "the token's header has what is not accepted: " + header.Member
}

func checkHeader(message *jose.Message) error {
	switch {
	case !message.IsJWT():
		return &Refusal{"the token is of another type"}
	case message.KeyID() == "":
		return &Refusal{"the token's header names no key"}
	}
	return nil
}
