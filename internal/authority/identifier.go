package authority

import (
	"encoding/base32"
	"fmt"
	"io"
	"strings"
)

// Prefixes of ids. What follows are idLength characters.
const (
	prefixOperator   = "op1:"
	prefixWorkload   = "pr1:"
	prefixTicket     = "tk1:"
	prefixAdminToken = "at1:"
	prefixFactory    = "tf1:"
	prefixSecret     = "sc1:"
	prefixJWT        = "jwt1:"
)

// Prefixes of secrets, so that a scanner for leaked secrets recognises them.
// They need no quoting in a shell or a URL.
const (
	secretTicket = "lyt_"
	secretAdmin  = "lya_"
)

const (
	idLength     = 24 // 120 bits
	secretLength = 32 // 160 bits
)

// alphabet is Crockford's base 32 in lower case: no i, l, o, u.
var alphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

func randomID(random io.Reader, prefix string) (string, error) {
	return randomText(random, prefix, idLength)
}

func randomSecret(random io.Reader, prefix string) (string, error) {
	return randomText(random, prefix, secretLength)
}

func randomText(random io.Reader, prefix string, length int) (string, error) {
	raw := make([]byte, alphabet.DecodedLen(length))
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return prefix + alphabet.EncodeToString(raw), nil
}

// hasForm reports whether s is prefix and length characters of the alphabet.
func hasForm(s, prefix string, length int) bool {
	text, found := strings.CutPrefix(s, prefix)
	if !found || len(text) != length {
		return false
	}
	_, err := alphabet.DecodeString(text)
	return err == nil && !strings.ContainsAny(text, "\r\n")
}
