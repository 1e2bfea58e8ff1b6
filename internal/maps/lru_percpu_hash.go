package maps

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapLRUPerCPUHash, kind{check: checkHash, settle: settleLRU, make: newLRUPerCPUHash})
}

// LRUPerCPUHash is BPF_MAP_TYPE_LRU_PERCPU_HASH: the keys and evictions of
// [LRUHash] with the values of [PerCPUHash].
type LRUPerCPUHash struct {
	*core
	t     *table
	slots perCPUSlots
	lru   *lru
}

func newLRUPerCPUHash(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxEagerLen {
		return nil, errno.ENOMEM
	}
	m := &LRUPerCPUHash{core: c}
	t, e := newTable(c.def.MaxEntries, 0, c.def.KeySize, 0, hashSeed(c), nil)
	if e != 0 {
		return nil, e
	}
	m.t = t
	if e := m.slots.open(c, t); e != 0 {
		t.block.Free()
		return nil, e
	}
	m.lru = newLRU(t, c.def.MaxEntries, c.cfg.cpus(), c.def.Flags&catalog.FlagNoCommonLRU != 0, m.evict)
	return m, 0
}

func (m *LRUPerCPUHash) free() {
	m.t.each(m.slots.freeFields)
	m.slots.block.Free()
	m.t.block.Free()
}

// evict unlinks an element the lists want back (htab_lru_map_delete_node).
func (m *LRUPerCPUHash) evict(i uint32) bool {
	l := m.t.lock(*m.t.hash(i))
	l.Lock()
	defer l.Unlock()
	if !m.t.unlink(i) {
		return false
	}
	m.slots.freeFields(i)
	return true
}

// ProgLookup marks the element as used (htab_lru_percpu_map_lookup_elem).
func (m *LRUPerCPUHash) ProgLookup(cpu int, key uint64) uint64 {
	k := mem.Ptr(key)
	i := m.t.find(k, m.t.hashOf(k))
	if i == none {
		return 0
	}
	m.lru.touch(i)
	return m.slots.at(cpu, i)
}

// ProgLookupPerCPU follows htab_lru_percpu_map_lookup_percpu_elem.
func (m *LRUPerCPUHash) ProgLookupPerCPU(key uint64, cpu uint32) uint64 {
	if uint64(cpu) >= uint64(m.cfg.cpus()) {
		return 0
	}
	return m.ProgLookup(int(cpu), key)
}

// ProgUpdate changes the value of the CPU it runs on.
func (m *LRUPerCPUHash) ProgUpdate(cpu int, key, value, flags uint64) uint64 {
	return ret(m.set(cpu, mem.Ptr(key), mem.Ptr(value), flags, cpu))
}

// ProgDelete removes the values of all CPUs.
func (m *LRUPerCPUHash) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Ptr(key), nil)) }

// ProgNext walks the elements with the values of the CPU it runs on.
func (m *LRUPerCPUHash) ProgNext(cpu int, it Iter) (Iter, bool) {
	it, ok := m.t.progNext(it)
	if ok {
		it.Value = m.slots.at(cpu, it.elem)
	}
	return it, ok
}

// set follows __htab_lru_percpu_map_update_elem: on is the CPU it runs on, cpu
// whose value to write, or allCPUs.
func (m *LRUPerCPUHash) set(on int, key, value unsafe.Pointer, flags uint64, cpu int) errno.Errno {
	if flags > catalog.UpdateExist {
		return errno.EINVAL
	}
	h := m.t.hashOf(key)
	i := none
	if flags != catalog.UpdateExist {
		if i = m.lru.get(on, h); i == none {
			return errno.ENOMEM
		}
		m.t.fill(i, key, h)
	}
	l := m.t.lock(h)
	l.Lock()
	old := m.t.find(key, h)
	e := hashFlags(old != none, flags)
	switch {
	case e != 0:
	case old != none:
		m.lru.touch(old)
		m.slots.copyIn(old, value, cpu)
	default:
		m.slots.init(i, value, cpu)
		m.t.link(i)
		i = none
	}
	l.Unlock()
	if i != none {
		m.lru.put(i)
	}
	return e
}

// remove deletes key, after copying its values to out if that is not nil.
func (m *LRUPerCPUHash) remove(key, out unsafe.Pointer) errno.Errno {
	h := m.t.hashOf(key)
	l := m.t.lock(h)
	l.Lock()
	i := m.t.find(key, h)
	if i != none {
		if out != nil {
			m.slots.copyOut(out, i)
		}
		m.t.unlink(i)
		m.slots.freeFields(i)
	}
	l.Unlock()
	if i == none {
		return errno.ENOENT
	}
	m.lru.put(i)
	return 0
}

// lookup follows bpf_percpu_hash_copy, which marks nothing.
func (m *LRUPerCPUHash) lookup(key, value []byte, _ uint64) errno.Errno {
	h := m.t.hashOf(ptr(key))
	l := m.t.lock(h)
	l.Lock()
	defer l.Unlock()
	i := m.t.find(ptr(key), h)
	if i == none {
		return errno.ENOENT
	}
	m.slots.copyOut(ptr(value), i)
	return 0
}

func (m *LRUPerCPUHash) update(key, value []byte, flags uint64) errno.Errno {
	return m.set(m.cfg.cpu(), ptr(key), ptr(value), flags, allCPUs)
}

func (m *LRUPerCPUHash) delete(key []byte) errno.Errno { return m.remove(ptr(key), nil) }

func (m *LRUPerCPUHash) pop(key, value []byte, _ uint64) errno.Errno {
	return m.remove(ptr(key), ptr(value))
}

func (m *LRUPerCPUHash) nextKey(key, next []byte) errno.Errno {
	return m.t.nextKey(key, next, m.t.hashOf)
}

func (m *LRUPerCPUHash) batch(b *Batch, remove bool) (int, errno.Errno) {
	read := func(i uint32, value []byte) { m.slots.copyOut(ptr(value), i) }
	if !remove {
		return m.t.batch(b, m.ValueSize(), read, nil, nil)
	}
	return m.lru.batchRemove(b, m.ValueSize(), read, m.slots.freeFields)
}
