//go:build unix && !linux

package mem

// noReserve and preferHuge are nothing here: see Linux's.
const noReserve = 0

func preferHuge([]byte) {}

// Wipe makes n bytes from off on zero; both are multiples of the page size.
func (b *Block) Wipe(off, n int) { clear(b.data[off : off+n]) }

// Lazy reports whether a block takes memory only where it is written.
const Lazy = true
