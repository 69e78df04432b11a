package main

import (
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// processesKey is where a script keeps the processes that it started.
type processesKey struct{}

// processes are a script's, by the name it gave them.
type processes map[string]*exec.Cmd

// passedOn are the variables of a script that its processes get.
func passedOn() []string {
	return []string{
		"PATH", "HOME", "LANYARD_DATA_DIR", "LANYARD_LISTEN", "LANYARD_SIGNING_ALGORITHM", "LANYARD_ACTIVITY_RETENTION", "LANYARD_INVITE_CODE", "LANYARD_LOCAL_API",
		"LANYARD_TLS_CERT_FILE", "LANYARD_TLS_KEY_FILE", "LANYARD_CA_FILE",
		"LANYARD_AUTHORITY_URL", "LANYARD_OPERATOR_BASE", "MIM_OPERATOR_BASE", "MIM_API_KEY",
	}
}

// start NAME OUT LOG ARG... runs lanyard with these arguments until the script
// ends, or ends it.
func start(ts *testscript.TestScript, program string, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: start NAME OUT LOG ARG...")
	}
	running := exec.Command(program, args[3:]...)
	running.Dir = ts.MkAbs(".")
	for _, variable := range passedOn() {
		running.Env = append(running.Env, variable+"="+ts.Getenv(variable))
	}
	var err error
	running.Stdout, err = os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	running.Stderr, err = os.Create(ts.MkAbs(args[2]))
	ts.Check(err)
	ts.Check(running.Start())
	ts.Defer(func() {
		_ = running.Process.Kill() // an error says that it has ended
		_ = running.Wait()
	})
	ts.Value(processesKey{}).(processes)[args[0]] = running
}

// end NAME [kill] interrupts a process, which must then end well, or kills it.
func end(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: end NAME [kill]")
	}
	running := ts.Value(processesKey{}).(processes)[args[0]]
	if running == nil {
		ts.Fatalf("no process %s runs", args[0])
	}
	if len(args) == 2 {
		ts.Check(running.Process.Kill())
		_ = running.Wait() // it was killed
		return
	}
	ts.Check(running.Process.Signal(syscall.SIGTERM))
	ts.Check(running.Wait()) // exit code 0
}

// startAuthority OUT LOG runs lanyard authority, which authority stop ends.
func startAuthority(ts *testscript.TestScript, program string, neg bool, args []string) {
	switch {
	case len(args) == 1 && args[0] == "stop":
		end(ts, neg, []string{"authority"})
	case len(args) == 2:
		start(ts, program, neg, []string{"authority", args[0], args[1], "authority"})
	default:
		ts.Fatalf("usage: authority OUT LOG, or authority stop")
	}
}

// findPort FILE VARIABLE sets the variable to the port of the first local API that
// lanyard run printed.
func findPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: findport FILE VARIABLE")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if address, found := strings.CutPrefix(strings.TrimSpace(line), "local API: http://"); found {
			at, err := netip.ParseAddrPort(address)
			ts.Check(err)
			ts.Setenv(args[1], strconv.Itoa(int(at.Port())))
			return
		}
	}
	ts.Fatalf("%s names no local API", args[0])
}
