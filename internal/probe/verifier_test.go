//go:build linux

package probe

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
)

// The verifier gives up after a million instructions, of which older kernels need more
// for the same program. Newer ones say how many they took.
func TestVerifierHasLittleToDo(t *testing.T) {
	const most = 30_000
	h := newHost(t)
	for _, hook := range h.probe.hooks() {
		requireFewInstructions(t, hook.name, hook.program, most)
	}
}

func requireFewInstructions(t *testing.T, name string, program *ebpf.Program, most uint32) {
	t.Helper()
	info, err := program.Info()
	must(t, err)
	taken, ok := info.VerifiedInstructions()
	if !ok {
		return // Linux 5.16 began to say so; that it was loaded is all there is
	}
	t.Logf("%s: %d instructions", name, taken)
	if taken > most {
		t.Errorf("%s: the verifier took %d instructions, want at most %d", name, taken, most)
	}
}

// A program and the functions that it calls have 512 bytes of stack together, in parts
// of 32. Newer kernels give each function its own, and so load what Linux 6.1 refuses;
// but they say what each takes: "stack depth 264+200+64", the program's first.
func TestStackFitsOlderKernels(t *testing.T) {
	const most, part = 512, 32
	depths := regexp.MustCompile(`stack depth ([0-9+]+)`)
	h := newHost(t)
	for _, load := range []func() (*ebpf.CollectionSpec, error){bpf.LoadConnect, bpf.LoadHandshake, bpf.LoadProcess} {
		spec, err := loadSpec(load)
		must(t, err)
		all, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
			Maps:     ebpf.MapOptions{PinPath: h.probe.pins.maps()},
			Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
		})
		must(t, err)
		defer all.Close()
		for name, program := range all.Programs {
			said := depths.FindStringSubmatch(program.VerifierLog)
			if said == nil {
				t.Fatalf("%s: the verifier did not say how much stack it takes: %s", name, program.VerifierLog)
			}
			own, called := 0, []int{0, 0}
			for i, text := range strings.Split(said[1], "+") {
				depth, err := strconv.Atoi(text)
				must(t, err)
				depth = (max(depth, 1) + part - 1) / part * part
				if i == 0 {
					own = depth
				} else {
					called = append(called, depth)
				}
			}
			slices.Sort(called)
			deepest := own + called[len(called)-1] + called[len(called)-2] // none that is called by another calls a third
			t.Logf("%s: at most %d bytes of stack (%s)", name, deepest, said[1])
			if deepest > most {
				t.Errorf("%s takes %d bytes of stack (%s), want at most %d", name, deepest, said[1], most)
			}
		}
	}
}
