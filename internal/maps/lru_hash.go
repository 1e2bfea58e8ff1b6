package maps

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapLRUHash, kind{check: checkHash, settle: settleLRU, make: newLRUHash})
}

// LRUHash is BPF_MAP_TYPE_LRU_HASH: a [table] that is never full, because a new
// key evicts one that has not been looked up lately. Elements are used again
// at once, as on the kernel: a program that keeps the address of a value may find
// another key's value there.
type LRUHash struct {
	*core
	t   *table
	lru *lru
}

// settleLRU gives each CPU's list the same number of elements (htab_map_alloc).
func settleLRU(cfg *Config, def *catalog.MapDef) {
	if def.Flags&catalog.FlagNoCommonLRU == 0 {
		return
	}
	cpus := uint64(cfg.cpus())
	up := (uint64(def.MaxEntries) + cpus - 1) / cpus * cpus
	if up > 1<<32-1 {
		up -= cpus
	}
	def.MaxEntries = uint32(up)
}

func newLRUHash(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxEagerLen {
		return nil, errno.ENOMEM
	}
	m := &LRUHash{core: c}
	t, e := newTable(c.def.MaxEntries, 0, c.def.KeySize, uint64(round8(c.def.ValueSize)), hashSeed(c), nil)
	if e != 0 {
		return nil, e
	}
	if e := c.newHeader(); e != 0 {
		t.block.Free()
		return nil, e
	}
	m.t = t
	c.setTableHeader(t)
	m.lru = newLRU(t, c.def.MaxEntries, c.cfg.cpus(), c.def.Flags&catalog.FlagNoCommonLRU != 0, m.evict)
	return m, 0
}

func (m *LRUHash) free() {
	if len(m.vals.special) != 0 {
		m.t.each(func(i uint32) { m.freeFields(m.t.value(i)) })
	}
	m.t.block.Free()
}

// evict unlinks an element the lists want back (htab_lru_map_delete_node).
func (m *LRUHash) evict(i uint32) bool {
	l := m.t.lock(*m.t.hash(i))
	l.Lock()
	defer l.Unlock()
	if !m.t.unlink(i) {
		return false
	}
	m.freeFields(m.t.value(i))
	return true
}

// ProgLookup marks the element as used (htab_lru_map_lookup_elem).
func (m *LRUHash) ProgLookup(_ int, key uint64) uint64 {
	k := mem.Ptr(key)
	i := m.t.find(k, m.t.hashOf(k))
	if i == none {
		return 0
	}
	m.lru.touch(i)
	return m.t.value(i)
}

// ProgUpdate follows htab_lru_map_update_elem.
func (m *LRUHash) ProgUpdate(cpu int, key, value, flags uint64) uint64 {
	return ret(m.set(cpu, mem.Ptr(key), mem.Ptr(value), flags))
}

// ProgDelete follows htab_lru_map_delete_elem.
func (m *LRUHash) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Ptr(key), nil, 0)) }

// ProgNext walks the elements bucket by bucket, marking none.
func (m *LRUHash) ProgNext(_ int, it Iter) (Iter, bool) {
	it, ok := m.t.progNext(it)
	if ok {
		it.Value = m.t.value(it.elem)
	}
	return it, ok
}

// set takes an element before it looks for the key, so that even an update
// that fails may have evicted another key; so does the kernel.
func (m *LRUHash) set(cpu int, key, value unsafe.Pointer, flags uint64) errno.Errno {
	if flags > catalog.UpdateExist {
		return errno.EINVAL
	}
	h := m.t.hashOf(key)
	i := m.lru.get(cpu, h)
	if i == none {
		return errno.ENOMEM
	}
	m.t.fill(i, key, h)
	at := mem.Ptr(m.t.value(i))
	m.vals.hide(at)
	m.vals.copy(at, value)

	l := m.t.lock(h)
	l.Lock()
	old := m.t.find(key, h)
	e := hashFlags(old != none, flags)
	if e == 0 {
		m.t.link(i)
		if old != none {
			m.lru.touch(i)
			m.t.unlink(old)
			m.freeFields(m.t.value(old))
		}
	} else {
		old = i
	}
	l.Unlock()
	if old != none {
		m.lru.put(old)
	}
	return e
}

// remove deletes key, after copying its value to out if that is not nil.
func (m *LRUHash) remove(key, out unsafe.Pointer, flags uint64) errno.Errno {
	h := m.t.hashOf(key)
	l := m.t.lock(h)
	l.Lock()
	i := m.t.find(key, h)
	if i != none {
		if out != nil {
			m.read(out, i)
		}
		m.t.unlink(i)
		m.freeFields(m.t.value(i))
	}
	l.Unlock()
	if i == none {
		return errno.ENOENT
	}
	m.lru.put(i)
	return 0
}

// read copies the value of element i for user space; its bucket is locked.
func (m *LRUHash) read(out unsafe.Pointer, i uint32) {
	m.vals.copy(out, mem.Ptr(m.t.value(i)))
	m.vals.hide(out)
}

// lookup does not mark the element: a walk by user space says nothing of its use.
func (m *LRUHash) lookup(key, value []byte, _ uint64) errno.Errno {
	h := m.t.hashOf(ptr(key))
	if m.vals.plain() {
		if found, sure := m.t.read(ptr(key), h, ptr(value), uintptr(m.vals.size)); sure && found {
			return 0
		} else if sure {
			return errno.ENOENT
		}
	}
	l := m.t.lock(h)
	l.Lock()
	defer l.Unlock()
	i := m.t.find(ptr(key), h)
	if i == none {
		return errno.ENOENT
	}
	m.read(ptr(value), i)
	return 0
}

func (m *LRUHash) update(key, value []byte, flags uint64) errno.Errno {
	return m.set(m.cfg.cpu(), ptr(key), ptr(value), flags)
}

func (m *LRUHash) delete(key []byte) errno.Errno { return m.remove(ptr(key), nil, 0) }

func (m *LRUHash) pop(key, value []byte, flags uint64) errno.Errno {
	return m.remove(ptr(key), ptr(value), flags)
}

func (m *LRUHash) nextKey(key, next []byte) errno.Errno { return m.t.nextKey(key, next, m.t.hashOf) }

func (m *LRUHash) batch(b *Batch, remove bool) (int, errno.Errno) {
	read := func(i uint32, value []byte) { m.read(ptr(value), i) }
	if !remove {
		return m.t.batch(b, m.ValueSize(), read, nil, nil)
	}
	return m.lru.batchRemove(b, m.ValueSize(), read, func(i uint32) { m.freeFields(m.t.value(i)) })
}
