package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/x25519"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// offered is a key that a workload may not have.
type offered struct {
	members   map[string]any
	algorithm jwa.SignatureAlgorithm // "": the key signs nothing
	private   any
}

// described returns the members of a key's JWK.
func described(t *testing.T, raw any) map[string]any {
	t.Helper()
	key, err := jwk.FromRaw(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// offeredKeys are of other types, weak, private, or no point of the curve.
func offeredKeys(t *testing.T, good *member) map[string]offered {
	t.Helper()
	all := map[string]offered{}
	add := func(name string, algorithm jwa.SignatureAlgorithm, private crypto.Signer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		all[name] = offered{described(t, private.Public()), algorithm, private}
		all[name+", private"] = offered{described(t, private), algorithm, private}
	}
	add("P-256", jwa.ES256, good.key, nil)
	delete(all, "P-256") // that is the good one
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	add("RSA of 1024 bits", jwa.RS256, weak, err)
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	add("RSA of 2048 bits", jwa.RS256, strong, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	add("P-384", jwa.ES384, p384, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	add("P-521", jwa.ES512, p521, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	add("Ed25519", jwa.EdDSA, edwards, err)
	montgomery, _, err := x25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all["X25519"] = offered{members: described(t, montgomery)}
	all["symmetric"] = offered{described(t, []byte("0123456789abcdef0123456789abcdef")), jwa.HS256, []byte("0123456789abcdef0123456789abcdef")}

	point := described(t, &good.key.PublicKey)
	bent := func(name string, changes map[string]any) {
		members := maps.Clone(point)
		maps.Copy(members, changes)
		all[name] = offered{members, jwa.ES256, good.key}
	}
	number := func(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
	x, err := base64.RawURLEncoding.DecodeString(point["x"].(string))
	if err != nil {
		t.Fatal(err)
	}
	field := elliptic.P256().Params().P
	bent("off the curve", map[string]any{"y": point["x"]})
	bent("coordinates exchanged", map[string]any{"x": point["y"], "y": point["x"]})
	bent("infinity", map[string]any{"x": number(make([]byte, 32)), "y": number(make([]byte, 32))})
	bent("beyond the field", map[string]any{"x": number(field.Bytes()), "y": number(field.Bytes())})
	bent("all ones", map[string]any{"x": number(bytes.Repeat([]byte{0xff}, 32)), "y": number(bytes.Repeat([]byte{0xff}, 32))})
	bent("a byte short", map[string]any{"x": number(x[1:])})
	bent("a byte more", map[string]any{"x": number(append([]byte{0}, x...))})
	bent("in base64 with padding", map[string]any{"x": base64.URLEncoding.EncodeToString(x)})
	bent("a point of another curve", map[string]any{"x": described(t, &p384.PublicKey)["x"], "y": described(t, &p384.PublicKey)["y"]})
	bent("another curve's name", map[string]any{"crv": "P-384"})
	bent("a private member that is null", map[string]any{"d": nil})
	for _, name := range []string{"d", "k", "p", "x5u", "x5c", "x5t", "jku", "oth"} {
		bent("with the member "+name, map[string]any{name: "AAAA"})
	}
	return all
}

// TestKeysThatNoWorkloadMayHave: at either endpoint that takes one, with a proof of it
// that would be good. The answer names the member, and nothing is written.
func TestKeysThatNoWorkloadMayHave(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	fresh := f.newMember()
	watch := f.watch(t)
	for name, key := range offeredKeys(t, fresh) {
		proof := func(message message) string {
			if key.algorithm == "" {
				return message.String()
			}
			input := encoded([]byte(render(message.with("header.alg", key.algorithm.String()).with("header.kid", nil).header))) + "." + encoded([]byte(render(message.claims)))
			return input + "." + encoded(fresh.signatureBy(key.algorithm, key.private, input))
		}
		before := watch.version()
		for path, request := range map[string]struct {
			bearer string
			body   map[string]any
		}{
			registerPath: {"", map[string]any{"ticket": ticket.Ticket, "proof": proof(fresh.proofMessage("ticket_sha256", jose.Digest([]byte(ticket.Ticket))))}},
			keyPath:      {"Bearer " + m.assertion(), map[string]any{"proof": proof(fresh.proofMessage("workload_id", m.id))}},
		} {
			request.body["jwk"] = key.members
			got := f.send("POST", path, request.bearer, request.body)
			if message := got.refused(t, 400); !strings.HasPrefix(message, `member "jwk"`) {
				t.Errorf("%s at %s: message %q", name, path, message)
			}
			if watch.version() != before {
				t.Errorf("%s at %s: something was written", name, path)
			}
		}
	}
	decodeToken(t, m.idToken(nil))
	f.send("POST", registerPath, "", fresh.registration(ticket.Ticket)).decode(t, 200, &registerResponse{})
}
