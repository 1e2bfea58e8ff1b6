package maps

import (
	"math/bits"
	"unsafe"
)

// jhash is Bob Jenkins' lookup3 hash as the kernel uses it for map keys
// (include/linux/jhash.h), so that with BPF_F_ZERO_SEED keys come in the same
// order as on the kernel. n is the key's length in bytes, not 0.
//
// The kernel has a variant for keys of whole 32-bit words; on a little-endian
// machine it computes the same.
func jhash(key unsafe.Pointer, n, seed uint32) uint32 {
	a := 0xdeadbeef + n + seed
	b, c := a, a
	for n > 12 {
		a += word(key, 0)
		b += word(key, 4)
		c += word(key, 8)
		a -= c
		a ^= bits.RotateLeft32(c, 4)
		c += b
		b -= a
		b ^= bits.RotateLeft32(a, 6)
		a += c
		c -= b
		c ^= bits.RotateLeft32(b, 8)
		b += a
		a -= c
		a ^= bits.RotateLeft32(c, 16)
		c += b
		b -= a
		b ^= bits.RotateLeft32(a, 19)
		a += c
		c -= b
		c ^= bits.RotateLeft32(b, 4)
		b += a
		key = unsafe.Add(key, 12)
		n -= 12
	}
	switch {
	case n > 8:
		a += word(key, 0)
		b += word(key, 4)
		c += tail(key, 8, n)
	case n > 4:
		a += word(key, 0)
		b += tail(key, 4, n)
	default:
		a += tail(key, 0, n)
	}
	c ^= b
	c -= bits.RotateLeft32(b, 14)
	a ^= c
	a -= bits.RotateLeft32(c, 11)
	b ^= a
	b -= bits.RotateLeft32(a, 25)
	c ^= b
	c -= bits.RotateLeft32(b, 16)
	a ^= c
	a -= bits.RotateLeft32(c, 4)
	b ^= a
	b -= bits.RotateLeft32(a, 14)
	c ^= b
	c -= bits.RotateLeft32(b, 24)
	return c
}

// word reads 4 bytes at any alignment.
func word(p unsafe.Pointer, off uintptr) uint32 { return *(*uint32)(unsafe.Add(p, off)) }

// tail reads the bytes from off up to n, at most 4, as a little-endian number.
func tail(p unsafe.Pointer, off uintptr, n uint32) uint32 {
	if n == uint32(off)+4 {
		return word(p, off)
	}
	v := uint32(0)
	for i := uint32(off); i < n; i++ {
		v |= uint32(*(*byte)(unsafe.Add(p, i))) << (8 * (i - uint32(off)))
	}
	return v
}
