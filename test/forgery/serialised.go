package forgery

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// jsonSerializations are a genuine token as RFC 7515 section 7.2 writes it, with
// claims beside it that nobody signed: who verifies the signature in one reading and
// takes the claims in another believes them.
func jsonSerializations(genuine string) []Forgery {
	parts := strings.Split(genuine, ".")
	flattened := map[string]any{"protected": parts[0], "payload": parts[1], "signature": parts[2]}
	general := map[string]any{"payload": parts[1], "signatures": []any{map[string]any{"protected": parts[0], "signature": parts[2]}}}
	outer := claims(Victim, Audience, time.Now().Add(time.Hour))
	outer["extra"] = map[string]any{"tags": []string{"admin"}}
	fewer := map[string]any{"sub": Victim, "exp": outer["exp"]}
	asText := with(outer, map[string]any{"aud": Audience})
	forged := b64.EncodeToString([]byte(encode(outer)))
	unprotected := map[string]any{"header": map[string]any{"alg": "ES256", "kid": "ES256"}}
	var all []Forgery
	for name, message := range map[string]map[string]any{"flattened": flattened, "general": general} {
		for _, f := range []Forgery{
			{"bare", encode(message)},
			{"outer claims", encode(with(message, outer))},
			{"outer claims, audience as text", encode(with(message, asText))},
			{"few outer claims", encode(with(message, fewer))},
			{"outer claims and an unprotected header", encode(with(message, outer, unprotected))},
			{"unprotected header", encode(with(message, unprotected))},
			{"outer claims behind white space", " \t" + encode(with(message, outer))},
			{"outer claims, compact beside them", encode(with(message, outer, map[string]any{"token": genuine}))},
			{"like a JWE", encode(with(message, outer, map[string]any{"ciphertext": "AAAA", "iv": "AAAA", "tag": "AAAA"}))},
			{"like a key", encode(with(message, outer, map[string]any{"kty": "EC"}))},
			{"like a set of keys", encode(with(message, outer, map[string]any{"keys": []any{}}))},
			{"forged payload after it", twice(message, "payload", forged)},
			{"forged payload in another case", encode(with(message, map[string]any{"Payload": forged}))},
			{"encoded as one part", b64.EncodeToString([]byte(encode(with(message, outer))))},
			{"as the payload of a message without signature", unsigned(`{"alg":"none"}`, encode(with(message, outer)))},
			{"over-long", encode(with(message, outer, map[string]any{"pad": strings.Repeat("a", 20<<10)}))},
		} {
			all = append(all, Forgery{name + ", " + f.Name, f.Token})
		}
	}
	return append(all,
		Forgery{"both serializations and outer claims", encode(with(flattened, general, outer))},
		Forgery{"flattened, header not protected", encode(map[string]any{
			"payload": parts[1], "signature": parts[2], "header": json.RawMessage(decoded(parts[0]))})},
		Forgery{"flattened, the compact token as payload", encode(with(flattened, outer, map[string]any{"payload": genuine}))},
		Forgery{"general, no signature but outer claims", encode(with(general, outer, map[string]any{"signatures": []any{}}))},
		Forgery{"claims alone", encode(outer)},
		Forgery{"claims alone, encoded", forged},
	)
}

// with returns the members of all objects; of two with one name, the later.
func with(objects ...map[string]any) map[string]any {
	all := map[string]any{}
	for _, object := range objects {
		for name, value := range object {
			all[name] = value
		}
	}
	return all
}

// twice adds a member that the object has already.
func twice(object map[string]any, name string, value any) string {
	return fmt.Sprintf("%s,%q:%s}", strings.TrimSuffix(encode(object), "}"), name, encode(value))
}

func unsigned(header, payload string) string {
	return b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload)) + "."
}

func decoded(part string) string {
	text, err := b64.DecodeString(part)
	if err != nil {
		panic(err) // of a part that we have not encoded
	}
	return string(text)
}
