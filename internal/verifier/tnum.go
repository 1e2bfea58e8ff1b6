package verifier

import (
	"math/bits"
	"strconv"
)

// tnum is a tristate number: of each bit it is known that it is 0, that it is
// 1, or nothing (include/linux/tnum.h).
//
//	mask bit   value bit   the bit is
//	   0           0       0
//	   0           1       1
//	   1           0       unknown
//	   1           1       (never occurs)
type tnum struct {
	value, mask uint64
}

// tnumUnknown contains every number.
var tnumUnknown = tnum{0, ^uint64(0)}

func tnumConst(v uint64) tnum { return tnum{v, 0} }

// tnumRange returns the smallest tnum that contains all of lo..hi.
func tnumRange(lo, hi uint64) tnum {
	n := bits.Len64(lo ^ hi)
	if n > 63 {
		return tnumUnknown
	}
	low := uint64(1)<<n - 1
	return tnum{lo &^ low, low}
}

func (a tnum) isUnknown() bool   { return a.mask == ^uint64(0) }
func (a tnum) is(v uint64) bool  { return a.mask == 0 && a.value == v }
func (a tnum) has(v uint64) bool { return v&^a.mask == a.value }

// contains reports whether every number in b is also in a.
func (a tnum) contains(b tnum) bool {
	return b.mask&^a.mask == 0 && b.value&^a.mask == a.value
}

// overlaps reports whether no commonly known bit tells a and b apart.
func (a tnum) overlaps(b tnum) bool {
	return (a.value^b.value)&^(a.mask|b.mask) == 0
}

// aligned reports whether every number in a is a multiple of size, a power of two.
func (a tnum) aligned(size uint64) bool {
	return size == 0 || (a.value|a.mask)&(size-1) == 0
}

func (a tnum) lsh(n uint8) tnum { return tnum{a.value << n, a.mask << n} }
func (a tnum) rsh(n uint8) tnum { return tnum{a.value >> n, a.mask >> n} }

// arsh shifts right, copying the sign bit of a number that is width bits wide.
func (a tnum) arsh(n uint8, width int) tnum {
	if width == 32 {
		return tnum{uint64(uint32(int32(a.value) >> n)), uint64(uint32(int32(a.mask) >> n))}
	}
	return tnum{uint64(int64(a.value) >> n), uint64(int64(a.mask) >> n)}
}

// add is exact up to carries: a bit is known where both addends know it and
// the carry into it is the same for the least and the greatest sum.
func (a tnum) add(b tnum) tnum {
	least := a.value + b.value
	carries := (least + a.mask + b.mask) ^ least
	mask := carries | a.mask | b.mask
	return tnum{least &^ mask, mask}
}

func (a tnum) sub(b tnum) tnum {
	d := a.value - b.value
	borrows := (d + a.mask) ^ (d - b.mask)
	mask := borrows | a.mask | b.mask
	return tnum{d &^ mask, mask}
}

func (a tnum) and(b tnum) tnum {
	v := a.value & b.value
	return tnum{v, (a.value | a.mask) & (b.value | b.mask) &^ v}
}

func (a tnum) or(b tnum) tnum {
	v := a.value | b.value
	return tnum{v, (a.mask | b.mask) &^ v}
}

func (a tnum) xor(b tnum) tnum {
	mask := a.mask | b.mask
	return tnum{(a.value ^ b.value) &^ mask, mask}
}

// mul multiplies as one does by hand: where a bit of a is unknown, both the
// sum with and the sum without b's shifted copy are kept.
func (a tnum) mul(b tnum) tnum {
	var acc tnum
	for a.value|a.mask != 0 {
		switch {
		case a.value&1 != 0:
			acc = acc.add(b)
		case a.mask&1 != 0:
			acc = acc.union(acc.add(b))
		}
		a, b = a.rsh(1), b.lsh(1)
	}
	return acc
}

// intersect returns what is known by either; a and b must overlap.
func (a tnum) intersect(b tnum) tnum {
	mask := a.mask & b.mask
	return tnum{(a.value | b.value) &^ mask, mask}
}

// union returns the smallest tnum that contains a and b.
func (a tnum) union(b tnum) tnum {
	mask := a.mask | b.mask | (a.value ^ b.value)
	return tnum{a.value & b.value &^ mask, mask}
}

// after returns the least number in a that is greater than v, or the greatest there is.
func (a tnum) after(v uint64) uint64 {
	last := a.value | a.mask
	if v >= last {
		return last
	}
	if v < a.value {
		return a.value
	}
	// Counting up in the unknown bits alone: known bits are set to let the carry
	// pass, and where v lies above the member with its own bits, all lower ones too.
	d := v - a.value
	low := uint64(1)<<bits.Len64(d&^a.mask) - 1
	return a.value | ((d|low|^a.mask)+1)&a.mask
}

// cast keeps the low size bytes, as zero extension does.
func (a tnum) cast(size int) tnum {
	low := lowMask(size)
	return tnum{a.value & low, a.mask & low}
}

// subreg is the low half of a; withSubreg replaces it by that of sub.
func (a tnum) subreg() tnum { return tnum{uint64(uint32(a.value)), uint64(uint32(a.mask))} }

func (a tnum) withSubreg(sub tnum) tnum {
	return tnum{a.value&^0xffffffff | uint64(uint32(sub.value)), a.mask&^0xffffffff | uint64(uint32(sub.mask))}
}

func lowMask(size int) uint64 {
	if size >= 8 {
		return ^uint64(0)
	}
	return uint64(1)<<(size*8) - 1
}

// String prints a as the kernel does: "5", "0x12345", "(0x0; 0xff)".
func (a tnum) String() string { return string(a.append(nil)) }

func (a tnum) append(b []byte) []byte {
	if a.mask == 0 {
		return appendUnum(b, a.value)
	}
	b = append(b, '(')
	b = appendHex(b, a.value)
	b = append(b, "; "...)
	b = appendHex(b, a.mask)
	return append(b, ')')
}

// appendHex prints v as the kernel's %#llx does, for which zero has its prefix too.
func appendHex(b []byte, v uint64) []byte {
	b = append(b, "0x"...)
	return strconv.AppendUint(b, v, 16)
}

// appendUnum prints small numbers in decimal, others in hexadecimal.
func appendUnum(b []byte, v uint64) []byte {
	if v <= 0xffff {
		return strconv.AppendUint(b, v, 10)
	}
	return appendHex(b, v)
}

func appendSnum(b []byte, v int64) []byte {
	if v >= -0x8000 && v <= 0x7fff {
		return strconv.AppendInt(b, v, 10)
	}
	return appendHex(b, uint64(v))
}
