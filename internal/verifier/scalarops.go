package verifier

import (
	"math"
	"math/bits"
)

// This file has the arithmetic of scalars: dst op= src, view by view. None of
// these calls sync; the caller does, once, after zero-extending a 32-bit result.

func addS64(a, b int64) (sum int64, over bool) {
	sum = a + b
	return sum, (a^sum)&(b^sum) < 0
}

func subS64(a, b int64) (diff int64, over bool) {
	diff = a - b
	return diff, (a^b)&(a^diff) < 0
}

func mulS64(a, b int64) (prod int64, over bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	// The signed high word is the unsigned one corrected for negative factors.
	shi := int64(hi) - a>>63&b - b>>63&a
	return int64(lo), shi != int64(lo)>>63
}

func (d *scalar) add64(s *scalar) {
	lo, o1 := addS64(d.smin, s.smin)
	hi, o2 := addS64(d.smax, s.smax)
	if o1 || o2 {
		lo, hi = math.MinInt64, math.MaxInt64
	}
	d.smin, d.smax = lo, hi
	ulo, c1 := bits.Add64(d.umin, s.umin, 0)
	uhi, c2 := bits.Add64(d.umax, s.umax, 0)
	d.umin, d.umax = ulo, uhi
	if c1 == 0 && c2 != 0 { // wraps for some sums but not for all
		d.umin, d.umax = 0, math.MaxUint64
	}
}

func (d *scalar) add32(s *scalar) {
	lo, hi := int64(d.s32min)+int64(s.s32min), int64(d.s32max)+int64(s.s32max)
	if lo != int64(int32(lo)) || hi != int64(int32(hi)) {
		lo, hi = math.MinInt32, math.MaxInt32
	}
	d.s32min, d.s32max = int32(lo), int32(hi)
	ulo, uhi := uint64(d.u32min)+uint64(s.u32min), uint64(d.u32max)+uint64(s.u32max)
	if ulo>>32 == 0 && uhi>>32 != 0 {
		ulo, uhi = 0, math.MaxUint32
	}
	d.u32min, d.u32max = uint32(ulo), uint32(uhi)
}

func (d *scalar) add(s *scalar) {
	d.add32(s)
	d.add64(s)
	d.bits = d.bits.add(s.bits)
}

func (d *scalar) sub64(s *scalar) {
	lo, o1 := subS64(d.smin, s.smax)
	hi, o2 := subS64(d.smax, s.smin)
	if o1 || o2 {
		lo, hi = math.MinInt64, math.MaxInt64
	}
	d.smin, d.smax = lo, hi
	ulo, b1 := bits.Sub64(d.umin, s.umax, 0)
	uhi, b2 := bits.Sub64(d.umax, s.umin, 0)
	d.umin, d.umax = ulo, uhi
	if b1 != 0 && b2 == 0 {
		d.umin, d.umax = 0, math.MaxUint64
	}
}

func (d *scalar) sub32(s *scalar) {
	lo, hi := int64(d.s32min)-int64(s.s32max), int64(d.s32max)-int64(s.s32min)
	if lo != int64(int32(lo)) || hi != int64(int32(hi)) {
		lo, hi = math.MinInt32, math.MaxInt32
	}
	d.s32min, d.s32max = int32(lo), int32(hi)
	ulo, uhi := int64(d.u32min)-int64(s.u32max), int64(d.u32max)-int64(s.u32min)
	if ulo < 0 && uhi >= 0 {
		ulo, uhi = 0, math.MaxUint32
	}
	d.u32min, d.u32max = uint32(ulo), uint32(uhi)
}

func (d *scalar) sub(s *scalar) {
	d.sub32(s)
	d.sub64(s)
	d.bits = d.bits.sub(s.bits)
}

// neg makes d zero minus itself.
func (d *scalar) neg() {
	old := *d
	*d = constScalar(0)
	d.sub(&old)
}

func (d *scalar) mul64(s *scalar) {
	if over, top := bits.Mul64(d.umax, s.umax); over != 0 {
		d.umin, d.umax = 0, math.MaxUint64
	} else {
		d.umin, d.umax = d.umin*s.umin, top
	}
	p0, o0 := mulS64(d.smin, s.smin)
	p1, o1 := mulS64(d.smin, s.smax)
	p2, o2 := mulS64(d.smax, s.smin)
	p3, o3 := mulS64(d.smax, s.smax)
	if o0 || o1 || o2 || o3 {
		d.smin, d.smax = math.MinInt64, math.MaxInt64
		return
	}
	d.smin, d.smax = min(p0, p1, p2, p3), max(p0, p1, p2, p3)
}

func (d *scalar) mul32(s *scalar) {
	if p := uint64(d.u32max) * uint64(s.u32max); p>>32 != 0 {
		d.u32min, d.u32max = 0, math.MaxUint32
	} else {
		d.u32min, d.u32max = d.u32min*s.u32min, uint32(p)
	}
	dl, dh, sl, sh := int64(d.s32min), int64(d.s32max), int64(s.s32min), int64(s.s32max)
	lo, hi := min(dl*sl, dl*sh, dh*sl, dh*sh), max(dl*sl, dl*sh, dh*sl, dh*sh)
	if lo != int64(int32(lo)) || hi != int64(int32(hi)) {
		lo, hi = math.MinInt32, math.MaxInt32
	}
	d.s32min, d.s32max = int32(lo), int32(hi)
}

func (d *scalar) mul(s *scalar) {
	d.bits = d.bits.mul(s.bits)
	d.mul32(s)
	d.mul64(s)
}

// signedFromUnsigned sets the signed ranges of both widths after a bitwise
// operation: equal to the unsigned ones where those do not cross the sign.
func (d *scalar) signedFromUnsigned32() {
	if int32(d.u32min) <= int32(d.u32max) {
		d.s32min, d.s32max = int32(d.u32min), int32(d.u32max)
	} else {
		d.s32min, d.s32max = math.MinInt32, math.MaxInt32
	}
}

func (d *scalar) signedFromUnsigned64() {
	if int64(d.umin) <= int64(d.umax) {
		d.smin, d.smax = int64(d.umin), int64(d.umax)
	} else {
		d.smin, d.smax = math.MinInt64, math.MaxInt64
	}
}

func (d *scalar) setConst32(v uint32) {
	d.bits = d.bits.withSubreg(tnumConst(uint64(v)))
	d.s32min, d.s32max, d.u32min, d.u32max = int32(v), int32(v), v, v
}

// bitwise applies and, or or xor. The bits are exact; the ranges follow from
// them and from what the operation cannot exceed.
func (d *scalar) bitwise(op func(a, b tnum) tnum, s *scalar, lim func(d, s *scalar)) {
	_, s32 := s.known(true)
	_, s64 := s.known(false)
	d.bits = op(d.bits, s.bits)
	if v, ok := d.known(false); ok && s64 {
		*d = constScalar(v)
		return
	}
	lim(d, s)
	if v, ok := d.known(true); ok && s32 {
		d.setConst32(uint32(v))
	} else {
		d.signedFromUnsigned32()
	}
	d.signedFromUnsigned64()
	d.fromBits()
}

func (d *scalar) and(s *scalar) {
	d.bitwise(tnum.and, s, func(d, s *scalar) {
		d.u32min, d.u32max = uint32(d.bits.value), min(d.u32max, s.u32max)
		d.umin, d.umax = d.bits.value, min(d.umax, s.umax)
	})
}

func (d *scalar) or(s *scalar) {
	d.bitwise(tnum.or, s, func(d, s *scalar) {
		d.u32min, d.u32max = max(d.u32min, s.u32min), uint32(d.bits.value|d.bits.mask)
		d.umin, d.umax = max(d.umin, s.umin), d.bits.value|d.bits.mask
	})
}

func (d *scalar) xor(s *scalar) {
	d.bitwise(tnum.xor, s, func(d, _ *scalar) {
		d.u32min, d.u32max = uint32(d.bits.value), uint32(d.bits.value|d.bits.mask)
		d.umin, d.umax = d.bits.value, d.bits.value|d.bits.mask
	})
}

// Shifts are by a known number n of bits, less than the operation's width.

func (d *scalar) lshRange32(n uint8) {
	d.s32min, d.s32max = math.MinInt32, math.MaxInt32
	if n > 31 || uint64(d.u32max) > uint64(1)<<(31-n) {
		d.u32min, d.u32max = 0, math.MaxUint32
	} else {
		d.u32min <<= n
		d.u32max <<= n
	}
}

func (d *scalar) lsh32(n uint8) {
	b := d.bits.subreg()
	d.lshRange32(n)
	d.bits = b.lsh(n).subreg()
	d.unbound64()
	d.fromBits32()
}

func (d *scalar) lsh64(n uint8) {
	if n == 32 { // how compilers sign-extend: shift back arithmetically afterwards
		d.smin, d.smax = int64(d.s32min)<<32, int64(d.s32max)<<32
	} else {
		d.smin, d.smax = math.MinInt64, math.MaxInt64
	}
	if d.umax > uint64(1)<<(63-n) {
		d.umin, d.umax = 0, math.MaxUint64
	} else {
		d.umin <<= n
		d.umax <<= n
	}
	d.lshRange32(n)
	d.bits = d.bits.lsh(n)
	d.fromBits()
}

func (d *scalar) rsh32(n uint8) {
	d.bits = d.bits.subreg().rsh(n)
	d.s32min, d.s32max = math.MinInt32, math.MaxInt32
	d.u32min >>= n
	d.u32max >>= n
	d.unbound64()
	d.fromBits32()
}

func (d *scalar) rsh64(n uint8) {
	d.bits = d.bits.rsh(n)
	d.smin, d.smax = math.MinInt64, math.MaxInt64
	d.umin >>= n
	d.umax >>= n
	d.unbound32()
	d.fromBits()
}

func (d *scalar) arsh32(n uint8) {
	d.s32min >>= n
	d.s32max >>= n
	d.bits = d.bits.subreg().arsh(n, 32)
	d.u32min, d.u32max = 0, math.MaxUint32
	d.unbound64()
	d.fromBits32()
}

func (d *scalar) arsh64(n uint8) {
	d.smin >>= n
	d.smax >>= n
	d.bits = d.bits.arsh(n, 64)
	d.umin, d.umax = 0, math.MaxUint64
	d.unbound32()
	d.fromBits()
}

// swapBytes keeps the low size bytes of d, in reverse order if swap is set.
func (d *scalar) swapBytes(size int, swap bool) {
	if swap {
		n := 64 - size*8
		d.bits = tnum{bits.ReverseBytes64(d.bits.value << n), bits.ReverseBytes64(d.bits.mask << n)}
		d.bits = d.bits.cast(size)
		d.unbound()
	}
	if size < 8 {
		d.truncate(size)
	} else {
		d.sync()
	}
}
