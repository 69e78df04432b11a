//go:build linux

package probe

import (
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// An agent can be killed, or hang, at any moment of a reload. Identities that ask the same
// before and afterwards are refused at closed destinations throughout, and nobody else.
func TestFailPolicyHoldsInTheMiddleOfAReload(t *testing.T) {
	h := newSilentHost(t)
	const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	byFile, byDigest, path := copyOf(t, "billing"), copyOf(t, "invoice"), "/told.service"
	kept := []workload.Condition{
		isFile(t, byFile),
		selected(t, "digest", workload.SelectorSpec{SHA256: []string{digest}, AnyUser: true}),
		{Identity: "cgroup", Cgroup: func(p string) bool { return p == path }, Certain: &workload.Certainty{}},
	}
	watch := func(more ...workload.Condition) workload.Watch {
		return workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: append(more, kept...)}
	}
	h.watch(t, watch(strangers(2)...))
	must(t, h.probe.learnPaths())
	h.closeFor(t, workload.UnknownPass, exactIdentity, "digest", "cgroup", "stranger-0", "stranger-3")

	elsewhere := lab.Place{Cgroup: h.cgroup.Sub(t, "elsewhere"), Net: h.net}
	clients := map[string]*process{
		"by its file": h.startIn(t, byFile, elsewhere), "by a digest of its file": h.startIn(t, byDigest, elsewhere), "by its cgroup": h.start(t, "told"),
	}
	h.recognise(t, clients["by a digest of its file"], "digest")
	h.recognise(t, clients["by its cgroup"], "cgroup")
	must(t, h.probe.LearnCgroup(h.cgroup.ID, path))
	// Only what is known of file and cgroup is meant, not who was recognised.
	clients["by a digest of its file"] = h.startIn(t, byDigest, elsewhere)
	clients["by its cgroup"] = h.start(t, "told")
	bystander := h.startIn(t, executable(t, "bystander"), elsewhere)
	requireHeld := func(when string) {
		t.Helper()
		for how, c := range clients {
			h.requireFate(t, when+", an identity "+how, c, at(target4), refused)
		}
		requireErrno(t, when+", a bystander", bystander.connect(t, at(target4)), 0)
		bystander.do(t, request{Do: "close", Socket: "s"})
	}
	requireHeld("before a reload")
	for i, change := range [][]workload.Condition{
		strangers(4), // whose bits are after these
		nil,
		append(strangers(1), selected(t, "new", workload.SelectorSpec{Executables: []string{"/**/new"}, AnyUser: true})),
	} {
		must(t, h.probe.Apply(watch(change...), func() { requireHeld("in the middle of a reload") }))
		requireHeld("before the agent has looked at paths again")
		must(t, h.probe.learnPaths())
		requireHeld("after a reload")
		if i == 0 { // whoever asks something else than before is nobody for certain
			c := h.startIn(t, executable(t, "stranger-3"), elsewhere)
			h.requireFate(t, "an identity that is new", c, at(target4), passedUnknown)
		}
	}
}
