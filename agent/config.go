package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/trustedpath"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// maxConfig bounds a configuration file in bytes: thousands of identities.
const maxConfig = 1 << 20

// Config is a configuration that was found valid as a whole.
type Config struct {
	// Policy is the identities and destinations, compiled.
	Policy *registry.Policy
	// Operators are the identities' sources, by name of the identity. An identity
	// that never needs a token may have none.
	Operators map[string]OperatorSource
	// LocalAPIIdentity names the identity whose token a caller of the local API
	// with the API key gets, "" for none.
	LocalAPIIdentity string
	// Limits bound redirected connections.
	Limits Limits
}

// OperatorSource says how an identity enrols with an operator.
type OperatorSource struct {
	TicketFile string // absolute path; read when the identity enrols
	// AllowInsecure allows plain HTTP to an operator that is not on loopback.
	AllowInsecure bool
}

// Place is where in a configuration file something stands. Line and Column start
// at 1; both are 0 for the file as a whole.
type Place struct {
	File   string
	Line   int
	Column int
}

// String prints the place as compilers do.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Warning is something that an administrator should know about a valid
// configuration, and what to do about it.
type Warning struct {
	Place
	Reason string
}

// String names the place and the reason.
func (w Warning) String() string { return w.Place.String() + ": " + w.Reason }

// ConfigError is one thing that is wrong with a configuration, and what to do
// about it.
type ConfigError struct {
	Place
	Reason string
}

// Error names the place and the reason.
func (e *ConfigError) Error() string { return e.Place.String() + ": " + e.Reason }

// ConfigErrors is everything that is wrong with a configuration: unknown keys, then
// all else, each in the order of the file.
type ConfigErrors []*ConfigError

// Error puts each on a line of its own.
func (e ConfigErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// LoadConfig reads and checks a configuration file. A file that is wrong in any
// way is not applied in part: the error is ConfigErrors with everything that is
// wrong, or says why the file cannot be read. One that others could have written,
// and so decided who gets tokens, is refused with a *trustedpath.UntrustedError.
func LoadConfig(path string, accounts workload.Accounts) (*Config, []Warning, error) {
	content, err := trustedpath.Read(path, trustedpath.Given, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read configuration %s: %w; write it, or name another with LANYARD_CONFIG", quotable(path), err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	return ParseConfig(path, content, accounts)
}

// ParseConfig checks the content of a configuration file. The name stands in
// errors and warnings.
func ParseConfig(name string, content []byte, accounts workload.Accounts) (*Config, []Warning, error) {
	if len(content) > maxConfig {
		return nil, nil, fmt.Errorf("parse configuration: longer than %d bytes", maxConfig)
	}
	doc, err := parseDocument(name, content)
	if err != nil {
		return nil, nil, err
	}
	c, warnings, problems := doc.file.compile(accounts)
	if len(problems) > 0 || len(doc.unknown) > 0 {
		return nil, nil, doc.errors(problems)
	}
	return c, doc.warnings(warnings), nil
}

// compile checks everything but the YAML. It returns no config if there are
// problems.
func (f *configFile) compile(accounts workload.Accounts) (*Config, []registry.Problem, registry.Problems) {
	policy, warnings, err := registry.Compile(f.resources(), accounts)
	var problems registry.Problems
	if err != nil && !errors.As(err, &problems) {
		problems = registry.Problems{{Reason: err.Error()}}
	}
	c := &Config{Policy: policy, Operators: map[string]OperatorSource{}}
	problems = append(problems, f.compileSources(c)...)
	problems = append(problems, f.compileLocalAPI(c)...)
	problems = append(problems, f.Limits.compile(&c.Limits)...)
	if len(f.Identities) == 0 {
		warnings = append(warnings, registry.Problem{Path: "identities", Reason: "no identity is declared, so no process gets a token"})
	}
	return c, append(warnings, f.unused()...), problems
}
