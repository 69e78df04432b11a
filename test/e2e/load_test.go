//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/clients"
	"github.com/lanyardhq/lanyard/test/lab"
)

// load is a program that makes requests, one after another on connections of both
// kinds, until it is told to stop.
type load struct{ process }

// loadResult is what a load counted.
type loadResult struct {
	succeeded, failed int
	output            string
}

// loadScript sends requests with curl: 20 over one connection, then the next 20.
// It is curl that is registered, so a shell drives it.
const loadScript = `
ok=0 bad=0
trap 'echo "result $ok $bad"; exit 0' TERM
while :; do
  for status in $("$CURL" --silent --output /dev/null --write-out '%{http_code} ' "$URL/[1-20]"); do
    if [ "$status" = 200 ]; then ok=$((ok+1)); else bad=$((bad+1)); [ $bad -lt 10 ] && echo "status $status"; fi
  done
done
`

// startLoad starts the load and waits for nothing.
func (w *world) startLoad(url string) load {
	w.t.Helper()
	// Not a program of the world: those have a limit, and a load runs as long as
	// the test needs it.
	cmd := exec.Command("/bin/sh", "-c", loadScript)
	cmd.Env = append(clients.Environment(w.folder), "URL="+url, "CURL="+realClient(w.t, "curl").Executable(w.t))
	return load{startProcess(w.t, w.place(), "load", cmd)}
}

// finish stops the load, which ends after its current curl, and returns what it
// counted.
func (l load) finish(t *testing.T) loadResult {
	t.Helper()
	l.stop(t)
	result := loadResult{output: l.Output()}
	last := result.output[strings.LastIndex(strings.TrimSpace(result.output), "\n")+1:]
	if _, err := fmt.Sscanf(last, "result %d %d", &result.succeeded, &result.failed); err != nil {
		t.Fatalf("the load printed no result: %v\n%s", err, result.output)
	}
	return result
}

// waitForDestination waits until a request is counted under a destination: the
// configuration that names it is then in force.
func (w *world) waitForDestination(name string) {
	w.t.Helper()
	lab.Eventually(w.t, waitLimit, func() error {
		if w.metric(`lanyard_requests_total{destination="`+name+`",outcome="injected"}`) == 0 {
			return fmt.Errorf("no request was counted for the destination %s", name)
		}
		return nil
	})
}
