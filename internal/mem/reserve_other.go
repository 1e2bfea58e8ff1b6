//go:build !unix

package mem

// Wipe makes n bytes from off on zero; both are multiples of the page size.
func (b *Block) Wipe(off, n int) { clear(b.data[off : off+n]) }

// Lazy reports whether a block takes memory only where it is written.
const Lazy = false
