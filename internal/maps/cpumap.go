package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

func init() {
	bind(catalog.MapCPUMap, kind{check: checkCPUMap, make: newCPUMap})
}

// CPUMap is BPF_MAP_TYPE_CPUMAP: CPUs to hand packets on to, each with the
// length of its queue.
type CPUMap struct{ handOver }

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
	m := new(CPUMap)
	return m, m.open(c)
}

// Target returns the CPU and program at key, which is the CPU's number.
func (m *CPUMap) Target(key uint32) (Target, bool) {
	qsize, p := m.entry(key)
	if qsize == 0 {
		return Target{}, false
	}
	return Target{CPU: key, Qsize: qsize, Prog: p}, true
}

// Targets walks the entries from 0 to the last.
func (m *CPUMap) Targets(f func(key uint32, t Target) bool) { m.walk(m.Target, f) }

// update follows cpu_map_update_elem: a queue of no length empties the entry.
func (m *CPUMap) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.placeThere(key, flags)
	if e != 0 {
		return e
	}
	qsize, fd := devVal(value)
	switch {
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
	m.put(i, qsize, p)
	return 0
}
