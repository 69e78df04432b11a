package authority

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/keyring"
)

// listKeys returns the signing keys by state, of those that may be several the last.
func (f *fixture) listKeys() map[string]resource.SigningKey {
	f.t.Helper()
	var page resource.Page[resource.SigningKey]
	f.send("GET", resource.SigningKeysPath, "Bearer "+f.admin, nil).decode(f.t, 200, &page)
	byState := map[string]resource.SigningKey{}
	for _, key := range page.Items {
		byState[key.Status.State] = key
	}
	return byState
}

// publishedKeys fetches the JWKS.
func (f *fixture) publishedKeys() jwk.Set {
	f.t.Helper()
	set, err := jwk.Parse([]byte(f.send("GET", jwksPath, "", nil).body))
	if err != nil {
		f.t.Fatal(err)
	}
	return set
}

func (f *fixture) isPublished(id string) bool {
	f.t.Helper()
	_, found := f.publishedKeys().LookupKeyID(id)
	return found
}

func TestSigningKeys(t *testing.T) {
	f := start(t)
	keys := f.listKeys()
	active, next := keys["active"], keys["next"]
	if active.Status.RotatesAt == nil || !active.Status.RotatesAt.Equal(startTime.Add(DefaultKeyRotation)) ||
		active.Status.Algorithm != "ES256" || active.Status.Purpose != "id_token" || next.Status.ActivatedAt != nil || len(keys) != 2 {
		t.Errorf("keys %+v", keys)
	}
	shown := f.send("GET", resource.SigningKeysPath+"/"+active.Name, "Bearer "+f.admin, nil)
	if shown.status != 200 || shown.header.Get("ETag") == "" || strings.Contains(shown.body, "a256gcm") || strings.Contains(shown.body, "sealed") {
		t.Errorf("%d %s", shown.status, shown.body)
	}
	for method, path := range map[string]string{
		"POST":   resource.SigningKeysPath,
		"PUT":    resource.SigningKeysPath + "/" + active.Name,
		"PATCH":  resource.SigningKeysPath + "/" + active.Name,
		"DELETE": resource.SigningKeysPath + "/" + active.Name,
	} {
		f.send(method, path, "Bearer "+f.admin, `{"spec":{}}`).refused(t, 405)
	}
}

func TestRotationByCommand(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	before := tokenOf(t, m.idToken(`{"ttl_seconds":172800}`))
	next := f.listKeys()["next"]
	rotate := resource.SigningKeysPath + "/rotate"

	f.clock.Advance(keyring.PublishAhead - time.Second)
	early := f.send("POST", rotate, "Bearer "+f.admin, nil)
	early.refused(t, 409)
	if early.header.Get("Retry-After") != strconv.Itoa(2) {
		t.Errorf("Retry-After %q", early.header.Get("Retry-After"))
	}
	f.send("POST", rotate, "Bearer "+f.admin, `{"algorithm":"RS256"}`).refused(t, 400)
	f.clock.Advance(time.Second)
	var signs resource.SigningKey
	f.send("POST", rotate, "Bearer "+f.admin, `{}`).decode(t, 200, &signs)
	if signs.Name != next.Name || signs.Status.State != "active" {
		t.Errorf("answered %+v, want %s active", signs, next.Name)
	}
	for _, token := range []string{before, tokenOf(t, m.idToken(nil))} {
		if _, err := jws.Verify([]byte(token), jws.WithKeySet(f.publishedKeys())); err != nil {
			t.Error(err)
		}
	}
	var kinds []string
	for _, e := range f.events() {
		if strings.HasPrefix(e.Kind, "signing_key.") {
			kinds = append(kinds, e.Kind)
			if e.AdminID == "" || e.Source != "127.0.0.1" || !e.Allowed || !strings.HasPrefix(e.Resource, "SigningKey/") {
				t.Errorf("event %+v", e)
			}
		}
	}
	if got := strings.Join(kinds, " "); got != "signing_key.create signing_key.activate signing_key.retire" {
		t.Errorf("events, newest first: %s", got)
	}
}

// TestRevocationActsAtOnce: security.md 18.
func TestRevocationActsAtOnce(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	stolen := tokenOf(t, m.idToken(nil))
	keys := f.listKeys()
	path := resource.SigningKeysPath + "/" + keys["active"].Name + "/revoke"
	var revoked resource.SigningKey
	f.send("POST", path, "Bearer "+f.admin, nil).decode(t, 200, &revoked)
	if revoked.Name != keys["active"].Name || revoked.Status.State != "revoked" || revoked.Status.RevokedAt == nil {
		t.Errorf("answered %+v", revoked)
	}
	check := func() {
		t.Helper()
		if f.isPublished(revoked.Name) {
			t.Error("the revoked key is published")
		}
		if _, err := jws.Verify([]byte(stolen), jws.WithKeySet(f.publishedKeys())); err == nil {
			t.Error("what the revoked key signed still verifies")
		}
		if _, err := jws.Verify([]byte(tokenOf(t, m.idToken(nil))), jws.WithKeySet(f.publishedKeys())); err != nil {
			t.Error(err)
		}
	}
	check()
	if got := f.listKeys()["active"].Name; got != keys["next"].Name {
		t.Errorf("%s is active, want the next key %s", got, keys["next"].Name)
	}
	events := len(f.allEvents())
	f.send("POST", path, "Bearer "+f.admin, nil).decode(t, 200, &revoked)
	f.send("POST", resource.SigningKeysPath+"/none/revoke", "Bearer "+f.admin, nil).refused(t, 404)
	if len(f.allEvents()) != events {
		t.Error("a revocation that changed nothing is an event")
	}
	f.restart()
	check()
}

func TestKeysRotateBySchedule(t *testing.T) {
	f := start(t, func(c *Config) { c.KeyRotation, c.SigningAlgorithm = time.Hour, "EdDSA" })
	before := f.listKeys()
	f.clock.Advance(time.Hour)
	if err := f.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := f.listKeys()
	if after["active"].Name != before["next"].Name || after["retired"].Name != before["active"].Name || after["active"].Status.Algorithm != "EdDSA" {
		t.Errorf("before %+v, after %+v", before, after)
	}
	f.clock.Advance(maxIDTokenTTL)
	for range 2 { // the second time the key is due
		if err := f.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !f.isPublished(before["next"].Name) {
			t.Error("a key that signed until now is gone")
		}
		f.clock.Advance(10 * time.Minute)
	}
	if f.isPublished(before["active"].Name) {
		t.Error("the retired key stays published")
	}
}

func TestOnlyAdministratorsChangeKeys(t *testing.T) {
	f := start(t)
	active := f.listKeys()["active"].Name
	var viewer resource.AdminToken
	f.send("POST", resource.AdminTokensPath, "Bearer "+f.admin, `{"spec":{"role":"viewer"}}`).decode(t, 201, &viewer)
	f.secrets = append(f.secrets, viewer.Token)
	f.send("GET", resource.SigningKeysPath, "Bearer "+viewer.Token, nil).decode(t, 200, &resource.Page[resource.SigningKey]{})
	for _, path := range []string{"/rotate", "/" + active + "/revoke"} {
		f.send(http.MethodPost, resource.SigningKeysPath+path, "Bearer "+viewer.Token, nil).refused(t, 403)
		f.send(http.MethodPost, resource.SigningKeysPath+path, "", nil).refused(t, 401)
		f.send(http.MethodGet, resource.SigningKeysPath+path, "Bearer "+f.admin, nil).refused(t, 405)
	}
	if !f.isPublished(active) {
		t.Error("a viewer revoked a key")
	}
}

func TestTheJWKSMayBeKeptForLessThanAKeyIsPublishedAhead(t *testing.T) {
	want := "public, max-age=" + strconv.Itoa(int(keyring.JWKSMaxAge/time.Second))
	if jwksCacheControl != want {
		t.Errorf("Cache-Control %q, want %q", jwksCacheControl, want)
	}
}
