package maps

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapPerCPUHash, kind{check: checkHash, make: newPerCPUHash,
		shared: &sharer{size: sharedPerCPUHashSize, make: newSharedPerCPUHash}})
}

// PerCPUHash is BPF_MAP_TYPE_PERCPU_HASH: a [table] of keys beside one array of
// values per CPU, indexed by element. Updates of keys that exist happen in place.
//
//	table   │ key 0 │ key 1 │ …
//	CPU 0   │ val 0 │ val 1 │ …     HeaderPerCPU
//	CPU 1   │ val 0 │ val 1 │ …     HeaderPerCPU + HeaderCPUStride
type PerCPUHash struct {
	*core
	t     *table
	slots perCPUSlots
	count atomic.Int64
}

func newPerCPUHash(c *core) (Map, errno.Errno) {
	m := &PerCPUHash{core: c}
	n := c.def.MaxEntries
	t, e := newTable(n, hashReserve(n), c.def.KeySize, 0, hashSeed(c), c.cfg.Epoch)
	if e != 0 {
		return nil, e
	}
	m.t = t
	if e := m.slots.open(c, t); e != 0 {
		t.block.Free()
		return nil, e
	}
	return m, 0
}

// perCPUSlots are the values of a per-CPU hash table.
type perCPUSlots struct {
	c      *core
	block  *mem.Block
	base   uint64
	size   uint64 // of a value, rounded
	stride uint64 // from CPU to CPU
	vals   valueLayout
}

// open allocates the slots of t's elements and makes the header.
func (s *perCPUSlots) open(c *core, t *table) errno.Errno {
	s.c, s.size, s.vals = c, uint64(round8(c.def.ValueSize)), c.vals.rounded()
	s.stride = (s.size*uint64(t.pool.size) + cacheLine - 1) &^ (cacheLine - 1)
	over, total := bits.Mul64(s.stride, uint64(c.cfg.cpus()))
	if over != 0 || total > maxMapBytes {
		return errno.ENOMEM
	}
	b, err := mem.Alloc(int(total))
	if err != nil {
		return errno.ENOMEM
	}
	if e := c.newHeader(); e != 0 {
		b.Free()
		return e
	}
	s.block, s.base = b, b.Addr()
	c.setTableHeader(t)
	mem.Store64(c.def.Ptr+HeaderPerCPU, s.base)
	mem.Store64(c.def.Ptr+HeaderCPUStride, s.stride)
	return 0
}

// at returns the address of cpu's value of element i.
func (s *perCPUSlots) at(cpu int, i uint32) uint64 {
	return s.base + uint64(cpu)*s.stride + uint64(i)*s.size
}

// init fills a new element: with all CPUs' values, or, when a program on cpu
// adds it, with one value and zeroes for the others (pcpu_init_value).
func (s *perCPUSlots) init(i uint32, value unsafe.Pointer, cpu int) {
	if cpu == allCPUs {
		s.copyIn(i, value, cpu)
		return
	}
	for c := range s.c.cfg.cpus() {
		at := mem.Ptr(s.at(c, i))
		clear(unsafe.Slice((*byte)(at), s.size))
		if c == cpu {
			s.c.vals.copy(at, value)
		}
	}
}

// allCPUs stands for the control side, which sees the values of all CPUs.
const allCPUs = -1

// copyIn overwrites the values of an element (pcpu_copy_value).
func (s *perCPUSlots) copyIn(i uint32, value unsafe.Pointer, cpu int) {
	if cpu != allCPUs {
		s.c.vals.copy(mem.Ptr(s.at(cpu, i)), value)
		s.c.freeFields(s.at(cpu, i))
		return
	}
	for c := range s.c.cfg.cpus() {
		s.vals.copy(mem.Ptr(s.at(c, i)), unsafe.Add(value, uint64(c)*s.size))
		s.c.freeFields(s.at(c, i))
	}
}

// copyOut copies the values of all CPUs for user space.
func (s *perCPUSlots) copyOut(out unsafe.Pointer, i uint32) {
	for c := range s.c.cfg.cpus() {
		to := unsafe.Add(out, uint64(c)*s.size)
		s.vals.copy(to, mem.Ptr(s.at(c, i)))
		s.vals.hide(to)
	}
}

// freeFields frees the special fields of all values of an element.
func (s *perCPUSlots) freeFields(i uint32) {
	if len(s.c.vals.special) == 0 {
		return
	}
	for c := range s.c.cfg.cpus() {
		s.c.freeFields(s.at(c, i))
	}
}

func (m *PerCPUHash) settle() { m.t.quiesce() }

func (m *PerCPUHash) free() {
	m.t.each(m.slots.freeFields)
	m.slots.block.Free()
	m.t.block.Free()
}

// ProgLookup follows htab_percpu_map_lookup_elem.
func (m *PerCPUHash) ProgLookup(cpu int, key uint64) uint64 {
	k := mem.Ptr(key)
	if i := m.t.find(k, m.t.hashOf(k)); i != none {
		return m.slots.at(cpu, i)
	}
	return 0
}

// ProgLookupPerCPU follows htab_percpu_map_lookup_percpu_elem.
func (m *PerCPUHash) ProgLookupPerCPU(key uint64, cpu uint32) uint64 {
	if uint64(cpu) >= uint64(m.cfg.cpus()) {
		return 0
	}
	return m.ProgLookup(int(cpu), key)
}

// ProgUpdate changes the value of the CPU it runs on.
func (m *PerCPUHash) ProgUpdate(cpu int, key, value, flags uint64) uint64 {
	return ret(m.set(mem.Ptr(key), mem.Ptr(value), flags, cpu))
}

// ProgDelete removes the values of all CPUs.
func (m *PerCPUHash) ProgDelete(_ int, key uint64) uint64 {
	return ret(m.remove(mem.Ptr(key), nil, false))
}

// ProgNext walks the elements with the values of the CPU it runs on.
func (m *PerCPUHash) ProgNext(cpu int, it Iter) (Iter, bool) {
	it, ok := m.t.progNext(it)
	if ok {
		it.Value = m.slots.at(cpu, it.elem)
	}
	return it, ok
}

// set follows __htab_percpu_map_update_elem.
func (m *PerCPUHash) set(key, value unsafe.Pointer, flags uint64, cpu int) errno.Errno {
	if flags > catalog.UpdateExist {
		return errno.EINVAL
	}
	h := m.t.hashOf(key)
	l := m.t.lock(h)
	l.Lock()
	defer l.Unlock()
	if cpu == allCPUs && m.isFrozen() {
		return errno.EPERM
	}
	i := m.t.find(key, h)
	if e := hashFlags(i != none, flags); e != 0 {
		return e
	}
	if i != none {
		m.slots.copyIn(i, value, cpu)
		return 0
	}
	if m.count.Add(1) > int64(m.def.MaxEntries) {
		m.count.Add(-1)
		return errno.E2BIG
	}
	if i = m.t.take(l); i == none {
		m.count.Add(-1)
		return errno.ENOMEM
	}
	m.t.fill(i, key, h)
	m.slots.init(i, value, cpu)
	m.t.link(i)
	return 0
}

// remove deletes key, after copying its values to out if that is not nil.
func (m *PerCPUHash) remove(key, out unsafe.Pointer, control bool) errno.Errno {
	h := m.t.hashOf(key)
	l := m.t.lock(h)
	l.Lock()
	defer l.Unlock()
	if control && m.isFrozen() {
		return errno.EPERM
	}
	i := m.t.find(key, h)
	if i == none {
		return errno.ENOENT
	}
	if out != nil {
		m.slots.copyOut(out, i)
	}
	m.drop(i)
	return 0
}

// drop unlinks element i and gives it back; its bucket is locked.
func (m *PerCPUHash) drop(i uint32) {
	m.t.unlink(i)
	m.slots.freeFields(i)
	m.t.give(m.t.lock(*m.t.hash(i)), i)
	m.count.Add(-1)
}

// lookup follows bpf_percpu_hash_copy.
func (m *PerCPUHash) lookup(key, value []byte, _ uint64) errno.Errno {
	h := m.t.hashOf(ptr(key))
	l := m.t.lock(h)
	l.Lock()
	defer l.Unlock()
	i := m.t.find(ptr(key), h)
	if i == none {
		return errno.ENOENT
	}
	m.slots.copyOut(ptr(value), i)
	return 0
}

func (m *PerCPUHash) update(key, value []byte, flags uint64) errno.Errno {
	return m.set(ptr(key), ptr(value), flags, allCPUs)
}

func (m *PerCPUHash) delete(key []byte) errno.Errno { return m.remove(ptr(key), nil, true) }

func (m *PerCPUHash) pop(key, value []byte, _ uint64) errno.Errno {
	return m.remove(ptr(key), ptr(value), true)
}

func (m *PerCPUHash) nextKey(key, next []byte) errno.Errno { return m.t.nextKey(key, next, m.t.hashOf) }

func (m *PerCPUHash) batch(b *Batch, remove bool) (int, errno.Errno) {
	read := func(i uint32, value []byte) { m.slots.copyOut(ptr(value), i) }
	if remove {
		return m.t.batch(b, m.ValueSize(), read, m.drop, nil)
	}
	return m.t.batch(b, m.ValueSize(), read, nil, nil)
}
