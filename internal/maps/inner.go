package maps

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// checkInner follows bpf_map_meta_alloc: there is an inner map to go by, it is
// not a map of maps itself, and its type can be compared.
func checkInner(def *catalog.MapDef) errno.Errno {
	if def.Inner == nil || def.Inner.Inner != nil {
		return errno.EINVAL
	}
	if row := catalog.MapKindByType(def.Inner.Type); row == nil || row.Traits&catalog.Inner == 0 {
		return errno.ENOTSUPP
	}
	return 0
}

// resolveInner turns a descriptor into a map that fits the template (bpf_map_fd_get_ptr).
func (c *core) resolveInner(value []byte) (Map, errno.Errno) {
	if c.cfg.Map == nil {
		return nil, errno.EBADF
	}
	m, err := c.cfg.Map(index(value))
	if err != nil {
		return nil, asErrno(err)
	}
	m = Unwrap(m)
	if !metaEqual(c.def.Inner, m.Def()) {
		m.Close()
		return nil, errno.EINVAL
	}
	return m, 0
}

// slots is a table of addresses off-heap, for the types whose elements point
// at objects; HeaderBase says where it lies. An empty slot is 0.
type slots struct {
	block *mem.Block
	n     uint32
}

func (s *slots) open(c *core) errno.Errno {
	b, err := mem.Alloc(int(c.def.MaxEntries) * 8)
	if err != nil {
		return errno.ENOMEM
	}
	if e := c.newHeader(); e != 0 {
		b.Free()
		return e
	}
	s.block, s.n = b, c.def.MaxEntries
	mem.Store64(c.def.Ptr+HeaderBase, b.Addr())
	mem.Store32(c.def.Ptr+HeaderElemSize, 8)
	return 0
}

func (s *slots) at(i uint32) *uint64 { return (*uint64)(mem.Ptr(s.block.Addr() + uint64(i)*8)) }

// get returns slot i, or 0 beyond the last.
func (s *slots) get(i uint32) uint64 {
	if i >= s.n {
		return 0
	}
	return atomic.LoadUint64(s.at(i))
}

func (s *slots) set(i uint32, addr uint64) { atomic.StoreUint64(s.at(i), addr) }

// ArrayOfMaps is BPF_MAP_TYPE_ARRAY_OF_MAPS: a table of the header addresses of inner maps.
type ArrayOfMaps struct {
	*core
	slots slots
	mu    sync.Mutex
	inner []Map
}

// HashOfMaps is BPF_MAP_TYPE_HASH_OF_MAPS: a [Hash] whose values are the header
// addresses of inner maps.
type HashOfMaps struct {
	*Hash
	mu    sync.Mutex     // around every change of the control side
	inner map[uint64]Map // by header address
	uses  map[uint64]int // how many elements hold each
}

func init() {
	bind(catalog.MapArrayOfMaps, kind{check: checkArrayOfMaps, make: newArrayOfMaps})
	bind(catalog.MapHashOfMaps, kind{check: checkHashOfMaps, make: newHashOfMaps})
}

func checkArrayOfMaps(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	return checkInner(def)
}

func newArrayOfMaps(c *core) (Map, errno.Errno) {
	m := &ArrayOfMaps{core: c, inner: make([]Map, c.def.MaxEntries)}
	return m, m.slots.open(c)
}

func (m *ArrayOfMaps) release() {
	for _, in := range m.inner {
		if in != nil {
			in.Close()
		}
	}
}

func (m *ArrayOfMaps) free() { m.slots.block.Free() }

// ProgLookup returns the header address of the inner map (array_of_map_lookup_elem).
func (m *ArrayOfMaps) ProgLookup(_ int, key uint64) uint64 { return m.slots.get(mem.Load32(key)) }

// ProgUpdate is not for programs.
func (m *ArrayOfMaps) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// ProgDelete is not for programs.
func (m *ArrayOfMaps) ProgDelete(int, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// lookup gives the id of the inner map (bpf_map_fd_sys_lookup_elem).
func (m *ArrayOfMaps) lookup(key, value []byte, _ uint64) errno.Errno {
	i := index(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if i >= m.def.MaxEntries || m.inner[i] == nil {
		return errno.ENOENT
	}
	*(*uint32)(ptr(value)) = m.inner[i].Def().ID
	return 0
}

// update follows bpf_fd_array_map_update_elem.
func (m *ArrayOfMaps) update(key, value []byte, flags uint64) errno.Errno {
	i := index(key)
	if flags != catalog.UpdateAny {
		return errno.EINVAL
	}
	if i >= m.def.MaxEntries {
		return errno.E2BIG
	}
	in, e := m.resolveInner(value)
	if e != 0 {
		return e
	}
	m.swap(i, in, in.Def().Ptr)
	return 0
}

func (m *ArrayOfMaps) delete(key []byte) errno.Errno {
	i := index(key)
	if i >= m.def.MaxEntries {
		return errno.E2BIG
	}
	if !m.swap(i, nil, 0) {
		return errno.ENOENT
	}
	return 0
}

// swap exchanges an element and closes what was there; it reports whether anything was.
func (m *ArrayOfMaps) swap(i uint32, in Map, addr uint64) bool {
	m.mu.Lock()
	old := m.inner[i]
	m.inner[i] = in
	m.slots.set(i, addr)
	m.mu.Unlock()
	if old == nil {
		return false
	}
	old.Close()
	return true
}

func (m *ArrayOfMaps) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}

func checkHashOfMaps(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if !row.ValueSize.OK(def.ValueSize) {
		return errno.EINVAL
	}
	if e := checkHash(row, def); e != 0 {
		return e
	}
	return checkInner(def)
}

func newHashOfMaps(c *core) (Map, errno.Errno) {
	m := &HashOfMaps{Hash: &Hash{core: c}, inner: make(map[uint64]Map), uses: make(map[uint64]int)}
	m.vals = valueLayout{size: 8, segs: []segment{{0, 8}}, lock: -1}
	return m, m.open(8)
}

func (m *HashOfMaps) release() {
	for addr, in := range m.inner {
		for range m.uses[addr] {
			in.Close()
		}
	}
}

// ProgLookup returns the header address of the inner map (htab_of_map_lookup_elem).
func (m *HashOfMaps) ProgLookup(cpu int, key uint64) uint64 {
	at := m.Hash.ProgLookup(cpu, key)
	if at == 0 {
		return 0
	}
	return atomic.LoadUint64((*uint64)(mem.Ptr(at)))
}

// ProgUpdate is not for programs.
func (m *HashOfMaps) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// ProgDelete is not for programs.
func (m *HashOfMaps) ProgDelete(int, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// held returns the inner map behind key, or nil; m.mu is held.
func (m *HashOfMaps) held(key unsafe.Pointer) Map {
	i := m.t.find(key, m.t.hashOf(key))
	if i == none {
		return nil
	}
	return m.at(i)
}

func (m *HashOfMaps) lookup(key, value []byte, _ uint64) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	in := m.held(ptr(key))
	if in == nil {
		return errno.ENOENT
	}
	*(*uint32)(ptr(value)) = in.Def().ID
	return 0
}

// update follows bpf_fd_htab_map_update_elem.
func (m *HashOfMaps) update(key, value []byte, flags uint64) errno.Errno {
	in, e := m.resolveInner(value)
	if e != 0 {
		return e
	}
	addr := in.Def().Ptr
	m.mu.Lock()
	old := m.held(ptr(key))
	if e = m.set(ptr(key), unsafe.Pointer(&addr), flags); e != 0 {
		old = in
	} else {
		m.inner[addr] = in
		m.uses[addr]++
		m.unuse(old)
	}
	m.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return e
}

// unuse counts one element less that holds in.
func (m *HashOfMaps) unuse(in Map) {
	if in == nil {
		return
	}
	addr := in.Def().Ptr
	if m.uses[addr]--; m.uses[addr] == 0 {
		delete(m.uses, addr)
		delete(m.inner, addr)
	}
}

func (m *HashOfMaps) delete(key []byte) errno.Errno {
	m.mu.Lock()
	old := m.held(ptr(key))
	e := m.remove(ptr(key), nil, 0)
	m.unuse(old)
	m.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return e
}

func (m *HashOfMaps) batch(b *Batch, remove bool) (int, errno.Errno) {
	var dropped []Map
	m.mu.Lock()
	read := func(i uint32, value []byte) { *(*uint32)(ptr(value)) = m.at(i).Def().ID }
	var drop func(i uint32)
	if remove {
		drop = func(i uint32) {
			in := m.at(i)
			dropped = append(dropped, in)
			m.unuse(in)
			m.drop(i)
		}
	}
	n, e := m.t.batch(b, m.ValueSize(), read, drop, nil)
	m.mu.Unlock()
	for _, in := range dropped {
		in.Close()
	}
	return n, e
}

// at returns the inner map element i holds; m.mu is held.
func (m *HashOfMaps) at(i uint32) Map { return m.inner[*(*uint64)(mem.Ptr(m.t.value(i)))] }
