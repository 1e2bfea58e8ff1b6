package arm64

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// evaluate runs what movImm writes.
func evaluate(t *testing.T, code []byte) (v uint64) {
	for i := 0; i < len(code); i += 4 {
		w := binary.LittleEndian.Uint32(code[i:])
		shift := w >> 21 & 3 * 16
		part := uint64(w>>5&0xffff) << shift
		switch o := opcode(w); {
		case o&0x7f800000 == opMovz:
			v = part
		case o&0x7f800000 == opMovn:
			v = ^part
		case o&0x7f800000 == opMovk:
			v = v&^(0xffff<<shift) | part
		case o&0x7f800000 == opOrrI && w>>5&31 == 31:
			v = decodeBitmask(w)
		default:
			t.Fatalf("unknown %#x", w)
		}
		if w>>31 == 0 {
			v = uint64(uint32(v))
		}
	}
	return v
}

// decodeBitmask is DecodeBitMasks of the manual.
func decodeBitmask(w uint32) uint64 {
	imms, immr := w>>10&0x3f, w>>16&0x3f
	n := 31 - bits.LeadingZeros32(w>>22&1<<6|^imms&0x3f)
	size := 1 << n
	ones := imms&uint32(size-1) + 1
	rot := int(immr) & (size - 1)
	e := uint64(1)<<ones - 1
	e = e>>rot | e<<(size-rot)&(^uint64(0)>>(64-size))
	for ; size < 64; size *= 2 {
		e |= e << size
	}
	return e
}

func TestMovImm(t *testing.T) {
	values := []uint64{0, 1, ^uint64(0), 0xffff, 0x10000, 0xffff0000, 0xfffffffe, 0xffffffff, 0xffffffff00000000, 1 << 63, 0xffff1234}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		v := rng.Uint64()
		for _, mask := range []uint64{0xffff, 0xffff0000, 0xffff << 32, 0xffff << 48} {
			switch rng.IntN(4) {
			case 0:
				v &^= mask
			case 1:
				v |= mask
			}
		}
		values = append(values, v, uint64(int64(int32(v))), v>>rng.IntN(64))
	}
	for _, v := range values {
		var a assembler
		a.movImm(x3, v)
		if got := evaluate(t, a.code); got != v {
			t.Fatalf("%#x: %x gives %#x", v, a.code, got)
		}
	}
}

// All patterns there are, in both widths, are found and mean what they should;
// what is found for random numbers means them.
func TestBitmask(t *testing.T) {
	count := 0
	for n := 2; n <= 64; n *= 2 {
		for ones := 1; ones < n; ones++ {
			for rot := range n {
				e := uint64(1)<<ones - 1
				e = e>>rot | e<<(n-rot)&(^uint64(0)>>(64-n))
				for s := n; s < 64; s *= 2 {
					e |= e << s
				}
				f, ok := bitmask(size64, e)
				if !ok || decodeBitmask(uint32(f)) != e {
					t.Fatalf("%#x: %v, %#x", e, ok, f)
				}
				if f, ok := bitmask(size32, uint64(uint32(e))); n <= 32 && (!ok || f>>22 != 0 || decodeBitmask(uint32(f)) != e) {
					t.Fatalf("32 bits, %#x: %v, %#x", e, ok, f)
				}
				count++
			}
		}
	}
	if count != 5334 {
		t.Errorf("%d patterns", count)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		v := rng.Uint64() & rng.Uint64() & rng.Uint64() >> rng.IntN(64)
		if f, ok := bitmask(size64, v); ok && decodeBitmask(uint32(f)) != v {
			t.Fatalf("%#x: %#x", v, f)
		}
	}
	for _, v := range []uint64{0, ^uint64(0), 5} {
		if _, ok := bitmask(size64, v); ok {
			t.Errorf("%#x has an encoding", v)
		}
	}
}
