package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// testAccounts are the users and groups of the host of these tests.
type testAccounts map[string]uint32

func (a testAccounts) UserID(name string) (uint32, error)  { return a.find("user", name) }
func (a testAccounts) GroupID(name string) (uint32, error) { return a.find("group", name) }

func (a testAccounts) find(what, name string) (uint32, error) {
	if id, ok := a[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("this host has no %s %q", what, name)
}

var testHost = testAccounts{"root": 0, "billing": 990, "staff": 50}

// fullConfig names every key there is.
const fullConfig = `
# what this host may do
identities:
  - name: billing
    match:
      exe: [/usr/local/bin/billing, "/opt/billing/**"]
      sha256: 0000000000000000000000000000000000000000000000000000000000000000
      cmdline: "* --prod*"
      user: 990
      group: staff
      cgroup: /system.slice
      systemd_unit: billing.service
    source: {operator: {ticket_file: /run/secrets/billing-ticket, allow_insecure: true}}
    local_api: true
  - name: curl
    match:
      exe: /usr/bin/curl
      any_user: true
    source:
      operator:
        ticket_file: /run/secrets/curl-ticket
destinations:
  - name: ledger
    hosts: [ledger.internal, "*.ledger.internal", 2001:db8::1]
    ports: [80, 443]
    addresses:
      - 10.0.0.0/8
    verify: addresses
    audience: https://ledger.internal
    identities: [billing, curl]
    enforce: true
    existing_authorization: keep
    on_failure: open
    methods: [GET, POST]
    paths: [/v1/, /health]
    served_by: {systemd_unit: [ledger.service, ledger.socket], cgroup: /system.slice, user: 991}
  - name: watched
    hosts: watched.internal
    ports: [8080]
    identities: curl
    enforce: false
    connections_before: count
local_api: {identity: billing}
limits:
  head_bytes: 131072
  head_fields: 500
  head_time: 1m
  decision_time: 5s
  dial_time: 10s
  reader_pause: 1h
  idle: 30m
  tunnel_idle: 48h
`

func parse(t *testing.T, content string) (*Config, []Warning) {
	t.Helper()
	c, warnings, err := ParseConfig("agent.yaml", []byte(content), testHost)
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

func TestConfigHoldsEveryKey(t *testing.T) {
	c, warnings := parse(t, fullConfig)
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if want := map[string]OperatorSource{
		"billing": {TicketFile: "/run/secrets/billing-ticket", AllowInsecure: true},
		"curl":    {TicketFile: "/run/secrets/curl-ticket"},
	}; !reflect.DeepEqual(c.Operators, want) {
		t.Errorf("sources: %+v", c.Operators)
	}
	if c.LocalAPIIdentity != "billing" {
		t.Errorf("local API: %q", c.LocalAPIIdentity)
	}
	billing := c.Policy.Identity("billing")
	if billing == nil || !billing.LocalAPI || len(billing.Selector.Kinds()) != len(workload.SelectorKinds()) {
		t.Fatalf("billing: %+v", billing)
	}
	for kind, want := range map[workload.SelectorKind][]string{
		workload.KindExecutable:  {"/usr/local/bin/billing", "/opt/billing/**"},
		workload.KindSHA256:      {strings.Repeat("0", 64)},
		workload.KindCommandLine: {"* --prod*"},
		workload.KindUser:        {"990"},
		workload.KindGroup:       {"staff"},
		workload.KindCgroup:      {"/system.slice"},
		workload.KindSystemdUnit: {"billing.service"},
	} {
		if got := billing.Selector.Values(kind); !slices.Equal(got, want) {
			t.Errorf("%s: %q", kind, got)
		}
	}
	d := c.Policy.Destination("ledger.internal", 443)
	if d == nil || !d.Enforce || d.ExistingAuthorization != workload.KeepAuthorization || d.OnFailure != workload.FailOpen ||
		d.Audience != "https://ledger.internal" || !slices.Equal(d.Hosts, []string{"ledger.internal", "*.ledger.internal", "2001:db8::1"}) ||
		!slices.Equal(d.Methods, []string{"GET", "POST"}) || !slices.Equal(d.Paths, []string{"/v1/", "/health"}) ||
		fmt.Sprint(d.Addresses) != "[10.0.0.0/8]" || d.Verify != workload.VerifyByAddresses || !slices.Equal(d.Identities, []string{"billing", "curl"}) {
		t.Errorf("ledger: %+v", d)
	}
	for kind, want := range map[workload.SelectorKind][]string{
		workload.KindSystemdUnit: {"ledger.service", "ledger.socket"}, workload.KindCgroup: {"/system.slice"}, workload.KindUser: {"991"},
	} {
		if got := d.ServedBy.Values(kind); !slices.Equal(got, want) {
			t.Errorf("served by %s: %q", kind, got)
		}
	}
	if d := c.Policy.Destination("watched.internal", 8080); d == nil || !d.ServedBy.IsZero() || d.Enforce || d.Before != workload.CountBefore || !slices.Equal(d.Identities, []string{"curl"}) {
		t.Errorf("watched: %+v", d)
	}
}

// minimal is a valid configuration whose lines the tests below replace.
const minimal = `identities:
  - name: curl
    match:
      exe: /usr/bin/curl
      user: root
    source: {operator: {ticket_file: /t}}
destinations:
  - name: ledger
    hosts: [ledger.internal]
    ports: [80]
    identities: [curl]
`

func TestConfigErrorsNameTheLine(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to string
		place    string // line:column
		says     string
	}{
		"unknown key":            {"user: root", "usr: root", "5:7", `unknown field "usr"`},
		"unknown key at the top": {"destinations:", "destination:", "7:1", `unknown field "destination"`},
		"unknown source":         {"{operator: {", "{vault: {", "6:14", `unknown field "vault"`},
		"key of another kind":    {"user: root", "user: root\n      container: x", "6:7", `unknown field "container"`},
		"key twice":              {"user: root", "user: root\n      user: root", "6:7", "already defined"},
		"no value":               {"user: root", "user:", "5:", "no value"},
		"syntax":                 {"hosts: [ledger.internal]", "hosts: [ledger.internal", "10:5", "must be specified"},
		"tab":                    {"    ports: [80]", "\tports: [80]", "", ""},
		"text for a list of numbers": {
			"ports: [80]", "ports: [http]", "10:13", "another kind"},
		"number for a list":       {"ports: [80]", "ports: 80", "10:12", "another kind"},
		"map for a text":          {"exe: /usr/bin/curl", "exe: {a: b}", "4:", "a text or a number"},
		"list in a list":          {"exe: /usr/bin/curl", "exe: [[/x]]", "4:", "a text or a number"},
		"text for a choice":       {"ports: [80]", "ports: [80]\n    enforce: maybe", "11:14", "another kind"},
		"anchor":                  {"name: curl", "name: &n curl", "2:", "anchors"},
		"tag":                     {"name: curl", "name: !!str curl", "2:11", "tags"},
		"second document":         {"destinations:", "---\ndestinations:", "8:", "second document"},
		"deep":                    {"exe: /usr/bin/curl", "exe: " + strings.Repeat("[", 50) + strings.Repeat("]", 50), "4:", "deep"},
		"deep list":               {"exe: /usr/bin/curl", "exe:\n      " + strings.Repeat("- ", 50), "5:", "deep"},
		"relative exe":            {"exe: /usr/bin/curl", "exe: curl", "4:12", "can never match"},
		"second of a list":        {"exe: /usr/bin/curl", "exe: [/usr/bin/curl, wget]", "4:28", "can never match"},
		"list on lines":           {"exe: /usr/bin/curl", "exe:\n        - /usr/bin/curl\n        - wget", "6:11", "can never match"},
		"empty list":              {"exe: /usr/bin/curl", "exe: []", "4:7", "list is empty"},
		"unknown user":            {"user: root", "user: nobody-here", "5:13", "no user"},
		"nobody said who":         {"      user: root\n", "", "3:5", "any_user: true"},
		"no match":                {"    match:\n      exe: /usr/bin/curl\n      user: root\n", "", "2:5", "names no condition"},
		"no name":                 {"name: curl", "local_api: false", "2:5", "no name"},
		"unknown identity":        {"identities: [curl]", "identities: [curl, wget]", "11:24", `"wget"`},
		"empty ports":             {"ports: [80]", "ports: []", "10:5", "no port"},
		"no ports":                {"    ports: [80]\n", "", "8:5", "no port"},
		"port out of range":       {"ports: [80]", "ports: [80, 70000]", "10:17", "70000"},
		"plaintext wildcard":      {"[ledger.internal]", `["*.internal"]`, "9:5", "add addresses"},
		"bad choice":              {"ports: [80]", "ports: [80]\n    on_failure: close", "11:17", "closed or open"},
		"bad choice of unknown":   {"ports: [80]", "ports: [80]\n    unknown: deny", "11:14", "pass or refuse"},
		"unknown where open":      {"ports: [80]", "ports: [80]\n    unknown: refuse\n    on_failure: open", "11:14", "only where on_failure is closed"},
		"no source":               {"    source: {operator: {ticket_file: /t}}\n", "", "2:5", "has no source"},
		"empty source":            {"source: {operator: {ticket_file: /t}}", "source: {}", "6:5", "has no source"},
		"no ticket file":          {"ticket_file: /t", "allow_insecure: true", "6:14", "no ticket_file"},
		"relative ticket file":    {"ticket_file: /t", "ticket_file: t", "6:38", "relative"},
		"unclean ticket file":     {"ticket_file: /t", "ticket_file: /a/../t", "6:38", "write /t"},
		"local API of nobody":     {"destinations:", "local_api: {identity: wget}\ndestinations:", "7:23", `"wget"`},
		"name twice":              {"destinations:", "  - name: curl\n    match: {user: root}\n    source: {operator: {ticket_file: /t}}\ndestinations:", "7:11", "twice"},
		"top is a list":           {minimal, "- a", "1:", ""},
		"top is a text":           {minimal, "hello", "1:1", ""},
		"host in two":             {"    identities: [curl]\n", "    identities: [curl]\n  - name: b\n    hosts: [ledger.internal]\n    ports: [80]\n    identities: [curl]\n", "13:5", `also in destination "ledger"`},
		"ticket in place of file": {"ticket_file: /t", "ticket: secret", "6:25", `unknown field "ticket"`},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(minimal, tc.from) {
				t.Fatal("nothing replaced")
			}
			content := strings.Replace(minimal, tc.from, tc.to, 1)
			c, _, err := ParseConfig("agent.yaml", []byte(content), testHost)
			var wrong ConfigErrors
			if c != nil || !errors.As(err, &wrong) {
				t.Fatalf("got %v, %v", c, err)
			}
			first := wrong[0].Error()
			if !strings.HasPrefix(first, "agent.yaml:"+tc.place) || !strings.Contains(first, tc.says) || wrong[0].Line == 0 {
				t.Errorf("got %q, want %s … %s", err, tc.place, tc.says)
			}
			if strings.Contains(first, "\n") {
				t.Errorf("more than one line: %q", first)
			}
		})
	}
}

func TestConfigReportsEverythingInOrder(t *testing.T) {
	content := strings.NewReplacer("/usr/bin/curl", "curl", "ports: [80]", "ports: []", "/t}", "t}").Replace(minimal)
	_, _, err := ParseConfig("agent.yaml", []byte(content), testHost)
	var wrong ConfigErrors
	if !errors.As(err, &wrong) || len(wrong) != 3 || wrong[0].Line != 4 || wrong[1].Line != 6 || wrong[2].Line != 10 {
		t.Errorf("got %v", err)
	}
}

// TestUnknownKeysHideNothing: they come with what else is wrong, whatever that is.
func TestUnknownKeysHideNothing(t *testing.T) {
	for name, k := range map[string]struct {
		content *strings.Replacer
		want    []string
	}{
		"unknown alone": {strings.NewReplacer("user: root", "user: root\n      exee: /x", "destinations:", "destination: []\ndestinations:"),
			[]string{`6:7: unknown field "exee"; correct`, `8:1: unknown field "destination"`}},
		"and values that cannot be": {strings.NewReplacer("user: root", "user: root\n      exee: /x", "ports: [80]", "ports: []\n    pots: [80]"),
			[]string{`6:7: unknown field "exee"`, `12:5: unknown field "pots"`, "11:5: "}},
		"and a value of another kind": {strings.NewReplacer("user: root", "user: root\n      exee: /x", "ports: [80]", "ports: 80"),
			[]string{`6:7: unknown field "exee"`, "11:12: the value is of another kind"}},
		"the only key of a map": {strings.NewReplacer("{operator: {ticket_file: /t}}", "{vault: {file: /t}}"),
			[]string{`6:14: unknown field "vault"`, "6:5: "}},
	} {
		_, _, err := ParseConfig("agent.yaml", []byte(k.content.Replace(minimal)), testHost)
		var wrong ConfigErrors
		if !errors.As(err, &wrong) || len(wrong) != len(k.want) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		for i, want := range k.want {
			if !strings.HasPrefix(wrong[i].Error(), "agent.yaml:"+want) {
				t.Errorf("%s: got %v, want %s", name, wrong[i], want)
			}
		}
	}
}

// TestManyUnknownKeysAreBounded, as each takes a look at the whole.
func TestManyUnknownKeysAreBounded(t *testing.T) {
	var content strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&content, "k%d: x\n", i)
	}
	_, _, err := ParseConfig("x", []byte(content.String()), testHost)
	var wrong ConfigErrors
	if !errors.As(err, &wrong) || len(wrong) != maxUnknown+1 {
		t.Errorf("%d errors: %v", len(wrong), err)
	}
}

// TestNotYAML says what to do about it.
func TestNotYAML(t *testing.T) {
	for content, place := range map[string]string{
		"identities:\n  - name: a\n    match:\n     exe /x\n     user: root\n": "4:",
		"identities: ]":              "1:",
		"identities:\n\t- name: a\n": "2:",
		"a: `b`\n":                   "1:",
		"a: [b\n":                    "1:",
	} {
		_, _, err := ParseConfig("agent.yaml", []byte(content), testHost)
		if err == nil || !strings.HasPrefix(err.Error(), "agent.yaml:"+place) || !strings.Contains(err.Error(), ": this is not valid YAML: ") ||
			!strings.Contains(err.Error(), "; look at this line and the one before it") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestSourceIsWantedWhereATokenIs(t *testing.T) {
	without := strings.Replace(minimal, "    source: {operator: {ticket_file: /t}}\n", "", 1)
	observed := without + "    enforce: false\n"
	parse(t, observed)
	for name, content := range map[string]string{
		"enforced":      without,
		"own local API": strings.Replace(observed, "    match:", "    local_api: true\n    match:", 1),
		"local API":     observed + "local_api: {identity: curl}\n",
	} {
		if _, _, err := ParseConfig("x", []byte(content), testHost); err == nil || !strings.Contains(err.Error(), "has no source") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigWarns(t *testing.T) {
	_, warnings := parse(t, "# nothing yet\n")
	if len(warnings) != 1 || warnings[0].String() != "agent.yaml: no identity is declared, so no process gets a token" {
		t.Errorf("empty: %v", warnings)
	}
	_, warnings = parse(t, strings.Replace(minimal, "destinations:", "  - name: idle\n    match: {exe: /usr/bin/*, any_user: true}\ndestinations:", 1))
	if len(warnings) != 2 || warnings[0].Line != 7 || warnings[1].Line != 8 ||
		!strings.Contains(warnings[0].Reason, "no destination lists") || !strings.Contains(warnings[1].Reason, "kernel") {
		t.Errorf("got %v", warnings)
	}
}

func TestEmptyDocumentsAreNoConfiguration(t *testing.T) {
	for _, content := range []string{"", "\n\n", "# x", "---\n", "{}"} {
		c, _ := parse(t, content)
		if len(c.Policy.Identities()) != 0 {
			t.Errorf("%q: %+v", content, c)
		}
	}
}

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if _, _, err := LoadConfig(path, testHost); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "LANYARD_CONFIG") {
		t.Errorf("missing: %v", err)
	}
	nowhere := filepath.Join(filepath.Dir(path), "none", "agent.yaml")
	if _, _, err := LoadConfig(nowhere, testHost); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), nowhere) {
		t.Errorf("missing folder: %v", err)
	}
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := LoadConfig(path, testHost); err != nil || len(warnings) != 0 {
		t.Errorf("got %v, %v", warnings, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var untrusted *trustedpath.UntrustedError
	if c, _, err := LoadConfig(path, testHost); c != nil || !errors.As(err, &untrusted) || !strings.Contains(err.Error(), "run chmod go-w "+path) {
		t.Errorf("writable: %v, %v", c, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, maxConfig+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadConfig(path, testHost); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("long: %v", err)
	}
	if _, _, err := LoadConfig(filepath.Dir(path), testHost); err == nil {
		t.Error("a folder was read")
	}
}

// TestHostileNestingIsNotParsed refuses what makes the parser's time explode
// before the parser sees it.
func TestHostileNestingIsNotParsed(t *testing.T) {
	for _, unit := range []string{"[", "- ", "{a: ", "a: [", "? ", "a: - "} {
		_, _, err := ParseConfig("x", []byte(strings.Repeat(unit, 1000)), testHost)
		if err == nil || !strings.Contains(err.Error(), "nested more than") {
			t.Errorf("%q: %v", unit, err)
		}
	}
}
