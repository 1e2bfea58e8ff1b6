package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapDevMap, kind{settle: settleDevMap, make: newDevMap})
}

// DevMap is BPF_MAP_TYPE_DEVMAP: devices to redirect packets to, each with a
// program that may run there first. Entries lie off-heap as programs see them
// (struct bpf_devmap_val); an ifindex of 0 is an empty entry.
//
//	┌─────────┬─────────┐
//	│ ifindex │ prog id │  8 bytes each, also where value_size is 4
//	└─────────┴─────────┘
type DevMap struct {
	*core
	sharing
	slots slots
	progs []atomic.Pointer[Prog]
}

// settleDevMap keeps programs from writing entries (dev_map_init_map).
func settleDevMap(_ *Config, def *catalog.MapDef) { def.Flags |= catalog.FlagRdonlyProg }

func newDevMap(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &DevMap{core: c, progs: make([]atomic.Pointer[Prog], c.def.MaxEntries)}
	return m, m.slots.open(c)
}

func (m *DevMap) release() {
	for i := range m.progs {
		closeProg(m.progs[i].Swap(nil))
	}
}

func closeProg(p *Prog) {
	if p != nil {
		(*p).Close()
	}
}

func (m *DevMap) free() { m.slots.block.Free() }

// Target returns the device and program at key.
func (m *DevMap) Target(key uint32) (Target, bool) {
	e := m.slots.get(key)
	if e == 0 {
		return Target{}, false
	}
	t := Target{Ifindex: uint32(e)}
	if p := m.progs[key].Load(); p != nil {
		t.Prog = *p
	}
	return t, true
}

// Targets walks the entries from 0 to the last.
func (m *DevMap) Targets(f func(key uint32, t Target) bool) {
	for i := range m.def.MaxEntries {
		if t, ok := m.Target(i); ok && !f(i, t) {
			return
		}
	}
}

// ProgLookup returns the address of an entry (dev_map_lookup_elem).
func (m *DevMap) ProgLookup(_ int, key uint64) uint64 {
	i := mem.Load32(key)
	if m.slots.get(i) == 0 {
		return 0
	}
	return m.slots.block.Addr() + uint64(i)*8
}

// ProgUpdate is not for programs.
func (m *DevMap) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// ProgDelete follows dev_map_delete_elem.
func (m *DevMap) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Load32(key))) }

// devVal reads the value of an update: an ifindex and, in 8 bytes, a descriptor.
func devVal(value []byte) (ifindex uint32, fd int32) {
	ifindex = index(value)
	if len(value) == 8 {
		fd = int32(index(value[4:]))
	}
	return ifindex, fd
}

// resolveDevice checks a device and resolves the program to run there
// (__dev_map_alloc_node); all that goes wrong is EINVAL.
func (c *core) resolveDevice(s *sharing, ifindex uint32, fd int32) (*Prog, errno.Errno) {
	if c.cfg.Device != nil && !c.cfg.Device(ifindex) {
		return nil, errno.EINVAL
	}
	if fd <= 0 {
		return nil, 0
	}
	return c.resolveXDP(s, uint32(fd), catalog.AttachXDPDevMap)
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

func (m *DevMap) lookup(key, value []byte, _ uint64) errno.Errno {
	e := m.slots.get(index(key))
	if e == 0 {
		return errno.ENOENT
	}
	putVal(value, e)
	return 0
}

// putVal copies an entry for user space, whose value has 4 or 8 bytes.
func putVal(value []byte, e uint64) {
	*(*uint32)(ptr(value)) = uint32(e)
	if len(value) == 8 {
		*(*uint32)(ptr(value[4:])) = uint32(e >> 32)
	}
}

// update follows __dev_map_update_elem: ifindex 0 empties the entry.
func (m *DevMap) update(key, value []byte, flags uint64) errno.Errno {
	i := index(key)
	switch {
	case flags > catalog.UpdateExist:
		return errno.EINVAL
	case i >= m.def.MaxEntries:
		return errno.E2BIG
	case flags == catalog.UpdateNoExist:
		return errno.EEXIST
	}
	ifindex, fd := devVal(value)
	if ifindex == 0 {
		if fd > 0 {
			return errno.EINVAL
		}
		return m.remove(i)
	}
	p, e := m.resolveDevice(&m.sharing, ifindex, fd)
	if e != 0 {
		return e
	}
	old := m.progs[i].Swap(p)
	m.slots.set(i, devEntry(ifindex, p))
	closeProg(old)
	return 0
}

func (m *DevMap) remove(i uint32) errno.Errno {
	if i >= m.def.MaxEntries {
		return errno.EINVAL
	}
	m.slots.set(i, 0)
	closeProg(m.progs[i].Swap(nil))
	return 0
}

func (m *DevMap) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *DevMap) nextKey(key, next []byte) errno.Errno { return nextIndex(key, next, m.def.MaxEntries) }
