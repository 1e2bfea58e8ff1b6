package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapCPUMap, kind{check: checkCPUMap, make: newCPUMap})
}

// CPUMap is BPF_MAP_TYPE_CPUMAP: CPUs to hand packets on to, each with the
// length of its queue and a program that may run there first. Entries lie
// off-heap as programs see them (struct bpf_cpumap_val); a length of 0 is an empty entry.
//
//	┌───────┬─────────┐
//	│ qsize │ prog id │  8 bytes each, also where value_size is 4
//	└───────┴─────────┘
type CPUMap struct {
	*core
	sharing
	slots slots
	progs []atomic.Pointer[Prog]
}

const (
	maxCPUs     = 8192  // NR_CPUS of x86-64 distributions; a build option of the kernel
	maxCPUQueue = 16384 // longest queue
)

// checkCPUMap follows cpu_map_alloc.
func checkCPUMap(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	if def.MaxEntries > maxCPUs {
		return errno.E2BIG
	}
	return 0
}

func newCPUMap(c *core) (Map, errno.Errno) {
	m := &CPUMap{core: c, progs: make([]atomic.Pointer[Prog], c.def.MaxEntries)}
	return m, m.slots.open(c)
}

func (m *CPUMap) release() {
	for i := range m.progs {
		closeProg(m.progs[i].Swap(nil))
	}
}

func (m *CPUMap) free() { m.slots.block.Free() }

// Target returns the CPU and program at key, which is the CPU's number.
func (m *CPUMap) Target(key uint32) (Target, bool) {
	e := m.slots.get(key)
	if e == 0 {
		return Target{}, false
	}
	t := Target{CPU: key, Qsize: uint32(e)}
	if p := m.progs[key].Load(); p != nil {
		t.Prog = *p
	}
	return t, true
}

// Targets walks the entries from 0 to the last.
func (m *CPUMap) Targets(f func(key uint32, t Target) bool) {
	for i := range m.def.MaxEntries {
		if t, ok := m.Target(i); ok && !f(i, t) {
			return
		}
	}
}

// ProgLookup returns the address of an entry (cpu_map_lookup_elem).
func (m *CPUMap) ProgLookup(_ int, key uint64) uint64 {
	i := mem.Load32(key)
	if m.slots.get(i) == 0 {
		return 0
	}
	return m.slots.block.Addr() + uint64(i)*8
}

// ProgUpdate is not for programs.
func (m *CPUMap) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// ProgDelete follows cpu_map_delete_elem.
func (m *CPUMap) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Load32(key))) }

func (m *CPUMap) lookup(key, value []byte, _ uint64) errno.Errno {
	e := m.slots.get(index(key))
	if e == 0 {
		return errno.ENOENT
	}
	putVal(value, e)
	return 0
}

// update follows cpu_map_update_elem: a queue of no length empties the entry.
func (m *CPUMap) update(key, value []byte, flags uint64) errno.Errno {
	i := index(key)
	qsize, fd := devVal(value)
	switch {
	case flags > catalog.UpdateExist:
		return errno.EINVAL
	case i >= m.def.MaxEntries:
		return errno.E2BIG
	case flags == catalog.UpdateNoExist:
		return errno.EEXIST
	case qsize > maxCPUQueue:
		return errno.EOVERFLOW
	case uint64(i) >= uint64(m.cfg.cpus()):
		return errno.ENODEV
	case qsize == 0:
		return m.remove(i)
	}
	var p *Prog
	if fd > 0 {
		var e errno.Errno
		if p, e = m.resolveXDP(&m.sharing, uint32(fd), catalog.AttachXDPCPUMap); e != 0 {
			return errno.ENOMEM // the kernel does not say more of a program it cannot use
		}
	}
	old := m.progs[i].Swap(p)
	m.slots.set(i, devEntry(qsize, p))
	closeProg(old)
	return 0
}

func (m *CPUMap) remove(i uint32) errno.Errno {
	if i >= m.def.MaxEntries {
		return errno.EINVAL
	}
	m.slots.set(i, 0)
	closeProg(m.progs[i].Swap(nil))
	return 0
}

func (m *CPUMap) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *CPUMap) nextKey(key, next []byte) errno.Errno { return nextIndex(key, next, m.def.MaxEntries) }
