package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// handOver is what [DevMap] and [CPUMap] share: an array of places to hand
// packets on to, each with a program that may run there first. Entries lie
// off-heap as programs see them (struct bpf_devmap_val, struct bpf_cpumap_val);
// one whose first word is 0 is empty.
//
//	┌─────────────────┬─────────┐
//	│ ifindex / qsize │ prog id │  8 bytes each, also where value_size is 4
//	└─────────────────┴─────────┘
type handOver struct {
	*core
	noUpdate
	sharing
	slots slots
	progs []atomic.Pointer[Prog]
}

func (m *handOver) open(c *core) errno.Errno {
	m.core, m.progs = c, make([]atomic.Pointer[Prog], c.def.MaxEntries)
	return m.slots.open(c)
}

func (m *handOver) release() {
	for i := range m.progs {
		closeProg(m.progs[i].Swap(nil))
	}
}

func closeProg(p *Prog) {
	if p != nil {
		(*p).Close()
	}
}

func (m *handOver) free() { m.slots.block.Free() }

// entry returns the first word of entry i and its program; 0 is an empty one.
func (m *handOver) entry(i uint32) (word uint32, p Prog) {
	e := m.slots.get(i)
	if e == 0 {
		return 0, nil
	}
	if at := m.progs[i].Load(); at != nil {
		p = *at
	}
	return uint32(e), p
}

// walk calls f for the entries that target finds, from 0 to the last.
func (m *handOver) walk(target func(uint32) (Target, bool), f func(key uint32, t Target) bool) {
	for i := range m.def.MaxEntries {
		if t, ok := target(i); ok && !f(i, t) {
			return
		}
	}
}

// ProgLookup returns the address of an entry (dev_map_lookup_elem, cpu_map_lookup_elem).
func (m *handOver) ProgLookup(_ int, key uint64) uint64 {
	i := mem.Load32(key)
	if m.slots.get(i) == 0 {
		return 0
	}
	return m.slots.block.Addr() + uint64(i)*8
}

// ProgDelete follows dev_map_delete_elem and cpu_map_delete_elem.
func (m *handOver) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Load32(key))) }

func (m *handOver) lookup(key, value []byte, _ uint64) errno.Errno {
	e := m.slots.get(index(key))
	if e == 0 {
		return errno.ENOENT
	}
	putVal(value, e)
	return 0
}

// put writes entry i.
func (m *handOver) put(i, word uint32, p *Prog) {
	old := m.progs[i].Swap(p)
	m.slots.set(i, devEntry(word, p))
	closeProg(old)
}

func (m *handOver) remove(i uint32) errno.Errno {
	if i >= m.def.MaxEntries {
		return errno.EINVAL
	}
	m.slots.set(i, 0)
	closeProg(m.progs[i].Swap(nil))
	return 0
}

func (m *handOver) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *handOver) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}

// devVal reads the value of an update: an ifindex and, in 8 bytes, a descriptor.
func devVal(value []byte) (ifindex uint32, fd int32) {
	ifindex = index(value)
	if len(value) == 8 {
		fd = int32(index(value[4:]))
	}
	return ifindex, fd
}

// resolveXDP resolves an XDP program made to run behind a map of this kind.
func (c *core) resolveXDP(s *sharing, fd uint32, attach catalog.AttachType) (*Prog, errno.Errno) {
	p, e := c.resolveProg(fd)
	if e != 0 {
		return nil, errno.EINVAL
	}
	if o := p.Owner(); o.Type != catalog.ProgXDP || o.Attach != attach || !s.share(o, false) {
		p.Close()
		return nil, errno.EINVAL
	}
	return &p, 0
}

// devEntry is an entry as programs see it.
func devEntry(ifindex uint32, p *Prog) uint64 {
	e := uint64(ifindex)
	if p != nil {
		e |= uint64((*p).ID()) << 32
	}
	return e
}

// putVal copies an entry for user space, whose value has 4 or 8 bytes.
func putVal(value []byte, e uint64) {
	*(*uint32)(ptr(value)) = uint32(e)
	if len(value) == 8 {
		*(*uint32)(ptr(value[4:])) = uint32(e >> 32)
	}
}
