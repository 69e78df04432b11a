package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/envsettings"
	"github.com/lanyardhq/lanyard/internal/telemetry"
)

// errSettings marks a process setting that is not acceptable. Exit code 2.
var errSettings = errors.New("settings")

// settingsError marks what is wrong with this machine or with a configuration
// file: its exit code is that of a wrong setting, and no other use of the command
// would help.
type settingsError struct{ error }

func (e settingsError) Unwrap() error { return e.error }

// Is makes it count as a matter of settings.
func (settingsError) Is(target error) bool { return target == errSettings }

// systemDataDir is the data folder of root.
const systemDataDir = "/var/lib/lanyard"

// logSettings are the settings of every long-running command; embed them.
type logSettings struct {
	Level  string `env:"LANYARD_LOG_LEVEL" flag:"log-level" usage:"debug, info, warn or error" envDefault:"info"`
	Format string `env:"LANYARD_LOG_FORMAT" flag:"log-format" usage:"text or json" envDefault:"text"`
}

func (s logSettings) logger(w io.Writer) (*slog.Logger, error) {
	logger, err := telemetry.NewLogger(w, s.Level, s.Format)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSettings, err)
	}
	return logger, nil
}

// bindSettings gives the command a flag for every field of the struct (and of the
// structs in it) that has a flag tag. A flag is another way to set the variable
// of the env tag, and wins over it.
func bindSettings(command *cobra.Command, settings any) {
	eachSetting(reflect.TypeOf(settings).Elem(), func(field reflect.StructField, flag string) {
		usage := fmt.Sprintf("%s (%s)", field.Tag.Get("usage"), variable(field))
		if byDefault := field.Tag.Get("envDefault"); byDefault != "" {
			usage = fmt.Sprintf("%s (%s, default %s)", field.Tag.Get("usage"), variable(field), byDefault)
		}
		if field.Type.Kind() == reflect.Bool {
			command.Flags().Bool(flag, false, usage)
			return
		}
		command.Flags().String(flag, "", usage)
	})
}

// readSettings fills the struct given to bindSettings from flags, environment and
// defaults, in that order.
func readSettings(command *cobra.Command, settings any) error {
	environment := env.ToMap(os.Environ())
	eachSetting(reflect.TypeOf(settings).Elem(), func(field reflect.StructField, flag string) {
		if f := command.Flags().Lookup(flag); f != nil && f.Changed {
			environment[variable(field)] = f.Value.String()
		}
	})
	if err := envsettings.Read(environment, settings); err != nil {
		return fmt.Errorf("%w: %w", errSettings, err)
	}
	return nil
}

func eachSetting(t reflect.Type, visit func(field reflect.StructField, flag string)) {
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Type.Kind() == reflect.Struct {
			eachSetting(field.Type, visit)
		} else if flag := field.Tag.Get("flag"); flag != "" {
			visit(field, flag)
		}
	}
}

func variable(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
	return name
}

// defaultDataDir is where the authority keeps its data unless told otherwise.
func defaultDataDir() (string, error) {
	if os.Geteuid() == 0 {
		return systemDataDir, nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lanyard"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%w: find data folder: %w; name one with LANYARD_DATA_DIR", errSettings, err)
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "lanyard"), nil
	}
	return filepath.Join(home, ".local", "share", "lanyard"), nil
}
