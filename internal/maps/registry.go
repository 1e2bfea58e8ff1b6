package maps

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// Registry is the set of maps of one Machine, by id and by header address. It
// holds no references: the last Close of a map removes it, by its id at once, by its
// header when no program that may hold it runs any more.
type Registry struct {
	mu   sync.Mutex
	last uint32
	ids  map[uint32]Map

	// slots is indexed by the slot number in a map's header, so that ByPtr needs
	// neither lock nor hash; it is replaced when it grows. free are the unused ones.
	slots atomic.Pointer[[]atomic.Pointer[Map]]
	free  []uint32
}

// Add gives the map an id, the next free one after the last given
// (idr_alloc_cyclic), and makes it known. A [Handle] is added as the map behind it.
func (r *Registry) Add(m Map) error {
	m = Unwrap(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ids) == math.MaxInt32-1 {
		return errno.ENOSPC
	}
	if r.ids == nil {
		r.ids = make(map[uint32]Map)
	}
	for taken := true; taken; {
		r.last++
		if r.last >= math.MaxInt32 {
			r.last = 1
		}
		_, taken = r.ids[r.last]
	}
	slot := r.takeSlot()
	def := m.Def()
	def.ID = r.last
	mem.Store32(def.Ptr+HeaderID, r.last)
	mem.Store32(def.Ptr+headerSlot, slot)
	m.(coreMap).setRegistry(r)
	r.ids[r.last] = m
	(*r.slots.Load())[slot].Store(&m)
	return nil
}

// takeSlot returns an unused slot number, growing the table when there is none.
func (r *Registry) takeSlot() uint32 {
	if len(r.free) == 0 {
		var old []atomic.Pointer[Map]
		if p := r.slots.Load(); p != nil {
			old = *p
		}
		grown := make([]atomic.Pointer[Map], max(16, 2*len(old)))
		for i := range old {
			grown[i].Store(old[i].Load())
		}
		for i := len(grown) - 1; i >= len(old); i-- {
			r.free = append(r.free, uint32(i))
		}
		r.slots.Store(&grown)
	}
	slot := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	return slot
}

// dropID makes the map unknown to those who look for it by its id: its last
// reference is gone.
func (r *Registry) dropID(c *core) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, c.def.ID)
}

// dropPtr makes the map unknown to programs: none that knows its header runs any more.
func (r *Registry) dropPtr(c *core) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot := mem.Load32(c.def.Ptr + headerSlot)
	(*r.slots.Load())[slot].Store(nil)
	r.free = append(r.free, slot)
}

// ByPtr returns the map whose header lies at ptr, a value a map register can
// hold; the caller is inside an epoch or has a reference.
func (r *Registry) ByPtr(ptr uint64) Map {
	p := r.slots.Load()
	slot := mem.Load32(ptr + headerSlot)
	if p == nil || int(slot) >= len(*p) {
		return nil
	}
	m := (*p)[slot].Load()
	if m == nil || (*m).Def().Ptr != ptr {
		return nil
	}
	return *m
}

// Get returns the map with the id and takes a reference, or returns nil.
func (r *Registry) Get(id uint32) Map {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.ids[id]
	if m == nil || !m.(coreMap).tryAcquire() {
		return nil
	}
	return m
}

// NextID returns the smallest id above id that is in use; ok is false when
// there is none (BPF_MAP_GET_NEXT_ID).
func (r *Registry) NextID(id uint32) (next uint32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.ids {
		if i > id && (!ok || i < next) {
			next, ok = i, true
		}
	}
	return next, ok
}

// All returns the maps in the order of their ids, each with a reference for the caller to close.
func (r *Registry) All() []Map {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Map, 0, len(r.ids))
	for _, m := range r.ids {
		if m.(coreMap).tryAcquire() {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b Map) int { return int(a.Def().ID) - int(b.Def().ID) })
	return all
}

// coreMap is what every map of this package is.
type coreMap interface {
	tryAcquire() bool
	setRegistry(*Registry)
}
