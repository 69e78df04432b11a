package serverurl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		value   string
		clear   bool
		problem string // or "" for none
		asBase  string // the same of ParseBase, if it is another
	}{
		"https":                 {value: "https://id.example.org/operator"},
		"no path":               {value: "https://id.example.org"},
		"to 127.0.0.1":          {value: "http://127.0.0.1:8700/operator"},
		"to 127.1.2.3":          {value: "http://127.1.2.3"},
		"to ::1":                {value: "http://[::1]:8700"},
		"to v4-mapped":          {value: "http://[::ffff:127.0.0.1]"},
		"to localhost":          {value: "http://localhost:8700"},
		"to localhost, by case": {value: "http://LocalHost:8700"},
		"to localhost, rooted":  {value: "http://localhost.:8700", clear: true},
		"elsewhere":             {value: "http://id.example.org", clear: true},
		"to an address":         {value: "http://10.0.0.1", clear: true},
		"to 0.0.0.0":            {value: "http://0.0.0.0", clear: true},
		"to a lookalike":        {value: "http://localhost.example.org", clear: true},
		"to 127 in a name":      {value: "http://127.0.0.1.example.org", clear: true},
		"query":                 {value: "https://id.example.org?x=1", asBase: "query"},
		"empty query":           {value: "https://id.example.org?", asBase: "query"},
		"fragment":              {value: "https://id.example.org#x", problem: "fragment"},
		"empty fragment":        {value: "https://id.example.org#", problem: "fragment"},
		"user":                  {value: "https://u:hunter2@id.example.org", problem: "password"},
		"user, broken":          {value: "https://u:hunter2@id.example.org:x", problem: "with a host"},
		"slash in the password": {value: "https://u:hunter2/@id.example.org", problem: "with a host"},
		"another scheme":        {value: "ftp://id.example.org", problem: "http or https"},
		"no scheme":             {value: "id.example.org", problem: "http or https"},
		"no host":               {value: "https:///operator", problem: "with a host"},
		"port without host":     {value: "https://:8700", problem: "with a host"},
		"empty":                 {value: "", problem: "with a host"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := Parse("LANYARD_X", tt.value)
			wantProblem(t, err, tt.problem)
			if err == nil && InTheClear(u) != tt.clear {
				t.Errorf("in the clear: %v", !tt.clear)
			}
			_, err = ParseBase("LANYARD_X", tt.value)
			wantProblem(t, err, tt.problem+tt.asBase)
		})
	}
}

func wantProblem(t *testing.T, err error, problem string) {
	t.Helper()
	if problem == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), problem) || !strings.HasPrefix(err.Error(), "LANYARD_X ") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v, want one of LANYARD_X that says %q", err, problem)
	}
}

func TestReadRoots(t *testing.T) {
	if roots, err := ReadRoots(""); roots != nil || err != nil {
		t.Errorf("no file: %v, %v", roots, err)
	}
	nothing := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(nothing, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "ca.pem")
	if err := errors.Join(os.WriteFile(open, nil, 0o600), os.Chmod(open, 0o622)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRoots(open); err == nil || !strings.Contains(err.Error(), "run chmod go-w "+open) {
		t.Errorf("writable: %v", err)
	}
	for _, file := range []string{"/nowhere", nothing} {
		if _, err := ReadRoots(file); err == nil || !strings.Contains(err.Error(), "LANYARD_CA_FILE") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
