//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/telemetry/telemetrytest"
	"github.com/lanyardhq/lanyard/test/lab"
)

// curlConfig registers root's curl, and nothing else, for the ledger.
const curlConfig = `
identities:
  - name: ledger-client
    match: {exe: /usr/bin/curl, user: root}
    source: {operator: {ticket_file: FOLDER/ticket}}
destinations:
  - name: ledger
    hosts: [ledger.test]
    ports: [8080]
    audience: http://ledger.test:8080
    identities: [ledger-client]
`

const ledgerURL = "http://" + ledgerHost + ":" + port

// startCurlWorld makes a world in which root's curl is let in.
func startCurlWorld(t *testing.T) (*world, *recorder) {
	t.Helper()
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.startAgent(w.config(curlConfig))
	return w, ledger
}

// curl makes one request with curl and fails where the request fails.
func (w *world) curl(arguments ...string) (output string, err error) {
	w.t.Helper()
	return w.run(append(curlCommand(w.t), arguments...)...)
}

func curlCommand(t testing.TB) []string {
	t.Helper()
	return []string{realClient(t, "curl").Executable(t), "--silent", "--show-error", "--fail-with-body"}
}

// wantIn fails the test unless curl is let in at a URL.
func (w *world) wantIn(url string, arguments ...string) {
	w.t.Helper()
	output, err := w.curl(append(arguments, url)...)
	if err != nil || !strings.Contains(output, marker) {
		w.t.Fatalf("curl %s was not let in: %v\n%s", url, err, output)
	}
}

func TestRealClients(t *testing.T) {
	w := newWorld(t)
	all := realClients(t)
	executables := map[string]bool{}
	for _, client := range all {
		executables[client.Executable(t)] = true
	}
	list := strings.Join(slices.Sorted(maps.Keys(executables)), ", ")
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.startAgent(w.config(strings.Replace(curlConfig, "/usr/bin/curl", "["+list+"]", 1)))
	for family, address := range map[string]netip.Addr{"IPv4": ledgerV4, "IPv6": ledgerV6} {
		w.dns.Set(ledgerHost, address)
		for _, client := range all {
			t.Run(client.Name+"/"+family, func(t *testing.T) {
				before := len(ledger.all())
				output, err := w.run(client.Command(ledgerURL)...)
				if err != nil || !strings.Contains(output, marker) {
					t.Fatalf("not let in: %v\n%s", err, output)
				}
				for _, q := range ledger.all()[before:] {
					if q.subject == "" {
						t.Errorf("a request for %s had no accepted token", q.path)
					}
				}
			})
		}
	}
	w.stopAgent()
}

func TestWithoutAgentTheLedgerRefuses(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	for _, address := range []netip.Addr{ledgerV4, ledgerV6} {
		w.dns.Set(ledgerHost, address)
		output, err := w.curl("--include", ledgerURL)
		if err == nil || !strings.Contains(output, "401") || !strings.Contains(output, "no bearer token") {
			t.Errorf("curl got %q (%v), want the ledger's refusal", output, err)
		}
		output, err = w.curl("--include", "--header", "Authorization: Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.e30.AAAA", ledgerURL)
		if err == nil || !strings.Contains(output, "not signed by this issuer") {
			t.Errorf("curl got %q (%v), want the ledger's refusal of a made-up token", output, err)
		}
	}
	if seen := len(ledger.all()); seen != 4 {
		t.Errorf("the ledger saw %d requests, want 4", seen)
	}
}

func TestAnotherProgramIsRefused(t *testing.T) {
	w, ledger := startCurlWorld(t)
	w.wantIn(ledgerURL)
	redirected, bystanders := w.kernelEvents("redirected"), w.kernelEvents("bystander")
	if redirected == 0 {
		t.Error("the kernel counted no redirected connection")
	}
	tokens := ledger.tokens()
	if output, err := w.run(realClient(t, "wget").Command(ledgerURL)...); err == nil {
		t.Errorf("wget was let in:\n%s", output)
	}
	nobody := w.place()
	nobody.User = nobodyUser()
	if output, err := w.runAt(nobody, append(curlCommand(t), ledgerURL)...); err == nil {
		t.Errorf("another user's curl was let in:\n%s", output)
	}
	if ledger.tokens() != tokens {
		t.Error("a program that is not registered sent a token")
	}
	if now := w.kernelEvents("redirected"); now != redirected {
		t.Errorf("%d connections of programs that are not registered were redirected", now-redirected)
	}
	if now := w.kernelEvents("bystander"); now < bystanders+2 {
		t.Errorf("the kernel counted %d bystanders, want 2 or more", now-bystanders)
	}
}

func TestIPv4MappedDestination(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantIn(ledgerURL, "--resolve", ledgerHost+":"+port+":[::ffff:"+ledgerV4.String()+"]")
}

func TestObservedDestination(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket")
	w.startAgent(w.config(curlConfig + "    enforce: false\n"))
	if output, err := w.curl(ledgerURL); err == nil {
		t.Errorf("curl was let in at a destination that is only observed:\n%s", output)
	}
	if ledger.tokens() != 0 {
		t.Error("a token was sent to a destination that is only observed")
	}
	w.wantOutcome("observed", 1)
}

// wantOutcome waits until that many requests ended in an outcome: the metric is
// counted after the client has its answer.
func (w *world) wantOutcome(outcome string, count uint64) {
	w.t.Helper()
	lab.Eventually(w.t, waitLimit, func() error {
		if got := w.metric(`lanyard_requests_total{outcome="` + outcome + `"}`); got != count {
			return fmt.Errorf("%d requests ended as %s, want %d", got, outcome, count)
		}
		return nil
	})
}

func TestTraceOfAUse(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) { testTraceOfAUse(t, protocol) })
	}
}

func testTraceOfAUse(t *testing.T, protocol string) {
	w := newWorld(t)
	var collector *telemetrytest.Receiver
	err := w.net.Do(func() (err error) {
		collector, err = telemetrytest.Start()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := collector.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, value := range collector.Environment(protocol) {
		w.agentEnv = append(w.agentEnv, name+"="+value)
	}
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket")
	w.startAgent(w.config(curlConfig))
	const traceID, parentID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	w.wantIn(ledgerURL+"/account?number=4711", "--header", "traceparent: 00-"+traceID+"-"+parentID+"-01")
	seen := ledger.last(t)

	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	span, err := collector.Wait(ctx, telemetrytest.With("use of a token", "lanyard.outcome", "injected"))
	if err != nil {
		t.Fatal(err)
	}
	if span.TraceID != traceID || span.ParentID != parentID {
		t.Errorf("span is in trace %s below %s, want those of the request", span.TraceID, span.ParentID)
	}
	for key, want := range map[string]string{
		"lanyard.identity": "ledger-client", "lanyard.destination": "ledger",
		"lanyard.audience": ledgerAudience, "lanyard.token.id": seen.tokenID,
		"http.request.method": "GET", "process.executable.path": realClient(t, "curl").Executable(t),
	} {
		if got := span.Attributes[key]; got != want {
			t.Errorf("attribute %s is %q, want %q", key, got, want)
		}
	}
	for _, key := range []string{"process.pid", "lanyard.token.expires_in"} {
		if span.Attributes[key] == "" {
			t.Errorf("the span has no attribute %s", key)
		}
	}
	if _, err := collector.Wait(ctx, telemetrytest.With("obtaining of a token")); err != nil {
		t.Error(err)
	}
	w.stopAgent() // flushes what is left
	for _, secret := range []string{seen.token, "4711"} {
		if found := collector.SearchFor(secret); len(found) > 0 {
			t.Errorf("what must not be traced is in %s", strings.Join(found, ", "))
		}
	}
	if strings.Contains(w.agent.Output(), seen.token) || strings.Contains(w.agent.Output(), "4711") {
		t.Error("the agent logged a token or a query string")
	}
}

func TestLocalAPI(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.startLedger()
	w.createTicket("ticket")
	w.agentEnv = append(w.agentEnv, "MIM_API_KEY=open-sesame")
	w.startAgent(w.config(strings.Replace(curlConfig, "    source:", "    local_api: true\n    source:", 1) +
		"local_api: {identity: ledger-client}\n"))
	const tokenURL = localAPIURL + "/peer/v1/id_token"
	const own = "Lanyard-Workload: 1"
	for _, test := range []struct {
		name     string
		command  []string
		allowed  bool
		response string
	}{
		{"attributed", append(curlCommand(t), "-H", own, tokenURL), true, "jwt_id_token"},
		{"attributed, without the header", append(curlCommand(t), tokenURL), false, "API key"},
		{"attributed, from a web page", append(curlCommand(t), "-H", own, "-H", "Origin: http://evil.test", tokenURL), false, ""},
		{"attributed, rebound name", append(curlCommand(t), "-H", own, "-H", "Host: evil.test", tokenURL), false, ""},
		{"another program", []string{"wget", "-qO-", "--header", own, tokenURL}, false, ""},
		{"key", append(curlCommand(t), "-H", "Authorization: Bearer open-sesame", tokenURL), true, "jwt_id_token"},
		{"wrong key", append(curlCommand(t), "-H", "Authorization: Bearer sesame", tokenURL), false, "API key"},
		{"workload id", append(curlCommand(t), "-H", own, localAPIURL+"/peer/v1/workload/id"), true, "pr1:"},
		{"socket, without the key", append(curlCommand(t), "-H", own, "--unix-socket", w.path("agent.sock"), tokenURL), false, "API key"},
		{"socket, with the key", append(curlCommand(t), "-H", "Authorization: Bearer open-sesame", "--unix-socket", w.path("agent.sock"), tokenURL), true, "jwt_id_token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, err := w.run(test.command...)
			if (err == nil) != test.allowed || !strings.Contains(output, test.response) {
				t.Errorf("answered %q (%v), want allowed: %v, with %q", output, err, test.allowed, test.response)
			}
		})
	}
}

func TestCheckListsMatchingProcesses(t *testing.T) {
	w := newWorld(t)
	w.write("ticket", "unused")
	waiting := w.program("/usr/bin/sleep", "60")
	if err := w.place().Start(waiting); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = waiting.Process.Kill()
		_ = waiting.Wait()
	}()
	config := strings.Replace(curlConfig, "/usr/bin/curl", "/usr/bin/sleep", 1)
	output, err := w.command("check", "-c", w.write("agent.yaml", w.config(config)), "-o", "json")
	if err != nil || !json.Valid([]byte(output)) || !strings.Contains(output, fmt.Sprint(waiting.Process.Pid)) {
		t.Errorf("check said %q (%v), want process %d in it", output, err, waiting.Process.Pid)
	}
}

func TestBinaryIsStaticAndSmall(t *testing.T) {
	const limit = 40 << 20
	path := lanyard(t)
	size, err := fileSize(path)
	if err != nil || size >= limit {
		t.Errorf("the stripped binary has %d bytes (%v), want less than %d", size, err, limit)
	}
	if interpreter, err := hasInterpreter(path); err != nil || interpreter {
		t.Errorf("the binary asks for a dynamic loader: %v (%v)", interpreter, err)
	}
	if output, err := exec.Command(path, "version").CombinedOutput(); err != nil {
		t.Errorf("version: %v\n%s", err, output)
	}
}
