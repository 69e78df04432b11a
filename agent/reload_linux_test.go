package agent

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/telemetry"
)

// A file that is empty for a moment, or was cut off before it says anything, takes no
// identity away.
func TestEmptiedConfigurationIsNotReloaded(t *testing.T) {
	config, _ := parse(t, minimal)
	file := filepath.Join(t.TempDir(), "agent.yaml")
	for _, content := range []string{"", "# agent.yaml\n", "identities: []\ndestinations: []\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		recorder, err := telemetry.Setup(t.Context(), telemetry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a := &Agent{
			settings: Settings{Config: file}, log: slog.New(slog.NewTextHandler(&log, nil)), registry: registry.New(config.Policy),
			health: newHealth(), recorder: recorder,
		}
		a.reload()
		if _, text := a.health.report(); !strings.Contains(text, "\ndegraded: configuration: not reloaded at ") || !strings.Contains(text, "declares no identity") {
			t.Errorf("%q: /readyz says %s", content, text)
		}
		if a.registry.Current() != config.Policy || strings.Count(log.String(), "level=ERROR") != 1 || !strings.Contains(log.String(), file+" declares no identity") {
			t.Errorf("%q: the log says:\n%s", content, &log)
		}
		empty, _ := parse(t, content)
		if a.registry = registry.New(empty.Policy); a.refuseEmptied(empty) != nil {
			t.Errorf("%q: what was empty may stay so: %v", content, a.refuseEmptied(empty))
		}
	}
}
