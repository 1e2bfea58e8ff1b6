package maps

import (
	"math"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapHash, kind{check: checkHash, make: newHash,
		shared: &sharer{size: sharedHashSize, make: newSharedHash}})
}

// Hash is BPF_MAP_TYPE_HASH: a [table] whose elements hold the values. An
// update puts a new element in the place of the old one, so that a program
// which holds the old value's address goes on with the old value. As long as no program
// can know the map, values are overwritten.
type Hash struct {
	*core
	t     *table
	count atomic.Int64
	own   atomic.Bool // one reference, and never more
}

// checkHash follows htab_map_alloc_check and htab_map_alloc, for all hash types.
func checkHash(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	lru := def.Type == catalog.MapLRUHash || def.Type == catalog.MapLRUPerCPUHash
	if lru && def.Flags&catalog.FlagNoPrealloc != 0 {
		// What else is wrong is said first, but for these two flags.
		if !flagsOK(row, def.Flags&^(catalog.FlagNoPrealloc|catalog.FlagNUMANode)) {
			return errno.EINVAL
		}
		return errno.ENOTSUPP
	}
	if def.Flags&catalog.FlagNoCommonLRU != 0 && def.Flags&catalog.FlagNUMANode != 0 {
		return errno.EINVAL
	}
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	switch {
	case uint64(def.KeySize)+uint64(def.ValueSize) >= kmallocMax-kernelElemSize,
		row.Traits&catalog.PerCPU != 0 && round8(def.ValueSize) > perCPUUnitMin,
		def.MaxEntries > 1<<31, uint64(roundPow2(def.MaxEntries)) > math.MaxUint32/kernelBucketSize:
		return errno.E2BIG
	}
	return 0
}

// Sizes of the kernel's own structures, which its limits are made of.
const (
	kernelElemSize   = 48 // struct htab_elem
	kernelBucketSize = 16 // struct bucket
)

// roundPow2 rounds up to a power of two, at most 2³¹.
func roundPow2(n uint32) uint32 {
	p := uint32(1)
	for p < n && p < 1<<31 {
		p <<= 1
	}
	return p
}

// hashSeed is random unless the map asks for zero.
func hashSeed(c *core) uint32 {
	if c.def.Flags&catalog.FlagZeroSeed != 0 {
		return 0
	}
	return c.cfg.seed()
}

// hashReserve is how many elements beyond max_entries there is memory for, so
// that deleted elements can wait for running programs, and some with each lock.
func hashReserve(entries uint32) uint32 {
	return min(max(entries, 1024), 1<<20) + 2*spares*uint32(len(table{}.locks))
}

func newHash(c *core) (Map, errno.Errno) {
	m := &Hash{core: c}
	return m, m.open(uint64(round8(c.def.ValueSize)))
}

// open makes table and header; valueSize is what an element holds.
func (m *Hash) open(valueSize uint64) errno.Errno {
	n := m.def.MaxEntries
	t, e := newTable(n, hashReserve(n), m.def.KeySize, valueSize, hashSeed(m.core), m.cfg.Epoch)
	if e != 0 {
		return e
	}
	if e := m.newHeader(); e != 0 {
		t.block.Free()
		return e
	}
	m.t = t
	m.setTableHeader(t)
	m.own.Store(m.vals.plain())
	return 0
}

// leave ends the time in which values may be overwritten.
func (m *Hash) leave() {
	m.own.Store(false)
	m.t.quiesce()
}

func (m *Hash) settle() { m.t.quiesce() }

// setTableHeader fills the part of the header that inlined lookups in hash tables need.
func (c *core) setTableHeader(t *table) {
	mem.Store64(c.def.Ptr+HeaderBase, t.elems)
	mem.Store32(c.def.Ptr+HeaderElemSize, uint32(t.elemSize))
	mem.Store32(c.def.Ptr+HeaderMask, t.mask)
	mem.Store64(c.def.Ptr+HeaderBuckets, t.buckets)
	mem.Store32(c.def.Ptr+HeaderSeed, t.seed)
	mem.Store32(c.def.Ptr+HeaderValueOff, uint32(t.valOff))
}

func (m *Hash) free() {
	if len(m.vals.special) != 0 {
		m.t.each(func(i uint32) { m.freeFields(m.t.value(i)) })
	}
	m.t.block.Free()
}

// ProgLookup follows htab_map_lookup_elem.
func (m *Hash) ProgLookup(_ int, key uint64) uint64 {
	k := mem.Ptr(key)
	if i := m.t.find(k, m.t.hashOf(k)); i != none {
		return m.t.value(i)
	}
	return 0
}

// ProgUpdate follows htab_map_update_elem.
func (m *Hash) ProgUpdate(_ int, key, value, flags uint64) uint64 {
	return ret(m.set(mem.Ptr(key), mem.Ptr(value), flags, false))
}

// ProgDelete follows htab_map_delete_elem.
func (m *Hash) ProgDelete(_ int, key uint64) uint64 {
	return ret(m.remove(mem.Ptr(key), nil, 0, false))
}

// ProgNext walks the elements bucket by bucket.
func (m *Hash) ProgNext(_ int, it Iter) (Iter, bool) {
	it, ok := m.t.progNext(it)
	if ok {
		it.Value = m.t.value(it.elem)
	}
	return it, ok
}

// hashFlags checks update flags against what is there (check_flags).
func hashFlags(exists bool, flags uint64) errno.Errno {
	switch flags &^ catalog.UpdateLock {
	case catalog.UpdateNoExist:
		if exists {
			return errno.EEXIST
		}
	case catalog.UpdateExist:
		if !exists {
			return errno.ENOENT
		}
	}
	return 0
}

// set is an update; control says that it comes from the control side, which may not write what is frozen.
func (m *Hash) set(key, value unsafe.Pointer, flags uint64, control bool) errno.Errno {
	if flags&^catalog.UpdateLock > catalog.UpdateExist {
		return errno.EINVAL
	}
	if e := m.lockable(flags); e != 0 {
		return e
	}
	h := m.t.hashOf(key)
	l := m.t.lock(h)
	l.Lock()
	e := errno.EPERM
	if !control || !m.isFrozen() {
		e = m.replace(l, h, key, value, flags)
	}
	l.Unlock()
	return e
}

// replace is set with the bucket locked.
func (m *Hash) replace(l *bucketLock, h uint32, key, value unsafe.Pointer, flags uint64) errno.Errno {
	at := m.t.seek(key, h)
	if e := hashFlags(at != nil, flags); e != 0 {
		return e
	}
	if at != nil && flags&catalog.UpdateLock != 0 {
		v := mem.Ptr(m.t.value(*at))
		m.vals.copyLocked(v, value, v)
		return 0
	}
	if at != nil && m.own.Load() {
		m.vals.copy(mem.Ptr(m.t.value(*at)), value)
		m.t.toFront(at)
		return 0
	}
	if at == nil && m.count.Add(1) > int64(m.def.MaxEntries) {
		m.count.Add(-1)
		return errno.E2BIG
	}
	i := m.t.take(l)
	if i == none {
		if at == nil {
			m.count.Add(-1)
		}
		return errno.ENOMEM
	}
	m.t.fill(i, key, h)
	v := mem.Ptr(m.t.value(i))
	m.vals.hide(v)
	m.vals.copy(v, value)
	if at == nil {
		m.t.link(i)
		return 0
	}
	old := *at
	m.t.replace(at, i)
	m.freeFields(m.t.value(old))
	m.t.give(l, old)
	return 0
}

// remove deletes key, after copying its value to out if that is not nil.
func (m *Hash) remove(key, out unsafe.Pointer, flags uint64, control bool) errno.Errno {
	h := m.t.hashOf(key)
	l := m.t.lock(h)
	l.Lock()
	defer l.Unlock()
	if control && m.isFrozen() {
		return errno.EPERM
	}
	i := m.t.find(key, h)
	if i == none {
		return errno.ENOENT
	}
	if out != nil {
		m.read(out, i, flags)
	}
	m.drop(i)
	return 0
}

// drop unlinks element i and gives it back; its bucket is locked.
func (m *Hash) drop(i uint32) {
	m.t.unlink(i)
	m.freeFields(m.t.value(i))
	m.t.give(m.t.lock(*m.t.hash(i)), i)
	m.count.Add(-1)
}

// read copies the value of element i for user space; its bucket is locked.
func (m *Hash) read(out unsafe.Pointer, i uint32, flags uint64) {
	at := mem.Ptr(m.t.value(i))
	if flags&catalog.UpdateLock != 0 {
		m.vals.copyLocked(out, at, at)
	} else {
		m.vals.copy(out, at)
	}
	m.vals.hide(out)
}

func (m *Hash) lookup(key, value []byte, flags uint64) errno.Errno {
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
	m.read(ptr(value), i, flags)
	return 0
}

func (m *Hash) update(key, value []byte, flags uint64) errno.Errno {
	return m.set(ptr(key), ptr(value), flags, true)
}

func (m *Hash) delete(key []byte) errno.Errno { return m.remove(ptr(key), nil, 0, true) }

func (m *Hash) pop(key, value []byte, flags uint64) errno.Errno {
	return m.remove(ptr(key), ptr(value), flags, true)
}

func (m *Hash) nextKey(key, next []byte) errno.Errno { return m.t.nextKey(key, next, m.t.hashOf) }

func (m *Hash) batch(b *Batch, remove bool) (int, errno.Errno) {
	read := func(i uint32, value []byte) { m.read(ptr(value), i, b.ElemFlags) }
	if m.vals.plain() {
		read = nil
	}
	if remove {
		return m.t.batch(b, m.ValueSize(), read, m.drop, nil)
	}
	return m.t.batch(b, m.ValueSize(), read, nil, nil)
}

// updateBatch holds all locks for some elements at a time: what one of them waits
// for in memory the processor then fetches while it is at the one before.
func (m *Hash) updateBatch(b Batch) (n int, e errno.Errno) {
	const together = 256
	if b.Count < together || !m.vals.plain() {
		return m.updateEach(b)
	}
	ks, vs := int(m.def.KeySize), m.ValueSize()
	for n < int(b.Count) && e == 0 {
		m.t.lockAll()
		for end := min(n+together, int(b.Count)); n < end; n++ {
			key := unsafe.Pointer(&b.Keys[n*ks])
			h := m.t.hashOf(key)
			if e = m.replace(m.t.lock(h), h, key, unsafe.Pointer(&b.Values[n*vs]), b.ElemFlags); e != 0 {
				break
			}
		}
		m.t.unlockAll()
	}
	return n, e
}
