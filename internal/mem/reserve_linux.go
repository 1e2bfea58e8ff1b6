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
