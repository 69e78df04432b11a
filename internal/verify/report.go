package verify

import (
	"log/slog"
	"net/url"
	"slices"

	"github.com/lanyardhq/lanyard/internal/jose"
)

// reporter logs what becomes of an issuer's keys: each change once, however often a
// fetch ends the same way. It is for one goroutine.
type reporter struct {
	log     *slog.Logger
	failing bool     // logged that fetches fail
	without bool     // logged that there are no keys that count
	leftOut int      // logged that so many keys verify nothing
	reasons []string // logged of the first of them
	empty   bool     // logged that no key does
}

// newReporter names the keys' URL in each line, without a query, which can be secret.
func newReporter(log *slog.Logger, keysURL *url.URL) reporter {
	where := url.URL{Scheme: keysURL.Scheme, Host: keysURL.Host, Path: keysURL.Path}
	return reporter{log: log.With("url", where.String())}
}

// fetched tells of keys that were fetched.
func (r *reporter) fetched(set jose.KeySet) {
	if r.failing {
		r.log.Info("the issuer's keys are fetched again")
	}
	r.failing, r.without = false, false
	leftOut, reasons := set.LeftOut()
	if leftOut > 0 && (leftOut != r.leftOut || !slices.Equal(reasons, r.reasons)) {
		r.log.Warn("the issuer publishes keys that are not used; tokens that name them are refused", "count", leftOut, "keys", reasons)
	}
	r.leftOut, r.reasons = leftOut, reasons
	if empty := set.Len() == 0; empty != r.empty {
		if r.empty = empty; empty {
			r.log.Error("the issuer publishes no key that can be used: every token is refused; look at what the URL answers")
		}
	}
}

// failed tells of a fetch that failed, and whether the keys from before still count.
func (r *reporter) failed(err error, usable bool) {
	const remedy = "see whether the issuer runs, and whether this machine reaches it by that URL and trusts its certificate"
	switch {
	case !usable && !r.without:
		r.log.Error("there are no keys of the issuer's: every token is answered with 503 until they can be fetched", "error", err, "max_age", maxKeysAge, "remedy", remedy)
	case !r.failing:
		r.log.Warn("the issuer's keys cannot be fetched; those at hand are used for now", "error", err, "max_age", maxKeysAge, "remedy", remedy)
	}
	r.failing, r.without = true, !usable
}
