package authority

import (
	"reflect"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/keyring"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// startIssuer starts an authority whose issuer is its own address and the path.
func startIssuer(t *testing.T, path string) *fixture {
	t.Helper()
	f := start(t)
	f.config.Issuer = f.base + path
	f.restart()
	return f
}

// TestGoOIDCVerifies: that library knows the issuer's URL and nothing else.
func TestGoOIDCVerifies(t *testing.T) {
	for _, path := range []string{"", "/", "/tenants/a", "/operator", "/operator/"} {
		t.Run(path, func(t *testing.T) {
			f := startIssuer(t, path)
			m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
			compact := tokenOf(t, m.idToken(`{"audience":["https://ledger.internal"]}`))
			ctx := oidc.ClientContext(t.Context(), f.client)
			provider, err := oidc.NewProvider(ctx, f.config.Issuer)
			if err != nil {
				t.Fatal(err)
			}
			verifier := provider.Verifier(&oidc.Config{ClientID: "https://ledger.internal", Now: f.clock.Now})
			token, err := verifier.Verify(ctx, compact)
			if err != nil || token.Subject != m.id || token.Issuer != f.config.Issuer {
				t.Errorf("%+v, %v", token, err)
			}
			if _, err := provider.Verifier(&oidc.Config{ClientID: "another", Now: f.clock.Now}).Verify(ctx, compact); err == nil {
				t.Error("a token for another audience is accepted")
			}
		})
	}
}

// TestGoOIDCVerifiesEveryAlgorithm: with one verifier over all rotations, whose keys
// come from the JWKS as it finds unknown ones.
func TestGoOIDCVerifiesEveryAlgorithm(t *testing.T) {
	f := startIssuer(t, "")
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	ctx := oidc.ClientContext(t.Context(), f.client)
	provider, err := oidc.NewProvider(ctx, f.config.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{SkipClientIDCheck: true, Now: f.clock.Now, SupportedSigningAlgs: jose.Algorithms()})
	tokens := []string{tokenOf(t, m.idToken(`{"ttl_seconds":172800}`))}
	for _, algorithm := range []string{jose.RS256, jose.EdDSA} {
		f.config.SigningAlgorithm = algorithm
		f.restart()
		f.clock.Advance(keyring.PublishAhead)
		f.send("POST", resource.SigningKeysPath+"/rotate", "Bearer "+f.admin, nil).decode(t, 200, &resource.SigningKey{})
		tokens = append(tokens, tokenOf(t, m.idToken(`{"ttl_seconds":172800}`)))
	}
	for i, token := range tokens {
		if _, err := verifier.Verify(ctx, token); err != nil {
			t.Errorf("token %d: %v", i, err)
		}
	}
	var document discovery
	f.send("GET", discoveryPath, "", nil).decode(t, 200, &document)
	if got := strings.Join(document.Algorithms, " "); got != "ES256 EdDSA RS256" {
		t.Errorf("algorithms %s", got)
	}
}

func TestDiscovery(t *testing.T) {
	f := startIssuer(t, "/id/")
	got := f.send("GET", "/id/.well-known/openid-configuration", "", nil)
	if got.header.Get("Cache-Control") != jwksCacheControl {
		t.Errorf("Cache-Control %q", got.header.Get("Cache-Control"))
	}
	var document discovery
	got.decode(t, 200, &document)
	want := discovery{
		Issuer: f.base + "/id/", JWKSURI: f.base + "/id/.well-known/jwks.json",
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: []string{"ES256"},
		Scopes: []string{"openid"}, Claims: []string{"aud", "exp", "extra", "iat", "iss", "jti", "nbf", "sub"},
	}
	if !reflect.DeepEqual(document, want) {
		t.Errorf("got %+v, want %+v", document, want)
	}
	keys := f.send("GET", "/id/.well-known/jwks.json", "", nil)
	if keys.status != 200 || keys.body != f.send("GET", jwksPath, "", nil).body {
		t.Errorf("keys below the issuer: %d %s", keys.status, keys.body)
	}
	if f.OperatorID() == f.Issuer() || !hasForm(f.OperatorID(), prefixOperator, idLength) {
		t.Errorf("operator id %s, issuer %s", f.OperatorID(), f.Issuer())
	}
}

func TestNoDiscoveryWithoutAnIssuer(t *testing.T) {
	f := start(t)
	for _, path := range []string{discoveryPath, operatorPath + discoveryPath, issuerKeysPath} {
		f.send("GET", path, "", nil).refused(t, 404)
	}
	if f.Issuer() != f.OperatorID() {
		t.Errorf("issuer %s", f.Issuer())
	}
}
