package maps

import (
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// lpmIndex takes lookups over the first levels of a large trie at one step: for
// every value of a key's first 16 bits it holds where a walk from the root comes to
// with those alone.
//
//	 0          64
//	┌──────────┬──────────────────┬──────────────────┬─ ─
//	│ sequence │ found │ next      │ found │ next      │
//	└──────────┴──────────────────┴──────────────────┴─ ─
//
//	found  the node with the longest prefix of less than 16 bits, plus one; 0: none
//	next   the first node on the way whose prefix is as long or longer, plus one; 0: the walk ends
//
// The sequence is odd while entries change, and until there are any. Who finds
// it odd, or another one after having loaded an entry, walks from the root; so every
// lookup sees the trie as it was at one moment.
type lpmIndex struct{ block *mem.Block }

// Layout of an index.
const (
	LPMIndexBits    = 16
	LPMIndexEntries = 64 // offset of the first entry

	lpmIndexMax  = 4096 // max_entries from which a trie may have one: it takes 512 KiB
	lpmIndexFrom = 256  // entries a trie has before it is filled
)

func (x *lpmIndex) open() errno.Errno {
	b, err := mem.Alloc(LPMIndexEntries + 8<<LPMIndexBits) // touched when it is filled
	if err != nil {
		return errno.ENOMEM
	}
	x.block = b
	atomic.StoreUint32(x.sequence(), 1)
	return 0
}

func (x *lpmIndex) free() {
	if x.block != nil {
		x.block.Free()
	}
}

func (x *lpmIndex) sequence() *uint32 { return (*uint32)(mem.Ptr(x.block.Addr())) }

func (x *lpmIndex) entry(i uint32) *uint64 {
	return (*uint64)(mem.Ptr(x.block.Addr() + LPMIndexEntries + uint64(i)*8))
}

// start returns where a walk for a key of at least 16 bits goes on, if the index can tell.
func (x *lpmIndex) start(data unsafe.Pointer) (found, next uint32, ok bool) {
	s := atomic.LoadUint32(x.sequence())
	if s&1 != 0 {
		return 0, 0, false
	}
	e := atomic.LoadUint64(x.entry(firstBits(data)))
	return uint32(e) - 1, uint32(e>>32) - 1, atomic.LoadUint32(x.sequence()) == s
}

// firstBits returns the first 16 bits of a key or node.
func firstBits(data unsafe.Pointer) uint32 {
	return uint32(*(*byte)(data))<<8 | uint32(*(*byte)(unsafe.Add(data, 1)))
}

// change begins a change of the trie; changed ends it.
func (m *LPMTrie) change() {
	if m.index.block != nil && m.indexed {
		atomic.AddUint32(m.index.sequence(), 1)
	}
}

// changed makes the index tell of the trie as it is. Nothing has changed but what
// is reached through a link that the first length bits of data lead to.
func (m *LPMTrie) changed(data unsafe.Pointer, length uint32) {
	switch {
	case m.index.block == nil:
		return
	case m.indexed:
		m.refresh(data, length)
	case m.entries < lpmIndexFrom:
		return
	default:
		m.indexed = true
		m.refresh(data, 0)
	}
	atomic.AddUint32(m.index.sequence(), 1)
}

// refresh makes the entries anew that begin with the first length bits of data.
func (m *LPMTrie) refresh(data unsafe.Pointer, length uint32) {
	if length > LPMIndexBits {
		return
	}
	found, n := none, *m.root
	for n != none && *m.prefix(n) < length {
		if *m.flags(n)&lpmInner == 0 {
			found = n
		}
		n = *m.child(n, bitAt(data, *m.prefix(n)))
	}
	size := uint32(1) << (LPMIndexBits - length)
	first := firstBits(data) &^ (size - 1)
	m.enter(n, found, first, first+size)
}

// enter fills the entries lo to hi-1, which all lead to n.
func (m *LPMTrie) enter(n, found, lo, hi uint32) {
	if n == none || *m.prefix(n) >= LPMIndexBits {
		m.fillIndex(found, n, lo, hi)
		return
	}
	size := uint32(1) << (LPMIndexBits - *m.prefix(n))
	first := firstBits(m.data(n)) &^ (size - 1)
	m.fillIndex(found, none, lo, first)
	m.fillIndex(found, none, first+size, hi)
	if *m.flags(n)&lpmInner == 0 {
		found = n
	}
	m.enter(*m.child(n, 0), found, first, first+size/2)
	m.enter(*m.child(n, 1), found, first+size/2, first+size)
}

func (m *LPMTrie) fillIndex(found, next, lo, hi uint32) {
	for i := lo; i < hi; i++ {
		atomic.StoreUint64(m.index.entry(i), uint64(next+1)<<32|uint64(found+1))
	}
}
