package mem

import (
	"slices"
	"sync"
	"sync/atomic"
)

// live is every Block not yet freed, by address: copied on each change, read
// without a lock.
var live struct {
	sync.Mutex // held by those who change it
	spans      atomic.Pointer[[]span]
}

type span struct{ lo, hi uint64 } // hi exclusive

func compareSpan(s span, addr uint64) int {
	switch {
	case addr < s.lo:
		return 1
	case addr >= s.hi:
		return -1
	}
	return 0
}

func spans() []span {
	if p := live.spans.Load(); p != nil {
		return *p
	}
	return nil
}

func register(b *Block) *Block {
	live.Lock()
	defer live.Unlock()
	old := spans()
	i, _ := slices.BinarySearchFunc(old, b.addr, compareSpan)
	next := slices.Insert(slices.Clone(old), i, span{b.addr, b.addr + uint64(len(b.data))})
	live.spans.Store(&next)
	return b
}

func unregister(b *Block) {
	live.Lock()
	defer live.Unlock()
	old := spans()
	if i, ok := slices.BinarySearchFunc(old, b.addr, compareSpan); ok {
		next := slices.Delete(slices.Clone(old), i, i+1)
		live.spans.Store(&next)
	}
}

// Readable reports whether the n bytes at addr lie in one Block. The answer
// holds as long as nobody frees it: ask inside an epoch. Probing loads and
// helpers ask before they follow a pointer that may be anything.
func Readable(addr uint64, n int) bool { return uint64(n) <= Extent(addr) }

// Extent is the number of bytes from addr to the end of the Block it lies in, 0
// where it lies in none.
func Extent(addr uint64) uint64 {
	s := spans()
	if i, ok := slices.BinarySearchFunc(s, addr, compareSpan); ok {
		return s[i].hi - addr
	}
	return 0
}
