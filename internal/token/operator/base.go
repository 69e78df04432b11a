package operator

import (
	"fmt"
	"strings"

	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// baseSetting is where the operator's base comes from, for errors.
const baseSetting = "the operator's base (LANYARD_OPERATOR_BASE or MIM_OPERATOR_BASE, or else LANYARD_AUTHORITY_URL)"

// parseBase checks the operator's base and returns it as it goes into the aud of
// proofs: without a slash at its end.
func parseBase(base string, allowInsecure bool) (string, error) {
	u, err := serverurl.ParseBase(baseSetting, base)
	if err != nil {
		return "", err
	}
	if !allowInsecure && serverurl.InTheClear(u) {
		return "", fmt.Errorf("%s is %q: http is accepted to loopback only, because a ticket "+
			"and assertions would pass the network unencrypted; use https, or allow it (allow_insecure of a source, or --allow-insecure)", baseSetting, base)
	}
	return strings.TrimRight(base, "/"), nil
}

// ChooseBase returns the operator's base that settings name: the first one that is
// set, or else the authority's URL with /operator.
func ChooseBase(authorityURL string, bases ...string) string {
	for _, base := range bases {
		if base != "" {
			return strings.TrimSuffix(base, "/")
		}
	}
	return strings.TrimSuffix(authorityURL, "/") + "/operator"
}
