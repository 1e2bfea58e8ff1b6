package mem

import "golang.org/x/sys/unix"

// noReserve keeps the system from refusing a large block of which only little
// may ever be written, such as a hash table for its largest number of elements.
const noReserve = unix.MAP_NORESERVE

// hugeFrom is the size, in bytes, from which a block asks for huge pages.
const hugeFrom = 8 << 20

// preferHuge asks for huge pages behind a large block: random accesses, as to a
// hash table of a million elements, spend most of their time on the walk of page tables otherwise.
// A refusal only costs time later.
func preferHuge(raw []byte) {
	if len(raw) >= hugeFrom {
		_ = unix.Madvise(raw, unix.MADV_HUGEPAGE)
	}
}

// Wipe makes n bytes from off on zero; both are multiples of the page size. The
// pages go back to the system.
func (b *Block) Wipe(off, n int) {
	if unix.Madvise(b.data[off:off+n], unix.MADV_DONTNEED) != nil {
		clear(b.data[off : off+n])
	}
}

// Lazy reports whether a block takes memory only where it is written.
const Lazy = true
