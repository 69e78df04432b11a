//go:build linux

package probe

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Places in bpf/include/abi.h and bpf/maps of what is shared.
const (
	budgetShared     = 0    // BUDGET_SHARED
	budgetIdentities = 1    // BUDGET_IDENTITIES
	budgetPlaces     = 65   // BUDGET_PLACES
	budgetParties    = 4096 // BUDGET_PARTIES
	budgetCount      = 8192 // BUDGETS
	sharedImages     = 32768
	reservedImages   = 16384
	budgetSize       = int64(unsafe.Sizeof(bpf.ConnectBudget{}))
	openedOffset     = int64(unsafe.Offsetof(bpf.ConnectBudget{}.Opened))
	closedOffset     = int64(unsafe.Offsetof(bpf.ConnectBudget{}.Closed))
	imagesOffset     = int64(unsafe.Offsetof(bpf.ConnectBudget{}.Images))
)

// budgets is the agent's half of who has how many connections: the programs count
// what is opened, we what has ended.
type budgets struct {
	memory  *ebpf.Memory
	claimed atomic.Int64 // connections that Lookup gave out, and Release has not got back

	mu     sync.Mutex // held to count an end
	closed map[uint32]uint64
}

// Release says that a connection which Lookup returned has ended.
func (p *Probe) Release(f workload.Flow) {
	if f.Share.Budget == 0 {
		return
	}
	p.budgets.claimed.Add(-1)
	p.budgets.mu.Lock()
	defer p.budgets.mu.Unlock()
	p.budgets.end(f.Share, 1)
}

// Charge has a connection that counts as a stranger's count as an identity's, from now
// on: else each process's first connection, of which nobody knows yet whose it is, would
// use up the share of the strangers beside it for as long as it lasts. Where the
// identity has no room it stays as it is. Charge returns what the connection counts in
// from then on, which is to be released.
func (p *Probe) Charge(f workload.Flow, identity string) workload.Share {
	p.mu.Lock()
	bit, ok := p.bits[identity]
	guaranteed, shared := int64(p.settings.IdentityConnections), int64(p.settings.SharedConnections)
	p.mu.Unlock()
	if !ok || f.Share.Place == 0 {
		return f.Share
	}
	b := &p.budgets
	b.mu.Lock()
	defer b.mu.Unlock()
	next := workload.Share{Budget: budgetIdentities + uint32(bit)}
	if beyond := b.open(next.Budget) - guaranteed; beyond >= 0 {
		if beyond >= shared-b.open(budgetShared) {
			return f.Share
		}
		next.Shared = true
	}
	b.end(next, -1)
	b.end(f.Share, 1)
	return next
}

// end counts connections that have ended, or with -1 one that has not: the programs
// alone write what was opened, and the difference counts.
func (b *budgets) end(s workload.Share, connections int64) {
	b.count(s.Budget, connections)
	if s.Place != 0 {
		b.count(s.Place, connections)
	}
	if s.Shared {
		b.count(budgetShared, connections)
	}
}

func (b *budgets) count(index uint32, ended int64) {
	b.setClosed(index, b.closed[index]+uint64(ended))
}

func (b *budgets) setClosed(index uint32, closed uint64) {
	b.closed[index] = closed
	writeWord(b.memory, int64(index)*budgetSize+closedOffset, closed)
}

func (b *budgets) opened(index uint32) uint64 {
	return readWord(b.memory, int64(index)*budgetSize+openedOffset)
}

// open returns how many connections count in a budget now. Have mu held.
func (b *budgets) open(index uint32) int64 { return int64(b.opened(index) - b.closed[index]) }

// Pending returns how many connections were redirected and not yet accepted.
func (p *Probe) Pending() int {
	p.budgets.mu.Lock()
	defer p.budgets.mu.Unlock()
	var open int64
	for i := uint32(budgetIdentities); i < budgetCount; i++ {
		if i < budgetPlaces || i >= budgetParties {
			open += p.budgets.open(i)
		}
	}
	return int(max(0, open-p.budgets.claimed.Load()))
}

// resetBudgets forgets what a former agent had open: those connections ended with
// it, and their flows are deleted. A program that deleted one itself may be about to
// give its share back, and is waited for. Images that run stay on record: see
// countImages.
func (p *Probe) resetBudgets() error {
	if err := p.waitForPrograms(); err != nil {
		return err
	}
	p.budgets.mu.Lock()
	defer p.budgets.mu.Unlock()
	for i := range uint32(budgetCount) {
		p.budgets.setClosed(i, p.budgets.opened(i))
	}
	return nil
}

// A part of the connections is held back: several processors may find the last place
// at once. A part of that is what a connection finds that had room at connect(), and
// whose SYN came later.
const (
	heldBackPart = 8
	mostHeldBack = 256
	slackPart    = 4
)

// allot shares out as many connections as may be held: half is guaranteed to the
// identities, in equal parts, and half is for everybody. What the kernel lets in is
// never more, so that whoever holds them has to turn none away.
func (p *Probe) allot(connections, identities int) {
	heldBack := min(connections/heldBackPart, mostHeldBack)
	connections -= heldBack
	reserved := 0
	p.settings.IdentityConnections, p.settings.IdentityImages = 0, 0
	if identities = min(identities, identityBits); identities > 0 {
		reserved = connections / 2
		p.settings.IdentityConnections = uint32(reserved / identities)
		p.settings.IdentityImages = uint32(reservedImages / identities)
	}
	p.settings.SharedConnections = uint32(connections - reserved)
	p.settings.Slack = uint32(heldBack / slackPart)
	p.settings.SharedImages = sharedImages
}

// readWord and writeWord access memory that programs write at the same time: a word
// is read and written whole.
func readWord(m *ebpf.Memory, offset int64) uint64 {
	var word [8]byte
	if _, err := m.ReadAt(word[:], offset); err != nil {
		panic(fmt.Sprintf("read shared memory: %v", err)) // offsets are within the map by construction
	}
	return binary.NativeEndian.Uint64(word[:])
}

func writeWord(m *ebpf.Memory, offset int64, value uint64) {
	var word [8]byte
	binary.NativeEndian.PutUint64(word[:], value)
	if _, err := m.WriteAt(word[:], offset); err != nil {
		panic(fmt.Sprintf("write shared memory: %v", err))
	}
}
