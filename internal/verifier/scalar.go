package verifier

import (
	"math"
	"math/bits"
)

// scalar is what is known of a 64-bit number: its bits, and its ranges when it,
// or its low half, is read as signed or unsigned. Each view is a bound on its
// own; sync lets them sharpen each other (struct bpf_reg_state's bounds).
//
// A pointer's scalar is the variable part of its offset.
type scalar struct {
	bits           tnum
	smin, smax     int64
	umin, umax     uint64
	s32min, s32max int32
	u32min, u32max uint32
}

func constScalar(v uint64) scalar {
	return scalar{
		bits: tnumConst(v),
		smin: int64(v), smax: int64(v), umin: v, umax: v,
		s32min: int32(v), s32max: int32(v), u32min: uint32(v), u32max: uint32(v),
	}
}

var unknownScalar = scalar{
	bits: tnumUnknown,
	smin: math.MinInt64, smax: math.MaxInt64, umin: 0, umax: math.MaxUint64,
	s32min: math.MinInt32, s32max: math.MaxInt32, u32min: 0, u32max: math.MaxUint32,
}

func (s *scalar) unbound64() {
	s.smin, s.smax = math.MinInt64, math.MaxInt64
	s.umin, s.umax = 0, math.MaxUint64
}

func (s *scalar) unbound32() {
	s.s32min, s.s32max = math.MinInt32, math.MaxInt32
	s.u32min, s.u32max = 0, math.MaxUint32
}

func (s *scalar) unbound() {
	s.unbound64()
	s.unbound32()
}

// known returns the constant s is, as a 64-bit or, with sub, as a 32-bit number.
func (s *scalar) known(sub bool) (uint64, bool) {
	if sub {
		return uint64(uint32(s.bits.value)), uint32(s.bits.mask) == 0
	}
	return s.bits.value, s.bits.mask == 0
}

func (s *scalar) isConst() bool { return s.bits.mask == 0 }

// width is the number of low bits that may be set.
func (s *scalar) width() int { return bits.Len64(s.umax) }

// has reports whether the concrete number v may be what s describes.
func (s *scalar) has(v uint64) bool {
	return s.bits.has(v) &&
		s.umin <= v && v <= s.umax &&
		s.smin <= int64(v) && int64(v) <= s.smax &&
		s.u32min <= uint32(v) && uint32(v) <= s.u32max &&
		s.s32min <= int32(v) && int32(v) <= s.s32max
}

// contains reports whether every number in o is in s, view by view.
func (s *scalar) contains(o *scalar) bool { return s.spans(o) && s.bits.contains(o.bits) }

// spans compares the ranges only (range_within).
func (s *scalar) spans(o *scalar) bool {
	return s.umin <= o.umin && s.umax >= o.umax &&
		s.smin <= o.smin && s.smax >= o.smax &&
		s.u32min <= o.u32min && s.u32max >= o.u32max &&
		s.s32min <= o.s32min && s.s32max >= o.s32max
}

// empty reports whether some view has no number left: no run gets here.
func (s *scalar) empty() bool {
	return s.umin > s.umax || s.smin > s.smax || s.u32min > s.u32max || s.s32min > s.s32max
}

// consistent reports whether no view contradicts itself or the bits
// (reg_bounds_sanity_check). what names the contradiction in the kernel's words.
func (s *scalar) consistent() (what string, ok bool) {
	if s.empty() {
		return "range bounds violation", false
	}
	if v, ok := s.known(false); ok &&
		(s.umin != v || s.umax != v || s.smin != int64(v) || s.smax != int64(v)) {
		return "const tnum out of sync with range bounds", false
	}
	if v, ok := s.known(true); ok &&
		(s.u32min != uint32(v) || s.u32max != uint32(v) || s.s32min != int32(v) || s.s32max != int32(v)) {
		return "const subreg tnum out of sync with range bounds", false
	}
	return "", true
}

// sync lets every view learn from every other (reg_bounds_sync).
func (s *scalar) sync() {
	s.fromBits()
	for range 3 {
		s.deduce32()
		s.deduce64()
		s.deduceMixed()
	}
	s.toBits()
	s.fromBits()
}

// fromBits tightens the ranges by the known bits.
func (s *scalar) fromBits() {
	s.fromBits32()
	s.fromBits64()
}

func (s *scalar) fromBits32() {
	v, m := uint32(s.bits.value), uint32(s.bits.mask)
	s.s32min = max(s.s32min, int32(v|m&(1<<31)))
	s.s32max = min(s.s32max, int32(v|m&^(1<<31)))
	s.u32min = max(s.u32min, v)
	s.u32max = min(s.u32max, v|m)
}

func (s *scalar) fromBits64() {
	v, m := s.bits.value, s.bits.mask
	s.smin = max(s.smin, int64(v|m&(1<<63)))
	s.smax = min(s.smax, int64(v|m&^(1<<63)))
	s.umin = max(s.umin, v)
	s.umax = min(s.umax, v|m)
	s.onlyMember()
}

// onlyMember finds out whether the unsigned range has just one number with the
// known bits: that is it then.
func (s *scalar) onlyMember() {
	in := s.bits.has(s.umin)
	next := s.bits.after(s.umin)
	switch {
	case in && next > s.umax:
		*s = constScalar(s.umin)
	case in:
	case next == s.bits.value|s.bits.mask, next <= s.umax && s.bits.after(next) > s.umax:
		*s = constScalar(next)
	}
}

// toBits learns bits from the unsigned ranges.
func (s *scalar) toBits() {
	b64 := s.bits.intersect(tnumRange(s.umin, s.umax))
	b32 := b64.subreg().intersect(tnumRange(uint64(s.u32min), uint64(s.u32max)))
	s.bits = tnum{b64.value&^0xffffffff | b32.value, b64.mask&^0xffffffff | b32.mask}
}

func (s *scalar) cutS32(lo, hi int32) {
	s.s32min, s.s32max = max(s.s32min, lo), min(s.s32max, hi)
}

func (s *scalar) cutU32(lo, hi uint32) {
	s.u32min, s.u32max = max(s.u32min, lo), min(s.u32max, hi)
}

// deduce32 tightens the 32-bit ranges: by 64-bit ranges whose ends share their
// high half, or lie in neighbouring halves so that the low half only crosses
// zero upwards, and then by each other (__reg32_deduce_bounds).
func (s *scalar) deduce32() {
	if s.umin>>32 == s.umax>>32 {
		s.cutU32(uint32(s.umin), uint32(s.umax))
		if int32(s.umin) <= int32(s.umax) {
			s.cutS32(int32(s.umin), int32(s.umax))
		}
	}
	if s.smin>>32 == s.smax>>32 {
		if uint32(s.smin) <= uint32(s.smax) {
			s.cutU32(uint32(s.smin), uint32(s.smax))
		}
		if int32(s.smin) <= int32(s.smax) {
			s.cutS32(int32(s.smin), int32(s.smax))
		}
	}
	if uint32(s.umin>>32)+1 == uint32(s.umax>>32) && int32(s.umin) < 0 && int32(s.umax) >= 0 {
		s.cutS32(int32(s.umin), int32(s.umax))
	}
	if uint32(s.smin>>32)+1 == uint32(s.smax>>32) && int32(s.smin) < 0 && int32(s.smax) >= 0 {
		s.cutS32(int32(s.smin), int32(s.smax))
	}
	if int32(s.u32min) <= int32(s.u32max) {
		s.cutS32(int32(s.u32min), int32(s.u32max))
	}
	switch {
	case uint32(s.s32min) <= uint32(s.s32max):
		s.cutU32(uint32(s.s32min), uint32(s.s32max))
	case s.u32max < uint32(s.s32min): // only the non-negative part of the signed range is left
		s.s32min = int32(s.u32min)
		s.u32max = min(s.u32max, uint32(s.s32max))
	case uint32(s.s32max) < s.u32min: // only the negative part is left
		s.s32max = int32(s.u32max)
		s.u32min = max(s.u32min, uint32(s.s32min))
	}
}

// deduce64 lets the two 64-bit ranges tighten each other (__reg64_deduce_bounds).
func (s *scalar) deduce64() {
	if int64(s.umin) <= int64(s.umax) {
		s.smin, s.smax = max(s.smin, int64(s.umin)), min(s.smax, int64(s.umax))
	}
	switch {
	case uint64(s.smin) <= uint64(s.smax):
		s.umin, s.umax = max(s.umin, uint64(s.smin)), min(s.umax, uint64(s.smax))
	case s.umax < uint64(s.smin):
		s.smin = int64(s.umin)
		s.umax = min(s.umax, uint64(s.smax))
	case uint64(s.smax) < s.umin:
		s.smax = int64(s.umax)
		s.umin = max(s.umin, uint64(s.smin))
	}
}

// deduceMixed tightens the 64-bit ranges by the 32-bit ones: the low half of
// either end cannot lie beyond the low half's own range (__reg_deduce_mixed_bounds).
func (s *scalar) deduceMixed() {
	s.cutLow(s.u32min, s.u32max)
	if uint32(s.s32min) <= uint32(s.s32max) {
		s.cutLow(uint32(s.s32min), uint32(s.s32max))
	}
	if s.s32min >= 0 && s.smin >= math.MinInt32 && s.smax <= math.MaxInt32 {
		s.smin, s.smax = int64(s.s32min), int64(s.s32max)
		s.umin, s.umax = uint64(s.s32min), uint64(s.s32max)
		s.bits = s.bits.intersect(tnumRange(s.umin, s.umax))
	}
}

func (s *scalar) cutLow(lo, hi uint32) {
	const high = ^uint64(0xffffffff)
	s.umin = max(s.umin, s.umin&high|uint64(lo))
	s.umax = min(s.umax, s.umax&high|uint64(hi))
	s.smin = max(s.smin, int64(uint64(s.smin)&high|uint64(lo)))
	s.smax = min(s.smax, int64(uint64(s.smax)&high|uint64(hi)))
}

// zext makes s the zero-extended low half of itself (zext_32_to_64); sync follows.
func (s *scalar) zext() {
	s.bits = s.bits.subreg()
	s.umin, s.umax = uint64(s.u32min), uint64(s.u32max)
	if s.s32min >= 0 && s.s32max >= 0 {
		s.smin, s.smax = int64(s.s32min), int64(s.s32max)
	} else {
		s.smin, s.smax = 0, math.MaxUint32
	}
}

// truncate makes s its own low size bytes, zero-extended (coerce_reg_to_size).
func (s *scalar) truncate(size int) {
	s.bits = s.bits.cast(size)
	mask := lowMask(size)
	if s.umin&^mask == s.umax&^mask {
		s.umin &= mask
		s.umax &= mask
	} else {
		s.umin, s.umax = 0, mask
	}
	s.smin, s.smax = int64(s.umin), int64(s.umax)
	if size < 4 {
		s.unbound32()
	}
	s.sync()
}

func signExtend(v int64, size int) int64 {
	n := 64 - size*8
	return v << n >> n
}

// signExtend makes s its own low size bytes, sign-extended to 64 bits (coerce_reg_to_size_sx).
func (s *scalar) signExtend(size int) {
	if v, ok := s.known(false); ok {
		*s = constScalar(uint64(signExtend(int64(v), size)))
		return
	}
	n := size * 8
	if uint64(s.smax)>>n == uint64(s.smin)>>n {
		a, b := signExtend(s.smin, size), signExtend(s.smax, size)
		lo, hi := min(a, b), max(a, b)
		if (lo >= 0) == (hi >= 0) {
			s.smin, s.smax = lo, hi
			s.umin, s.umax = uint64(lo), uint64(hi)
			s.s32min, s.s32max = int32(lo), int32(hi)
			s.u32min, s.u32max = uint32(lo), uint32(hi)
			s.bits = tnumRange(uint64(lo), uint64(hi))
			return
		}
	}
	*s = unknownScalar
	s.smin, s.smax = -1<<(n-1), 1<<(n-1)-1
	s.s32min, s.s32max = int32(s.smin), int32(s.smax)
}

// signExtend32 makes the low half of s its own low size bytes, sign-extended
// to 32 bits (coerce_subreg_to_size_sx); zext and sync follow.
func (s *scalar) signExtend32(size int) {
	if v, ok := s.known(false); ok {
		c := signExtend(int64(v), size)
		s.bits = tnumConst(uint64(c))
		s.s32min, s.s32max = int32(c), int32(c)
		s.u32min, s.u32max = uint32(c), uint32(c)
		return
	}
	n := size * 8
	if uint32(s.s32max)>>n == uint32(s.s32min)>>n {
		a, b := int32(signExtend(int64(s.s32min), size)), int32(signExtend(int64(s.s32max), size))
		lo, hi := min(a, b), max(a, b)
		if (lo >= 0) == (hi >= 0) {
			s.s32min, s.s32max = lo, hi
			s.u32min, s.u32max = uint32(lo), uint32(hi)
			s.bits = tnumRange(uint64(int64(lo)), uint64(int64(hi))).subreg()
			return
		}
	}
	s.s32min, s.s32max = -1<<(n-1), 1<<(n-1)-1
	s.u32min, s.u32max = 0, math.MaxUint32
	s.bits = tnumUnknown.subreg()
}
