//go:build linux

package probe

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// nested returns the cgroup at a path below another, made where it is missing.
func nested(t *testing.T, below *lab.Cgroup, path string) *lab.Cgroup {
	t.Helper()
	for name := range strings.SplitSeq(path, "/") {
		if _, err := os.Stat(filepath.Join(below.Path, name)); err == nil {
			below = &lab.Cgroup{Path: filepath.Join(below.Path, name), Name: below.Name + "/" + name}
			continue
		}
		below = below.Sub(t, name)
	}
	id, err := cgroupID(below.Path)
	must(t, err)
	below.ID = id
	return below
}

func (p *process) moveTo(t *testing.T, cgroup *lab.Cgroup) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(cgroup.Path, "cgroup.procs"), []byte(strconv.Itoa(int(p.pid()))), 0))
}

// factsOf has a client connect from a cgroup and returns what the kernel found out
// about that.
func (h *host) factsOf(t *testing.T, c *process, cgroup *lab.Cgroup) bpf.ConnectCgroupFacts {
	t.Helper()
	c.moveTo(t, cgroup)
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	c.do(t, request{Do: "close", Socket: "s"})
	var facts bpf.ConnectCgroupFacts
	must(t, h.probe.connect.Cgroups.Lookup(cgroup.ID, &facts))
	return facts
}

func unitCondition(t *testing.T, units ...string) workload.Condition {
	t.Helper()
	s, err := workload.NewSelector(workload.SelectorSpec{SystemdUnits: units, AnyUser: true}, nil)
	must(t, err)
	return s.Condition("unit " + strings.Join(units, " "))
}

// deep is a path of so many cgroups.
func deep(levels int) string { return strings.TrimSuffix(strings.Repeat("d/", levels), "/") }

// The kernel tells a unit as workload.SystemdUnit does, or leaves it to that.
func TestUnitsAreToldInTheKernel(t *testing.T) {
	h := newHostIn(t, lab.NewSlice(t))
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	longUnit := strings.Repeat("u", nameSize-1-len(".service")) + ".service"
	tooLong := "x" + longUnit
	longSlice := strings.Repeat("s", 200) + ".slice"
	units := []string{"billing.service", "cpu.service", "session-3.scope", "docker-0123.scope", "user@x.scope", longUnit}
	var conditions []workload.Condition
	for _, unit := range units {
		conditions = append(conditions, unitCondition(t, unit))
	}
	conditions = append(conditions, unitCondition(t, tooLong))
	h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: conditions})
	for _, test := range []struct {
		path string
		open bool // the kernel cannot tell
	}{
		{path: "billing.service"},
		{path: "billing.service/worker/inner"},
		{path: "billing.service/other.service"},
		{path: "other.service/billing.service"},
		{path: "system.slice/billing.service"},
		{path: "system.slice/system-x.slice/billing.service"},
		{path: "system.slice/_cpu.service"},
		{path: "system.slice/__cpu.service"},
		{path: "_billing.service"},
		{path: "billing"},
		{path: "billing/billing.service"},
		{path: "billing.servic"},
		{path: "billing.service2"},
		{path: ".slice/billing.service"},
		{path: "_.slice/billing.service"},
		{path: "user.slice/user-1000.slice/session-3.scope"},
		{path: "user.slice/user-1000.slice/user@1000.service"},
		{path: "user.slice/user-1000.slice/user@1000.service/billing.service"},
		{path: "user.slice/user-1000.slice/user@1000.service/app.slice/billing.service"},
		{path: "user.slice/user-1000.slice/_user@1000.service/billing.service"},
		{path: "user@x.scope"},
		{path: "user@x.service/billing.service"},
		{path: "machine.slice/docker-0123.scope/init"},
		{path: "docker/0123/system.slice/billing.service"},
		{path: longUnit},
		{path: "_" + longUnit},
		{path: tooLong},
		{path: longSlice + "/billing.service", open: true},
		{path: strings.Repeat("x", 200) + "/billing.service", open: true},
		{path: "billing.service/" + deep(20)},
		{path: "billing.service/" + deep(40), open: true},
		{path: "other.service/" + deep(5) + "/billing.service/" + deep(40), open: true},
		{path: "other.service/" + deep(5) + "/billing.service/" + deep(31), open: true}, // the last one looked at
		{path: "system.slice"},
	} {
		t.Run(test.path[:min(40, len(test.path))], func(t *testing.T) {
			cgroup := nested(t, h.cgroup, test.path)
			is := workload.SystemdUnit(cgroup.Name)
			facts := h.factsOf(t, c, cgroup)
			for _, condition := range conditions {
				bit := h.probe.bits.mask(condition.Identity)
				belongs := condition.Identity == "unit "+is
				told := belongs && is != tooLong && !test.open
				if certain := facts.Certain&bit != 0; certain != told {
					t.Errorf("%s is certain: %v, and the unit is %q", condition.Identity, certain, is)
				}
				possible := facts.Possible&bit != 0
				if belongs && !possible || !belongs && possible && !test.open && condition.Identity != "unit "+tooLong {
					t.Errorf("%s is possible: %v, and the unit is %q", condition.Identity, possible, is)
				}
			}
		})
	}
}

// Whose connections count together.
func TestPartiesByCgroup(t *testing.T) {
	h := newHostIn(t, lab.NewSlice(t))
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	one, two := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	parties := map[string]uint64{}
	party := func(path string) uint64 {
		if _, ok := parties[path]; !ok {
			parties[path] = h.factsOf(t, c, nested(t, h.cgroup, path)).Party
		}
		return parties[path]
	}
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"docker/" + one, "docker/" + two, false},
		{"docker/" + one, "docker/" + one + "/inner/x", true},
		{"docker/" + one, "docker/" + one + "/" + two, true}, // which its members may have made
		{"docker/" + one + "/user-1.slice", "docker/" + one + "/user-2.slice", true},
		{"docker/" + one + "/user-1.slice", "docker/" + one, true},
		{"docker/" + one + "/" + deep(40), "docker/" + one + "/" + deep(41), true},
		{"kubepods/pod1/" + one, "kubepods/pod2/" + two, false},
		{"a.service", "a.service/worker", true},
		{"a.service", "b.service", false},
		{"system.slice/a.service", "system.slice/b.service", false},
		{"a.service/user-1.slice/x", "a.service/user-2.slice/x", true},
		{"user.slice/user-1000.slice/session-1.scope", "user.slice/user-1000.slice/user@1000.service/app.slice/x.service", true},
		{"user.slice/user-1000.slice/session-1.scope", "user.slice/user-1000.slice/user@1000.service/user-7.slice/x.scope", true},
		{"user.slice/user-1000.slice/session-1.scope", "user.slice/user-1001.slice/session-1.scope", false},
	} {
		if same := party(test.a) == party(test.b); same != test.same {
			t.Errorf("%s and %s count together: %v, want %v", test.a, test.b, same, test.same)
		}
	}
	for path, user := range map[string]bool{
		"user.slice/user-1000.slice/session-1.scope": true, "a.service": false, "docker/" + one + "/user-1.slice": false,
	} {
		facts := h.factsOf(t, c, nested(t, h.cgroup, path))
		if is := facts.IsUser != 0; is != user {
			t.Errorf("%s is a user's: %v, want %v", path, is, user)
		}
	}
}
