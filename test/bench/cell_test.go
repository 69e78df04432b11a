//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// warmUp passes before a cell begins: connections are made, caches filled.
const warmUp = time.Second

// snapshot is what the counters say at one moment.
type snapshot struct {
	at                  time.Time
	requests            uint64
	client, hop, server time.Duration
	total, stolen, busy time.Duration
}

// measure runs one cell: the load runs a little longer at both ends. An error
// means that a gate did not hold, and that nothing may be said about the arm.
func (h *host) measure(a arm, l load, length time.Duration) (Cell, error) {
	first, err := h.snapshot()
	if err != nil {
		return Cell{}, err
	}
	client, err := h.startClient(a, l, warmUp+length+warmUp/2)
	if err != nil {
		return Cell{}, err
	}
	var begin, end snapshot
	time.Sleep(warmUp) // this is what is measured: time, not a condition
	if begin, err = h.snapshot(); err == nil {
		time.Sleep(length)
		end, err = h.snapshot()
	}
	counted, waitErr := client.wait()
	if err != nil || waitErr != nil {
		return Cell{}, fmt.Errorf("arm %s, %s: %w", a.name, l.what, firstOf(err, waitErr))
	}
	last, err := h.snapshot()
	if err != nil {
		return Cell{}, err
	}
	cell := between(begin, end)
	cell.Arm, cell.micros = a.name, counted.micros
	return cell, gate(a, l, counted, last.requests-first.requests)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// gate requires that the origin answered every request with 200, which it does
// for exactly one correct token where one is due and for none elsewhere, and that
// it saw the requests which the client made. A load that ends by the clock may
// leave one request on each connection.
func gate(a arm, l load, counted tally, served uint64) error {
	left := uint64(0)
	if l.rate == 0 {
		left = uint64(l.connections)
	}
	switch {
	case counted.failed > 0:
		return fmt.Errorf("arm %s, %s: %d requests failed", a.name, l.what, counted.failed)
	case counted.done == 0:
		return fmt.Errorf("arm %s, %s: no request was made", a.name, l.what)
	case served < counted.done || served > counted.done+left:
		return fmt.Errorf("arm %s, %s: the origin served %d requests, the client made %d", a.name, l.what, served, counted.done)
	}
	return nil
}

// between is what happened from one snapshot to another.
func between(begin, end snapshot) Cell {
	requests := end.requests - begin.requests
	per := func(before, after time.Duration) float64 {
		return float64(after-before) / float64(time.Microsecond) / float64(max(requests, 1))
	}
	total := float64(end.total - begin.total)
	ours := (end.client - begin.client) + (end.hop - begin.hop) + (end.server - begin.server)
	return Cell{
		Seconds: end.at.Sub(begin.at).Seconds(), Requests: requests,
		Client: per(begin.client, end.client), Hop: per(begin.hop, end.hop), Server: per(begin.server, end.server),
		Steal:   float64(end.stolen-begin.stolen) / total,
		Foreign: max(0, float64(end.busy-begin.busy-ours)/total),
	}
}

func (h *host) snapshot() (s snapshot, err error) {
	for _, group := range []struct {
		of *lab.Cgroup
		to *time.Duration
	}{{h.clients, &s.client}, {h.hops, &s.hop}, {h.server, &s.server}} {
		if *group.to, err = usage(group.of); err != nil {
			return s, err
		}
	}
	if s.total, s.stolen, s.busy, err = machineTime(); err != nil {
		return s, err
	}
	s.requests, err = h.served()
	s.at = time.Now()
	return s, err
}

var (
	usageLine = regexp.MustCompile(`(?m)^usage_usec (\d+)$`)
	// nginx: accepts, handled connections, requests.
	servedLine = regexp.MustCompile(`(?m)^ (\d+) (\d+) (\d+) $`)
)

// usage is the CPU time that a cgroup has used, cpu.stat(cgroup v2).
func usage(c *lab.Cgroup) (time.Duration, error) {
	content, err := os.ReadFile(filepath.Join(c.Path, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	n := numbers(usageLine, string(content))
	if n == nil {
		return 0, fmt.Errorf("%s/cpu.stat has no usage_usec", c.Path)
	}
	return time.Duration(n[0]) * time.Microsecond, nil
}

// served asks the origin how many requests it has served, and takes off those
// that asked.
func (h *host) served() (uint64, error) {
	body, err := h.get(h.statusURL())
	if err != nil {
		return 0, err
	}
	n := numbers(servedLine, body)
	if n == nil {
		return 0, fmt.Errorf("the origin's counters are %q", body)
	}
	h.asked++
	return n[2] - h.asked, nil
}

// machineTime reads the first line of /proc/stat, proc_stat(5), in ticks of 10 ms.
func machineTime() (total, stolen, busy time.Duration, err error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, 0, err
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	const idle, iowait, steal, guest = 3, 4, 7, 8
	for i, field := range bytes.Fields(line)[1:] {
		ticks, err := strconv.ParseUint(string(field), 10, 64)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i >= guest {
			break // counted as user time already
		}
		spent := time.Duration(ticks) * 10 * time.Millisecond
		total += spent
		switch i {
		case idle, iowait:
		case steal:
			stolen = spent
		default:
			busy += spent
		}
	}
	return total, stolen, busy, nil
}
