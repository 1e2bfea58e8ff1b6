package maps

import (
	"bytes"
	"math/bits"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

func init() {
	bind(catalog.MapSockHash, kind{check: checkSockHash, make: newSockHash})
}

// SockHash is BPF_MAP_TYPE_SOCKHASH: sockets by any key, and the programs their
// bytes go through. Its seed is zero, so that keys have the kernel's order.
type SockHash struct {
	*core
	sockets
	heads []*sockElem // newest first, as in the kernel
	count uint32
}

type sockElem struct {
	*sockEntry
	key  []byte
	next *sockElem
}

func checkSockHash(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if def.KeySize > row.KeySize.Max && row.ValueSize.OK(def.ValueSize) && row.MaxEntries.OK(def.MaxEntries) && flagsOK(row, def.Flags) {
		return errno.E2BIG
	}
	return rowAllows(row, def)
}

func newSockHash(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &SockHash{core: c, heads: make([]*sockElem, uint64(1)<<bits.Len32(c.def.MaxEntries-1))}
	return m, c.newHeader()
}

func (m *SockHash) free() {}

func (m *SockHash) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.heads {
		for ; e != nil; e = e.next {
			e.leave()
		}
	}
	clear(m.heads)
	m.closeProgs()
}

// bucket returns the number of a key's bucket.
func (m *SockHash) bucket(key []byte) uint32 {
	return jhash(ptr(key), m.def.KeySize, 0) & uint32(len(m.heads)-1)
}

// find returns the element of a key, or nil; mu is held.
func (m *SockHash) find(key []byte) *sockElem {
	e := m.heads[m.bucket(key)]
	for e != nil && !bytes.Equal(e.key, key) {
		e = e.next
	}
	return e
}

// entry returns what is at a key, or nil.
func (m *SockHash) entry(key []byte) *sockEntry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e := m.find(key); e != nil {
		return e.sockEntry
	}
	return nil
}

func (m *SockHash) keyAt(key uint64) []byte { return mem.Bytes(key, int(m.def.KeySize)) }

// Socket returns the socket at a key.
func (m *SockHash) Socket(key uint64) *socket.Socket { return m.entry(m.keyAt(key)).socket() }

// ProgLookup returns the address of a socket (sock_hash_lookup).
func (m *SockHash) ProgLookup(_ int, key uint64) uint64 { return m.entry(m.keyAt(key)).addr() }

// ProgUpdate takes a socket for a value.
func (m *SockHash) ProgUpdate(_ int, key, value, flags uint64) uint64 {
	return ret(m.updateSock(m, key, value, flags))
}

// Take is for programs of type sock_ops.
func (m *SockHash) Take(key uint64, s *socket.Socket, flags uint64) errno.Errno {
	return m.put(mem.Bytes(key, int(m.def.KeySize)), s, flags)
}

// ProgDelete follows sock_hash_delete_elem.
func (m *SockHash) ProgDelete(_ int, key uint64) uint64 { return ret(m.delete(m.keyAt(key))) }

func (m *SockHash) lookup(key, value []byte, _ uint64) errno.Errno {
	if len(value) != 8 {
		return errno.ENOSPC
	}
	return m.entry(key).cookie(value)
}

func (m *SockHash) update(key, value []byte, flags uint64) errno.Errno {
	return m.updateFD(m, key, value, flags)
}

// put follows sock_hash_update_common: a new element goes to the head of its
// bucket, also instead of an old one.
func (m *SockHash) put(key []byte, s *socket.Socket, flags uint64) errno.Errno {
	if flags > catalog.UpdateExist {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := &sockElem{key: bytes.Clone(key)}
	x, no := m.enter(s, func(*sockEntry) { m.left(e) })
	if no != 0 {
		return no
	}
	e.sockEntry = x
	old := m.find(key)
	switch {
	case old != nil && flags == catalog.UpdateNoExist:
		no = errno.EEXIST
	case old == nil && flags == catalog.UpdateExist:
		no = errno.ENOENT
	case old == nil && m.count >= m.def.MaxEntries:
		no = errno.E2BIG
	}
	if no != 0 {
		x.leave()
		return no
	}
	b := m.bucket(key)
	e.next, m.heads[b] = m.heads[b], e
	m.count++
	if old != nil {
		m.unlinkElem(old)
		old.leave()
	}
	return 0
}

// unlinkElem takes an element out of its bucket and reports whether it was there; mu is held.
func (m *SockHash) unlinkElem(e *sockElem) bool {
	for at := &m.heads[m.bucket(e.key)]; *at != nil; at = &(*at).next {
		if *at == e {
			*at = e.next
			m.count--
			return true
		}
	}
	return false
}

// left takes out the element of a socket that was closed.
func (m *SockHash) left(e *sockElem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unlinkElem(e) {
		e.leave()
	}
}

func (m *SockHash) delete(key []byte) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.find(key)
	if e == nil {
		return errno.ENOENT
	}
	m.unlinkElem(e)
	e.leave()
	return 0
}

// nextKey follows sock_hash_get_next_key.
func (m *SockHash) nextKey(key, next []byte) errno.Errno {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b := uint32(0)
	if key != nil {
		if e := m.find(key); e != nil {
			if e.next != nil {
				copy(next, e.next.key)
				return 0
			}
			b = m.bucket(key) + 1
		}
	}
	for ; int(b) < len(m.heads); b++ {
		if e := m.heads[b]; e != nil {
			copy(next, e.key)
			return 0
		}
	}
	return errno.ENOENT
}
