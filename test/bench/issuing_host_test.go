//go:build linux

package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Where the issuers listen, inside a network namespace of their own.
const (
	pairsAddress = "127.0.0.1:8701"
	providerPort = "8702"
	fileAddress  = "127.0.0.1:8703"
	jwksPath     = "/operator/.well-known/jwks.json"
)

// providerPackage is what the authority is compared with.
const providerPackage = "oidc-provider@9.13.3"

// issuing is a host with the authority and its peers, each in a cgroup of its own.
type issuing struct {
	*stage
	clients  *lab.Cgroup
	issuer   *lab.Cgroup
	provider *lab.Cgroup
	files    *lab.Cgroup
}

func newIssuing(b *testing.B) *issuing {
	b.Helper()
	cgroup := lab.NewCgroup(b)
	i := &issuing{
		stage:   newStage(b),
		clients: cgroup.Sub(b, "clients"), issuer: cgroup.Sub(b, "issuer"),
		provider: cgroup.Sub(b, "provider"), files: cgroup.Sub(b, "files"),
	}
	i.build("lanyard", "cmd/lanyard")
	i.build("issuer", "test/bench/issuer")
	i.build("asker", "test/bench/asker")
	i.startIssuer()
	i.startProvider()
	i.startFiles()
	return i
}

// arms are the servers and what is asked of them.
func (i *issuing) arms() map[string]issuerArm {
	providerURL := "http://127.0.0.1:" + providerPort
	all := map[string]issuerArm{}
	for _, a := range []issuerArm{
		{name: "I", server: i.issuer, asker: []string{"-protocol", "operator", "-url", authorityURL + "/operator",
			"-audience", "https://ledger.internal", "-ticket-file", i.path("ticket")}},
		{name: "V", server: i.issuer, each: pairsAtOnce, asker: []string{"-protocol", "get", "-url", "http://" + pairsAddress}},
		{name: "O", server: i.provider, asker: []string{"-protocol", "private_key_jwt", "-url", providerURL + "/token",
			"-audience", providerURL, "-client-id", "with-key", "-key-file", i.path("client.pem")}},
		{name: "S", server: i.provider, asker: []string{"-protocol", "client_secret_basic", "-url", providerURL + "/token",
			"-client-id", "with-secret", "-secret-file", i.path("client-secret")}},
		{name: "J", server: i.issuer, asker: []string{"-protocol", "get", "-url", authorityURL + jwksPath}},
		{name: "F", server: i.files, asker: []string{"-protocol", "get", "-url", "http://" + fileAddress + "/jwks.json"}},
	} {
		a.each = max(a.each, 1)
		all[a.name] = a
	}
	return all
}

// startIssuer starts the authority, with a ticket for its workloads.
func (i *issuing) startIssuer() {
	i.b.Helper()
	p := i.start("issuer", i.issuer, []string{i.path("issuer"), "-data", i.path("authority"),
		"-listen", strings.TrimPrefix(authorityURL, "http://"), "-pairs", pairsAddress, "-each", fmt.Sprint(pairsAtOnce)})
	i.awaitOK(p, authorityURL+"/readyz")
	output := i.lanyard("ticket", "create", "-o", "json", "--tag", "environment=production", "--tag", "service=billing-worker")
	var made struct{ Ticket string }
	if err := json.Unmarshal([]byte(output), &made); err != nil || made.Ticket == "" {
		i.b.Fatalf("make ticket: %v\n%s", err, output)
	}
	i.write("ticket", made.Ticket)
}

// checkActivity has the authority verify its activity, in which each token is.
func (i *issuing) checkActivity() error {
	output := i.lanyard("activity", "--verify")
	if !strings.Contains(output, "intact") {
		return fmt.Errorf("verify activity: %s", output)
	}
	return nil
}

// lanyard runs an administrator's command.
func (i *issuing) lanyard(arguments ...string) string {
	i.b.Helper()
	cmd := exec.Command(i.path("lanyard"), arguments...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + i.folder,
		"LANYARD_AUTHORITY_URL=" + authorityURL, "LANYARD_ADMIN_TOKEN_FILE=" + i.path("authority/admin-token")}
	output, err := lab.Place{Net: i.net}.Output(cmd)
	if err != nil {
		i.b.Fatalf("lanyard %v: %v\n%s", arguments, err, output)
	}
	return output
}

// startProvider installs and starts npm oidc-provider.
func (i *issuing) startProvider() {
	i.b.Helper()
	install := exec.Command("npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", providerPackage)
	install.Dir = i.folder
	if output, err := install.CombinedOutput(); err != nil {
		i.b.Fatalf("install %s: %v\n%s", providerPackage, err, output)
	}
	script, err := os.ReadFile("oidcprovider/server.mjs")
	if err != nil {
		i.b.Fatal(err)
	}
	client, signing := i.newKey(), i.newKey()
	der, err := x509.MarshalPKCS8PrivateKey(client)
	if err != nil {
		i.b.Fatal(err)
	}
	secret := rand.Text()
	i.write("client.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	i.write("client-secret", secret)
	settings, err := json.Marshal(map[string]any{"publicJwk": i.jwk(client.Public()), "secret": secret, "signingJwk": i.jwk(signing)})
	if err != nil {
		i.b.Fatal(err)
	}
	p := i.start("oidc-provider", i.provider,
		[]string{"node", i.write("server.mjs", string(script)), providerPort, i.write("settings.json", string(settings))}, "NODE_ENV=production")
	i.awaitOK(p, "http://127.0.0.1:"+providerPort+"/.well-known/openid-configuration")
}

func (i *issuing) newKey() *ecdsa.PrivateKey {
	i.b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.b.Fatal(err)
	}
	return key
}

func (i *issuing) jwk(raw any) jwk.Key {
	i.b.Helper()
	key, err := jwk.FromRaw(raw)
	if err == nil {
		err = firstOf(key.Set(jwk.AlgorithmKey, jwa.ES256), key.Set(jwk.KeyUsageKey, "sig"), jwk.AssignKeyID(key))
	}
	if err != nil {
		i.b.Fatal(err)
	}
	return key
}

// peerVersion is the version of the provider that was measured.
func (i *issuing) peerVersion() string {
	_, version, _ := strings.Cut(providerPackage, "@")
	output, _ := exec.Command("node", "--version").Output()
	return version + " (Node.js " + strings.TrimPrefix(strings.TrimSpace(string(output)), "v") + ")"
}

// startFiles starts an nginx that serves the authority's keys as a file.
func (i *issuing) startFiles() {
	i.b.Helper()
	response, err := i.http.Get(authorityURL + jwksPath)
	if err != nil {
		i.b.Fatal(err)
	}
	defer response.Body.Close()
	keys, err := io.ReadAll(response.Body)
	if err != nil {
		i.b.Fatal(err)
	}
	i.write("jwks.json", string(keys))
	config := i.write("files.conf", i.nginxMain("files")+fmt.Sprintf(`
	server {
		listen %s backlog=4096;
		default_type application/json;
		add_header Cache-Control "%s";
		location / { root %s; }
	}
}
user root; # the folder is the benchmark's own
`, fileAddress, response.Header.Get("Cache-Control"), i.folder))
	p := i.start("nginx", i.files, []string{"nginx", "-c", config, "-e", i.path("files.log")})
	i.awaitOK(p, "http://"+fileAddress+"/jwks.json")
}
