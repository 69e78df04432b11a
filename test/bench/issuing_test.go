//go:build linux

package bench

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// BenchmarkIssuing measures what tokens and keys cost the server that gives them
// out, once, whatever b.N is.
func BenchmarkIssuing(b *testing.B) {
	c := newComparison(b)
	c.report.Machine = thisMachine(b)
	asking := load{what: "tokens, closed loop", connections: askers}
	fetching := load{what: "JWKS, closed loop", connections: keptConnections}
	rows := []row{
		{asking, "I", "I", nil},
		{asking, "V", "I", cpuAtLeast(0.3)},
		{asking, "I", "O", nil},
		{asking, "I", "S", nil},
		{fetching, "F", "F", nil},
		{fetching, "J", "F", nil},
	}
	c.skipUnless(names(rows))
	i := newIssuing(b)
	c.measure = func(arm string, l load, length time.Duration) (Cell, error) {
		return i.measure(i.arms()[arm], l, length)
	}
	for _, r := range rows {
		c.compare(r)
	}
	c.summarise()
	if err := i.checkActivity(); err != nil {
		c.report.Findings = append(c.report.Findings, err.Error())
	}
	c.report.Machine.Versions["oidc-provider"] = i.peerVersion()
	c.publish("issuing")
}

func cpuAtLeast(least float64) *bound {
	return &bound{fmt.Sprintf("CPU ≥ %.2f", least), func(r Row) float64 { return r.CPU.Median }, func(v float64) bool { return v >= least }}
}

// askers are the clients that ask for tokens at once: enough that commits have
// something to share.
const askers = 128

// pairsAtOnce is how many raw pairs a request to the issuer makes: the request
// itself then costs nothing beside them.
const pairsAtOnce = 100

// issuerArm is one way to spend a server's CPU time.
type issuerArm struct {
	name   string
	server *lab.Cgroup
	asker  []string // what the load asks for
	each   uint64   // how much each exchange counts for
}

// measure runs one cell. Only the server's time counts: what an assertion costs is
// the same for every client, and nothing that an issuer could save.
func (i *issuing) measure(a issuerArm, l load, length time.Duration) (Cell, error) {
	arguments := append([]string{"-clients", strconv.Itoa(l.connections), "-warm-up", warmUp.String(), "-length", length.String()}, a.asker...)
	asker, err := i.startAsker(arguments)
	if err != nil {
		return Cell{}, err
	}
	begin, end, count, err := i.between(asker.lines, a.server)
	if waitErr := asker.wait(); err != nil || waitErr != nil {
		return Cell{}, fmt.Errorf("arm %s, %s: %w: %s", a.name, l.what, firstOf(waitErr, err), asker.errors.String())
	}
	if count == 0 {
		return Cell{}, fmt.Errorf("arm %s, %s: nothing was answered", a.name, l.what)
	}
	begin.requests, end.requests = 0, count*a.each
	cell := between(begin, end)
	cell.Arm, cell.Client = a.name, 0
	return cell, nil
}

// between takes a snapshot at either end of what the load counts.
func (i *issuing) between(lines *bufio.Scanner, server *lab.Cgroup) (begin, end snapshot, count uint64, err error) {
	if _, err = nextLine(lines, "begin"); err != nil {
		return begin, end, 0, err
	}
	if begin, err = i.snapshot(server); err != nil {
		return begin, end, 0, err
	}
	said, err := nextLine(lines, "end ")
	if err != nil {
		return begin, end, 0, err
	}
	if end, err = i.snapshot(server); err != nil {
		return begin, end, 0, err
	}
	count, err = strconv.ParseUint(said, 10, 64)
	return begin, end, count, err
}

// nextLine returns what follows the prefix in the next line.
func nextLine(lines *bufio.Scanner, prefix string) (string, error) {
	if !lines.Scan() {
		return "", fmt.Errorf("the load ended before it said %q", prefix)
	}
	rest, found := strings.CutPrefix(lines.Text(), prefix)
	if !found {
		return "", fmt.Errorf("the load said %q and not %q", lines.Text(), prefix)
	}
	return rest, nil
}

func (i *issuing) snapshot(server *lab.Cgroup) (s snapshot, err error) {
	if s.client, err = usage(i.clients); err != nil {
		return s, err
	}
	if s.server, err = usage(server); err != nil {
		return s, err
	}
	s.total, s.stolen, s.busy, err = machineTime()
	s.at = time.Now()
	return s, err
}

// asker is a running load.
type asker struct {
	cmd    *exec.Cmd
	out    io.Closer
	lines  *bufio.Scanner
	errors lab.Output
}

func (i *issuing) startAsker(arguments []string) (*asker, error) {
	a := &asker{cmd: exec.Command(i.path("asker"), arguments...)}
	a.cmd.Stderr = &a.errors
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out, a.lines = out, bufio.NewScanner(out)
	if err := (lab.Place{Cgroup: i.clients, Net: i.net}).Start(a.cmd); err != nil {
		return nil, fmt.Errorf("start load: %w", err)
	}
	return a, nil
}

// wait waits for the end of the load, which follows that of its output.
func (a *asker) wait() error {
	_ = a.out.Close()
	return a.cmd.Wait()
}
