package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/envsettings"
	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// off is what switches a listener off.
const off = "off"

// Where an agent keeps its pins, unless it is told otherwise.
const (
	DefaultInstance = "default"
	DefaultBPFFS    = "/sys/fs/bpf"
)

// Settings are what the agent's process is told by its environment.
type Settings struct {
	Config       string        `env:"LANYARD_CONFIG" envDefault:"/etc/lanyard/agent.yaml"`
	StateDir     string        `env:"LANYARD_STATE_DIR" envDefault:"/var/lib/lanyard"`
	LocalAPI     []string      `env:"LANYARD_LOCAL_API" envDefault:"127.0.0.1:3013,[::1]:3013"`  // empty after "off"
	LocalSocket  string        `env:"LANYARD_LOCAL_SOCKET" envDefault:"/run/lanyard/agent.sock"` // "" after "off"
	Metrics      string        `env:"LANYARD_METRICS" envDefault:"127.0.0.1:3014"`               // "" after "off"
	OperatorBase string        `env:"LANYARD_OPERATOR_BASE"`                                     // see Complete
	AuthorityURL string        `env:"LANYARD_AUTHORITY_URL" envDefault:"http://127.0.0.1:8700"`
	Issuer       string        `env:"LANYARD_ISSUER"`                        // of tokens; "" for that of the operator that enrols
	CAFile       string        `env:"LANYARD_CA_FILE"`                       // "" for the system's own
	KeyMaxAge    time.Duration `env:"LANYARD_KEY_MAX_AGE" envDefault:"720h"` // of a workload's key; 0 for ever
	APIKey       string        `env:"MIM_API_KEY"`                           // "" for one that the agent makes itself; a secret
	LogLevel     string        `env:"LANYARD_LOG_LEVEL" envDefault:"info"`
	LogFormat    string        `env:"LANYARD_LOG_FORMAT" envDefault:"text"`
	Cgroup       string        `env:"LANYARD_CGROUP"`                         // "" for every process
	Instance     string        `env:"LANYARD_INSTANCE" envDefault:"default"`  // DefaultInstance
	BPFFS        string        `env:"LANYARD_BPFFS" envDefault:"/sys/fs/bpf"` // DefaultBPFFS
	// MIMOperatorBase is the operator protocol's reference name for OperatorBase.
	MIMOperatorBase string `env:"MIM_OPERATOR_BASE"`
}

// ReadSettings reads the settings out of an environment. Flags may change them
// afterwards; Complete comes last.
func ReadSettings(environment map[string]string) (Settings, error) {
	var s Settings
	if err := envsettings.Read(environment, &s); err != nil {
		return Settings{}, fmt.Errorf("read settings: %w", err)
	}
	return s, nil
}

// Complete derives what was not set and checks the whole. The operator's base is
// LANYARD_OPERATOR_BASE, or else MIM_OPERATOR_BASE, or else the authority's URL
// with /operator.
func (s *Settings) Complete() error {
	s.OperatorBase = operator.ChooseBase(s.AuthorityURL, s.OperatorBase, s.MIMOperatorBase)
	if len(s.LocalAPI) == 1 && s.LocalAPI[0] == off {
		s.LocalAPI = nil
	}
	for _, listener := range []*string{&s.LocalSocket, &s.Metrics} {
		if *listener == off {
			*listener = ""
		}
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	return nil
}

// instanceName is what an instance may be called: its name is a folder's.
var instanceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

func (s *Settings) check() error {
	errs := []error{
		checkURL("LANYARD_AUTHORITY_URL", s.AuthorityURL),
		checkURL("LANYARD_OPERATOR_BASE", s.OperatorBase),
		operator.CheckIssuer(s.Issuer),
		checkAbsolute("LANYARD_STATE_DIR", s.StateDir),
		checkAbsolute("LANYARD_BPFFS", s.BPFFS),
		checkChoice("LANYARD_LOG_LEVEL", s.LogLevel, "debug", "info", "warn", "error"),
		checkChoice("LANYARD_LOG_FORMAT", s.LogFormat, "text", "json"),
	}
	if s.Metrics != "" {
		errs = append(errs, checkListener("LANYARD_METRICS", s.Metrics))
	}
	for _, address := range s.LocalAPI {
		errs = append(errs, checkListener("LANYARD_LOCAL_API", address))
	}
	if s.LocalSocket != "" {
		errs = append(errs, checkAbsolute("LANYARD_LOCAL_SOCKET", s.LocalSocket))
	}
	if s.Cgroup != "" {
		errs = append(errs, checkAbsolute("LANYARD_CGROUP", s.Cgroup))
	}
	if s.KeyMaxAge < 0 {
		errs = append(errs, fmt.Errorf("LANYARD_KEY_MAX_AGE %s is negative; write how old a key may become, like 720h, or 0 for ever", s.KeyMaxAge))
	}
	if !instanceName.MatchString(s.Instance) {
		errs = append(errs, fmt.Errorf("LANYARD_INSTANCE %q is no name; write up to 32 letters, digits, hyphens and underscores", s.Instance))
	}
	return errors.Join(errs...)
}

func checkURL(name, value string) error {
	_, err := serverurl.ParseBase(name, value)
	return err
}

func checkAbsolute(name, value string) error {
	if !filepath.IsAbs(value) {
		return fmt.Errorf("%s %q is relative; write it from / on", name, value)
	}
	return nil
}

func checkListener(name, value string) error {
	if _, err := netip.ParseAddrPort(value); err != nil {
		return fmt.Errorf("%s %q is no address with a port; write one like 127.0.0.1:3013, or off", name, value)
	}
	return nil
}

func checkChoice(name, value string, choices ...string) error {
	for _, choice := range choices {
		if value == choice {
			return nil
		}
	}
	return fmt.Errorf("%s %q is not one of the choices; write %s", name, value, strings.Join(choices, ", "))
}

// settingsText is Settings without its methods.
type settingsText Settings

// String prints the settings without the key.
func (s Settings) String() string {
	if s.APIKey != "" {
		s.APIKey = "redacted"
	}
	return fmt.Sprintf("%+v", settingsText(s))
}

// GoString, Format and LogValue print the settings without the key too.
func (s Settings) GoString() string { return s.String() }

// Format implements fmt.Formatter, so that no verb prints the key.
func (s Settings) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Settings) LogValue() slog.Value { return slog.StringValue(s.String()) }
