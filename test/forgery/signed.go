package forgery

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// victimClaims are what a forger would have believed.
func victimClaims() string { return encode(claims(Victim, Audience, time.Now().Add(time.Hour))) }

// signatures are forged claims under a signature that is none.
func (i *Issuer) signatures(genuine string) []Forgery {
	parts := strings.Split(genuine, ".")
	payload := b64.EncodeToString([]byte(victimClaims()))
	input := parts[0] + "." + payload
	all := []Forgery{
		{"other claims, the same signature", input + "." + parts[2]},
		{"no signature", input + "."},
		{"signature of zeros", input + "." + b64.EncodeToString(make([]byte, 64))},
		{"signature of the curve's order", input + "." + b64.EncodeToString(append(elliptic.P256().Params().N.Bytes(), elliptic.P256().Params().N.Bytes()...))},
		{"signature in DER", parts[0] + "." + parts[1] + "." + b64.EncodeToString(inDER(parts[2]))},
		{"detached", parts[0] + ".." + parts[2]},
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		header := fmt.Sprintf(`{"alg":%q,"kid":"ES256","typ":"JWT"}`, none)
		bare := unsigned(header, victimClaims())
		all = append(all, Forgery{"alg " + none, bare}, Forgery{"alg " + none + " with a signature", bare + parts[2]})
	}
	for _, alg := range []string{"RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "es256", "HS256"} {
		header := fmt.Sprintf(`{"alg":%q,"kid":"ES256","typ":"JWT"}`, alg)
		all = append(all, Forgery{"alg " + alg + " over the signature", unsigned(header, string(decoded(parts[1]))) + parts[2]})
	}
	return append(all, i.hmacs()...)
}

// inDER is a signature as other protocols write it.
func inDER(part string) []byte {
	raw := []byte(decoded(part))
	number := func(b []byte) []byte {
		n := new(big.Int).SetBytes(b).Bytes()
		if n[0] >= 0x80 {
			n = append([]byte{0}, n...)
		}
		return append([]byte{2, byte(len(n))}, n...)
	}
	both := append(number(raw[:32]), number(raw[32:])...)
	return append([]byte{0x30, byte(len(both))}, both...)
}

// hmacs are forged claims with a public key taken for a shared secret.
func (i *Issuer) hmacs() []Forgery {
	var all []Forgery
	for _, algorithm := range Algorithms {
		public := i.keys[algorithm].Public()
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			panic(err) // of a key that we have not made
		}
		for name, secret := range map[string][]byte{
			"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der,
			"JWK": []byte(i.public[algorithm]), "kid": []byte(algorithm), "nothing": {},
		} {
			for _, kid := range []string{`,"kid":"` + algorithm + `"`, ""} {
				input := strings.TrimSuffix(unsigned(`{"alg":"HS256"`+kid+`}`, victimClaims()), ".")
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(input))
				all = append(all, Forgery{
					fmt.Sprintf("HS256 by %s of the %s key%s", name, algorithm, kid), input + "." + b64.EncodeToString(mac.Sum(nil))})
			}
		}
	}
	return all
}

// ownKeys are forged claims by a key that the token brings, names or claims to be.
func (i *Issuer) ownKeys() []Forgery {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // of a machine without randomness
	}
	jwk := publicJWK("ES256", key.Public())
	var all []Forgery
	for name, more := range map[string]string{
		"jwk":                `"kid":"ES256","jwk":` + jwk,
		"jwk without kid":    `"jwk":` + jwk,
		"jku":                fmt.Sprintf(`"kid":"ES256","jku":%q`, i.trap),
		"x5u":                fmt.Sprintf(`"kid":"ES256","x5u":%q`, i.trap),
		"x5c":                `"kid":"ES256","x5c":["` + certificate(key) + `"]`,
		"x5t":                `"x5t":"AAAA"`,
		"the issuer's kid":   `"kid":"ES256"`,
		"another kid":        `"kid":"other"`,
		"kid of a file":      `"kid":"../../../../dev/null"`,
		"no kid":             `"typ":"JWT"`,
		"kid and jwk twice":  `"kid":"ES256","kid":"ES256","jwk":` + jwk,
		"crit":               `"kid":"ES256","crit":["jwk"],"jwk":` + jwk,
		"payload not base64": `"kid":"ES256","b64":false,"crit":["b64"]`,
	} {
		all = append(all, Forgery{"a forger's key, " + name, sign(key, `{"alg":"ES256",`+more+`}`, victimClaims())})
	}
	nested := i.Genuine("ES256", Audience)
	return append(all,
		Forgery{"a token in a forger's message", sign(key, `{"alg":"ES256","kid":"ES256","cty":"JWT"}`, nested)},
		Forgery{"a token in a message without signature", unsigned(`{"alg":"none","cty":"JWT"}`, nested)},
		Forgery{"a token in a JWE", strings.Join([]string{b64.EncodeToString([]byte(`{"alg":"dir","enc":"A128GCM","cty":"JWT","kid":"ES256"}`)),
			"", "AAAAAAAAAAAAAAAA", b64.EncodeToString([]byte(nested)), "AAAAAAAAAAAAAAAAAAAAAA"}, ".")},
	)
}

// certificate is that of a key which nobody vouches for.
func certificate(key crypto.Signer) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err) // of a key that we have not made
	}
	return base64.StdEncoding.EncodeToString(der)
}
