package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

func init() {
	bind(catalog.MapCGroupArray, kind{make: newCGroupArray})
}

// CGroupArray is BPF_MAP_TYPE_CGROUP_ARRAY: control groups that programs ask
// whether something is below one of. Values are resolved by [Config.Object].
type CGroupArray struct {
	*core
	opaque
	groups []atomic.Pointer[Object]
}

func newCGroupArray(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &CGroupArray{core: c, groups: make([]atomic.Pointer[Object], c.def.MaxEntries)}
	return m, c.newHeader()
}

// Group returns the number of the control group at index; ok is false where there is none.
func (m *CGroupArray) Group(index uint32) (id uint64, ok bool) {
	if index >= m.def.MaxEntries {
		return 0, false
	}
	o := m.groups[index].Load()
	if o == nil {
		return 0, false
	}
	return o.ID, true
}

func (m *CGroupArray) release() {
	for i := range m.groups {
		m.swap(uint32(i), nil)
	}
}

func (m *CGroupArray) free() {}

// swap exchanges an element and reports whether there was one.
func (m *CGroupArray) swap(i uint32, o *Object) bool {
	old := m.groups[i].Swap(o)
	if old == nil {
		return false
	}
	old.Put()
	return true
}

// lookup is not offered (bpf_fd_array_map_lookup_elem).
func (m *CGroupArray) lookup(_, _ []byte, _ uint64) errno.Errno { return errno.ENOTSUPP }

// update follows bpf_fd_array_map_update_elem.
func (m *CGroupArray) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.place(key, flags, catalog.UpdateAny)
	if e != 0 {
		return e
	}
	if m.cfg.Object == nil {
		return errno.EBADF
	}
	o, err := m.cfg.Object(catalog.OwnersCGroups, index(value))
	if err != nil {
		return asErrno(err)
	}
	m.swap(i, o)
	return 0
}

func (m *CGroupArray) delete(key []byte) errno.Errno {
	return m.empty(key, func(i uint32) bool { return m.swap(i, nil) })
}

func (m *CGroupArray) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}
