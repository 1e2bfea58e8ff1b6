package maps

import (
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

func init() {
	bind(catalog.MapSkStorage, kind{check: checkSkStorage, make: newSkStorage})
}

// maxStorageValue is the longest value a local storage holds, in bytes
// (BPF_LOCAL_STORAGE_MAX_VALUE_SIZE).
const maxStorageValue = 1<<16 - 1 - storageElem

// storageElem is the size of struct bpf_local_storage_elem, which stands in front of a value.
const storageElem = 128

// SkStorage is BPF_MAP_TYPE_SK_STORAGE: a value per socket, kept until the
// socket is closed. Keys of user space name sockets as values of sockmaps do.
type SkStorage struct {
	*core
	slab *mem.Slab
	mu   sync.RWMutex // around elems; writers hold it over a change
	elem map[*socket.Socket]uint64
}

func checkSkStorage(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	if def.Key == nil || def.Value == nil {
		return errno.EINVAL
	}
	if def.ValueSize > maxStorageValue {
		return errno.E2BIG
	}
	return 0
}

func newSkStorage(c *core) (Map, errno.Errno) {
	size := round8(c.def.ValueSize)
	m := &SkStorage{core: c, slab: mem.NewSlab(int(size), max(1, 4096/int(size))), elem: map[*socket.Socket]uint64{}}
	return m, c.newHeader()
}

func (m *SkStorage) free() { m.slab.Free() }

func (m *SkStorage) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s, at := range m.elem {
		s.Forget(m)
		m.freeFields(at)
	}
	clear(m.elem)
}

// Storage returns the address of a socket's value, or 0. With create it is made
// where there is none, of the bytes at init, or of zeroes (bpf_sk_storage_get).
func (m *SkStorage) Storage(s *socket.Socket, create bool, init uint64) uint64 {
	m.mu.RLock()
	at := m.elem[s]
	m.mu.RUnlock()
	if at != 0 || !create {
		return at
	}
	var value []byte
	if init != 0 {
		value = mem.Bytes(init, int(m.def.ValueSize))
	}
	if e := m.set(s, value, catalog.UpdateNoExist); e != 0 {
		return 0
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.elem[s]
}

// Drop takes a socket's value away (bpf_sk_storage_delete).
func (m *SkStorage) Drop(s *socket.Socket) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.elem[s]
	if at == 0 {
		return errno.ENOENT
	}
	delete(m.elem, s)
	s.Forget(m)
	m.retire(at)
	return 0
}

// retire gives a value's memory back when no run can have its address.
func (m *SkStorage) retire(at uint64) {
	m.cfg.retire(func() {
		m.freeFields(at)
		m.slab.Put(at)
	})
}

// set follows bpf_local_storage_update: a new value stands in for an old one,
// which runs under way may still see; under BPF_F_LOCK the old one is changed.
func (m *SkStorage) set(s *socket.Socket, value []byte, flags uint64) errno.Errno {
	if flags&^catalog.UpdateLock > catalog.UpdateExist {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.elem[s]
	switch {
	case old != 0 && flags&catalog.UpdateNoExist != 0:
		return errno.EEXIST
	case old == 0 && flags&catalog.UpdateExist != 0:
		return errno.ENOENT
	case old != 0 && flags&catalog.UpdateLock != 0:
		m.vals.copyLocked(mem.Ptr(old), ptr(value), mem.Ptr(old))
		return 0
	}
	at, err := m.slab.Get()
	if err != nil {
		return errno.ENOMEM
	}
	clear(mem.Bytes(at, m.slab.Size()))
	if value != nil {
		m.vals.copy(mem.Ptr(at), ptr(value))
	}
	if old == 0 && !s.Hold(m, func() { m.Drop(s) }) {
		m.slab.Put(at)
		return errno.ENOENT
	}
	m.elem[s] = at
	if old != 0 {
		m.retire(old)
	}
	return 0
}

// ProgLookup is not for programs; nor are update and delete.
func (m *SkStorage) ProgLookup(int, uint64) uint64 { return 0 }

// ProgUpdate is not for programs.
func (m *SkStorage) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// ProgDelete is not for programs.
func (m *SkStorage) ProgDelete(int, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// sock returns the socket a key names.
func (m *SkStorage) sock(key []byte) (*socket.Socket, errno.Errno) {
	if m.cfg.Sock == nil {
		return nil, errno.EBADF
	}
	s, err := m.cfg.Sock(index(key))
	if err != nil {
		return nil, asErrno(err)
	}
	return s, 0
}

func (m *SkStorage) lookup(key, value []byte, flags uint64) errno.Errno {
	s, e := m.sock(key)
	if e != 0 {
		return e
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	at := m.elem[s]
	if at == 0 {
		return errno.ENOENT
	}
	if flags&catalog.UpdateLock != 0 {
		m.vals.copyLocked(ptr(value), mem.Ptr(at), mem.Ptr(at))
	} else {
		m.vals.copy(ptr(value), mem.Ptr(at))
	}
	m.vals.hide(ptr(value))
	return 0
}

func (m *SkStorage) update(key, value []byte, flags uint64) errno.Errno {
	s, e := m.sock(key)
	if e != 0 {
		return e
	}
	return m.set(s, value, flags)
}

func (m *SkStorage) delete(key []byte) errno.Errno {
	s, e := m.sock(key)
	if e != 0 {
		return e
	}
	return m.Drop(s)
}

// nextKey: storage cannot be walked.
func (m *SkStorage) nextKey([]byte, []byte) errno.Errno { return errno.ENOTSUPP }
