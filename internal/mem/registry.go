package mem

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// live is every Block not yet freed, by address, in leaves of a few hundred:
// a change copies one leaf and the list of leaves, and readers take no lock.
var live struct {
	sync.Mutex // held by those who change it
	leaves     atomic.Pointer[[]leaf]
}

type span struct{ lo, hi uint64 } // hi exclusive

// leaf is neighbouring spans; never empty, never changed.
type leaf []span

const maxLeaf = 256

func compareSpan(s span, addr uint64) int {
	switch {
	case addr < s.lo:
		return 1
	case addr >= s.hi:
		return -1
	}
	return 0
}

func leaves() []leaf {
	if p := live.leaves.Load(); p != nil {
		return *p
	}
	return nil
}

// leafOf returns the index of the leaf an address belongs into, 0 when it lies before all.
func leafOf(ls []leaf, addr uint64) int {
	i, found := slices.BinarySearchFunc(ls, addr, func(l leaf, addr uint64) int { return cmp.Compare(l[0].lo, addr) })
	if !found && i > 0 {
		i--
	}
	return i
}

func register(b *Block) *Block {
	live.Lock()
	defer live.Unlock()
	next := slices.Clone(leaves())
	s := span{b.addr, b.addr + uint64(len(b.data))}
	if len(next) == 0 {
		next = append(next, leaf{s})
	} else {
		i := leafOf(next, b.addr)
		at, _ := slices.BinarySearchFunc(next[i], b.addr, compareSpan)
		grown := slices.Insert(slices.Clone(next[i]), at, s)
		next[i] = grown
		if n := len(grown); n > maxLeaf {
			next[i] = grown[: n/2 : n/2]
			next = slices.Insert(next, i+1, grown[n/2:])
		}
	}
	live.leaves.Store(&next)
	return b
}

func unregister(b *Block) {
	live.Lock()
	defer live.Unlock()
	next := slices.Clone(leaves())
	if len(next) == 0 {
		return
	}
	i := leafOf(next, b.addr)
	at, ok := slices.BinarySearchFunc(next[i], b.addr, compareSpan)
	if !ok {
		return
	}
	if next[i] = slices.Delete(slices.Clone(next[i]), at, at+1); len(next[i]) == 0 {
		next = slices.Delete(next, i, i+1)
	}
	live.leaves.Store(&next)
}

// Readable reports whether the n bytes at addr lie in one Block. The answer
// holds as long as nobody frees it: ask inside an epoch. Probing loads and
// helpers ask before they follow a pointer that may be anything.
func Readable(addr uint64, n int) bool { return uint64(n) <= Extent(addr) }

// Extent is the number of bytes from addr to the end of the Block it lies in, 0
// where it lies in none.
func Extent(addr uint64) uint64 {
	ls := leaves()
	if len(ls) == 0 {
		return 0
	}
	s := ls[leafOf(ls, addr)]
	if i, ok := slices.BinarySearchFunc(s, addr, compareSpan); ok {
		return s[i].hi - addr
	}
	return 0
}
