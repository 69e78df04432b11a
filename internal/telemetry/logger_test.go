package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
)

func TestLoggerWritesFromItsLevelUp(t *testing.T) {
	tests := map[string]slog.Level{
		"": slog.LevelInfo, "debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn": slog.LevelWarn, "error": slog.LevelError,
	}
	for level, threshold := range tests {
		t.Run("level "+level, func(t *testing.T) {
			logger, err := telemetry.NewLogger(&bytes.Buffer{}, level, "")
			if err != nil {
				t.Fatal(err)
			}
			if !logger.Enabled(context.Background(), threshold) {
				t.Errorf("level %q drops %v", level, threshold)
			}
			if logger.Enabled(context.Background(), threshold-1) {
				t.Errorf("level %q lets through less than %v", level, threshold)
			}
		})
	}
}

func TestLoggerWritesItsFormat(t *testing.T) {
	var text, object bytes.Buffer
	for format, to := range map[string]*bytes.Buffer{"text": &text, "json": &object} {
		logger, err := telemetry.NewLogger(to, "info", format)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info("started", "listen", "127.0.0.1:8700")
	}
	if !strings.Contains(text.String(), "msg=started listen=127.0.0.1:8700") {
		t.Errorf("text log is %q", text.String())
	}
	var line struct{ Msg, Listen string }
	if err := json.Unmarshal(object.Bytes(), &line); err != nil {
		t.Fatalf("json log %q: %v", object.String(), err)
	}
	if line.Msg != "started" || line.Listen != "127.0.0.1:8700" {
		t.Errorf("json log holds %+v", line)
	}
}

func TestLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	tests := []struct{ level, format, names string }{
		{"loud", "text", "LANYARD_LOG_LEVEL"},
		{"INFO", "text", "LANYARD_LOG_LEVEL"},
		{"info", "xml", "LANYARD_LOG_FORMAT"},
	}
	for _, tt := range tests {
		_, err := telemetry.NewLogger(&bytes.Buffer{}, tt.level, tt.format)
		if err == nil || !strings.Contains(err.Error(), tt.names) {
			t.Errorf("level %q, format %q: error %v does not name %s", tt.level, tt.format, err, tt.names)
		}
	}
}

func TestLogNeverHoldsAToken(t *testing.T) {
	const secret = "eyJhbGciOiJFUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
	issued := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tok, err := token.New(secret, "id-1", issued, issued.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		logger, err := telemetry.NewLogger(&out, "debug", format)
		if err != nil {
			t.Fatal(err)
		}
		logger.Debug("token", "value", tok, "pointer", &tok, "nested", struct{ T token.Token }{tok})
		if strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "redacted") {
			t.Errorf("%s log shows the token: %s", format, out.String())
		}
	}
}
