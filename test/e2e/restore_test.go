//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/test/lab"
)

// tokenPath is where workloads ask the authority for ID tokens.
const tokenPath = "/operator/v1/id_token"

// recordAuthority puts a proxy before the authority that remembers what it was asked.
// The authority must not have been started.
func (w *world) recordAuthority() *recorder {
	w.t.Helper()
	w.authorityEnv = []string{"LANYARD_LISTEN=" + behindAuthority, "LANYARD_AUTHORITY_URL=" + authorityURL}
	target := &url.URL{Scheme: "http", Host: behindAuthority}
	asked := &recorder{next: &httputil.ReverseProxy{
		Transport: w.http.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(out http.ResponseWriter, _ *http.Request, err error) {
			http.Error(out, err.Error(), http.StatusBadGateway)
		},
	}}
	w.serve("8700", asked, netip.MustParseAddr("127.0.0.1"))
	return asked
}

// workload is a lanyard run.
type workload struct {
	process
	w    *world
	port string
}

// startWorkload runs a workload of its own folder and port, with a ticket for its
// first run, until it has a token.
func (w *world) startWorkload(folder, port, ticket string) workload {
	w.t.Helper()
	started := workload{w: w, port: port}
	started.process = startProcess(w.t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, folder, w.runCommand(folder, port, ticket))
	started.waitForLog(w.t, `msg="ID token is ready"`)
	return started
}

func (w *world) runCommand(folder, port, ticket string) *exec.Cmd {
	cmd := exec.Command(lanyard(w.t), "run", "--dir", w.path(folder), "--local-api", "127.0.0.1:"+port)
	cmd.Env = w.serviceEnv("LANYARD_INVITE_CODE="+ticket, "MIM_API_KEY="+localKey)
	return cmd
}

// refuseRun is a run that must fail, and returns its exit status and what it printed.
func (w *world) refuseRun(folder, port, ticket string) (status int, output string) {
	w.t.Helper()
	output, err := lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}.Output(w.runCommand(folder, port, ticket))
	return exitCode(err), output
}

// token asks the workload's local API for a token for the audience.
func (r workload) token(audience string) (token string, err error) {
	request, err := http.NewRequest("GET", "http://127.0.0.1:"+r.port+"/peer/v1/id_token?audience="+url.QueryEscape(audience), nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+localKey)
	response, err := r.w.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(body), `"jwt_id_token":"`)
	if response.StatusCode != http.StatusOK || !found {
		return "", fmt.Errorf("the local API answers %d: %s", response.StatusCode, body)
	}
	token, _, _ = strings.Cut(rest, `"`)
	return token, nil
}

func (r workload) wantToken(audience string) string {
	r.w.t.Helper()
	token, err := r.token(audience)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return token
}

// keyOf is the id of the key that signed a token.
func keyOf(t *testing.T, token string) string {
	t.Helper()
	message, err := jws.ParseString(token)
	if err != nil {
		t.Fatal(err)
	}
	return message.Signatures()[0].ProtectedHeaders().KeyID()
}

// must runs a command of the product that must succeed.
func (w *world) must(arguments ...string) string {
	w.t.Helper()
	output, err := w.command(arguments...)
	if err != nil {
		w.t.Fatalf("lanyard %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

// mustRefuse runs a command that must fail, and say these words.
func (w *world) mustRefuse(words string, arguments ...string) {
	w.t.Helper()
	output, err := w.command(arguments...)
	if exitCode(err) != 1 || !strings.Contains(output, words) {
		w.t.Errorf("lanyard %s: exit %d, want 1 and %q:\n%s", strings.Join(arguments, " "), exitCode(err), words, output)
	}
}

// postAgain sends a recorded assertion once more.
func (w *world) postAgain(assertion string) int {
	w.t.Helper()
	request, err := http.NewRequest("POST", authorityURL+tokenPath, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+assertion)
	response, err := w.http.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestBackupRestoredElsewhere: security.md 18, on another data folder and at the same
// base.
func TestBackupRestoredElsewhere(t *testing.T) {
	w := newWorld(t)
	asked := w.recordAuthority()
	w.startAuthority()
	made := w.createTicket("ticket")
	early := w.startWorkload("early", "3013", made.Ticket)
	before := early.wantToken("https://before")
	w.must("authority", "backup", w.path("backup"))
	between := early.wantToken("https://between")
	recorded := asked.last(t)
	late := w.startWorkload("late", "3014", made.Ticket)
	w.authority.stop(t)

	elsewhere := []string{"--data-dir", w.path("elsewhere"), "--admin-token-file", w.path("elsewhere/admin-token")}
	w.mustRefuse("key-encryption-key is missing", append([]string{"authority", "restore", w.path("backup")}, elsewhere...)...)
	key, err := os.ReadFile(w.path("authority/key-encryption-key"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("elsewhere/key-encryption-key", string(key))
	w.must(append([]string{"authority", "restore", w.path("backup")}, elsewhere...)...)
	w.authorityEnv = append(w.authorityEnv, "LANYARD_DATA_DIR="+w.path("elsewhere"), "LANYARD_ADMIN_TOKEN_FILE="+w.path("elsewhere/admin-token"))
	w.startAuthority()
	w.mustRefuse("401", "ticket", "list") // by the former token
	w.adminTokenFile = w.path("elsewhere/admin-token")

	// The workload goes on by itself: at most the rest of a second is lost.
	var after string
	lab.Eventually(t, waitLimit, func() (err error) {
		after, err = early.token("https://after")
		return err
	})
	if keyOf(t, after) == keyOf(t, before) || keyOf(t, between) != keyOf(t, before) {
		t.Errorf("signed by %s, between by %s, before by %s", keyOf(t, after), keyOf(t, between), keyOf(t, before))
	}
	for name, token := range map[string]string{"before": before, "between": between, "after": after} {
		w.must("verify", "--audience", "https://"+name, token)
	}
	if status := w.postAgain(recorded.token); status != http.StatusUnauthorized {
		t.Errorf("a recorded assertion: %d", status)
	}
	if refused := w.must("activity", "--kind", "id_token", "--refused", "--limit", "0"); !strings.Contains(refused, "issued before a backup was restored") {
		t.Errorf("the activity does not say why:\n%s", refused)
	}
	if _, err := late.token("https://late"); err == nil || !strings.Contains(err.Error(), "restored from a backup older than the workload") {
		t.Errorf("a workload of after the backup: %v", err)
	}

	status, output := w.refuseRun("new", "3015", made.Ticket)
	if status != 1 || !strings.Contains(output, "authority answered 401: the enrolment was refused") {
		t.Errorf("exit %d:\n%s", status, output)
	}
	if shown := w.must("ticket", "show", made.ID); !strings.Contains(shown, "closed (restored from the backup of ") {
		t.Errorf("ticket:\n%s", shown)
	}
	w.must("ticket", "reopen", made.ID)
	w.startWorkload("new", "3015", made.Ticket)
	w.must("activity", "--verify")
	if events := w.must("activity", "--kind", "restore"); !strings.Contains(events, "the backup of ") {
		t.Errorf("activity:\n%s", events)
	}
}
