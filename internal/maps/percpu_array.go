package maps

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapPerCPUArray, kind{check: checkArray, make: newPerCPUArray,
		shared: &sharer{size: sharedPerCPUArraySize, make: newSharedPerCPUArray}})
}

// PerCPUArray is BPF_MAP_TYPE_PERCPU_ARRAY: one array per CPU, a cache line or
// more apart. HeaderBase and HeaderCPUStride say where they lie.
//
//	CPU 0  ┌─────────┬─────────┬─ ─ ─┐
//	       │ value 0 │ value 1 │     │
//	CPU 1  ├─────────┼─────────┼─ ─ ─┤  base + stride
//	       │ value 0 │ value 1 │     │
//	       └─────────┴─────────┴─ ─ ─┘
type PerCPUArray struct {
	*core
	data   *mem.Block
	base   uint64 // of all CPUs' values
	own    uint64 // of those of this process's CPUs: base, but where processes share the map
	size   uint64 // of an element
	stride uint64 // from CPU to CPU
	slot   valueLayout
	locks  lockStripes
}

// cacheLine keeps what different CPUs write apart.
const cacheLine = 128

func newPerCPUArray(c *core) (Map, errno.Errno) {
	total := perCPUStride(&c.def) * uint64(c.cfg.cpus())
	if total > maxMapBytes {
		return nil, errno.ENOMEM
	}
	data, err := mem.Alloc(int(total))
	if err != nil {
		return nil, errno.ENOMEM
	}
	m, e := perCPUArrayOver(c, data, 0)
	if e != 0 {
		return nil, e
	}
	return m, 0
}

// perCPUStride is the distance from one CPU's array to the next.
func perCPUStride(def *catalog.MapDef) uint64 {
	return (arrayBytes(def) + cacheLine - 1) &^ (cacheLine - 1)
}

// perCPUArrayOver makes an array of its values, which become its own, even if it fails. CPU 0 has those of number first.
func perCPUArrayOver(c *core, data *mem.Block, first int) (*PerCPUArray, errno.Errno) {
	m := &PerCPUArray{core: c, size: uint64(round8(c.def.ValueSize)), stride: perCPUStride(&c.def), slot: c.vals.rounded()}
	if e := m.newHeader(); e != 0 {
		data.Free()
		return nil, e
	}
	m.data, m.base = data, data.Addr()
	m.own = m.base + uint64(first)*m.stride
	mem.Store64(m.def.Ptr+HeaderBase, m.own)
	mem.Store32(m.def.Ptr+HeaderElemSize, uint32(m.size))
	mem.Store64(m.def.Ptr+HeaderCPUStride, m.stride)
	return m, 0
}

func (m *PerCPUArray) free() {
	if len(m.vals.special) != 0 {
		for cpu := range m.cfg.cpus() {
			for i := range m.def.MaxEntries {
				m.freeFields(m.at(cpu, i))
			}
		}
	}
	m.data.Free()
}

func (m *PerCPUArray) at(cpu int, i uint32) uint64 {
	return m.base + uint64(cpu)*m.stride + uint64(i)*m.size
}

// mine is at, of the CPUs that programs here run on.
func (m *PerCPUArray) mine(cpu int, i uint32) uint64 {
	return m.own + uint64(cpu)*m.stride + uint64(i)*m.size
}

// ProgLookup follows percpu_array_map_lookup_elem.
func (m *PerCPUArray) ProgLookup(cpu int, key uint64) uint64 {
	i := mem.Load32(key)
	if i >= m.def.MaxEntries {
		return 0
	}
	return m.mine(cpu, i)
}

// ProgLookupPerCPU follows percpu_array_map_lookup_percpu_elem.
func (m *PerCPUArray) ProgLookupPerCPU(key uint64, cpu uint32) uint64 {
	if int64(cpu) >= int64(m.cfg.cpusHere()) {
		return 0
	}
	return m.ProgLookup(int(cpu), key)
}

// ProgUpdate changes the value of the CPU it runs on (array_map_update_elem).
func (m *PerCPUArray) ProgUpdate(cpu int, key, value, flags uint64) uint64 {
	i := mem.Load32(key)
	e := arrayFlags(i, m.def.MaxEntries, flags)
	if e == 0 {
		e = m.lockable(flags)
	}
	if e != 0 {
		return ret(e)
	}
	l := m.locks.of(i)
	l.Lock()
	m.vals.copy(mem.Ptr(m.mine(cpu, i)), mem.Ptr(value))
	l.Unlock()
	m.freeFields(m.mine(cpu, i))
	return 0
}

// ProgDelete is refused: array elements always exist.
func (m *PerCPUArray) ProgDelete(int, uint64) uint64 { return ret(errno.EINVAL) }

// ProgNext walks the elements of the CPU it runs on.
func (m *PerCPUArray) ProgNext(cpu int, it Iter) (Iter, bool) {
	if it.pos >= m.def.MaxEntries {
		return it, false
	}
	mem.Store32(it.KeyBuf, it.pos)
	it.Key, it.Value = it.KeyBuf, m.mine(cpu, it.pos)
	it.pos++
	return it, true
}

// lookup follows bpf_percpu_array_copy: the values of all CPUs, 8-byte rounded.
func (m *PerCPUArray) lookup(key, value []byte, _ uint64) errno.Errno {
	i := index(key)
	if i >= m.def.MaxEntries {
		return errno.ENOENT
	}
	l := m.locks.of(i)
	l.Lock()
	for cpu := range m.cfg.cpus() {
		to := unsafe.Add(ptr(value), uint64(cpu)*m.size)
		m.slot.copy(to, mem.Ptr(m.at(cpu, i)))
		m.slot.hide(to)
	}
	l.Unlock()
	return 0
}

// update follows bpf_percpu_array_update, which knows no BPF_F_LOCK.
func (m *PerCPUArray) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.placeThere(key, flags)
	if e != 0 {
		return e
	}
	l := m.locks.of(i)
	l.Lock()
	for cpu := range m.cfg.cpus() {
		m.slot.copy(mem.Ptr(m.at(cpu, i)), unsafe.Add(ptr(value), uint64(cpu)*m.size))
	}
	l.Unlock()
	for cpu := range m.cfg.cpus() {
		m.freeFields(m.at(cpu, i))
	}
	return 0
}

func (m *PerCPUArray) delete([]byte) errno.Errno { return errno.EINVAL }

func (m *PerCPUArray) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}
