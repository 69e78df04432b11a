//go:build linux

package probe

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// fate is what becomes of a connect at a closed destination while no agent answers.
type fate struct {
	errno unix.Errno
	count string // the kernel counts it as
}

var (
	refused        = fate{unix.ECONNREFUSED, "refused"}
	refusedUnknown = fate{unix.ECONNREFUSED, "refused_unknown"}
	passed         = fate{0, "passed"}
	passedUnknown  = fate{0, "passed_unknown"}
)

// requireFate requires what becomes of a client's connect without an agent.
func (h *host) requireFate(t *testing.T, what string, c *process, addr string, want fate) {
	t.Helper()
	counts := h.counts(t, func() { requireErrno(t, what, c.connect(t, addr), want.errno) })
	c.do(t, request{Do: "close", Socket: "s"})
	if counts[want.count] != 1 {
		t.Errorf("%s: the kernel counted %v, want 1 %s", what, counts, want.count)
	}
}

// silence has no agent answer.
func (h *host) silence(t *testing.T) {
	t.Helper()
	for family := range h.listeners {
		must(t, h.probe.Unready(h.cookie, family))
	}
}

// answers has an agent answer again.
func (h *host) answers(t *testing.T) {
	t.Helper()
	must(t, h.probe.beat())
	for family := range h.listeners {
		must(t, h.announce(family, true))
	}
}

// newSilentHost makes a host with one closed destination, where no agent answers. The
// kernel learns what stands at the identities' paths when the test says so.
func newSilentHost(t *testing.T) *host {
	t.Helper()
	h := newClosedHost(t)
	h.rest(t)
	h.silence(t)
	return h
}

// rest ends what the agent does again and again by itself.
func (h *host) rest(t *testing.T) {
	t.Helper()
	h.cancel()
	must(t, <-h.ran)
	h.cancel = nil
}

func (h *host) place() lab.Place { return lab.Place{Cgroup: h.cgroup, Net: h.net} }

// recognise has an agent answer for a moment and find that a client has an identity.
func (h *host) recognise(t *testing.T, c *process, identity string) {
	t.Helper()
	h.answers(t)
	requireErrno(t, "connect to be recognised", c.connect(t, at(target4)), 0)
	h.probe.Identified(h.claim(t, unix.AF_INET), identity)
	h.silence(t)
}

// watchFor watches for identities on the port of these tests.
func (h *host) watchFor(t *testing.T, conditions ...workload.Condition) {
	t.Helper()
	h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: conditions})
	must(t, h.probe.learnPaths())
}

// closeFor makes the target a closed destination of these identities.
func (h *host) closeFor(t *testing.T, unknown workload.UnknownCallers, identities ...string) {
	t.Helper()
	must(t, h.probe.SetClosed([]ClosedDestination{{
		Prefix: netip.MustParsePrefix(target4 + "/32"), Port: watched, Identities: identities, Unknown: unknown,
	}}))
}

// isFile is the identity of whoever runs the file at this path.
func isFile(t *testing.T, path string) workload.Condition {
	t.Helper()
	return selected(t, exactIdentity, workload.SelectorSpec{Executables: []string{path}, AnyUser: true})
}

func selected(t *testing.T, name string, spec workload.SelectorSpec) workload.Condition {
	t.Helper()
	s, err := workload.NewSelector(spec, numbers{})
	must(t, err)
	return s.Condition(name)
}

// numbers are accounts without names.
type numbers struct{}

func (numbers) UserID(name string) (uint32, error)  { return 0, fmt.Errorf("no user %s", name) }
func (numbers) GroupID(name string) (uint32, error) { return 0, fmt.Errorf("no group %s", name) }

// replaceFile puts another file of the same content at a path.
func replaceFile(t *testing.T, path string) {
	t.Helper()
	must(t, os.Rename(copyOf(t, filepath.Base(path)), path))
}

// What the kernel can tell of a file: the state that stood at the path when it was
// looked at, and no other.
func TestFilesThatAreTold(t *testing.T) {
	h := newSilentHost(t)
	billing := copyOf(t, "billing")
	h.watchFor(t, isFile(t, billing))
	h.requireFate(t, "its own file", h.startIn(t, billing, h.place()), at(target4), refused)
	h.requireFate(t, "the same name elsewhere", h.startIn(t, copyOf(t, "billing"), h.place()), at(target4), passedUnknown)
	h.requireFate(t, "another name", h.startIn(t, copyOf(t, "curl"), h.place()), at(target4), fate{0, "bystander"})

	replaceFile(t, billing)
	replaced := h.startIn(t, billing, h.place())
	h.requireFate(t, "a file that replaced it", replaced, at(target4), passedUnknown)
	must(t, h.probe.learnPaths())
	h.requireFate(t, "once that was looked at", replaced, at(target4), refused)

	must(t, os.Link(billing, filepath.Join(t.TempDir(), "billing")))
	h.requireFate(t, "a file of two names", h.startIn(t, billing, h.place()), at(target4), passedUnknown)
	must(t, h.probe.learnPaths())
	h.requireFate(t, "though it was looked at", h.startIn(t, billing, h.place()), at(target4), passedUnknown)
}

func TestFileRewrittenInPlaceIsAnother(t *testing.T) {
	h := newSilentHost(t)
	for what, rewrite := range map[string]func(t *testing.T, path string){
		"longer": func(t *testing.T, path string) { appendTo(t, path, "x") },
		"as long": func(t *testing.T, path string) {
			content, err := os.ReadFile(path)
			must(t, err)
			before, err := os.Stat(path)
			must(t, err)
			time.Sleep(20 * time.Millisecond) // more than a tick of the clock that stamps files
			must(t, os.WriteFile(path, content, 0o755))
			must(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
		},
	} {
		t.Run(what, func(t *testing.T) {
			billing := copyOf(t, "billing")
			h.watchFor(t, isFile(t, billing))
			c := h.startIn(t, billing, h.place())
			h.requireFate(t, "before", c, at(target4), refused)
			c.end(t)
			rewrite(t, billing)
			h.requireFate(t, "after", h.startIn(t, billing, h.place()), at(target4), passedUnknown)
		})
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	must(t, f.Close())
}

// A process that was recognised makes others certain of the same file, user, group
// and cgroup, and nobody else.
func TestRecognisedFile(t *testing.T) {
	h := newSilentHost(t)
	const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for what, spec := range map[string]workload.SelectorSpec{
		"by digest":  {SHA256: []string{digest}, Users: []string{"0"}},
		"by pattern": {Executables: []string{"/**/billing*"}, Users: []string{"0"}},
		"by group":   {Executables: []string{"/**/billing"}, Groups: []string{"0"}, AnyUser: true},
	} {
		t.Run(what, func(t *testing.T) {
			billing := copyOf(t, "billing")
			h.watchFor(t, selected(t, exactIdentity, spec))
			first, second, other := h.startIn(t, billing, h.place()), h.startIn(t, billing, h.place()), h.startIn(t, copyOf(t, "billing"), h.place())
			for _, c := range []*process{first, second, other} {
				h.requireFate(t, "nobody recognised", c, at(target4), passedUnknown)
			}
			h.recognise(t, first, exactIdentity)
			h.requireFate(t, "who was recognised", first, at(target4), refused)
			h.requireFate(t, "another process of the file", second, at(target4), refused)
			h.requireFate(t, "another file", other, at(target4), passedUnknown)
			second.do(t, request{Do: "setgid", Number: 4321})
			if what == "by group" {
				h.requireFate(t, "another group", second, at(target4), fate{0, "bystander"})
				return
			}
			second.do(t, request{Do: "setuid", Number: 4321})
			h.requireFate(t, "another user", second, at(target4), fate{0, "bystander"})
		})
	}
}

// A command line is user space's to read: only the very process that was recognised
// is told.
func TestCommandLineIsNeverToldOfAnother(t *testing.T) {
	h := newSilentHost(t)
	billing := copyOf(t, "billing")
	h.watchFor(t, selected(t, exactIdentity, workload.SelectorSpec{Executables: []string{billing}, CommandLines: []string{"*"}, AnyUser: true}))
	first, second := h.startIn(t, billing, h.place()), h.startIn(t, billing, h.place())
	h.recognise(t, first, exactIdentity)
	h.requireFate(t, "who was recognised", first, at(target4), refused)
	h.requireFate(t, "another process of the file", second, at(target4), passedUnknown)
	first.exec(t, "exec", billing)
	h.requireFate(t, "another image of the process", first, at(target4), passedUnknown)
}

// Identities that share a bit are never told, not even those that were recognised:
// the bit may be the other's.
func TestSharedBitsAreNeverTold(t *testing.T) {
	h := newSilentHost(t)
	billing, ledger := copyOf(t, "billing"), copyOf(t, "ledger")
	conditions := []workload.Condition{selected(t, "billing", workload.SelectorSpec{Executables: []string{billing}, AnyUser: true})}
	conditions = append(conditions, strangers(63)...)
	alone := h.startIn(t, billing, h.place())
	h.watchFor(t, conditions...)
	h.closeFor(t, workload.UnknownPass, "billing")
	h.requireFate(t, "a bit of its own", alone, at(target4), refused)

	conditions = append(conditions, selected(t, "ledger", workload.SelectorSpec{Executables: []string{ledger}, AnyUser: true}))
	h.watchFor(t, conditions...)
	if h.probe.bits["ledger"] != h.probe.bits["billing"] {
		t.Fatal("the two identities do not share a bit")
	}
	h.closeFor(t, workload.UnknownPass, "billing")
	other := h.startIn(t, ledger, h.place())
	h.requireFate(t, "by file", alone, at(target4), passedUnknown)
	h.recognise(t, alone, "billing")
	h.recognise(t, other, "ledger")
	h.requireFate(t, "who was recognised", alone, at(target4), passedUnknown)
	h.requireFate(t, "the other, that is not listed", other, at(target4), passedUnknown)
	h.closeFor(t, workload.UnknownRefused, "billing")
	h.requireFate(t, "who was recognised, unknown: refuse", alone, at(target4), refusedUnknown)
}

// What was told under one configuration is void under another, though the kernel's
// tables of names and users are the same.
func TestConditionsThatOnlyUserSpaceSees(t *testing.T) {
	h := newSilentHost(t)
	const one, two = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "f3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	old, next := copyOf(t, "billing"), copyOf(t, "billing")
	h.watchFor(t, isFile(t, old))
	c := h.startIn(t, old, h.place())
	h.requireFate(t, "its file", c, at(target4), refused)
	h.watchFor(t, isFile(t, next))
	h.requireFate(t, "the file of before", c, at(target4), passedUnknown)

	for name, digest := range map[string]string{exactIdentity: one, "another": one, "a third": two} {
		h.watchFor(t, selected(t, name, workload.SelectorSpec{SHA256: []string{digest}, AnyUser: true}))
		h.closeFor(t, workload.UnknownPass, name)
		h.requireFate(t, "a file recognised under other conditions", c, at(target4), passedUnknown)
		h.recognise(t, c, name)
		h.requireFate(t, "recognised", h.startIn(t, old, h.place()), at(target4), refused)
	}
}

// Whoever was recognised stays what it is under whatever name its executable has now.
func TestExecutableThatIsRenamed(t *testing.T) {
	h := newClosedHost(t)
	billing := copyOf(t, "billing")
	h.watchFor(t, selected(t, exactIdentity, workload.SelectorSpec{Executables: []string{"/**/billing"}, AnyUser: true}))
	known, unknown, restarted := h.startIn(t, billing, h.place()), h.startIn(t, billing, h.place()), h.startIn(t, billing, h.place())
	for _, c := range []*process{known, restarted} {
		requireErrno(t, "connect to be recognised", c.connect(t, at(target4)), 0)
		h.probe.Identified(h.claim(t, unix.AF_INET), exactIdentity)
	}
	ledger := filepath.Join(filepath.Dir(billing), "ledger")
	must(t, os.Rename(billing, ledger))

	requireErrno(t, "connect under another name", known.connect(t, at(target4)), 0)
	if flow := h.claim(t, unix.AF_INET); !flow.Known {
		t.Error("a connection of one that was recognised is not known as an identity's")
	}
	h.silence(t)
	h.requireFate(t, "under another name, without an agent", known, at(target4), refused)
	h.requireFate(t, "who was not recognised", unknown, at(target4), fate{0, "bystander"})
	restarted.exec(t, "exec", ledger)
	h.requireFate(t, "another image of the process", restarted, at(target4), fate{0, "bystander"})
	known.do(t, request{Do: "setuid", Number: 4321})
	h.requireFate(t, "under another uid", known, at(target4), fate{0, "bystander"})
}
