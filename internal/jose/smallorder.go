package jose

import (
	"crypto/ed25519"
	"encoding/hex"
	"slices"
)

// smallOrderY are the y coordinates, little-endian, of the points of edwards25519 whose
// order divides 8, with the two that RFC 8032 section 5.1.3 would not decode but
// crypto/ed25519 does. Under such a key one signature fits messages that nobody signed.
// The list is libsodium's (ge25519_has_small_order in ed25519_ref10.c).
var smallOrderY = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000", // order 4
	"0100000000000000000000000000000000000000000000000000000000000000", // order 1
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-1, order 2
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p, which is 0
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1, which is 1
}

// signOfX is the bit of the last byte that tells the two points of one y apart.
const signOfX = 0x80

// hasSmallOrder reports whether key is one of those points; it has the right length.
func hasSmallOrder(key ed25519.PublicKey) bool {
	y := [ed25519.PublicKeySize]byte(key)
	y[len(y)-1] &^= signOfX
	return slices.Contains(smallOrderY[:], hex.EncodeToString(y[:]))
}
