package maps

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// SharedHash is BPF_MAP_TYPE_HASH in memory that several processes have, see [sharedTable]. It answers as
// [Hash] does; besides, what changes it may give EBUSY, where a process that is stopped holds the lock. An element that is
// replaced or deleted may be used again at once, as on the kernel, though mostly it is used again last.
type SharedHash struct {
	*core
	t *sharedTable
	n uintptr // bytes of a value that the control side sees
}

func sharedHashSize(def *catalog.MapDef, _ int) (uint64, bool) {
	return new(sharedTable).place(def, uint64(round8(def.ValueSize)), 0)
}

func newSharedHash(c *core) (Map, errno.Errno) {
	m := &SharedHash{core: c, n: uintptr(c.def.ValueSize)}
	if e := m.open(uint64(round8(c.def.ValueSize))); e != 0 {
		return nil, e
	}
	return m, 0
}

// open makes table and header; valueSize is what an element holds.
func (m *SharedHash) open(valueSize uint64) errno.Errno {
	t, e := openTable(m.core, valueSize)
	if e != 0 {
		return e
	}
	if e := m.newHeader(); e != 0 {
		t.block.Free()
		return e
	}
	m.t, m.def.Doubtful = t, true
	m.shareLocks(t.block)
	return 0
}

// store writes the value of an element that is in no chain; load copies that of one, for user space.
func (m *SharedHash) store(at uint64, value unsafe.Pointer) {
	storeWords(mem.Ptr(at), value, m.n)
	m.vals.hide(mem.Ptr(at))
}

func (m *SharedHash) load(out unsafe.Pointer, i uint32, flags uint64) {
	at := mem.Ptr(m.t.value(i))
	if flags&catalog.UpdateLock != 0 {
		m.vals.copyLocked(out, at, at)
	} else {
		loadWords(out, at, m.n)
	}
	m.vals.hide(out)
}

func (m *SharedHash) free() { m.t.block.Free() }

// ProgLookup follows htab_map_lookup_elem.
func (m *SharedHash) ProgLookup(_ int, key uint64) uint64 {
	k := mem.Ptr(key)
	if i, _ := m.t.find(k, m.t.hashOf(k)); i != none {
		return m.t.value(i)
	}
	return 0
}

// ProgUpdate follows htab_map_update_elem.
func (m *SharedHash) ProgUpdate(_ int, key, value, flags uint64) uint64 {
	return ret(m.put(mem.Ptr(key), mem.Ptr(value), flags))
}

// ProgDelete follows htab_map_delete_elem.
func (m *SharedHash) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Ptr(key), nil, 0)) }

// ProgNext walks the elements bucket by bucket, at most as many as there can be.
func (m *SharedHash) ProgNext(_ int, it Iter) (Iter, bool) {
	if it.live {
		it.elem = atomic.LoadUint32(m.t.next(it.elem))
		it.live = m.t.lead(it.elem)
	}
	for !it.live {
		if it.pos > m.t.mask {
			return it, false
		}
		it.elem = atomic.LoadUint32(m.t.head(it.pos))
		it.live = m.t.lead(it.elem)
		it.pos++
	}
	if it.steps++; it.steps > m.t.count {
		return it, false
	}
	it.Key, it.Value = m.t.at(it.elem)+ElemKey, m.t.value(it.elem)
	return it, true
}

// glance is how far is looked for an element that takes another's place, which could do with the one to spare. That
// would be used again at once, though, under programs that have its address.
const glance = 2

// put is [Hash.set].
func (m *SharedHash) put(key, value unsafe.Pointer, flags uint64) errno.Errno {
	fill := func(at uint64) { m.store(at, value) }
	if flags&catalog.UpdateLock == 0 {
		return m.set(key, flags, fill, nil)
	}
	return m.set(key, flags, fill, func(at uint64) { m.vals.copyLocked(mem.Ptr(at), value, mem.Ptr(at)) })
}

// set gives key a value: a new element, which fill writes, takes the place of the one there is; or change changes
// that one, unless it is nil.
func (m *SharedHash) set(key unsafe.Pointer, flags uint64, fill, change func(at uint64)) errno.Errno {
	if flags&^catalog.UpdateLock > catalog.UpdateExist {
		return errno.EINVAL
	}
	if e := m.lockable(flags); e != 0 {
		return e
	}
	t := m.t
	h := t.hashOf(key)
	n := h & t.mask % tableLocks
	if e := t.hold(n); e != 0 {
		return e
	}
	defer t.release(n)
	old, _ := t.find(key, h)
	if e := hashFlags(old != none, flags); e != 0 {
		return e
	}
	if old != none && change != nil {
		change(t.value(old))
		return 0
	}
	look := t.words()
	if old != none {
		look = glance
	}
	i := t.alloc(n, look)
	spare := i == none
	if spare {
		if old == none {
			return errno.E2BIG
		}
		if i = atomic.LoadUint32(t.spare(n)); !t.lead(i) || i == old || atomic.LoadUint32(t.owner(i)) != n+1 {
			return errno.ENOMEM
		}
	}
	t.fill(i, key, h)
	fill(t.value(i))
	t.filled(i)
	t.link(i, h&t.mask)
	if old == none {
		return 0
	}
	switch gone := t.unlink(old, h&t.mask); {
	case spare:
		atomic.StoreUint32(t.spare(n), old)
	case gone:
		t.free(old)
	}
	return 0
}

// remove deletes key, after copying its value to out if that is not nil.
func (m *SharedHash) remove(key, out unsafe.Pointer, flags uint64) errno.Errno {
	t := m.t
	h := t.hashOf(key)
	n := h & t.mask % tableLocks
	if e := t.hold(n); e != 0 {
		return e
	}
	defer t.release(n)
	i, _ := t.find(key, h)
	if i == none {
		return errno.ENOENT
	}
	if out != nil {
		m.load(out, i, flags)
	}
	if t.unlink(i, h&t.mask) {
		t.free(i)
	}
	return 0
}

// readTries is how often a copy is made again that was overtaken by a change.
const readTries = 1 << 10

func (m *SharedHash) lookup(key, value []byte, flags uint64) errno.Errno {
	h := m.t.hashOf(ptr(key))
	for range readTries {
		i, v := m.t.find(ptr(key), h)
		if i == none {
			return errno.ENOENT
		}
		m.load(ptr(value), i, flags)
		if atomic.LoadUint32(m.t.version(i)) == v {
			return 0
		}
	}
	return errno.EBUSY
}

func (m *SharedHash) update(key, value []byte, flags uint64) errno.Errno {
	return m.put(ptr(key), ptr(value), flags)
}

func (m *SharedHash) delete(key []byte) errno.Errno { return m.remove(ptr(key), nil, 0) }

func (m *SharedHash) pop(key, value []byte, flags uint64) errno.Errno {
	return m.remove(ptr(key), ptr(value), flags)
}

func (m *SharedHash) nextKey(key, next []byte) errno.Errno { return m.t.nextKey(key, next) }

// nextKey gives the keys in the order of [table.nextKey].
func (t *sharedTable) nextKey(key, next []byte) errno.Errno {
	bucket := uint64(0)
	if key != nil {
		h := t.hashOf(ptr(key))
		if i, v := t.find(ptr(key), h); i != none {
			n := atomic.LoadUint32(t.next(i))
			if atomic.LoadUint32(t.version(i)) == v && t.nextIn(next, n, h&t.mask) {
				return 0
			}
			bucket = uint64(h&t.mask) + 1
		}
	}
	for ; bucket <= uint64(t.mask); bucket++ {
		if t.copyKey(next, atomic.LoadUint32(t.head(uint32(bucket))), uint32(bucket)) {
			return 0
		}
	}
	return errno.ENOENT
}

// nextIn copies the first key from element i on in the bucket's chain that no element nearer to the head has. A key is
// there twice while one element takes another's place, and longer where who did it was killed meanwhile or stands still.
func (t *sharedTable) nextIn(next []byte, i, bucket uint32) bool {
	for steps := t.count; steps > 0 && t.copyKey(next, i, bucket); steps-- {
		if first, _ := t.find(ptr(next), t.hashOf(ptr(next))); first == i || first == none {
			return true
		}
		i = atomic.LoadUint32(t.next(i))
	}
	return false
}

// copyKey copies the key of element i, if that is one and of the bucket.
func (t *sharedTable) copyKey(dst []byte, i, bucket uint32) bool {
	if !t.lead(i) {
		return false
	}
	for range readTries {
		v := atomic.LoadUint32(t.version(i))
		if atomic.LoadUint32(t.hash(i))&t.mask != bucket {
			return false
		}
		loadWords(ptr(dst), t.key(i), uintptr(t.keySize))
		if v&1 == 0 && atomic.LoadUint32(t.version(i)) == v {
			return true
		}
	}
	return false
}

// batch is [table.batch]: whole buckets at a time.
func (m *SharedHash) batch(b *Batch, remove bool) (int, errno.Errno) {
	t := m.t
	ks, vs := int(t.keySize), m.ValueSize()
	if b.Flags != 0 {
		return 0, errno.EINVAL
	}
	if b.Count == 0 {
		return 0, 0
	}
	bucket := uint64(0)
	if b.In != nil {
		if len(b.In) < 4 {
			return 0, errno.EFAULT
		}
		bucket = uint64(binary.NativeEndian.Uint32(b.In))
	}
	if bucket > uint64(t.mask) {
		return 0, errno.ENOENT
	}
	if !b.holds(ks, vs) || len(b.Out) < 4 {
		return 0, errno.EFAULT
	}
	n, e := 0, errno.ENOENT
	for ; bucket <= uint64(t.mask); bucket++ {
		got, full := m.batchBucket(uint32(bucket), b, n, remove)
		if full != 0 {
			if e = 0; n == 0 {
				e = full
			}
			break
		}
		n += got
	}
	binary.NativeEndian.PutUint32(b.Out, uint32(bucket))
	return n, e
}

// batchBucket copies one bucket behind the n elements there are. ENOSPC says that it does not fit.
func (m *SharedHash) batchBucket(bucket uint32, b *Batch, n int, remove bool) (int, errno.Errno) {
	t := m.t
	if !t.lead(atomic.LoadUint32(t.head(bucket))) {
		return 0, 0
	}
	if e := t.hold(bucket % tableLocks); e != 0 {
		return 0, e
	}
	defer t.release(bucket % tableLocks)
	var chain []uint32
	for l := atomic.LoadUint32(t.head(bucket)); t.lead(l); l = atomic.LoadUint32(t.next(l)) {
		if chain = append(chain, l); len(chain) > int(b.Count)-n {
			return 0, errno.ENOSPC
		}
	}
	ks, vs := int(t.keySize), int(m.n)
	for k, i := range chain {
		loadWords(ptr(b.Keys[(n+k)*ks:]), t.key(i), uintptr(ks))
		m.load(ptr(b.Values[(n+k)*vs:]), i, b.ElemFlags)
		if remove && t.unlink(i, bucket) {
			t.free(i)
		}
	}
	return len(chain), 0
}
