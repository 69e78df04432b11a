package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

func decodeJSON(text string, into any) error { return json.Unmarshal([]byte(text), into) }

type sampleSettings struct {
	Name   string  `env:"LANYARD_TEST_NAME" flag:"name" usage:"a name" envDefault:"default"`
	Rate   float64 `env:"LANYARD_TEST_RATE" flag:"rate" usage:"a rate"`
	On     bool    `env:"LANYARD_TEST_ON" flag:"on" usage:"a switch"`
	Secret string  `env:"LANYARD_TEST_SECRET"`
	Log    logSettings
}

func TestSettings(t *testing.T) {
	tests := map[string]struct {
		environment map[string]string
		args        []string
		want        sampleSettings
		fails       bool
	}{
		"defaults":       {nil, nil, sampleSettings{Name: "default"}, false},
		"environment":    {map[string]string{"LANYARD_TEST_NAME": "e", "LANYARD_TEST_ON": "true", "LANYARD_TEST_SECRET": "s"}, nil, sampleSettings{Name: "e", On: true, Secret: "s"}, false},
		"flags win":      {map[string]string{"LANYARD_TEST_NAME": "e", "LANYARD_TEST_ON": "true"}, []string{"--name=f", "--on=false", "--rate=1.5"}, sampleSettings{Name: "f", Rate: 1.5}, false},
		"set to nothing": {map[string]string{"LANYARD_TEST_NAME": "", "LANYARD_TEST_RATE": ""}, nil, sampleSettings{Name: "default"}, false},
		"no number":      {map[string]string{"LANYARD_TEST_RATE": "fast"}, nil, sampleSettings{}, true},
		"no number flag": {nil, []string{"--rate=fast"}, sampleSettings{}, true},
		"no bool":        {map[string]string{"LANYARD_TEST_ON": "perhaps"}, nil, sampleSettings{}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for variable, value := range tt.environment {
				t.Setenv(variable, value)
			}
			var got sampleSettings
			command := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true}
			bindSettings(command, &got)
			command.RunE = func(command *cobra.Command, _ []string) error { return readSettings(command, &got) }
			command.SetArgs(tt.args)
			err := command.ExecuteContext(t.Context())
			if (err != nil) != tt.fails {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				if exitCode(err) != exitUsage {
					t.Errorf("exit code %d", exitCode(err))
				}
				return
			}
			tt.want.Log = got.Log
			if got != tt.want || got.Log.Level != "info" || got.Log.Format != "text" {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if command.Flags().Lookup("secret") != nil {
				t.Error("a secret is a flag")
			}
		})
	}
}

func TestDefaultDataDir(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/x")
	got, err := defaultDataDir()
	want := filepath.Join("/x", "lanyard")
	if os.Geteuid() == 0 {
		want = systemDataDir
	}
	if err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
