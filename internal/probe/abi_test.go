//go:build linux

package probe

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/lanyardhq/lanyard/bpf"
)

func specs(t *testing.T) (connect, process *ebpf.CollectionSpec) {
	t.Helper()
	connect, err := bpf.LoadConnect()
	must(t, err)
	process, err = bpf.LoadProcess()
	must(t, err)
	return connect, process
}

// requireLayout compares a Go type with the C type of the same map, member by
// member.
func requireLayout(t *testing.T, where string, goType reflect.Type, cType btf.Type) {
	t.Helper()
	size, err := btf.Sizeof(cType)
	must(t, err)
	if int(goType.Size()) != size {
		t.Errorf("%s: %v has %d bytes in Go and %d in C", where, goType, goType.Size(), size)
	}
	members, ok := btf.UnderlyingType(cType).(*btf.Struct)
	if !ok {
		return
	}
	fields := map[string]reflect.StructField{}
	for i := range goType.NumField() {
		fields[strings.ToLower(goType.Field(i).Name)] = goType.Field(i)
	}
	for _, member := range members.Members {
		field, ok := fields[strings.ReplaceAll(member.Name, "_", "")]
		if !ok {
			t.Errorf("%s: Go lacks %s", where, member.Name)
			continue
		}
		if uint32(field.Offset) != member.Offset.Bytes() {
			t.Errorf("%s: %s is at %d in Go and at %d in C", where, member.Name, field.Offset, member.Offset.Bytes())
		}
		if field.Type.Kind() == reflect.Struct {
			requireLayout(t, where+"."+member.Name, field.Type, member.Type)
		}
	}
}

func TestLayoutIsTheKernels(t *testing.T) {
	connect, process := specs(t)
	for _, test := range []struct {
		spec       *ebpf.CollectionSpec
		m          string
		key, value any
	}{
		{connect, "budgets", uint32(0), bpf.ConnectBudget{}},
		{connect, "cgroup_roots", uint64(0), uint64(0)},
		{connect, "cgroups", uint64(0), bpf.ConnectCgroupFacts{}},
		{connect, "closed_prefixes", bpf.ConnectPrefixKey{}, bpf.ConnectClosed{}},
		{connect, "counters", uint32(0), uint64(0)},
		{process, "attributed", uint32(0), uint32(0)},
		{process, "epochs", uint32(0), uint64(0)},
		{connect, "cgroups_told", uint64(0), uint64(0)},
		{connect, "executables", [nameSize]byte{}, uint64(0)},
		{connect, "files", bpf.ConnectFileId{}, uint64(0)},
		{connect, "groups", uint32(0), uint64(0)},
		{connect, "handshakes", bpf.ConnectFlowKey{}, bpf.ConnectFlow{}},
		{connect, "heartbeat", uint32(0), uint64(0)},
		{connect, "images", uint32(0), bpf.ConnectKnownImage{}},
		{connect, "local_handshakes", bpf.ConnectFlowKey{}, bpf.ConnectFlow{}},
		{connect, "ports", uint32(0), bpf.ConnectPortRule{}},
		{connect, "readiness_by_netns", bpf.ConnectReadinessKey{}, bpf.ConnectReadiness{}},
		{connect, "settings_now", uint32(0), bpf.ConnectSettings{}},
		{connect, "source_addresses", bpf.ConnectSourceKey{}, bpf.ConnectAddress{}},
		{connect, "sockets", int32(0), bpf.ConnectSocket{}},
		{connect, "units", [nameSize]byte{}, uint64(0)},
		{connect, "users", uint32(0), uint64(0)},
		{connect, "verdicts", bpf.ConnectVerdictKey{}, bpf.ConnectVerdict(0)},
		{connect, "watched_prefixes", bpf.ConnectPrefixKey{}, uint8(0)},
	} {
		m := test.spec.Maps[test.m]
		if m == nil {
			t.Errorf("there is no map %s", test.m)
			continue
		}
		key, value := reflect.TypeOf(test.key), reflect.TypeOf(test.value)
		if int(m.KeySize) != int(key.Size()) || int(m.ValueSize) != int(value.Size()) {
			t.Errorf("%s: key and value have %d and %d bytes in C, %d and %d in Go",
				test.m, m.KeySize, m.ValueSize, key.Size(), value.Size())
		}
		if m.Key != nil {
			requireLayout(t, test.m+" key", key, m.Key)
		}
		if m.Value != nil {
			requireLayout(t, test.m+" value", value, m.Value)
		}
	}
	for name, goType := range map[string]reflect.Type{
		"process": reflect.TypeFor[bpf.ProcessProcess](), "whoami": reflect.TypeFor[bpf.ProcessWhoami](),
		"file_query": reflect.TypeFor[bpf.ProcessFileQuery](), "identified": reflect.TypeFor[bpf.ProcessIdentified](),
		"counted": reflect.TypeFor[bpf.ProcessCounted](),
	} {
		var cType *btf.Struct
		must(t, process.Types.TypeByName(name, &cType))
		requireLayout(t, name, goType, cType)
	}
}

// All objects describe the maps that they share in the same way, or the second
// could not be loaded beside the first.
func TestSharedMapsAgree(t *testing.T) {
	connect, process := specs(t)
	handshake, err := bpf.LoadHandshake()
	must(t, err)
	shared := 0
	for _, m := range slices.Concat(slices.Collect(maps.Values(process.Maps)), slices.Collect(maps.Values(handshake.Maps))) {
		name := m.Name
		other, ok := connect.Maps[name]
		if !ok || !isShared(name) {
			continue
		}
		shared++
		if m.Type != other.Type || m.KeySize != other.KeySize || m.ValueSize != other.ValueSize ||
			m.MaxEntries != other.MaxEntries || m.Flags != other.Flags {
			t.Errorf("%s is %v here and %v there", name, m, other)
		}
	}
	if shared == 0 {
		t.Error("no map is shared; images must be")
	}
}

func TestConstantsAreTheKernels(t *testing.T) {
	connect, process := specs(t)
	for _, test := range []struct {
		name     string
		goes, is uint32
	}{
		{"epochs", epochSlots, process.Maps["epochs"].MaxEntries},
		{"name size", nameSize, connect.Maps["executables"].KeySize},
		{"executables", maxConditions, connect.Maps["executables"].MaxEntries},
		{"users", maxConditions, connect.Maps["users"].MaxEntries},
		{"groups", maxConditions, connect.Maps["groups"].MaxEntries},
		{"units", maxConditions, connect.Maps["units"].MaxEntries},
		{"cgroups that are named", maxConditions, connect.Maps["cgroup_roots"].MaxEntries},
		{"files that are named and learnt", 2 * maxConditions, connect.Maps["files"].MaxEntries},
		{"attributed", epochSlots, process.Maps["attributed"].MaxEntries},
		{"budgets", budgetCount, connect.Maps["budgets"].MaxEntries},
		{"images, of all budgets", sharedImages + reservedImages + (1 << 14), connect.Maps["images"].MaxEntries},
		{"watched prefixes, old and new", 2 * maxPrefixes, connect.Maps["watched_prefixes"].MaxEntries},
		{"closed prefixes", maxPrefixes, connect.Maps["closed_prefixes"].MaxEntries},
		{"ports", 1 << 16, connect.Maps["ports"].MaxEntries},
		{"counters", uint32(bpf.ConnectCounterCOUNTERS), connect.Maps["counters"].MaxEntries},
	} {
		if test.goes != test.is {
			t.Errorf("%s: %d in Go, %d in C", test.name, test.goes, test.is)
		}
	}
}

func TestCounterNames(t *testing.T) {
	connect, _ := specs(t)
	var counter *btf.Enum
	must(t, connect.Types.TypeByName("counter", &counter))
	names := counterNames()
	if len(counter.Values) != len(names)+1 { // COUNTERS itself
		t.Errorf("%d counters in C, %d names", len(counter.Values)-1, len(names))
	}
	seen := map[string]bool{}
	for _, value := range counter.Values {
		if value.Name == "COUNTERS" {
			continue
		}
		name := names[value.Value]
		want := strings.ToLower(strings.TrimPrefix(value.Name, "COUNT_"))
		if name != want && name != "image_"+want {
			t.Errorf("%s is called %q", value.Name, name)
		}
		if seen[name] {
			t.Errorf("two counters are called %q", name)
		}
		seen[name] = true
	}
}

func TestFlowKinds(t *testing.T) {
	connect, _ := specs(t)
	var kind *btf.Enum
	must(t, connect.Types.TypeByName("flow_kind", &kind))
	want := map[string]uint64{"FLOW_NONE": 0, "FLOW_REDIRECTED": 1, "FLOW_LOCAL_API": 2}
	for _, value := range kind.Values {
		if want[value.Name] != value.Value {
			t.Errorf("%s is %d, want %d as in package workload", value.Name, value.Value, want[value.Name])
		}
	}
}

func TestDecodeEvent(t *testing.T) {
	if _, err := decodeEvent(make([]byte, 3)); err == nil || !strings.Contains(err.Error(), "3 bytes") {
		t.Errorf("an event of 3 bytes: %v", err)
	}
}
