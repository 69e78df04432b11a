//go:build linux

package demo

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// maxAnswer bounds what the demo reads of an answer, in bytes.
const maxAnswer = 1 << 20

// kernelEvent is a line of the agent's metrics that counts what a hook saw.
var kernelEvent = regexp.MustCompile(`^lanyard_kernel_events_total\{.*\bevent="([^"]+)".*\} (\S+)$`)

// counters are the agent's kernel counters, by event.
type counters map[string]uint64

// readCounters reads them from the agent's metrics.
func readCounters(ctx context.Context, metricsURL string) (counters, error) {
	text, err := fetch(ctx, metricsURL)
	if err != nil {
		return nil, fmt.Errorf("read kernel counters: %w", err)
	}
	return parseCounters(text)
}

func parseCounters(text string) (counters, error) {
	found := counters{}
	for line := range strings.Lines(text) {
		match := kernelEvent.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			continue
		}
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return nil, fmt.Errorf("read kernel counter %s: %w", match[1], err)
		}
		found[match[1]] += uint64(value)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("read kernel counters: the agent's metrics have none")
	}
	return found, nil
}

// bystanders counts the connections that went straight on because no identity can
// match their program.
func (c counters) bystanders() uint64 { return c["bystander"] + c["bystander_cached"] }

func (c counters) redirected() uint64 { return c["redirected"] }

// readSmall reads a text of bounded size.
func readSmall(from io.Reader) (string, error) {
	content, err := io.ReadAll(io.LimitReader(from, maxAnswer))
	return string(content), err
}
