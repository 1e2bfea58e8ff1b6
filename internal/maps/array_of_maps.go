package maps

import (
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapArrayOfMaps, kind{check: checkArrayOfMaps, make: newArrayOfMaps})
}

// ArrayOfMaps is BPF_MAP_TYPE_ARRAY_OF_MAPS: a table of the header addresses of inner maps.
type ArrayOfMaps struct {
	*core
	noDelete
	noUpdate
	slots slots
	mu    sync.Mutex
	inner []Map
}

func checkArrayOfMaps(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	return checkInner(def)
}

func newArrayOfMaps(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
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
	i, e := m.place(key, flags, catalog.UpdateAny)
	if e != 0 {
		return e
	}
	in, e := m.resolveInner(value)
	if e != 0 {
		return e
	}
	m.swap(i, in, in.Def().Ptr)
	return 0
}

func (m *ArrayOfMaps) delete(key []byte) errno.Errno {
	return m.empty(key, func(i uint32) bool { return m.swap(i, nil, 0) })
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
