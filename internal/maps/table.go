package maps

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// table is the chained hash table behind all hash types. It lies off-heap, so
// that native code can walk it; links are 32-bit element numbers.
//
//	buckets           elements (elemSize apart)
//	┌──────────┐      ┌──────┬──────┬──────┬──────┬───── ─ ─┬────────── ─ ─┐
//	│ 5        │─────▶│ next │ hash │      │ ref  │ key     │ value        │ 5
//	├──────────┤      └──┬───┴──────┴──────┴──────┴───── ─ ─┴────────── ─ ─┘
//	│ 0        │         │    ┌──────┬──────┬── ─
//	├──────────┤         └───▶│ next │ hash │      2
//	│ end │ 2  │              └──┬───┴──────┴── ─
//	└──────────┘                 └──▶ end │ 0
//
// A chain ends in a marker with the bucket's number (the kernel's nulls
// lists); a bucket that was never used is 0, so that a new table touches no
// memory. There is no element 0. Readers take no lock: they load the head, compare hash, then key, and begin
// again when they come out at another bucket's marker, which happens only if
// an element they stood on was given to another key. Writers hold the
// bucket's stripe; a new element is linked before the one it replaces is
// unlinked, so readers never miss a key that is there.
//
// Unlinked elements are used again, oldest first, when no program that ran at
// the time still runs; only when memory for max_entries and a reserve is all
// waiting, earlier (as the kernel always does: readers notice by the marker,
// and a program may find another key's value where it kept an address).
type table struct {
	buckets  uint64 // address of the heads
	mask     uint32 // number of buckets − 1
	elems    uint64 // address of element 0
	elemSize uint64
	valOff   uint64
	keySize  uint32
	seed     uint32

	block *mem.Block // heads, elements, and the pool's ring
	locks [64]bucketLock
	pool  pool
}

// bucketLock is the lock of every 64th bucket. A few elements of the pool are kept
// with it, as whoever replaces one holds it anyway, and the pool's own lock is another to wait for.
type bucketLock struct {
	seqLock
	spare, dead   [spares]uint32 // to be used next; taken out and to be given back
	nSpare, nDead uint32
	_             [64 - 16 - 8*spares - 8]byte // a cache line each
}

const spares = 5

// Layout of an element, for inlined lookups. Offsets in bytes.
const (
	ElemNext = 0  // link to the next element of the chain
	ElemHash = 4  // hash of the key
	ElemFree = 8  // of shared tables alone
	ElemRef  = 12 // LRU types: a byte, 1 when a program looked the element up
	ElemKey  = 16 // the key, zero-padded to 8 bytes; then the value
)

// LinkEnd marks the end of a chain; the other bits are the bucket's number. A head of 0 is an end too.
const LinkEnd = 1 << 31

// none is the link to no element at all.
const none = ^uint32(0)

// newTable makes a table of 2^k ≥ entries buckets with memory for entries and
// reserve elements of valueSize bytes. Memory is touched when it is used.
func newTable(entries, reserve, keySize uint32, valueSize uint64, seed uint32, epoch *mem.Epoch) (*table, errno.Errno) {
	n := uint64(1) << bits.Len32(entries-1)
	t := &table{mask: uint32(n - 1), keySize: keySize, seed: seed}
	t.valOff = ElemKey + uint64(round8(keySize))
	t.elemSize = t.valOff + valueSize
	heads := (n*4 + cacheLine - 1) &^ (cacheLine - 1)
	count := min(uint64(entries)+uint64(reserve)+1, LinkEnd)
	over, total := bits.Mul64(t.elemSize, count)
	if over != 0 || total > maxMapBytes-heads-ringBytes(count) {
		return nil, errno.ENOMEM
	}
	b, err := mem.Alloc(int(heads + total + ringBytes(count)))
	if err != nil {
		return nil, errno.ENOMEM
	}
	t.block, t.buckets, t.elems = b, b.Addr(), b.Addr()+heads
	t.pool = newPool(t.elems+total, uint32(count), epoch)
	t.pool.fresh = 1
	return t, 0
}

// isEnd reports whether a link leads to no element: it is 0 or has [LinkEnd] set.
func isEnd(link uint32) bool { return int32(link) <= 0 }

func (t *table) head(bucket uint32) *uint32 {
	return (*uint32)(mem.Ptr(t.buckets + uint64(bucket)*4))
}

// addr, next, hash, key and value give the parts of element i.
func (t *table) addr(i uint32) uint64 { return t.elems + uint64(i)*t.elemSize }

func (t *table) next(i uint32) *uint32 { return (*uint32)(mem.Ptr(t.addr(i) + ElemNext)) }

func (t *table) hash(i uint32) *uint32 { return (*uint32)(mem.Ptr(t.addr(i) + ElemHash)) }

func (t *table) key(i uint32) unsafe.Pointer { return mem.Ptr(t.addr(i) + ElemKey) }

func (t *table) value(i uint32) uint64 { return t.addr(i) + t.valOff }

// hashOf hashes a key.
func (t *table) hashOf(key unsafe.Pointer) uint32 { return jhash(key, t.keySize, t.seed) }

// lock returns the lock of a hash's bucket.
func (t *table) lock(h uint32) *bucketLock { return t.lockOf(h & t.mask) }

func (t *table) lockOf(bucket uint32) *bucketLock { return &t.locks[bucket%uint32(len(t.locks))] }

// quiesce returns when whatever was done under locks at the time is done.
func (t *table) quiesce() {
	for i := range t.locks {
		t.locks[i].Lock()
		t.locks[i].Unlock()
	}
}

// lockAll holds all buckets, unlockAll lets them go.
func (t *table) lockAll() {
	for i := range t.locks {
		t.locks[i].Lock()
	}
}

func (t *table) unlockAll() {
	for i := range t.locks {
		t.locks[i].Unlock()
	}
}

// take returns an element to fill, or none; l is held.
func (t *table) take(l *bucketLock) uint32 {
	if l.nSpare == 0 {
		l.nSpare = t.pool.exchange(l.dead[:l.nDead], l.spare[:])
		if l.nDead = 0; l.nSpare == 0 {
			return none
		}
	}
	l.nSpare--
	return l.spare[l.nSpare]
}

// give takes an unlinked element back; l is held.
func (t *table) give(l *bucketLock, i uint32) {
	if l.nDead == spares {
		t.pool.exchange(l.dead[:], nil)
		l.nDead = 0
	}
	l.dead[l.nDead] = i
	l.nDead++
}

// read copies the first n bytes of the value of a key, without the lock. Unless
// it is sure, a writer was in the way, and what it says is worth nothing.
func (t *table) read(key unsafe.Pointer, h uint32, out unsafe.Pointer, n uintptr) (found, sure bool) {
	l := t.lock(h)
	seen := l.begin()
	i := t.find(key, h)
	if i != none {
		loadWords(out, mem.Ptr(t.value(i)), n)
	}
	return i != none, l.same(seen)
}

// find returns the element with the key, or none. It needs no lock.
func (t *table) find(key unsafe.Pointer, h uint32) uint32 {
	bucket := h & t.mask
	for {
		l := atomic.LoadUint32(t.head(bucket))
		for !isEnd(l) {
			e := mem.Ptr(t.addr(l))
			if atomic.LoadUint32((*uint32)(unsafe.Add(e, ElemHash))) == h && equal(unsafe.Add(e, ElemKey), key, t.keySize) {
				return l
			}
			l = atomic.LoadUint32((*uint32)(unsafe.Add(e, ElemNext)))
		}
		if l == LinkEnd|bucket || l == 0 {
			return none
		}
	}
}

// fill writes key and hash into an element nobody can reach yet.
func (t *table) fill(i uint32, key unsafe.Pointer, h uint32) {
	k := t.key(i)
	copyWords(k, key, uintptr(t.keySize))
	mem.StoreRelease32(t.hash(i), h)
}

// link puts an element at the head of its chain; the bucket is locked.
func (t *table) link(i uint32) {
	bucket := *t.hash(i) & t.mask
	head := t.head(bucket)
	next := *head
	if next == 0 {
		next = LinkEnd | bucket
	}
	mem.StoreRelease32(t.next(i), next)
	mem.StoreRelease32(head, i)
}

// seek is find for who holds the bucket: it returns the link to the element, or nil.
func (t *table) seek(key unsafe.Pointer, h uint32) *uint32 {
	at := t.head(h & t.mask)
	for !isEnd(*at) {
		e := mem.Ptr(t.addr(*at))
		if *(*uint32)(unsafe.Add(e, ElemHash)) == h && equal(unsafe.Add(e, ElemKey), key, t.keySize) {
			return at
		}
		at = (*uint32)(unsafe.Add(e, ElemNext))
	}
	return nil
}

// replace puts element i at the head of its chain and takes out the one that a
// link leads to; the bucket is locked.
func (t *table) replace(at *uint32, i uint32) {
	next := *t.next(*at)
	if head := t.head(*t.hash(i) & t.mask); head == at {
		mem.StoreRelease32(t.next(i), next)
		mem.StoreRelease32(head, i)
		return
	}
	t.link(i)
	mem.StoreRelease32(at, next)
}

// toFront puts the element that a link leads to where one that replaced it would be.
// The bucket is locked, and no program may walk it.
func (t *table) toFront(at *uint32) {
	i := *at
	head := t.head(*t.hash(i) & t.mask)
	if head == at {
		return
	}
	mem.StoreRelease32(at, *t.next(i))
	mem.StoreRelease32(t.next(i), *head)
	mem.StoreRelease32(head, i)
}

// unlink takes an element out of its chain; the bucket is locked. Readers that
// stand on it go on from it as before. It reports whether the element was there.
func (t *table) unlink(i uint32) bool {
	at := t.head(*t.hash(i) & t.mask)
	for *at != i {
		if isEnd(*at) {
			return false
		}
		at = t.next(*at)
	}
	mem.StoreRelease32(at, *t.next(i))
	return true
}

// nextKey follows htab_map_get_next_key: chains in the order of the buckets,
// the newest element of a chain first; a key that is not there starts over.
//
// hash is the table's hash function.
func (t *table) nextKey(key, next []byte, hash func(unsafe.Pointer) uint32) errno.Errno {
	bucket := uint32(0)
	if key != nil {
		h := hash(ptr(key))
		l := t.lock(h)
		l.Lock()
		if i := t.find(ptr(key), h); i != none {
			if n := *t.next(i); !isEnd(n) {
				copyWords(ptr(next), t.key(n), uintptr(t.keySize))
				l.Unlock()
				return 0
			}
			if bucket = h & t.mask; bucket == t.mask {
				l.Unlock()
				return errno.ENOENT
			}
			bucket++
		}
		l.Unlock()
	}
	for ; ; bucket++ {
		if !isEnd(atomic.LoadUint32(t.head(bucket))) {
			l := t.lockOf(bucket)
			l.Lock()
			if i := *t.head(bucket); !isEnd(i) {
				copyWords(ptr(next), t.key(i), uintptr(t.keySize))
				l.Unlock()
				return 0
			}
			l.Unlock()
		}
		if bucket == t.mask {
			return errno.ENOENT
		}
	}
}

// progNext walks the elements for bpf_for_each_map_elem, without locks: an
// element the callback deletes still leads on.
func (t *table) progNext(it Iter) (Iter, bool) {
	if it.live {
		it.elem = atomic.LoadUint32(t.next(it.elem))
		it.live = !isEnd(it.elem)
	}
	for !it.live {
		if it.pos > t.mask {
			return it, false
		}
		it.elem = atomic.LoadUint32(t.head(it.pos))
		it.live = !isEnd(it.elem)
		it.pos++
	}
	it.Key = t.addr(it.elem) + ElemKey
	return it, true
}

// each calls f with every element; for tables no program can reach any more.
func (t *table) each(f func(i uint32)) {
	for b := range uint64(t.mask) + 1 {
		for i := *t.head(uint32(b)); !isEnd(i); i = *t.next(i) {
			f(i)
		}
	}
}

// equal compares n bytes, whole words first.
func equal(a, b unsafe.Pointer, n uint32) bool {
	i := uintptr(0)
	for ; i+8 <= uintptr(n); i += 8 {
		if *(*uint64)(unsafe.Add(a, i)) != *(*uint64)(unsafe.Add(b, i)) {
			return false
		}
	}
	if n&4 != 0 {
		if *(*uint32)(unsafe.Add(a, i)) != *(*uint32)(unsafe.Add(b, i)) {
			return false
		}
		i += 4
	}
	for ; i < uintptr(n); i++ {
		if *(*byte)(unsafe.Add(a, i)) != *(*byte)(unsafe.Add(b, i)) {
			return false
		}
	}
	return true
}
