package maps

import (
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	for _, row := range catalog.MapKinds() {
		if row.Owners != 0 {
			bind(row.Type, kind{check: checkStorage, make: newStorage})
		}
	}
}

// maxStorageValue is the longest value a local storage holds, in bytes
// (BPF_LOCAL_STORAGE_MAX_VALUE_SIZE).
const maxStorageValue = 1<<16 - 1 - storageElem

// storageElem is the size of struct bpf_local_storage_elem, which stands in front of a value.
const storageElem = 128

// Owner is what values are kept with: a socket, a task, an inode, a control group.
type Owner interface {
	// Hold registers who keeps something with the owner; drop is called when the
	// owner ends, unless Forget was before. It fails for one that has ended.
	Hold(who any, drop func()) bool
	Forget(who any)
}

// LocalStorage is BPF_MAP_TYPE_SK_STORAGE, _TASK_STORAGE, _INODE_STORAGE and
// _CGRP_STORAGE: a value per owner, kept until the owner ends. Keys of user space
// name owners, see [Config.Sock] and [Config.Object].
type LocalStorage struct {
	*core
	opaque
	slab *mem.Slab
	mu   sync.RWMutex // around elems; writers hold it over a change
	elem map[Owner]uint64
}

func checkStorage(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	if def.ValueSize > maxStorageValue {
		return errno.E2BIG
	}
	return 0
}

func newStorage(c *core) (Map, errno.Errno) {
	size := round8(c.def.ValueSize)
	m := &LocalStorage{core: c, slab: mem.NewSlab(int(size), max(1, 4096/int(size))), elem: map[Owner]uint64{}}
	return m, c.newHeader()
}

func (m *LocalStorage) free() { m.slab.Free() }

func (m *LocalStorage) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s, at := range m.elem {
		s.Forget(m)
		m.freeFields(at)
	}
	clear(m.elem)
}

// Storage returns the address of an owner's value, or 0. With create it is made
// where there is none, of the bytes at init, or of zeroes (bpf_sk_storage_get and its like).
func (m *LocalStorage) Storage(s Owner, create bool, init uint64) uint64 {
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

// Drop takes an owner's value away (bpf_sk_storage_delete and its like).
func (m *LocalStorage) Drop(s Owner) errno.Errno {
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
func (m *LocalStorage) retire(at uint64) {
	m.cfg.retire(func() {
		m.freeFields(at)
		m.slab.Put(at)
	})
}

// set follows bpf_local_storage_update: a new value stands in for an old one,
// which runs under way may still see; under BPF_F_LOCK the old one is changed.
func (m *LocalStorage) set(s Owner, value []byte, flags uint64) errno.Errno {
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

// owner returns what a key names; done ends its use.
func (m *LocalStorage) owner(key []byte) (o Owner, done func(), e errno.Errno) {
	switch {
	case m.row.Owners == catalog.OwnersSockets && m.cfg.Sock != nil:
		s, err := m.cfg.Sock(index(key))
		if err != nil {
			return nil, nil, asErrno(err)
		}
		return s, func() {}, 0
	case m.row.Owners != catalog.OwnersSockets && m.cfg.Object != nil:
		x, err := m.cfg.Object(m.row.Owners, index(key))
		if err != nil {
			return nil, nil, asErrno(err)
		}
		return x, x.Put, 0
	}
	return nil, nil, errno.EBADF
}

func (m *LocalStorage) lookup(key, value []byte, flags uint64) errno.Errno {
	s, done, e := m.owner(key)
	if e != 0 {
		return e
	}
	defer done()
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

func (m *LocalStorage) update(key, value []byte, flags uint64) errno.Errno {
	s, done, e := m.owner(key)
	if e != 0 {
		return e
	}
	defer done()
	return m.set(s, value, flags)
}

func (m *LocalStorage) delete(key []byte) errno.Errno {
	s, done, e := m.owner(key)
	if e != 0 {
		return e
	}
	defer done()
	return m.Drop(s)
}

// nextKey: storage cannot be walked.
func (m *LocalStorage) nextKey([]byte, []byte) errno.Errno { return errno.ENOTSUPP }
