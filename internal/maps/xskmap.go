package maps

import (
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapXSKMap, kind{make: newXSKMap})
}

// XSKMap is BPF_MAP_TYPE_XSKMAP: AF_XDP sockets to hand packets to. A program's
// lookup gives a struct bpf_xdp_sock, which lies off-heap with a word that says
// whether there is a socket:
//
//	┌──────────┬───┐
//	│ queue id │ 1 │
//	└──────────┴───┘
type XSKMap struct {
	*core
	noUpdate
	slots slots
	mu    sync.Mutex // writers
	socks []atomic.Pointer[Socket]
}

func newXSKMap(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &XSKMap{core: c, socks: make([]atomic.Pointer[Socket], c.def.MaxEntries)}
	return m, m.slots.open(c)
}

func (m *XSKMap) free() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.def.MaxEntries {
		if m.socks[i].Load() != nil {
			m.empty(i)
		}
	}
	m.slots.block.Free()
}

// Target returns the socket at key.
func (m *XSKMap) Target(key uint32) (Target, bool) {
	if key >= m.def.MaxEntries {
		return Target{}, false
	}
	s := m.socks[key].Load()
	if s == nil {
		return Target{}, false
	}
	return Target{Socket: *s}, true
}

// Targets walks the entries from 0 to the last.
func (m *XSKMap) Targets(f func(key uint32, t Target) bool) {
	for i := range m.def.MaxEntries {
		if t, ok := m.Target(i); ok && !f(i, t) {
			return
		}
	}
}

// ProgLookup returns the address of a struct bpf_xdp_sock (xsk_map_lookup_elem).
func (m *XSKMap) ProgLookup(_ int, key uint64) uint64 {
	i := mem.Load32(key)
	if m.slots.get(i) == 0 {
		return 0
	}
	return m.slots.block.Addr() + uint64(i)*8
}

// ProgDelete follows xsk_map_delete_elem.
func (m *XSKMap) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Load32(key))) }

// lookup is not offered to user space.
func (m *XSKMap) lookup(_, _ []byte, _ uint64) errno.Errno { return errno.EOPNOTSUPP }

// update follows xsk_map_update_elem.
func (m *XSKMap) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.place(key, flags, catalog.UpdateExist)
	if e != 0 {
		return e
	}
	if m.cfg.XSK == nil {
		return errno.EBADF
	}
	s, err := m.cfg.XSK(index(value))
	if err != nil {
		return asErrno(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.socks[i].Load()
	switch {
	case old != nil && *old == s:
		return 0
	case old != nil && flags == catalog.UpdateNoExist:
		return errno.EEXIST
	case old == nil && flags == catalog.UpdateExist:
		return errno.ENOENT
	}
	if !s.Enter(m, i) {
		return errno.EBADF // closed meanwhile
	}
	if old != nil {
		(*old).Leave(m, i)
	}
	m.socks[i].Store(&s)
	m.slots.set(i, xdpSock(s))
	return 0
}

// xdpSock is a struct bpf_xdp_sock.
func xdpSock(s Socket) uint64 { return uint64(s.QueueID()) | 1<<32 }

// Rebound is called by a socket whose queue has changed, for each entry that holds it.
func (m *XSKMap) Rebound(key uint32, s Socket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.socks[key].Load(); at != nil && *at == s {
		m.slots.set(key, xdpSock(s))
	}
}

// Drop is called by a socket that closes, for each entry that holds it
// (xsk_map_try_sock_delete).
func (m *XSKMap) Drop(key uint32, s Socket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.socks[key].Load(); at != nil && *at == s {
		m.empty(key)
	}
}

func (m *XSKMap) remove(i uint32) errno.Errno {
	if i >= m.def.MaxEntries {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.empty(i)
	return 0
}

func (m *XSKMap) empty(i uint32) {
	m.slots.set(i, 0)
	if old := m.socks[i].Swap(nil); old != nil {
		(*old).Leave(m, i)
	}
}

func (m *XSKMap) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *XSKMap) nextKey(key, next []byte) errno.Errno { return nextIndex(key, next, m.def.MaxEntries) }
