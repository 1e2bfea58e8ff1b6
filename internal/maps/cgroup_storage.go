package maps

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapCGroupStorage, kind{check: checkCGroupStorage, make: newCGroupStorage})
	bind(catalog.MapPerCPUCGroupStorage, kind{check: checkCGroupStorage, make: newPerCPUCGroupStorage})
}

// CGroupStorage is BPF_MAP_TYPE_CGROUP_STORAGE: a value for each place at a
// control group that a program is attached to which uses the map. With keys of 8 bytes all attach
// types of a group have one. Values are made when programs are attached
// ([CGroupStorage.Place]), and go with the group or the map.
type CGroupStorage struct {
	*core
	opaque
	cpus int // values side by side
	size int // of one
	slab *mem.Slab
	mu   sync.RWMutex
	at   map[GroupPlace]uint64
	keys []GroupPlace // as they came
}

// PerCPUCGroupStorage is BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE.
type PerCPUCGroupStorage struct{ *CGroupStorage }

// GroupPlace is where at a control group a program is attached (struct bpf_cgroup_storage_key).
type GroupPlace struct {
	Group  uint64
	Attach uint32
}

func checkCGroupStorage(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	limit := uint32(maxStorageValue)
	if row.Traits&catalog.PerCPU != 0 {
		limit = min(limit, perCPUUnitMin)
	}
	switch {
	case !row.KeySize.OK(def.KeySize), def.ValueSize == 0:
		return errno.EINVAL
	case def.ValueSize > limit:
		return errno.E2BIG
	}
	return rowAllows(row, def)
}

func openCGroupStorage(c *core, cpus int) *CGroupStorage {
	size := int(round8(c.def.ValueSize))
	return &CGroupStorage{
		core: c, cpus: cpus, size: size, slab: mem.NewSlab(size*cpus, max(1, 4096/(size*cpus))), at: map[GroupPlace]uint64{},
	}
}

func newCGroupStorage(c *core) (Map, errno.Errno) { return openCGroupStorage(c, 1), c.newHeader() }

func newPerCPUCGroupStorage(c *core) (Map, errno.Errno) {
	return &PerCPUCGroupStorage{openCGroupStorage(c, c.cfg.cpus())}, c.newHeader()
}

func (m *CGroupStorage) free() { m.slab.Free() }

// place is what p's value is kept under.
func (m *CGroupStorage) place(p GroupPlace) GroupPlace {
	if m.def.KeySize == 8 {
		p.Attach = 0
	}
	return p
}

// Place makes the value of a place, if there is none (bpf_cgroup_storages_alloc).
func (m *CGroupStorage) Place(p GroupPlace) errno.Errno {
	p = m.place(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at[p] != 0 {
		return 0
	}
	at, err := m.slab.Get()
	if err != nil {
		return errno.ENOMEM
	}
	clear(mem.Bytes(at, m.slab.Size()))
	m.at[p] = at
	m.keys = append(m.keys, p)
	return 0
}

// Leave takes the values of a control group away, which is no more.
func (m *CGroupStorage) Leave(group uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = slices.DeleteFunc(m.keys, func(p GroupPlace) bool {
		if p.Group != group {
			return false
		}
		m.retire(m.at[p])
		delete(m.at, p)
		return true
	})
}

func (m *CGroupStorage) retire(at uint64) { m.cfg.retire(func() { m.slab.Put(at) }) }

// Value returns the address of a CPU's value of a place, or 0 (bpf_get_local_storage).
func (m *CGroupStorage) Value(p GroupPlace, cpu int) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	at := m.at[m.place(p)]
	if at != 0 && m.cpus > 1 {
		at += uint64(cpu * m.size)
	}
	return at
}

// ProgLookupPerCPU is not for programs.
func (m *PerCPUCGroupStorage) ProgLookupPerCPU(uint64, uint32) uint64 { return 0 }

// keyOf reads a key: the group's number, and an attach type where keys have one.
func (m *CGroupStorage) keyOf(key []byte) GroupPlace {
	p := GroupPlace{Group: binary.NativeEndian.Uint64(key)}
	if len(key) > 8 {
		p.Attach = binary.NativeEndian.Uint32(key[8:])
	}
	return p
}

func (m *CGroupStorage) lookup(key, value []byte, flags uint64) errno.Errno {
	m.mu.RLock()
	defer m.mu.RUnlock()
	at := m.at[m.keyOf(key)]
	switch {
	case at == 0:
		return errno.ENOENT
	case m.cpus > 1 || m.row.Traits&catalog.PerCPU != 0:
		copyWords(ptr(value), mem.Ptr(at), uintptr(len(value)))
	case flags&catalog.UpdateLock != 0:
		m.vals.copyLocked(ptr(value), mem.Ptr(at), mem.Ptr(at))
	default:
		m.vals.copy(ptr(value), mem.Ptr(at))
	}
	m.vals.hide(ptr(value))
	return 0
}

// update follows cgroup_storage_update_elem: a new value stands in for the old one, which runs may still see.
func (m *CGroupStorage) update(key, value []byte, flags uint64) errno.Errno {
	if flags&^(catalog.UpdateLock|catalog.UpdateExist) != 0 {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.keyOf(key)
	old := m.at[p]
	switch {
	case old == 0:
		return errno.ENOENT
	case flags&catalog.UpdateLock != 0:
		m.vals.copyLocked(mem.Ptr(old), ptr(value), mem.Ptr(old))
		return 0
	}
	at, err := m.slab.Get()
	if err != nil {
		return errno.ENOMEM
	}
	clear(mem.Bytes(at, m.slab.Size()))
	m.vals.copy(mem.Ptr(at), ptr(value))
	m.at[p] = at
	m.retire(old)
	return 0
}

// update follows bpf_percpu_cgroup_storage_update: all CPUs' values, in their places.
func (m *PerCPUCGroupStorage) update(key, value []byte, flags uint64) errno.Errno {
	if flags != catalog.UpdateAny && flags != catalog.UpdateExist {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.at[m.keyOf(key)]
	if at == 0 {
		return errno.ENOENT
	}
	copyWords(mem.Ptr(at), ptr(value), uintptr(len(value)))
	return 0
}

func (m *CGroupStorage) delete([]byte) errno.Errno { return errno.EINVAL }

// nextKey goes through the places in the order they came to be.
func (m *CGroupStorage) nextKey(key, next []byte) errno.Errno {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i := 0
	if key != nil {
		i = slices.Index(m.keys, m.keyOf(key)) + 1
		if i == 0 {
			return errno.ENOENT
		}
	}
	if i >= len(m.keys) {
		return errno.ENOENT
	}
	clear(next)
	binary.NativeEndian.PutUint64(next, m.keys[i].Group)
	if len(next) > 8 {
		binary.NativeEndian.PutUint32(next[8:], m.keys[i].Attach)
	}
	return 0
}
