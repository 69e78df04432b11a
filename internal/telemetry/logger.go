package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger returns the product's logger, which writes to w. The level is debug,
// info, warn or error (LANYARD_LOG_LEVEL; "" means info), the format text or json
// (LANYARD_LOG_FORMAT; "" means text). The logger is safe for concurrent use.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	threshold, err := logLevel(level)
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: threshold}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("set up log: format %q is not one of text, json; set LANYARD_LOG_FORMAT to one of them", format)
}

func logLevel(level string) (slog.Level, error) {
	switch level {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("set up log: level %q is not one of debug, info, warn, error; set LANYARD_LOG_LEVEL to one of them", level)
}
