package maps

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

func init() {
	bind(catalog.MapReuseportSockarray, kind{make: newReuseportArray})
}

// ReuseportArray is BPF_MAP_TYPE_REUSEPORT_SOCKARRAY: members of reuseport
// groups, for bpf_sk_select_reuseport. A socket is in one such array at most, in
// one place; it leaves when it is closed.
type ReuseportArray struct {
	*core
	noDelete
	mu    sync.Mutex // writers
	socks []atomic.Pointer[socket.Socket]
}

func newReuseportArray(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &ReuseportArray{core: c, socks: make([]atomic.Pointer[socket.Socket], c.def.MaxEntries)}
	return m, c.newHeader()
}

func (m *ReuseportArray) free() {}

func (m *ReuseportArray) release() {
	for i := range m.socks {
		m.remove(uint32(i))
	}
}

// Socket returns the socket at an index.
func (m *ReuseportArray) Socket(key uint64) *socket.Socket {
	if i := mem.Load32(key); i < uint32(len(m.socks)) {
		return m.socks[i].Load()
	}
	return nil
}

// ProgLookup is not for programs.
func (m *ReuseportArray) ProgLookup(int, uint64) uint64 { return 0 }

// ProgUpdate is not for programs.
func (m *ReuseportArray) ProgUpdate(int, uint64, uint64, uint64) uint64 {
	return ret(errno.EOPNOTSUPP)
}

// lookup gives the socket's cookie (bpf_fd_reuseport_array_lookup_elem).
func (m *ReuseportArray) lookup(key, value []byte, _ uint64) errno.Errno {
	if len(value) != 8 {
		return errno.ENOSPC
	}
	i := index(key)
	if i >= m.def.MaxEntries {
		return errno.ENOENT
	}
	s := m.socks[i].Load()
	if s == nil {
		return errno.ENOENT
	}
	*(*uint64)(ptr(value)) = s.Cookie
	return 0
}

// resolveSock turns the descriptor in a value of 4 or 8 bytes into a socket.
func (c *core) resolveSock(value []byte) (*socket.Socket, errno.Errno) {
	fd := index(value)
	if len(value) == 8 {
		if v := *(*uint64)(ptr(value)); v > math.MaxInt32 {
			return nil, errno.EINVAL
		}
	}
	if c.cfg.Sock == nil {
		return nil, errno.EBADF
	}
	s, err := c.cfg.Sock(fd)
	if err != nil {
		return nil, asErrno(err)
	}
	return s, 0
}

// update follows bpf_fd_reuseport_array_update_elem.
func (m *ReuseportArray) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.place(key, flags, catalog.UpdateExist)
	if e != 0 {
		return e
	}
	s, e := m.resolveSock(value)
	if e != 0 {
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.socks[i].Load()
	switch {
	case old != nil && flags == catalog.UpdateNoExist:
		return errno.EEXIST
	case old == nil && flags == catalog.UpdateExist:
		return errno.ENOENT
	case s.Protocol != socket.TCP && s.Protocol != socket.UDP,
		s.Family != socket.AFInet && s.Family != socket.AFInet6,
		s.Type != socket.Stream && s.Type != socket.Dgram:
		return errno.ENOTSUPP
	case !s.RCUFree() || s.Group() == nil:
		return errno.EINVAL
	case s.User() != nil:
		return errno.EBUSY
	}
	who := reuseportEntry{m, i}
	if e := s.Claim(who); e != 0 {
		return e
	}
	if !s.HoldHashed(who, func() { m.left(i, s) }) {
		s.Unclaim(who)
		return errno.EINVAL
	}
	m.socks[i].Store(s)
	m.letGo(i, old)
	return 0
}

// reuseportEntry is who has a socket.
type reuseportEntry struct {
	m *ReuseportArray
	i uint32
}

func (m *ReuseportArray) letGo(i uint32, s *socket.Socket) {
	if s != nil {
		s.Forget(reuseportEntry{m, i})
		s.Unclaim(reuseportEntry{m, i})
	}
}

// left takes out a socket that was closed.
func (m *ReuseportArray) left(i uint32, s *socket.Socket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.socks[i].CompareAndSwap(s, nil)
}

// remove follows reuseport_array_delete_elem.
func (m *ReuseportArray) remove(i uint32) errno.Errno {
	if i >= m.def.MaxEntries {
		return errno.E2BIG
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.socks[i].Swap(nil)
	if old == nil {
		return errno.ENOENT
	}
	m.letGo(i, old)
	return 0
}

func (m *ReuseportArray) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *ReuseportArray) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}
