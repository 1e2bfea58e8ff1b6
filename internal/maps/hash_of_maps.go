package maps

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapHashOfMaps, kind{check: checkHashOfMaps, make: newHashOfMaps})
}

// HashOfMaps is BPF_MAP_TYPE_HASH_OF_MAPS: a [Hash] whose values are the header
// addresses of inner maps.
type HashOfMaps struct {
	*Hash
	mu    sync.Mutex     // around every change of the control side
	inner map[uint64]Map // by header address
	uses  map[uint64]int // how many elements hold each
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
	if e = m.set(ptr(key), unsafe.Pointer(&addr), flags, true); e != 0 {
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
	e := m.remove(ptr(key), nil, 0, true)
	m.unuse(old)
	m.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return e
}

// updateBatch is not that of the table, which knows nothing of inner maps.
func (m *HashOfMaps) updateBatch(b Batch) (int, errno.Errno) { return m.updateEach(b) }

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
