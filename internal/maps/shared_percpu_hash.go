package maps

import (
	"math/bits"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// SharedPerCPUHash is BPF_MAP_TYPE_PERCPU_HASH in memory that several processes have: an element of the
// [sharedTable] holds the values of all CPUs of all processes, one after the other. As in the private one, what is
// there is changed in place.
type SharedPerCPUHash struct {
	SharedHash
	size  uint64 // of one CPU's value
	first uint64 // from an element's values to those of this process's CPUs
}

func sharedPerCPUHashSize(def *catalog.MapDef, cpus int) (uint64, bool) {
	over, n := bits.Mul64(uint64(round8(def.ValueSize)), uint64(cpus))
	if over != 0 || n > maxMapBytes {
		return 0, false
	}
	return new(sharedTable).place(def, n, 0)
}

func newSharedPerCPUHash(c *core) (Map, errno.Errno) {
	size := uint64(round8(c.def.ValueSize))
	total := size * uint64(c.cfg.cpus())
	m := &SharedPerCPUHash{SharedHash: SharedHash{core: c, n: uintptr(total)}, size: size, first: size * uint64(c.shm.firstCPU())}
	if e := m.open(total); e != 0 {
		return nil, e
	}
	return m, 0
}

// mine returns where cpu's value is among those of an element.
func (m *SharedPerCPUHash) mine(values uint64, cpu int) uint64 {
	return values + m.first + uint64(cpu)*m.size
}

// ProgLookup follows htab_percpu_map_lookup_elem.
func (m *SharedPerCPUHash) ProgLookup(cpu int, key uint64) uint64 {
	if at := m.SharedHash.ProgLookup(cpu, key); at != 0 {
		return m.mine(at, cpu)
	}
	return 0
}

// ProgLookupPerCPU follows htab_percpu_map_lookup_percpu_elem, for the CPUs of this process.
func (m *SharedPerCPUHash) ProgLookupPerCPU(key uint64, cpu uint32) uint64 {
	if int64(cpu) >= int64(m.cfg.cpusHere()) {
		return 0
	}
	return m.ProgLookup(int(cpu), key)
}

// ProgUpdate changes the value of the CPU it runs on; those of a new element's other CPUs are zero.
func (m *SharedPerCPUHash) ProgUpdate(cpu int, key, value, flags uint64) uint64 {
	if flags > catalog.UpdateExist {
		return ret(errno.EINVAL)
	}
	change := func(at uint64) { storeWords(mem.Ptr(m.mine(at, cpu)), mem.Ptr(value), uintptr(m.def.ValueSize)) }
	fill := func(at uint64) {
		for off := uint64(0); off < uint64(m.n); off += 8 {
			atomic.StoreUint64((*uint64)(mem.Ptr(at+off)), 0)
		}
		change(at)
	}
	return ret(m.set(mem.Ptr(key), flags, fill, change))
}

// ProgNext walks the elements with the values of the CPU it runs on.
func (m *SharedPerCPUHash) ProgNext(cpu int, it Iter) (Iter, bool) {
	it, ok := m.SharedHash.ProgNext(cpu, it)
	if ok {
		it.Value = m.mine(it.Value, cpu)
	}
	return it, ok
}

func (m *SharedPerCPUHash) update(key, value []byte, flags uint64) errno.Errno {
	if flags > catalog.UpdateExist {
		return errno.EINVAL
	}
	store := func(at uint64) { storeWords(mem.Ptr(at), ptr(value), m.n) }
	return m.set(ptr(key), flags, store, store)
}
