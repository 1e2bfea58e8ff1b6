package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

func init() {
	bind(catalog.MapDevMap, kind{settle: settleDevMap, make: newDevMap})
}

// DevMap is BPF_MAP_TYPE_DEVMAP: devices to redirect packets to.
type DevMap struct{ handOver }

// settleDevMap keeps programs from writing entries (dev_map_init_map).
func settleDevMap(_ *Config, def *catalog.MapDef) { def.Flags |= catalog.FlagRdonlyProg }

func newDevMap(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := new(DevMap)
	return m, m.open(c)
}

// Target returns the device and program at key.
func (m *DevMap) Target(key uint32) (Target, bool) {
	ifindex, p := m.entry(key)
	return Target{Ifindex: ifindex, Prog: p}, ifindex != 0
}

// Targets walks the entries from 0 to the last.
func (m *DevMap) Targets(f func(key uint32, t Target) bool) { m.walk(m.Target, f) }

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

// update follows __dev_map_update_elem: ifindex 0 empties the entry.
func (m *DevMap) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.placeThere(key, flags)
	if e != 0 {
		return e
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
	m.put(i, ifindex, p)
	return 0
}
