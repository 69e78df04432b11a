//go:build linux

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/freeport"
	"github.com/lanyardhq/lanyard/internal/listen"
	"github.com/lanyardhq/lanyard/internal/telemetry/telemetrytest"
)

const (
	identityName    = "demo-curl"
	destinationName = "demo-api"
)

// setUp starts the authority, the protected API and a receiver for spans.
func (s *story) setUp(ctx context.Context) error {
	s.scene("Lanyard: a plain program gets in, because the kernel knows which program it is")
	for _, address := range []*string{&s.authorityListen, &s.metricsListen, &s.localListen} {
		var err error
		if *address, err = freeport.Address(); err != nil {
			return err
		}
	}
	s.note("Everything happens in %s and in the cgroup %s.", s.stage.folder, s.stage.cgroup)
	s.command("cd", s.stage.folder)
	settings := []string{"LANYARD_LISTEN=" + s.authorityListen, "LANYARD_DATA_DIR=authority"}
	var err error
	if s.authority, err = s.startService("authority", settings); err != nil {
		return err
	}
	if _, err := s.authority.waitReady(ctx, s.authorityURL()+"/readyz"); err != nil {
		return err
	}
	if s.spans, err = telemetrytest.Start(); err != nil {
		return err
	}
	return s.startAPI(ctx)
}

// startService shows and starts a long-running command of the product.
func (s *story) startService(name string, settings []string, arguments ...string) (*child, error) {
	s.command(slices.Concat(settings, []string{"lanyard", name}, arguments, []string{"&"})...)
	cmd := exec.Command(s.binary, append([]string{name}, arguments...)...)
	cmd.Env, cmd.Dir = serviceEnvironment(settings), s.stage.folder
	return startChild(name, s.stage.services, s.stage.path(name+".log"), cmd)
}

func (s *story) authorityURL() string { return "http://" + s.authorityListen }

// startAPI starts the protected API. It lives in the demo's own process, outside
// the cgroup that the agent watches.
func (s *story) startAPI(ctx context.Context) error {
	listener, err := listen.TCP(ctx, listen.Config{}, "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start protected API: %w", err)
	}
	s.apiURL = "http://" + listener.Addr().String()
	keys := s.authorityURL() + "/operator/.well-known/jwks.json"
	handler, stopKeys, err := NewProtectedAPI(context.WithoutCancel(ctx), keys, s.apiURL)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.api = &http.Server{Handler: handler, ReadHeaderTimeout: commandLimit, DisableGeneralOptionsHandler: true}
	s.apiDone = make(chan struct{})
	go func() {
		defer close(s.apiDone)
		defer stopKeys()
		_ = s.api.Serve(listener) // ends when the server is closed
	}()
	s.note("A protected API at %s wants a token that is signed by a key from", s.apiURL)
	s.note("%s.", keys)
	return nil
}

// refusedRequest is step 1.
func (s *story) refusedRequest(ctx context.Context) error {
	s.step("The API refuses curl, which has no token")
	output, err := s.runCurl(ctx)
	if err != nil {
		return err
	}
	return wantStatus(output, http.StatusUnauthorized)
}

// ticket is step 2.
func (s *story) ticket(ctx context.Context) error {
	s.step("An administrator makes a ticket, good for one enrolment")
	settings := s.adminSettings()
	arguments := []string{
		"ticket", "create", "--description", "demo", "--max-uses", "1", "--expires-in", "1h",
		"--audience", s.apiURL, "-o", "json",
	}
	s.command(slices.Concat(settings, []string{"lanyard"}, arguments)...)
	cmd := exec.CommandContext(ctx, s.binary, arguments...)
	cmd.Env, cmd.Dir = serviceEnvironment(settings), s.stage.folder
	output, err := runIn(s.stage.services, cmd)
	s.answer(output)
	if err != nil {
		return fmt.Errorf("create ticket: %w", err)
	}
	var made struct {
		Ticket string `json:"ticket"`
	}
	if err := json.Unmarshal([]byte(output), &made); err != nil || made.Ticket == "" {
		return fmt.Errorf("create ticket: the answer has no ticket (%v)", err)
	}
	return os.WriteFile(s.stage.path("ticket"), []byte(made.Ticket), 0o600)
}

// adminSettings tell an administrative command where the authority is.
func (s *story) adminSettings() []string {
	return []string{"LANYARD_AUTHORITY_URL=" + s.authorityURL(), "LANYARD_ADMIN_TOKEN_FILE=authority/admin-token"}
}

// registeredIdentity is step 3.
func (s *story) registeredIdentity(ctx context.Context) error {
	s.step("curl, run by root, is registered as an identity; the agent starts")
	const config = "agent.yaml"
	if err := os.WriteFile(s.stage.path(config), []byte(s.agentConfig()), 0o600); err != nil {
		return fmt.Errorf("write agent configuration: %w", err)
	}
	s.command("cat", config)
	s.answer(s.agentConfig())
	var err error
	s.agent, err = s.startService("agent", s.agentSettings(), "--config", config, "--cgroup", s.stage.programs)
	if err != nil {
		return err
	}
	readyURL := "http://" + s.metricsListen + "/readyz"
	ready, err := s.agent.waitReady(ctx, readyURL)
	if err != nil {
		return err
	}
	s.command("curl", readyURL)
	s.answer(ready)
	return nil
}

// agentSettings keep the demo's agent apart from any other on the host.
func (s *story) agentSettings() []string {
	settings := []string{
		"LANYARD_AUTHORITY_URL=" + s.authorityURL(), "LANYARD_STATE_DIR=agent",
		"LANYARD_METRICS=" + s.metricsListen, "LANYARD_LOCAL_API=" + s.localListen,
		"LANYARD_LOCAL_SOCKET=" + s.stage.path("agent.sock"),
		"LANYARD_BPFFS=" + s.stage.bpffs, "LANYARD_INSTANCE=" + s.stage.instance,
	}
	traces := s.spans.Environment("http/protobuf")
	for _, name := range slices.Sorted(maps.Keys(traces)) {
		settings = append(settings, name+"="+traces[name])
	}
	return settings
}

// agentConfig registers curl and the API.
func (s *story) agentConfig() string {
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(s.apiURL, "http://"))
	return fmt.Sprintf(`identities:
  - name: %s
    match: {exe: %s, user: root}
    source: {operator: {ticket_file: %s}}
destinations:
  - name: %s
    hosts: [%s]
    ports: [%s]
    audience: %s
    identities: [%s]
`, identityName, s.curl, s.stage.path("ticket"), destinationName, host, port, s.apiURL, identityName)
}

// acceptedRequest is step 4.
func (s *story) acceptedRequest(ctx context.Context) error {
	s.step("The same curl, unchanged, is let in; the API shows the claims it saw")
	output, err := s.runCurl(ctx)
	if err != nil {
		return err
	}
	if err := wantStatus(output, http.StatusOK); err != nil {
		return err
	}
	_, body, _ := strings.Cut(output, "\r\n\r\n")
	var seen struct {
		Claims struct {
			ID       string   `json:"jti"`
			Audience []string `json:"aud"`
		} `json:"claims"`
	}
	if err := json.Unmarshal([]byte(body), &seen); err != nil {
		return fmt.Errorf("read the API's answer: %w", err)
	}
	if seen.Claims.ID == "" || !slices.Equal(seen.Claims.Audience, []string{s.apiURL}) {
		return fmt.Errorf("the API saw the claims %+v, want a token for %s", seen.Claims, s.apiURL)
	}
	s.tokenID = seen.Claims.ID
	return nil
}

// anotherProgram is step 5.
func (s *story) anotherProgram(ctx context.Context) error {
	s.step("Another program is still refused, and its connection is not even redirected")
	metricsURL := "http://" + s.metricsListen + "/metrics"
	before, err := readCounters(ctx, metricsURL)
	if err != nil {
		return err
	}
	target := s.apiURL
	if s.other[0] != "wget" {
		target = strings.TrimPrefix(target, "http://")
	}
	output, err := s.runPlain(ctx, append(slices.Clone(s.other), target)...)
	if !strings.Contains(output, "401 Unauthorized") {
		return fmt.Errorf("%s was not refused with 401 (%v)", s.other[0], err)
	}
	after, err := readCounters(ctx, metricsURL)
	if err != nil {
		return err
	}
	s.note("%-46s %8s %8s", "The kernel's counters of connections", "before", "after")
	s.note("%-46s %8d %8d", "redirected to the injector", before.redirected(), after.redirected())
	s.note("%-46s %8d %8d", "straight on: no identity can match the program", before.bystanders(), after.bystanders())
	if after.redirected() != before.redirected() || after.bystanders() == before.bystanders() {
		return fmt.Errorf("the connection of %s was redirected, or not seen at all", s.other[0])
	}
	return nil
}

// span is step 6.
func (s *story) span(ctx context.Context) error {
	s.step("The use of the token is a span, as an OpenTelemetry collector receives it")
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	span, err := s.spans.Wait(ctx, func(span telemetrytest.Span) bool {
		return span.Attributes["lanyard.outcome"] == "injected" && span.Attributes["lanyard.token.id"] == s.tokenID
	})
	if err != nil {
		return err
	}
	s.note("%s, trace %s, %v", span.Name, span.TraceID, span.End.Sub(span.Start))
	for _, key := range slices.Sorted(maps.Keys(span.Attributes)) {
		s.answer(fmt.Sprintf("%-28s %s", key, span.Attributes[key]))
	}
	if span.Attributes["lanyard.identity"] != identityName {
		return fmt.Errorf("the span names the identity %q, want %s", span.Attributes["lanyard.identity"], identityName)
	}
	return nil
}

// keep leaves everything running until ctx ends.
func (s *story) keep(ctx context.Context) {
	s.scene("Still running. In another terminal, as root:")
	enter := "echo $$ > " + quote(filepath.Join(s.stage.programs, "cgroup.procs"))
	s.command("sh", "-c", enter+"; exec curl -i "+s.apiURL)
	s.command("curl", "http://"+s.metricsListen+"/metrics")
	s.command("tail", "-f", s.stage.path("agent.log"))
	s.command("cd", s.stage.folder)
	s.command(append(s.adminSettings(), s.binary, "ticket", "list")...)
	s.note("Ctrl-C ends the demo and removes everything.")
	<-ctx.Done()
}

// runCurl makes the request of steps 1 and 4, the same both times.
func (s *story) runCurl(ctx context.Context) (string, error) {
	output, err := s.runPlain(ctx, "curl", "-sSi", s.apiURL)
	if err != nil {
		return "", fmt.Errorf("run curl: %w", err)
	}
	return output, nil
}

// runPlain shows and runs a program that knows nothing of Lanyard, inside the
// cgroup that the agent watches.
func (s *story) runPlain(ctx context.Context, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	s.command(command...)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = clientEnvironment(s.stage.folder)
	output, err := runIn(s.stage.programs, cmd)
	s.answer(output)
	return output, err
}

// runIn runs a command inside a cgroup and returns all its output.
func runIn(cgroup string, cmd *exec.Cmd) (string, error) {
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := startIn(cgroup, cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return output.String(), err
}

// wantStatus checks the status line of a response.
func wantStatus(response string, status int) error {
	line, _, _ := strings.Cut(response, "\r\n")
	if fields := strings.Fields(line); len(fields) < 2 || fields[1] != fmt.Sprint(status) {
		return fmt.Errorf("the API answered %q, want status %d", line, status)
	}
	return nil
}
