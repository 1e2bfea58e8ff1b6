package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

func init() {
	bind(catalog.MapSockMap, kind{make: newSockMap})
}

// SockMap is BPF_MAP_TYPE_SOCKMAP: sockets by index, and the programs their
// bytes go through.
type SockMap struct {
	*core
	sockets
	socks []atomic.Pointer[sockEntry] // written under mu
}

func newSockMap(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &SockMap{core: c, socks: make([]atomic.Pointer[sockEntry], c.def.MaxEntries)}
	return m, c.newHeader()
}

func (m *SockMap) free() {}

func (m *SockMap) release() {
	for i := range m.socks {
		m.remove(uint32(i))
	}
	m.closeProgs()
}

func (m *SockMap) at(i uint32) *sockEntry {
	if i >= uint32(len(m.socks)) {
		return nil
	}
	return m.socks[i].Load()
}

// Socket returns the socket at an index.
func (m *SockMap) Socket(key uint64) *socket.Socket { return m.at(mem.Load32(key)).socket() }

// ProgLookup returns the address of a socket (sock_map_lookup).
func (m *SockMap) ProgLookup(_ int, key uint64) uint64 { return m.at(mem.Load32(key)).addr() }

// ProgUpdate takes a socket for a value.
func (m *SockMap) ProgUpdate(_ int, key, value, flags uint64) uint64 {
	return ret(m.updateSock(m, key, value, flags))
}

// Take is for programs of type sock_ops.
func (m *SockMap) Take(key uint64, s *socket.Socket, flags uint64) errno.Errno {
	return m.put(mem.Bytes(key, int(m.def.KeySize)), s, flags)
}

// ProgDelete follows sock_map_delete_elem.
func (m *SockMap) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Load32(key))) }

func (m *SockMap) lookup(key, value []byte, _ uint64) errno.Errno {
	if len(value) != 8 {
		return errno.ENOSPC
	}
	return m.at(index(key)).cookie(value)
}

func (m *SockMap) update(key, value []byte, flags uint64) errno.Errno {
	return m.updateFD(m, key, value, flags)
}

// put follows sock_map_update_common.
func (m *SockMap) put(key []byte, s *socket.Socket, flags uint64) errno.Errno {
	i, e := m.place(key, flags, catalog.UpdateExist)
	if e != 0 {
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	x, e := m.enter(s, func(x *sockEntry) { m.left(i, x) })
	if e != 0 {
		return e
	}
	old := m.socks[i].Load()
	switch {
	case old != nil && flags == catalog.UpdateNoExist:
		e = errno.EEXIST
	case old == nil && flags == catalog.UpdateExist:
		e = errno.ENOENT
	default:
		m.socks[i].Store(x)
		x = old
	}
	if x != nil {
		x.leave()
	}
	return e
}

// left empties the place of a socket that was closed.
func (m *SockMap) left(i uint32, x *sockEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.socks[i].CompareAndSwap(x, nil) {
		x.leave()
	}
}

// remove follows __sock_map_delete; an empty place is EINVAL.
func (m *SockMap) remove(i uint32) errno.Errno {
	if i >= m.def.MaxEntries {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.socks[i].Swap(nil)
	if old == nil {
		return errno.EINVAL
	}
	old.leave()
	return 0
}

func (m *SockMap) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *SockMap) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}
