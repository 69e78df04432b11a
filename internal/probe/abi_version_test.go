//go:build linux

package probe

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// layoutOfVersion is the fingerprint of the maps that abiVersion stands for.
const layoutOfVersion = "d52e9a83c5664200"

// An agent takes over the maps that another version left under the same pin path.
// If they are laid out in another way it could not start, or would misread them.
func TestPinPathChangesWithTheLayout(t *testing.T) {
	connect, process := specs(t)
	if got := fingerprint(t, connect, process); got != layoutOfVersion {
		t.Errorf("the maps have the layout %q, and version %d stands for %q: after a release, raise abiVersion; then note the layout here",
			got, abiVersion, layoutOfVersion)
	}
}

func fingerprint(t *testing.T, specs ...*ebpf.CollectionSpec) string {
	t.Helper()
	hash := sha256.New()
	for _, spec := range specs {
		for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
			if !isShared(name) {
				continue
			}
			m := spec.Maps[name]
			fmt.Fprintln(hash, name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
			describe(t, hash, m.Key)
			describe(t, hash, m.Value)
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:8])
}

func describe(t *testing.T, w io.Writer, of btf.Type) {
	t.Helper()
	if of == nil {
		return
	}
	size, err := btf.Sizeof(of)
	must(t, err)
	fmt.Fprintln(w, size)
	if members, ok := btf.UnderlyingType(of).(*btf.Struct); ok {
		for _, member := range members.Members {
			fmt.Fprintln(w, member.Name, member.Offset)
			describe(t, w, member.Type)
		}
	}
}
