package maps

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/mem"
)

// What helpers are given is sometimes an address and nothing else. These lists tell what they lie in, of the
// memory that several processes have: mostly they are empty, and asking costs a load.
var (
	// sharedRings are the blocks of ring buffers, whose records do not say themselves where their map is.
	sharedRings blocks
	// sharedLocks are those of maps whose values have a bpf_spin_lock.
	sharedLocks blocks
)

// blocks is a list of blocks in shared memory. Readers take no lock.
type blocks struct {
	mu   sync.Mutex
	list atomic.Pointer[[]sharedBlock]
}

type sharedBlock struct {
	*mem.Block
	shm *shm
}

func (b *blocks) change(f func([]sharedBlock) []sharedBlock) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []sharedBlock
	if p := b.list.Load(); p != nil {
		list = slices.Clone(*p)
	}
	if list = f(list); len(list) == 0 {
		b.list.Store(nil)
		return
	}
	b.list.Store(&list)
}

func (b *blocks) add(m *mem.Block, s *shm) {
	b.change(func(l []sharedBlock) []sharedBlock { return append(l, sharedBlock{m, s}) })
}

func (b *blocks) remove(m *mem.Block) {
	b.change(func(l []sharedBlock) []sharedBlock {
		return slices.DeleteFunc(l, func(o sharedBlock) bool { return o.Block == m })
	})
}

// of returns the block an address lies in.
func (b *blocks) of(addr uint64) (found sharedBlock, ok bool) {
	p := b.list.Load()
	if p == nil {
		return found, false
	}
	for _, o := range *p {
		if addr-o.Addr() < uint64(o.Size()) {
			return o, true
		}
	}
	return found, false
}
