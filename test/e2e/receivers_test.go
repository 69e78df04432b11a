//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

const keysURL = authorityURL + "/operator/.well-known/jwks.json"

// joseVersion is the npm package that the example in Node uses.
const joseVersion = "jose@6.2.18"

// examples are the services of docs/examples. Each listens where the ledger is.
var examples = map[string]func(w *world) *exec.Cmd{
	"go-server": func(w *world) *exec.Cmd {
		program := w.path("go-server")
		build := exec.Command("go", "build", "-o", program, "../../docs/examples/go-server")
		if output, err := build.CombinedOutput(); err != nil {
			w.t.Fatalf("build the example: %v\n%s", err, output)
		}
		return exec.Command(program, exampleArguments()...)
	},
	"node-server": func(w *world) *exec.Cmd {
		return exec.Command("node", append([]string{w.nodeScript("../../docs/examples/node-server/server.mjs")}, exampleArguments()...)...)
	},
}

func exampleArguments() []string {
	return []string{ledgerV4.String() + ":" + port, keysURL, ledgerAudience}
}

// nodeScript copies a script beside the package jose, and returns its path.
func (w *world) nodeScript(script string) string {
	w.t.Helper()
	content, err := os.ReadFile(script)
	if err != nil {
		w.t.Fatal(err)
	}
	install := exec.Command("npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", joseVersion)
	install.Dir = w.folder
	if output, err := install.CombinedOutput(); err != nil {
		w.t.Fatalf("install %s: %v\n%s", joseVersion, err, output)
	}
	return w.write(filepath.Base(script), string(content))
}

// The example services, in which nothing is Lanyard's, let in who has an identity
// and nobody else.
func TestExampleServices(t *testing.T) {
	for name, command := range examples {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.dns.Set(ledgerHost, ledgerV4)
			w.startAuthority()
			w.createTicket("ticket", "--max-uses", "1")
			service := startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, name, command(w))
			protected := "http://" + ledgerV4.String() + ":" + port + "/protected"
			service.WaitUntil(t, waitLimit, func() error {
				status, body, err := w.get(protected)
				if err == nil && status != http.StatusUnauthorized {
					err = fmt.Errorf("without a token it answers %d: %s", status, body)
				}
				return err
			})
			w.startReceiversAgent()
			if output, err := w.curl(ledgerURL + "/protected"); err != nil || !strings.Contains(output, "Hello, fellow Workload pr1:") {
				t.Errorf("curl with an identity: %v\n%s", err, output)
			}
			for what, token := range map[string]string{"no token": "abc", "a token for another service": w.tokenFor("http://other.test")} {
				if status := w.statusWith(protected, token); status != http.StatusUnauthorized {
					t.Errorf("%s: %d", what, status)
				}
			}
			if status := w.statusWith(protected, w.tokenFor(ledgerAudience)); status != http.StatusOK {
				t.Errorf("the right token: %d", status)
			}
		})
	}
}

// Debian's PyJWT takes our tokens, and refuses those for others.
func TestPyJWT(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.createTicket("ticket", "--max-uses", "1")
	w.startReceiversAgent()
	script := w.write("verify.py", `
import sys, jwt
keys = jwt.PyJWKClient(sys.argv[1])
token = sys.stdin.read()
key = keys.get_signing_key_from_jwt(token)
print(jwt.decode(token, key.key, algorithms=["ES256", "RS256", "EdDSA"], audience=sys.argv[2])["sub"])
`)
	decode := func(audience string) (string, error) {
		cmd := exec.Command("/usr/bin/python3", script, keysURL, audience)
		cmd.Stdin = strings.NewReader(w.tokenFor(ledgerAudience))
		return lab.Place{Net: w.net, Files: w.files}.Output(cmd)
	}
	if output, err := decode(ledgerAudience); err != nil || !strings.HasPrefix(output, "pr1:") {
		t.Errorf("%v\n%s", err, output)
	}
	if output, err := decode("http://other.test"); err == nil || !strings.Contains(output, "InvalidAudienceError") {
		t.Errorf("for another audience: %v\n%s", err, output)
	}
}

// localKey is the key of the local API in these tests.
const localKey = "open-sesame"

// startReceiversAgent starts an agent whose local API gives raw tokens to who has
// the key.
func (w *world) startReceiversAgent() {
	w.t.Helper()
	w.agentEnv = []string{"MIM_API_KEY=" + localKey}
	w.startAgent(w.config(curlConfig + "local_api: {identity: ledger-client}\n"))
}

// tokenFor fetches a raw token from the agent's local API.
func (w *world) tokenFor(audience string) string {
	w.t.Helper()
	output, err := w.curl("-H", "Authorization: Bearer "+localKey, localAPIURL+"/peer/v1/id_token?audience="+url.QueryEscape(audience))
	var answer struct {
		Token string `json:"jwt_id_token"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(output), &answer)
	}
	if err != nil || answer.Token == "" {
		w.t.Fatalf("fetch token: %v\n%s", err, output)
	}
	return answer.Token
}

func (w *world) statusWith(target, token string) int {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := w.http.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}
