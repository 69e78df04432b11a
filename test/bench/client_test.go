//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// client is a running load generator.
type client struct {
	load  load
	cmd   *exec.Cmd
	out   bytes.Buffer
	times string // file of h2load's, where they are wanted
}

// tally is what a load generator counted.
type tally struct {
	done   uint64 // requests that were answered with 2xx
	failed uint64 // all others
	micros []float64
}

// startClient starts a load for about this long: h2load for kept connections,
// which has fixed rates, wrk for one connection per request, which h2load lacks.
func (h *host) startClient(a arm, l load, length time.Duration) (*client, error) {
	c := &client{load: l}
	name, arguments := "h2load", c.h2load(h, l, length)
	if l.perRequest {
		name, arguments = "wrk", []string{"-t1", "-c" + strconv.Itoa(l.connections), "-d" + strconv.Itoa(seconds(length)), "-H", "Connection: close"}
	}
	if a.managed {
		name = h.path(managed(name))
	}
	if a.sends {
		arguments = append(arguments, "-H", "Authorization: Bearer "+h.token)
	}
	c.cmd = exec.Command(name, append(arguments, a.url(l))...)
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.folder}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	if err := (lab.Place{Cgroup: a.cgroup, Net: h.net}).Start(c.cmd); err != nil {
		return nil, fmt.Errorf("start load: %w", err)
	}
	return c, nil
}

func (c *client) h2load(h *host, l load, length time.Duration) []string {
	arguments := []string{"--h1", "-t1", "-c" + strconv.Itoa(l.connections)}
	if l.rate == 0 {
		return append(arguments, "-D"+strconv.Itoa(seconds(length)))
	}
	each := l.rate / float64(l.connections)
	arguments = append(arguments, "--rps="+strconv.FormatFloat(each, 'f', 0, 64),
		"-n"+strconv.Itoa(int(each)*l.connections*seconds(length)))
	if l.timed {
		c.times = h.path("times")
		arguments = append(arguments, "--log-file="+c.times)
	}
	return arguments
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// wait waits for the end of the load and reads what it counted.
func (c *client) wait() (tally, error) {
	err := c.cmd.Wait()
	if err != nil {
		return tally{}, fmt.Errorf("%v: %w\n%s", c.cmd.Args, err, c.out.String())
	}
	if c.load.perRequest {
		return parseWrk(c.out.String())
	}
	t, err := parseH2load(c.out.String())
	if err == nil && c.times != "" {
		t.micros, err = readTimes(c.times)
	}
	return t, err
}

var (
	h2loadDone  = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadCodes = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
	wrkDone     = regexp.MustCompile(`(\d+) requests in `)
	wrkRefused  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	wrkErrors   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

func parseH2load(output string) (tally, error) {
	done, codes := numbers(h2loadDone, output), numbers(h2loadCodes, output)
	if done == nil || codes == nil {
		return tally{}, fmt.Errorf("h2load printed no result:\n%s", output)
	}
	return tally{done: codes[0], failed: done[2] + codes[1] + codes[2] + codes[3]}, nil
}

func parseWrk(output string) (tally, error) {
	done := numbers(wrkDone, output)
	if done == nil {
		return tally{}, fmt.Errorf("wrk printed no result:\n%s", output)
	}
	var t tally
	for _, n := range append(numbers(wrkRefused, output), numbers(wrkErrors, output)...) {
		t.failed += n
	}
	t.done = done[0] - min(t.failed, done[0])
	return t, nil
}

// numbers returns the groups of the first match, or nil.
func numbers(pattern *regexp.Regexp, text string) []uint64 {
	var all []uint64
	for i, group := range pattern.FindStringSubmatch(text) {
		if i == 0 {
			continue
		}
		n, err := strconv.ParseUint(group, 10, 64)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// readTimes reads how long each request took, in microseconds, from h2load's log:
// start, status, duration.
func readTimes(path string) ([]float64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var micros []float64
	for line := range bytes.Lines(content) {
		fields := bytes.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s: line %q has no duration", path, line)
		}
		n, err := strconv.ParseFloat(string(fields[2]), 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		micros = append(micros, n)
	}
	return micros, os.Remove(path)
}
