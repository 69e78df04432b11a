//go:build linux

package agent

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

var zeroDigest = strings.Repeat("0", 64)

func mustCompile(t *testing.T, specs ...workload.SelectorSpec) *registry.Policy {
	t.Helper()
	var resources registry.Resources
	for i, spec := range specs {
		name := "identity-" + string(rune('a'+i))
		resources.Identities = append(resources.Identities, registry.IdentitySpec{Name: name, Match: spec})
	}
	policy, problems, err := registry.Compile(resources, testHost)
	if err != nil {
		t.Fatal(err, problems)
	}
	return policy
}

func TestOnlyWhoCanStillMatchIsOfInterest(t *testing.T) {
	interest := interestOf(mustCompile(t,
		workload.SelectorSpec{Users: []string{"billing"}, Executables: []string{"/usr/bin/billing"}, SHA256: []string{zeroDigest}},
		workload.SelectorSpec{Users: []string{"root"}, CommandLines: []string{"python3 /srv/app*"}, SHA256: []string{zeroDigest}},
		workload.SelectorSpec{Users: []string{"600"}},
	), mustCompile(t,
		workload.SelectorSpec{Groups: []string{"staff"}, CommandLines: []string{"x"}, AnyUser: true},
	))
	digest, line := attribution.Facts{SHA256: true}, attribution.Facts{CommandLine: true}
	both := attribution.Facts{SHA256: true, CommandLine: true}
	for name, tc := range map[string]struct {
		process workload.Process
		read    attribution.Facts
		want    attribution.Facts
	}{
		"a stranger":                  {workload.Process{UID: 600, Executable: "/usr/bin/billing"}, attribution.Facts{}, attribution.Facts{}},
		"its user":                    {workload.Process{UID: 990, Executable: "/usr/bin/other"}, attribution.Facts{}, attribution.Facts{}},
		"its program":                 {workload.Process{UID: 990, Executable: "/usr/bin/billing"}, attribution.Facts{}, digest},
		"an unknown program":          {workload.Process{UID: 990}, attribution.Facts{}, attribution.Facts{}},
		"another digest":              {workload.Process{UID: 990, Executable: "/usr/bin/billing", SHA256: "f"}, digest, attribution.Facts{}},
		"no digest":                   {workload.Process{UID: 990, Executable: "/usr/bin/billing"}, digest, attribution.Facts{}},
		"line not read":               {workload.Process{UID: 0}, attribution.Facts{}, both},
		"its line":                    {workload.Process{UID: 0, CommandLine: []string{"python3", "/srv/app"}}, line, both},
		"another line":                {workload.Process{UID: 0, CommandLine: []string{"python3"}}, line, attribution.Facts{}},
		"no line":                     {workload.Process{UID: 0}, line, attribution.Facts{}},
		"an identity of the next one": {workload.Process{UID: 600, GID: 50}, attribution.Facts{}, line},
	} {
		if got := interest(&tc.process, tc.read); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestInterestNeverChangesTheIdentity draws processes and policies: who is read as
// far as there is interest has the identity of who is read whole.
func TestInterestNeverChangesTheIdentity(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	one := func(texts ...string) []string {
		if r.IntN(2) == 0 {
			return nil
		}
		return []string{texts[r.IntN(len(texts))]}
	}
	digests := []string{zeroDigest, strings.Repeat("1", 64)}
	identified := 0
	for range 3000 {
		var specs []workload.SelectorSpec
		for range 1 + r.IntN(4) {
			spec := workload.SelectorSpec{
				Executables: one("/usr/bin/*", "/usr/bin/billing"), SHA256: one(digests...), CommandLines: one("a*", "*b"),
				Users: one("root", "billing"), Groups: one("staff", "root"),
			}
			spec.AnyUser = spec.Users == nil
			if spec.Executables == nil && spec.SHA256 == nil && spec.CommandLines == nil && spec.Groups == nil && spec.AnyUser {
				spec.Groups = []string{"staff"}
			}
			specs = append(specs, spec)
		}
		policy := mustCompile(t, specs...)
		whole := workload.Process{
			UID: []uint32{0, 990, 7}[r.IntN(3)], GID: []uint32{0, 50}[r.IntN(2)], SHA256: digests[r.IntN(2)],
			Executable: []string{"/usr/bin/billing", "/usr/bin/x", ""}[r.IntN(3)], CommandLine: []string{[]string{"a", "b", "ab"}[r.IntN(3)]},
		}
		part := whole
		part.SHA256, part.CommandLine = "", nil
		interest := interestOf(policy)
		wanted := interest(&part, attribution.Facts{})
		if wanted.CommandLine {
			part.CommandLine = whole.CommandLine
			wanted = interest(&part, attribution.Facts{CommandLine: true})
		}
		if wanted.SHA256 {
			part.SHA256 = whole.SHA256
		}
		id, err := policy.Identify(&part)
		want, wantErr := policy.Identify(&whole)
		if id != want || (err == nil) != (wantErr == nil) {
			t.Fatalf("%+v: %v, %v; read whole: %v, %v", specs, id, err, want, wantErr)
		}
		if want != nil {
			identified++
		}
	}
	if identified < 300 {
		t.Errorf("only %d of the processes had an identity", identified)
	}
}
