//go:build linux

package probe

import (
	"errors"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// batchSize is how many entries are read at once; more where a bucket of a map holds
// more than these.
const batchSize = 1024

// clear deletes every entry that a hash map has now. It goes by the map's buckets, so
// that it misses none, whatever programs add and delete meanwhile: an iteration by
// keys begins anew where its key is deleted, and gives up.
func clear[K comparable, V any](m *ebpf.Map) error {
	return inBatches(m.BatchLookupAndDelete, func(K, V) {})
}

// entriesOf returns the entries of a hash map: all that it has during the whole of the
// call, and perhaps some others.
func entriesOf[K comparable, V any](m *ebpf.Map) (map[K]V, error) {
	entries := map[K]V{}
	err := inBatches(m.BatchLookup, func(key K, value V) { entries[key] = value })
	return entries, err
}

func inBatches[K, V any](do func(*ebpf.MapBatchCursor, any, any, *ebpf.BatchOptions) (int, error), visit func(K, V)) error {
	var at ebpf.MapBatchCursor
	keys, values := make([]K, batchSize), make([]V, batchSize)
	for {
		n, err := do(&at, keys, values, nil)
		for i := range n {
			visit(keys[i], values[i])
		}
		switch {
		case err == nil:
		case errors.Is(err, ebpf.ErrKeyNotExist): // which says that this was the last
			return nil
		case errors.Is(err, unix.ENOSPC) && len(keys) < 1<<20:
			keys, values = make([]K, 4*len(keys)), make([]V, 4*len(values))
		default:
			return err
		}
	}
}
