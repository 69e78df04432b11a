package envsettings

import (
	"strings"
	"testing"
	"time"
)

type sample struct {
	Name   string        `env:"SAMPLE_NAME" envDefault:"a"`
	Rate   float64       `env:"SAMPLE_RATE"`
	Hosts  []string      `env:"SAMPLE_HOSTS"`
	Wait   time.Duration `env:"SAMPLE_WAIT" envDefault:"3s"`
	Nested struct {
		Rate float64 `env:"SAMPLE_NESTED_RATE"`
		On   bool    `env:"SAMPLE_ON"`
	}
}

func TestRead(t *testing.T) {
	var s sample
	err := Read(map[string]string{"SAMPLE_NAME": "", "SAMPLE_NESTED_RATE": "2.5", "SAMPLE_ON": "true", "SAMPLE_HOSTS": "x,y", "OTHER": "z"}, &s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "a" || s.Wait != 3*time.Second || s.Nested.Rate != 2.5 || !s.Nested.On || len(s.Hosts) != 2 {
		t.Errorf("%+v", s)
	}
}

// TestReadNamesVariables: two fields have the same name.
func TestReadNamesVariables(t *testing.T) {
	for name, tt := range map[string]struct {
		environment map[string]string
		says, not   []string
	}{
		"outer":  {map[string]string{"SAMPLE_RATE": "fast", "SAMPLE_NESTED_RATE": "1"}, []string{`SAMPLE_RATE: `, `"fast"`}, []string{"SAMPLE_NESTED", "env:"}},
		"nested": {map[string]string{"SAMPLE_RATE": "1", "SAMPLE_NESTED_RATE": "fast"}, []string{`SAMPLE_NESTED_RATE: `}, []string{"SAMPLE_RATE"}},
		"both":   {map[string]string{"SAMPLE_ON": "perhaps", "SAMPLE_WAIT": "soon", "SAMPLE_NAME": "hunter2"}, []string{"SAMPLE_ON: ", "SAMPLE_WAIT: "}, []string{"hunter2"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Read(tt.environment, &sample{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q does not say %q", err, says)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(err.Error(), not) {
					t.Errorf("%q says %q", err, not)
				}
			}
		})
	}
}
