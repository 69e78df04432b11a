//go:build linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/telemetry/telemetrytest"
)

// commandLimit bounds each command of the story.
const commandLimit = 10 * time.Second

// story is the demo while it runs.
type story struct {
	*teller
	stage  *stage
	binary string
	curl   string // executable, as the kernel will name it
	other  []string

	authority, agent *child
	spans            *telemetrytest.Receiver
	api              *http.Server
	apiDone          chan struct{}

	authorityListen, metricsListen, localListen string
	apiURL                                      string
	tokenID                                     string // of the token the API accepted
}

// Run tells the story: six numbered steps, each with the real command and the real
// answer. It returns an error when a step did not do what it says, and leaves
// nothing behind on the machine, however it ends.
func Run(ctx context.Context, o Options) (err error) {
	curl, other, err := checkMachine()
	if err != nil {
		return err
	}
	stage, err := newStage()
	if err != nil {
		return err
	}
	s := &story{
		teller: &teller{out: o.Out, color: o.Color}, stage: stage, binary: o.Binary, curl: curl, other: other,
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if err := s.tell(ctx); err != nil {
		return err
	}
	if o.Keep {
		s.keep(ctx)
	}
	return nil
}

// tell tells the story's steps.
func (s *story) tell(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.setUp, s.refusedRequest, s.ticket, s.registeredIdentity, s.acceptedRequest, s.anotherProgram, s.span,
	} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted: %w", context.Cause(ctx))
			}
			if s.steps == 0 {
				return fmt.Errorf("set up the demo: %w", err)
			}
			return fmt.Errorf("step %d: %w", s.steps, err)
		}
	}
	s.scene("Done: the program, its command line and the API are what they were before.")
	return nil
}

// checkMachine says in one sentence why the demo cannot run here, or finds the two
// plain programs that it needs.
func checkMachine() (curl string, other []string, err error) {
	if os.Geteuid() != 0 {
		return "", nil, fmt.Errorf("%w: the agent attaches programs to the kernel and needs root; run it with sudo", ErrUnsupported)
	}
	if err := probe.Check(); err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if curl, err = exec.LookPath("curl"); err != nil {
		return "", nil, fmt.Errorf("%w: curl is missing; install it with apt-get install curl", ErrUnsupported)
	}
	if curl, err = filepath.EvalSymlinks(curl); err != nil {
		return "", nil, fmt.Errorf("find curl: %w", err)
	}
	return curl, otherProgram(), nil
}

// otherProgram is a program that can make the same request and is not curl: wget,
// or the shell that every machine has.
func otherProgram() []string {
	if _, err := exec.LookPath("wget"); err == nil {
		return []string{"wget", "--no-verbose", "--server-response", "--tries=1", "--output-document=-"}
	}
	return []string{"bash", "-c", `exec 3<>"/dev/tcp/${0%:*}/${0##*:}" && printf 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$0" >&3 && cat <&3`}
}

// end stops everything in order and removes what was made.
func (s *story) end() error {
	var failures []error
	if s.agent != nil {
		failures = append(failures, s.agent.stop(), s.uninstall())
	}
	if s.authority != nil {
		failures = append(failures, s.authority.stop())
	}
	if s.api != nil {
		failures = append(failures, s.api.Close())
		<-s.apiDone
	}
	if s.spans != nil {
		failures = append(failures, s.spans.Close())
	}
	return errors.Join(append(failures, s.stage.remove())...)
}

// uninstall removes what the agent leaves in the kernel when it ends.
func (s *story) uninstall() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, "agent", "--uninstall")
	cmd.Env, cmd.Dir = serviceEnvironment(s.agentSettings()), s.stage.folder
	if output, err := runIn(s.stage.services, cmd); err != nil {
		return fmt.Errorf("uninstall the agent: %w: %s", err, output)
	}
	return nil
}
