package rules_test

import (
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/rules"
)

func tree(t *testing.T) *rules.Tree {
	t.Helper()
	read, err := rules.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// ours says which of our own packages one may import: those named, what stands
// below them, and what stands below itself. The longest match counts, and every
// package needs one.
var ours = []struct {
	pkg    string
	may    []string
	reason string
}{
	{"cmd/lanyard", []string{"agent", "docs", "internal"},
		"a command parses, builds and runs; the path of a connection is not its business"},
	{"agent", []string{"injector", "internal"},
		"the composition root joins everything, but reaches the kernel through probe"},
	{"injector", []string{"internal/workload", "internal/token", "internal/telemetry", "internal/logbudget"},
		"the data path is the same with and without eBPF, and holds no keys"},
	{"bpf", nil, "the kernel half does not know the other half"},
	{"internal/workload", nil, "everybody speaks the domain; what it imported, everybody would import"},
	{"internal/token", nil, "what a token is and how it is kept warm does not hang on who asks"},
	{"internal/token/operator", []string{"internal/folderlock", "internal/jose", "internal/privatefile", "internal/serverurl", "internal/token", "internal/trustedpath"},
		"a source talks to its issuer over the wire, never to the issuer's code; what both read alike is how a token is written"},
	{"internal/standing", []string{"internal/token"},
		"who has a token is told by what was obtained, not by going to ask"},
	{"internal/localapi", []string{"internal/admission", "internal/fairshare", "internal/listen", "internal/logbudget", "internal/privatefile", "internal/token", "internal/trustedpath", "internal/workload"},
		"one API serves both modes, so it knows neither kernel nor configuration"},
	{"internal/client", []string{"internal/admission", "internal/localapi", "internal/token"},
		"the client mode runs where there is no kernel to ask who calls"},
	{"internal/telemetry", []string{"internal/serverurl", "internal/workload"},
		"what is recorded are facts about a token, so it has no way to see one; a collector is asked as any server is"},
	{"internal/probe", []string{"bpf", "internal/logbudget", "internal/workload"},
		"what the kernel says is told in the words of the domain, judged elsewhere"},
	{"internal/attribution", []string{"internal/workload"},
		"who a process is must not hang on what it is allowed"},
	{"internal/sockdiag", []string{"internal/workload"},
		"who has a socket is the kernel's word, whatever somebody wants to know it for"},
	{"internal/listen", []string{"internal/sockdiag"},
		"that an address is nobody else's does not hang on who listens there; what a former process left is asked of the kernel"},
	{"internal/registry", []string{"internal/workload"},
		"who gets which identity is decided from facts, not by going to look for more"},
	{"internal/resolver", []string{"internal/fairshare", "internal/workload"},
		"whether an address is a host's does not depend on who asks, or what for; look-ups only share their room by a name"},
	{"internal/check", []string{"internal/attribution", "internal/registry", "internal/trustedpath", "internal/workload"},
		"what a configuration would do is found out without a kernel program or a connection"},
	{"internal/why", []string{"internal/check", "internal/registry", "internal/workload"},
		"what becomes of a request is explained from what it is handed; it asks neither kernel nor authority"},
	{"internal/envsettings", nil, "how a setting is read does not hang on what it is for"},
	{"internal/sdnotify", nil, "how a service manager is told does not hang on what it is told of"},
	{"internal/folderlock", nil, "who has a folder does not hang on what is in it"},
	{"internal/privatefile", []string{"internal/trustedpath"},
		"how a secret is kept in a file does not hang on whose it is"},
	{"internal/trustedpath", nil, "who else can change a file does not hang on what it is for"},
	{"internal/logbudget", []string{"internal/fairshare", "internal/workload"},
		"how many lines may be logged does not hang on what they say, but on who caused them"},
	{"internal/admission", []string{"internal/fairshare", "internal/workload"},
		"who may hold a connection does not hang on what is served to it"},
	{"internal/fairshare", nil, "how places are shared does not hang on what they are places for"},
	{"internal/freeport", nil, "whether a port is free does not hang on what will listen there"},
	{"internal/httpserve", []string{"internal/trustedpath"}, "how a server starts, stops and speaks TLS does not hang on what it serves"},
	{"internal/serverurl", []string{"internal/trustedpath"}, "whether an address is acceptable does not hang on what is asked there"},
	{"internal/authority", []string{"internal/attest", "internal/admin/resource", "internal/folderlock", "internal/httpserve", "internal/jose", "internal/privatefile", "internal/serverurl", "internal/strictjson", "internal/trustedpath"},
		"the authority runs on machines without agent, kernel programs or data path"},
	{"internal/authority/openapi", nil,
		"the document is told what is served; it hangs on none of the code that serves it"},
	{"internal/admin", []string{"internal/serverurl", "internal/privatefile"},
		"the command line sees of the authority what its API shows, and the token file that they share"},
	{"internal/jose", []string{"internal/strictjson"}, "what a token says does not hang on who issued it or who asks"},
	{"internal/strictjson", nil, "how JSON is read does not hang on what it says"},
	{"internal/verify", []string{"internal/httpserve", "internal/jose", "internal/serverurl"},
		"a receiving service sees a token and its issuer's keys, and nothing of the issuer"},
	{"internal/demo", []string{"agent", "internal"}, "the demo runs the product as its users do"},
	{"docs", nil, "what is written for people does not hang on the program"},
	{"docs/examples", nil, "an example stands for somebody else's program, which has none of our packages"},
	{"test/attack", nil, "strangers and victims know what any local program can find out, and nothing of our code"},
	{"test", []string{"agent", "bpf", "cmd", "injector", "internal", "test"}, "tests may look at everything"},
}

func TestImportsPointOneWay(t *testing.T) {
	for _, pkg := range tree(t).Packages {
		row := -1
		for i, candidate := range ours {
			if rules.Below(pkg.Dir, candidate.pkg) && (row < 0 || len(candidate.pkg) > len(ours[row].pkg)) {
				row = i
			}
		}
		if row < 0 {
			t.Errorf("%s: no rule says what it may import; give it one, with a reason", pkg.Dir)
			continue
		}
		for _, name := range pkg.Imports() {
			if isOurs(name) && !allowed(name, append([]string{ours[row].pkg}, ours[row].may...)) {
				t.Errorf("%s imports %s: %s", pkg.Dir, name, ours[row].reason)
			}
		}
	}
}

// onlyBy says which packages alone may import something, in files that are not
// tests.
var onlyBy = []struct {
	name   string
	by     []string
	reason string
}{
	{"bpf", []string{"internal/probe", "test"}, "one package knows how the programs are loaded and their maps laid out"},
	{"github.com/cilium/ebpf", []string{"bpf", "internal/probe", "test"}, "one package speaks to the kernel's BPF"},
	{"modernc.org/sqlite", []string{"internal/authority/store"}, "another database must need no more than another store"},
	{"github.com/pressly/goose", []string{"internal/authority/store"}, "another database must need no more than another store"},
	{"github.com/spf13/cobra", []string{"cmd"}, "what the product does works without a command line"},
	{"go.opentelemetry.io", []string{"internal/telemetry", "test"}, "the names of spans and attributes stand in one place"},
	{"github.com/prometheus", []string{"internal/telemetry", "internal/authority", "test"},
		"the names of a daemon's metrics stand in one place"},
	{"internal/telemetry/telemetrytest", []string{"internal/demo", "test"}, "a collector is for tests and the demo"},
	{"internal/serverurl/serverurltest", []string{"test"}, "a server that breaks the protocol is for tests"},
	{"internal/authority/openapi/openapitest", []string{"test"}, "holding answers against the document is for tests"},
	{"github.com/santhosh-tekuri/jsonschema", []string{"internal/authority/openapi/openapitest"}, "a validator is for tests, and not in the binary"},
	{"github.com/lestrrat-go/jwx/v2/jwt", []string{"docs/examples", "test"},
		"of a token in JSON serialization it takes claims that nobody signed; internal/jose reads what was"},
	{"github.com/lestrrat-go/jwx/v2/jws", []string{"docs/examples", "internal/jose", "internal/token/operator", "test"},
		"it reads more than the compact serialization; a source only signs with it"},
	{"testing", []string{"test"}, "test flags and fixtures do not belong in the binary"},
	{"math/rand", nil, "randomness here is jitter (math/rand/v2) or secret (crypto/rand)"},
	{"net/http/httputil", nil, "ReverseProxy parses, allocates and rewrites, and is slower by a factor of 2.5"},
	{"C", nil, "the binary is static and runs on any kernel without a C library"},
	{"plugin", nil, "the binary is static"},
	{"log", nil, "log lines are structured: log/slog"},
}

func TestSomeImportsHaveOneHome(t *testing.T) {
	exact := map[string]bool{"math/rand": true, "log": true} // math/rand/v2 and log/slog are others
	for _, pkg := range tree(t).Packages {
		for _, name := range pkg.Imports() {
			for _, rule := range onlyBy {
				hit := name == rule.name || !exact[rule.name] && rules.Below(name, rule.name)
				if hit && !rules.Below(pkg.Dir, rule.name) && !allowed(pkg.Dir, rule.by) {
					t.Errorf("%s imports %s: %s", pkg.Dir, name, rule.reason)
				}
			}
		}
	}
}

// neverBy says what a package must not import from outside our module.
var neverBy = []struct{ pkg, name, reason string }{
	{"injector", "net/http", "the client's bytes are kept; net/http parses, allocates and rewrites"},
	{"internal/workload", "net/http", "the domain has no protocol"},
	{"internal/workload", "os", "the domain does not look at the machine"},
	{"internal/authority", "github.com/vishvananda/netlink", "the authority builds and runs on macOS"},
}

func TestSomeImportsAreForbidden(t *testing.T) {
	for _, pkg := range tree(t).Packages {
		for _, name := range pkg.Imports() {
			for _, rule := range neverBy {
				if rules.Below(pkg.Dir, rule.pkg) && name == rule.name {
					t.Errorf("%s imports %s: %s", pkg.Dir, name, rule.reason)
				}
			}
			if pkg.Dir == "internal/workload" && strings.Contains(name, ".") {
				t.Errorf("%s imports %s: the domain needs the standard library only", pkg.Dir, name)
			}
		}
	}
}

func isOurs(name string) bool {
	return allowed(name, []string{"agent", "bpf", "cmd", "docs", "injector", "internal", "test"}) && !strings.HasPrefix(name, "internal/race")
}

func allowed(name string, dirs []string) bool {
	for _, dir := range dirs {
		if rules.Below(name, dir) {
			return true
		}
	}
	return false
}
