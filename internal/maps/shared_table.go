package maps

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// sharedTable is the hash table of maps that several processes have. Chains, hashes and ends of chains are those of
// [table]; what differs is that a process may be killed between any two stores, and that others may write anything:
//
//	file │ first page │ 64 locks │ heads │ used: a bit per element │ elements: next, hash, owner, version │ key │ value
//
// A new element is filled while nobody can reach it, then linked by one store; an old one is unlinked by one. So a
// chain is whole at every moment. Whose an element is, its owner says: 0 nobody's, n + 1 lock n's; all
// changes are made under that lock. When its holder is killed, who takes it after him gives back what is lock n's and in no chain of
// it (repair). used is only a hint where free elements are.
//
// Each lock has one element to spare beyond max_entries, which takes a new value when all are in use.
//
// Readers take no lock. version is odd while an element is filled, and another afterwards: a copy between two
// reads of the same version is of one element.
type sharedTable struct {
	*shm
	block                    *mem.Block
	locks, heads, bits, elms uint64 // addresses
	mask                     uint32 // number of buckets − 1
	count                    uint32 // of elements, with element 0, which is none
	keySize                  uint32
	valSize                  uint64 // rounded up to 8
	elemSize, valOff         uint64
	seed                     uint32
}

// What stands in an element at the places of ElemFree and ElemRef.
const (
	elemOwner   = ElemFree
	elemVersion = ElemRef
)

const (
	tableLocks   = 64
	lockStride   = cacheLine
	lockSpare    = 4 // behind the lock word: the element to spare
	maxSharedLen = 1 << 26
	// shmCursor is a word of the first page: where free elements are looked for.
	shmCursor = shmType
)

// place lays the table out from address at on, and returns its length.
func (t *sharedTable) place(def *catalog.MapDef, valueSize, at uint64) (uint64, bool) {
	if def.MaxEntries == 0 || def.MaxEntries > maxSharedLen {
		return 0, false
	}
	round := func(n uint64) uint64 { return (n + cacheLine - 1) &^ (cacheLine - 1) }
	n := uint64(1) << bits.Len32(def.MaxEntries-1)
	t.mask, t.count = uint32(n-1), def.MaxEntries+1+tableLocks
	t.keySize, t.valSize = def.KeySize, valueSize
	t.valOff = ElemKey + uint64(round8(def.KeySize))
	t.elemSize = t.valOff + valueSize
	t.locks = at
	t.heads = t.locks + tableLocks*lockStride
	t.bits = t.heads + round(n*4)
	t.elms = t.bits + round(uint64(t.words())*8)
	over, total := bits.Mul64(t.elemSize, uint64(t.count))
	return t.elms + total - at, over == 0 && total <= maxMapBytes
}

// words is how many words the hint has.
func (t *sharedTable) words() uint32 { return (t.count + 63) / 64 }

// openTable maps the table of c.
func openTable(c *core, valueSize uint64) (*sharedTable, errno.Errno) {
	t := &sharedTable{shm: c.shm, seed: c.shm.facts.Seed}
	n, _ := t.place(&c.def, valueSize, 0)
	b, e := c.shm.mapBehind(n)
	if e != 0 {
		return nil, e
	}
	t.block = b
	t.place(&c.def, valueSize, b.Addr())
	if c.shm.fresh {
		for n := range uint32(tableLocks) {
			i := t.count - tableLocks + n
			*t.owner(i), *t.spare(n) = n+1, i
		}
	}
	return t, 0
}

// Words of the table, of its elements and of its locks. i < count, bucket ≤ mask, n < tableLocks.

func (t *sharedTable) at(i uint32) uint64 { return t.elms + uint64(i)*t.elemSize }

func (t *sharedTable) word(addr uint64) *uint32 { return (*uint32)(mem.Ptr(addr)) }

func (t *sharedTable) head(bucket uint32) *uint32 { return t.word(t.heads + uint64(bucket)*4) }
func (t *sharedTable) next(i uint32) *uint32      { return t.word(t.at(i) + ElemNext) }
func (t *sharedTable) hash(i uint32) *uint32      { return t.word(t.at(i) + ElemHash) }
func (t *sharedTable) owner(i uint32) *uint32     { return t.word(t.at(i) + elemOwner) }
func (t *sharedTable) version(i uint32) *uint32   { return t.word(t.at(i) + elemVersion) }
func (t *sharedTable) lockWord(n uint32) *uint32  { return t.word(t.locks + uint64(n)*lockStride) }
func (t *sharedTable) spare(n uint32) *uint32 {
	return t.word(t.locks + uint64(n)*lockStride + lockSpare)
}

func (t *sharedTable) key(i uint32) unsafe.Pointer    { return mem.Ptr(t.at(i) + ElemKey) }
func (t *sharedTable) value(i uint32) uint64          { return t.at(i) + t.valOff }
func (t *sharedTable) used(w uint32) *uint64          { return (*uint64)(mem.Ptr(t.bits + uint64(w)*8)) }
func (t *sharedTable) hashOf(k unsafe.Pointer) uint32 { return jhash(k, t.keySize, t.seed) }

// lead reports whether a link leads to an element.
func (t *sharedTable) lead(link uint32) bool { return !isEnd(link) && link < t.count }

// findTries is how often a reader begins again that was led into another chain.
const findTries = 64

// find returns the element with the key and the version it was seen with, or none.
func (t *sharedTable) find(key unsafe.Pointer, h uint32) (i, version uint32) {
	bucket := h & t.mask
	for range findTries {
		l := atomic.LoadUint32(t.head(bucket))
		for steps := t.count; t.lead(l); steps-- {
			if steps == 0 {
				return none, 0 // a ring, not a chain
			}
			v := atomic.LoadUint32(t.version(l))
			if atomic.LoadUint32(t.hash(l)) == h && t.keyIs(l, key) && v&1 == 0 && atomic.LoadUint32(t.version(l)) == v {
				return l, v
			}
			l = atomic.LoadUint32(t.next(l))
		}
		if l == LinkEnd|bucket || l == 0 {
			break
		}
	}
	return none, 0
}

func (t *sharedTable) keyIs(i uint32, key unsafe.Pointer) bool {
	if ordered {
		return equal(t.key(i), key, t.keySize)
	}
	k := t.key(i)
	for n := uintptr(0); n < uintptr(t.keySize); n += 4 { // keys are padded
		v := atomic.LoadUint32((*uint32)(unsafe.Add(k, n)))
		if !equal(unsafe.Pointer(&v), unsafe.Add(key, n), min(4, t.keySize-uint32(n))) {
			return false
		}
	}
	return true
}

// hold takes lock n, and mends what a dead holder left.
func (t *sharedTable) hold(n uint32) errno.Errno {
	orphan, e := t.lock(t.lockWord(n))
	if orphan {
		t.repair(n)
	}
	return e
}

func (t *sharedTable) release(n uint32) { t.unlock(t.lockWord(n)) }

// fill writes an element that is in no chain.
func (t *sharedTable) fill(i uint32, key unsafe.Pointer, h uint32) {
	v := t.version(i)
	atomic.StoreUint32(v, *v|1)
	storeWords(t.key(i), key, uintptr(t.keySize))
	atomic.StoreUint32(t.hash(i), h)
}

// filled ends what fill began.
func (t *sharedTable) filled(i uint32) { atomic.AddUint32(t.version(i), 1) }

// link puts an element at the head of its chain.
func (t *sharedTable) link(i, bucket uint32) {
	next := atomic.LoadUint32(t.head(bucket))
	if next == 0 {
		next = LinkEnd | bucket
	}
	atomic.StoreUint32(t.next(i), next)
	atomic.StoreUint32(t.head(bucket), i)
}

// unlink takes an element out of a chain, if it is there.
func (t *sharedTable) unlink(i, bucket uint32) bool {
	at := t.head(bucket)
	for steps := t.count; steps > 0; steps-- {
		l := atomic.LoadUint32(at)
		if l == i {
			atomic.StoreUint32(at, atomic.LoadUint32(t.next(i)))
			return true
		}
		if !t.lead(l) {
			break
		}
		at = t.next(l)
	}
	return false
}

// alloc makes a free element lock n's, or returns none, if it finds none among the next words of the hint.
func (t *sharedTable) alloc(n, words uint32) uint32 {
	from := atomic.LoadUint32(t.word32(shmCursor)) % t.count
	skip := uint64(1)<<(from%64) - 1
	for k := range min(words, t.words()) + 1 {
		w := (from/64 + k) % t.words()
		for range 64 {
			u := atomic.LoadUint64(t.used(w))
			taken := u | skip | t.beyond(w)
			if taken == ^uint64(0) {
				break
			}
			b := bits.TrailingZeros64(^taken)
			if !atomic.CompareAndSwapUint64(t.used(w), u, u|1<<b) {
				continue
			}
			if i := w*64 + uint32(b); atomic.CompareAndSwapUint32(t.owner(i), 0, n+1) {
				atomic.StoreUint32(t.word32(shmCursor), i+1)
				return i
			}
		}
		skip = 0
	}
	return none
}

// beyond are the bits of a word of the hint that stand for no element.
func (t *sharedTable) beyond(w uint32) (m uint64) {
	if w == 0 {
		m = 1
	}
	if w == t.words()-1 && t.count%64 != 0 {
		m |= ^uint64(0) << (t.count % 64)
	}
	return m
}

// free gives back an element that is in no chain.
func (t *sharedTable) free(i uint32) {
	atomic.StoreUint32(t.owner(i), 0)
	t.hint(i)
}

func (t *sharedTable) hint(i uint32) { atomic.AndUint64(t.used(i/64), ^(uint64(1) << (i % 64))) }

// ordered: the processor keeps loads in order, and stores.
const ordered = runtime.GOARCH == "amd64"

// storeWords copies n bytes to shared memory that lies at a multiple of 8, in an order that the words
// around it, stored and loaded atomically, keep to. They are read by loadWords.
func storeWords(dst, src unsafe.Pointer, n uintptr) {
	if ordered {
		copyWords(dst, src, n)
		return
	}
	for i := uintptr(0); i < n; i += 8 {
		var w uint64
		copyWords(unsafe.Pointer(&w), unsafe.Add(src, i), min(8, n-i))
		atomic.StoreUint64((*uint64)(unsafe.Add(dst, i)), w)
	}
}
