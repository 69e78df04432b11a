package agent

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// configFile is the configuration as it is written down.
type configFile struct {
	Identities   []identityEntry    `yaml:"identities"`
	Destinations []destinationEntry `yaml:"destinations"`
	LocalAPI     localAPIEntry      `yaml:"local_api"`
	Limits       limitsEntry        `yaml:"limits"`
}

type identityEntry struct {
	Name     text        `yaml:"name"`
	Match    matchEntry  `yaml:"match"`
	Source   sourceEntry `yaml:"source"`
	LocalAPI bool        `yaml:"local_api"`
}

type matchEntry struct {
	Exe         texts `yaml:"exe"`
	SHA256      texts `yaml:"sha256"`
	CommandLine texts `yaml:"cmdline"`
	User        texts `yaml:"user"`
	Group       texts `yaml:"group"`
	Cgroup      texts `yaml:"cgroup"`
	SystemdUnit texts `yaml:"systemd_unit"`
	AnyUser     bool  `yaml:"any_user"`
}

type sourceEntry struct {
	Operator *operatorEntry `yaml:"operator"`
}

type operatorEntry struct {
	TicketFile    text `yaml:"ticket_file"`
	AllowInsecure bool `yaml:"allow_insecure"`
}

type destinationEntry struct {
	Name                  text  `yaml:"name"`
	Hosts                 texts `yaml:"hosts"`
	Ports                 []int `yaml:"ports"`
	Addresses             texts `yaml:"addresses"`
	Verify                text  `yaml:"verify"`
	Audience              text  `yaml:"audience"`
	Identities            texts `yaml:"identities"`
	Enforce               *bool `yaml:"enforce"`
	ExistingAuthorization text  `yaml:"existing_authorization"`
	OnFailure             text  `yaml:"on_failure"`
	Unknown               text  `yaml:"unknown"`
	ConnectionsBefore     text  `yaml:"connections_before"`
	Methods               texts `yaml:"methods"`
	Paths                 texts `yaml:"paths"`

	ServedBy *serverEntry `yaml:"served_by"`
}

type serverEntry struct {
	SystemdUnit texts `yaml:"systemd_unit"`
	Cgroup      texts `yaml:"cgroup"`
	User        texts `yaml:"user"`
}

type localAPIEntry struct {
	Identity text `yaml:"identity"`
}

// text is a scalar taken as it is written: a user that is a number and a digest
// of digits only stay what they are.
type text string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (t *text) UnmarshalYAML(node ast.Node) error {
	s, err := scalar(node)
	*t = text(s)
	return err
}

// texts is a list of scalars, or one of them alone.
type texts []string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (t *texts) UnmarshalYAML(node ast.Node) error {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		s, err := scalar(node)
		*t = texts{s}
		return err
	}
	*t = make(texts, 0, len(list.Values))
	for _, value := range list.Values {
		s, err := scalar(value)
		if err != nil {
			return err
		}
		*t = append(*t, s)
	}
	return nil
}

func scalar(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	}
	return "", &nodeError{node, "a text or a number is wanted here"}
}

// nodeError is a wrong value with where it stands.
type nodeError struct {
	node   ast.Node
	reason string
}

func (e *nodeError) Error() string { return e.reason }

func (f *configFile) resources() registry.Resources {
	var r registry.Resources
	for _, e := range f.Identities {
		r.Identities = append(r.Identities, registry.IdentitySpec{
			Name: string(e.Name), LocalAPI: e.LocalAPI,
			Match: workload.SelectorSpec{
				Executables: e.Match.Exe, SHA256: e.Match.SHA256, CommandLines: e.Match.CommandLine,
				Users: e.Match.User, Groups: e.Match.Group,
				Cgroups: e.Match.Cgroup, SystemdUnits: e.Match.SystemdUnit, AnyUser: e.Match.AnyUser,
			},
		})
	}
	for _, e := range f.Destinations {
		r.Destinations = append(r.Destinations, registry.DestinationSpec{
			Name: string(e.Name), Hosts: e.Hosts, Ports: e.Ports, Addresses: e.Addresses,
			Verify: string(e.Verify), Audience: string(e.Audience), Identities: e.Identities, Observe: e.observe(),
			ExistingAuthorization: string(e.ExistingAuthorization), OnFailure: string(e.OnFailure),
			Unknown: string(e.Unknown), Before: string(e.ConnectionsBefore),
			Methods: e.Methods, Paths: e.Paths, ServedBy: e.ServedBy.spec(),
		})
	}
	return r
}

func (e *serverEntry) spec() *registry.ServerSpec {
	if e == nil {
		return nil
	}
	return &registry.ServerSpec{SystemdUnits: e.SystemdUnit, Cgroups: e.Cgroup, Users: e.User}
}

func (e *destinationEntry) observe() bool { return e.Enforce != nil && !*e.Enforce }

// compileSources fills in the sources and finds identities that will need one
// and have none.
func (f *configFile) compileSources(c *Config) registry.Problems {
	var problems registry.Problems
	for i, e := range f.Identities {
		at := fmt.Sprintf("identities[%d].source", i)
		if e.Source.Operator == nil {
			if why := f.needsToken(e); why != "" {
				problems = append(problems, registry.Problem{Path: at, Reason: fmt.Sprintf(
					"identity %q has no source, and %s; write source: {operator: {ticket_file: FILE}}", e.Name, why)})
			}
			continue
		}
		file := string(e.Source.Operator.TicketFile)
		if reason := checkTicketFile(file); reason != "" {
			problems = append(problems, registry.Problem{Path: at + ".operator.ticket_file", Reason: reason})
		}
		c.Operators[string(e.Name)] = OperatorSource{TicketFile: file, AllowInsecure: e.Source.Operator.AllowInsecure}
	}
	return problems
}

// needsToken says what an identity's token is wanted for, "" if for nothing.
func (f *configFile) needsToken(e identityEntry) string {
	if e.LocalAPI || (f.LocalAPI.Identity != "" && f.LocalAPI.Identity == e.Name) {
		return "the local API hands its token out"
	}
	for _, d := range f.Destinations {
		if !d.observe() && slices.Contains(d.Identities, string(e.Name)) {
			return fmt.Sprintf("destination %q wants its token", d.Name)
		}
	}
	return ""
}

func checkTicketFile(file string) string {
	switch {
	case file == "":
		return "no ticket_file; name the file that holds the ticket"
	case !strings.HasPrefix(file, "/"):
		return fmt.Sprintf("%q is relative, and the agent runs in no particular folder; write it from / on", file)
	case path.Clean(file) != file || strings.ContainsRune(file, 0):
		return fmt.Sprintf("%q is no plain path of a file; write %s", file, path.Clean(strings.ReplaceAll(file, "\x00", "")))
	}
	return ""
}

func (f *configFile) compileLocalAPI(c *Config) registry.Problems {
	name := f.LocalAPI.Identity
	if name == "" {
		return nil
	}
	if !slices.ContainsFunc(f.Identities, func(e identityEntry) bool { return e.Name == name }) {
		return registry.Problems{{Path: "local_api.identity", Reason: fmt.Sprintf(
			"no identity is called %q; declare it below identities, or correct the name", name)}}
	}
	c.LocalAPIIdentity = string(name)
	return nil
}

// unused finds identities that nothing uses.
func (f *configFile) unused() []registry.Problem {
	var unused []registry.Problem
	for i, e := range f.Identities {
		listed := slices.ContainsFunc(f.Destinations, func(d destinationEntry) bool { return slices.Contains(d.Identities, string(e.Name)) })
		if !listed && !e.LocalAPI && f.LocalAPI.Identity != e.Name {
			unused = append(unused, registry.Problem{Path: fmt.Sprintf("identities[%d].name", i), Reason: fmt.Sprintf(
				"no destination lists identity %q, so its processes get no token; list it below the identities of a destination", e.Name)})
		}
	}
	return unused
}
