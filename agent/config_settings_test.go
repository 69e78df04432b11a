package agent

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func settings(t *testing.T, environment map[string]string) Settings {
	t.Helper()
	s, err := ReadSettings(environment)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSettingsDefaults(t *testing.T) {
	s := settings(t, nil)
	if s.Config != "/etc/lanyard/agent.yaml" || s.StateDir != "/var/lib/lanyard" ||
		!slices.Equal(s.LocalAPI, []string{"127.0.0.1:3013", "[::1]:3013"}) ||
		s.LocalSocket != "/run/lanyard/agent.sock" || s.Metrics != "127.0.0.1:3014" ||
		s.OperatorBase != "http://127.0.0.1:8700/operator" || s.AuthorityURL != "http://127.0.0.1:8700" ||
		s.CAFile != "" || s.APIKey != "" || s.LogLevel != "info" || s.LogFormat != "text" ||
		s.Cgroup != "" || s.Instance != "default" || s.BPFFS != "/sys/fs/bpf" || s.KeyMaxAge != 720*time.Hour {
		t.Errorf("got %+v", settingsText(s))
	}
}

func TestSettingsFromTheEnvironment(t *testing.T) {
	s := settings(t, map[string]string{
		"LANYARD_CONFIG": "/c", "LANYARD_STATE_DIR": "/s", "LANYARD_LOCAL_API": "127.0.0.1:1,[::1]:2",
		"LANYARD_LOCAL_SOCKET": "off", "LANYARD_METRICS": "off", "LANYARD_OPERATOR_BASE": "https://o/operator/",
		"MIM_OPERATOR_BASE": "https://mim/operator", "LANYARD_CA_FILE": "/ca", "MIM_API_KEY": "k",
		"LANYARD_LOG_LEVEL": "debug", "LANYARD_LOG_FORMAT": "json", "LANYARD_CGROUP": "/cg",
		"LANYARD_INSTANCE": "two", "LANYARD_BPFFS": "/b", "LANYARD_KEY_MAX_AGE": "1h",
	})
	if s.Config != "/c" || s.StateDir != "/s" || !slices.Equal(s.LocalAPI, []string{"127.0.0.1:1", "[::1]:2"}) ||
		s.LocalSocket != "" || s.Metrics != "" || s.OperatorBase != "https://o/operator" || s.CAFile != "/ca" ||
		s.APIKey != "k" || s.LogLevel != "debug" || s.LogFormat != "json" || s.Cgroup != "/cg" || s.Instance != "two" || s.BPFFS != "/b" ||
		s.KeyMaxAge != time.Hour {
		t.Errorf("got %+v", settingsText(s))
	}
	if off := settings(t, map[string]string{"LANYARD_LOCAL_API": "off"}); off.LocalAPI != nil {
		t.Errorf("got %q", off.LocalAPI)
	}
}

func TestOperatorBase(t *testing.T) {
	for want, environment := range map[string]map[string]string{
		"https://a/operator":   {"LANYARD_AUTHORITY_URL": "https://a/"},
		"https://mim/operator": {"LANYARD_AUTHORITY_URL": "https://a", "MIM_OPERATOR_BASE": "https://mim/operator"},
	} {
		if got := settings(t, environment).OperatorBase; got != want {
			t.Errorf("%v: got %q", environment, got)
		}
	}
}

func TestSettingsRefuse(t *testing.T) {
	for _, tc := range []struct{ name, value string }{
		{"LANYARD_AUTHORITY_URL", "authority:8700"},
		{"LANYARD_OPERATOR_BASE", "https://user:hunter2@o/operator"},
		{"MIM_OPERATOR_BASE", "ftp://o"},
		{"LANYARD_ISSUER", "%%"},
		{"LANYARD_ISSUER", "https://user:hunter2@issuer"},
		{"LANYARD_STATE_DIR", "state"},
		{"LANYARD_LOCAL_API", "localhost"},
		{"LANYARD_LOCAL_API", "127.0.0.1:3013,"}, // nothing is every address
		{"LANYARD_LOCAL_SOCKET", "agent.sock"},
		{"LANYARD_METRICS", ":3014"},
		{"LANYARD_LOG_LEVEL", "loud"},
		{"LANYARD_LOG_FORMAT", "xml"},
		{"LANYARD_CGROUP", "x"},
		{"LANYARD_INSTANCE", "../x"},
		{"LANYARD_BPFFS", "b"},
		{"LANYARD_KEY_MAX_AGE", "-1h"},
	} {
		s, err := ReadSettings(map[string]string{tc.name: tc.value})
		if err == nil {
			err = s.Complete()
		}
		name := strings.Replace(tc.name, "MIM_", "LANYARD_", 1)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s=%s: %v", tc.name, tc.value, err)
		}
	}
}

func TestSettingsNeverPrintTheKey(t *testing.T) {
	s := settings(t, map[string]string{"MIM_API_KEY": "hunter2"})
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "settings", s)
	for _, printed := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%q", &s), log.String()} {
		if strings.Contains(printed, "hunter2") || !strings.Contains(printed, "redacted") {
			t.Errorf("printed %s", printed)
		}
	}
}
