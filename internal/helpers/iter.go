package helpers

import (
	"math/bits"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// A numeric iterator takes eight bytes: the number before the next one, and the end.
const iterEnd = 4

// iterNumNew starts a walk over the numbers from start up to, not including, end.
func iterNumNew(_ *Env, it, start, end, _, _ uint64) uint64 {
	from, to := int32(start), int32(end)
	mem.Store64(it, 0)
	switch {
	case from > to:
		return int32Of(errno.EINVAL)
	case int64(to)-int64(from) > maxLoops:
		return int32Of(errno.E2BIG)
	}
	mem.Store32(it, uint32(from-1))
	mem.Store32(it+iterEnd, uint32(to))
	return 0
}

// iterNumNext returns the address of the next number, or 0 at the end.
func iterNumNext(_ *Env, it, _, _, _, _ uint64) uint64 {
	next := int32(mem.Load32(it)) + 1 // wraps, for a walk from the least number
	if next >= int32(mem.Load32(it+iterEnd)) {
		mem.Store64(it, 0)
		return 0
	}
	mem.Store32(it, uint32(next))
	return it
}

func iterNumDestroy(_ *Env, it, _, _, _, _ uint64) uint64 {
	mem.Store64(it, 0)
	return 0
}

// A bit iterator takes sixteen bytes:
//
//	0                           8               12              16
//	┌───────────────────────────┬───────────────┬───────────────┐
//	│ the bits, or their address│ how many      │ the last one  │
//	└───────────────────────────┴───────────────┴───────────────┘
const (
	bitsCount = 8
	bitsLast  = 12

	maxBitWords = 511 // BITS_ITER_NR_WORDS_MAX
)

// iterBitsNew starts a walk over the set bits of a copy of 64-bit words.
func iterBitsNew(e *Env, it, words, n, _, _ uint64) uint64 {
	mem.Store64(it, 0)
	mem.Store32(it+bitsCount, 0)
	mem.Store32(it+bitsLast, ^uint32(0))
	count := uint64(uint32(n))
	switch {
	case words == 0 || count == 0:
		return int32Of(errno.EINVAL)
	case count > maxBitWords:
		return int32Of(errno.E2BIG)
	case !e.readable(words, 8*count):
		return int32Of(errno.EFAULT)
	}
	if count == 1 {
		mem.Store64(it, mem.Load64(words))
	} else {
		b, err := mem.Alloc(int(8 * count))
		if err != nil {
			return int32Of(errno.ENOMEM)
		}
		copy(b.Bytes(), mem.Bytes(words, int(8*count)))
		e.blocks = append(e.blocks, b)
		mem.Store64(it, b.Addr())
	}
	mem.Store32(it+bitsCount, uint32(64*count))
	return 0
}

// iterBitsNext returns the address of the next set bit's number, or 0 at the end.
func iterBitsNext(_ *Env, it, _, _, _, _ uint64) uint64 {
	count := mem.Load32(it + bitsCount)
	for bit := mem.Load32(it+bitsLast) + 1; bit < count; {
		at := it
		if count > 64 {
			at = mem.Load64(it) + uint64(bit/64*8)
		}
		if rest := mem.Load64(at) >> (bit % 64); rest != 0 {
			mem.Store32(it+bitsLast, bit+uint32(bits.TrailingZeros64(rest)))
			return it + bitsLast
		}
		bit = (bit | 63) + 1
	}
	mem.Store32(it+bitsLast, count-1) // no next one, however often asked
	return 0
}

func iterBitsDestroy(e *Env, it, _, _, _, _ uint64) uint64 {
	if mem.Load32(it+bitsCount) <= 64 {
		return 0
	}
	for i, b := range e.blocks {
		if b.Addr() == mem.Load64(it) {
			b.Free()
			e.blocks = append(e.blocks[:i], e.blocks[i+1:]...)
			break
		}
	}
	return 0
}
