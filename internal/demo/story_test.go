//go:build linux

package demo

import (
	"bytes"
	"maps"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

func TestCountersOfTheKernel(t *testing.T) {
	const metrics = `# TYPE lanyard_kernel_events_total counter
lanyard_kernel_events_total{event="redirected",otel_scope_name="lanyard"} 3
lanyard_kernel_events_total{event="bystander"} 1e+06
lanyard_kernel_events_total{otel_scope_name="x",event="bystander_cached"} 2
lanyard_requests_total{outcome="injected"} 9
`
	got, err := parseCounters(metrics)
	if err != nil {
		t.Fatal(err)
	}
	want := counters{"redirected": 3, "bystander": 1_000_000, "bystander_cached": 2}
	if !maps.Equal(got, want) || got.redirected() != 3 || got.bystanders() != 1_000_002 {
		t.Errorf("counters are %v, want %v", got, want)
	}
	if _, err := parseCounters("lanyard_requests_total 1\n"); err == nil {
		t.Error("metrics without kernel counters were accepted: a step would compare nothing with nothing")
	}
}

func TestStatusOfAnAnswer(t *testing.T) {
	for answer, status := range map[string]int{
		"HTTP/1.1 401 Unauthorized\r\nA: b\r\n\r\n": http.StatusUnauthorized,
		"HTTP/1.1 200 OK\r\n\r\n401":                http.StatusOK,
	} {
		if err := wantStatus(answer, status); err != nil {
			t.Error(err)
		}
		if err := wantStatus(answer, http.StatusTeapot); err == nil {
			t.Errorf("%q passed for a 418", answer)
		}
	}
	if err := wantStatus("", http.StatusOK); err == nil {
		t.Error("no answer passed for a 200")
	}
}

// TestShownCommandsCanBePasted lets a shell read a command line as it is shown.
func TestShownCommandsCanBePasted(t *testing.T) {
	words := []string{"SETTING=a b", "OTHER=c", "printf", "%s|", "plain", "two words", "it's", "$HOME", "a=b", "[::1]:80", ""}
	var shown bytes.Buffer
	teller := &teller{out: &shown}
	teller.command(words...)
	line := strings.TrimPrefix(strings.TrimSpace(shown.String()), "$ ")
	output, err := exec.Command("sh", "-c", line).CombinedOutput()
	if want := strings.Join(words[4:], "|") + "|"; err != nil || string(output) != want {
		t.Errorf("the shell read %q (%v), want %q", output, err, want)
	}
}

func TestColorOnlyWhereAsked(t *testing.T) {
	for _, color := range []bool{false, true} {
		var shown bytes.Buffer
		teller := &teller{out: &shown, color: color}
		teller.step("title")
		teller.command("curl")
		teller.answer("HTTP/1.1 200 OK\r\n\r\nbody\r\n")
		teller.note("note")
		if strings.Contains(shown.String(), "\x1b") != color {
			t.Errorf("color %v: wrote %q", color, shown.String())
		}
		if strings.Contains(shown.String(), "\r") {
			t.Errorf("wrote carriage returns: %q", shown.String())
		}
	}
}
