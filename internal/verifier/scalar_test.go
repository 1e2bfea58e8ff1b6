package verifier

import (
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/isa"
)

// smallTnums are all tnums of 5 bits; membersOf lists their numbers.
func smallTnums() (ts []tnum) {
	for m := uint64(0); m < 32; m++ {
		for v := uint64(0); v < 32; v++ {
			if v&m == 0 {
				ts = append(ts, tnum{v, m})
			}
		}
	}
	return ts
}

func membersOf(t tnum) (vs []uint64) {
	for v := uint64(0); v < 32; v++ {
		if t.has(v) {
			vs = append(vs, v)
		}
	}
	return vs
}

// TestTnumBinary checks every operation on every pair of small tnums against
// all pairs of their members.
func TestTnumBinary(t *testing.T) {
	ops := []struct {
		name     string
		abstract func(a, b tnum) tnum
		concrete func(a, b uint64) uint64
		exact    bool // the result is the smallest tnum there is
	}{
		{"add", tnum.add, func(a, b uint64) uint64 { return a + b }, true},
		{"sub", tnum.sub, func(a, b uint64) uint64 { return a - b }, true},
		{"mul", tnum.mul, func(a, b uint64) uint64 { return a * b }, false},
		{"and", tnum.and, func(a, b uint64) uint64 { return a & b }, true},
		{"or", tnum.or, func(a, b uint64) uint64 { return a | b }, true},
		{"xor", tnum.xor, func(a, b uint64) uint64 { return a ^ b }, true},
	}
	ts := smallTnums()
	for _, op := range ops {
		for _, a := range ts {
			for _, b := range ts {
				got := op.abstract(a, b)
				if got.value&got.mask != 0 {
					t.Fatalf("%s(%v, %v) = %x/%x is malformed", op.name, a, b, got.value, got.mask)
				}
				all, any := ^uint64(0), uint64(0)
				for _, x := range membersOf(a) {
					for _, y := range membersOf(b) {
						v := op.concrete(x, y)
						if !got.has(v) {
							t.Fatalf("%s(%v, %v) = %v lacks %x", op.name, a, b, got, v)
						}
						all &= v
						any |= v
					}
				}
				if op.exact && (got.value != all || got.mask != any&^all) {
					t.Fatalf("%s(%v, %v) = %v, best is %v", op.name, a, b, got, tnum{all, any &^ all})
				}
			}
		}
	}
}

func TestTnumRelations(t *testing.T) {
	ts := smallTnums()
	for _, a := range ts {
		ms := membersOf(a)
		for v := uint64(0); v < 40; v++ {
			want := ms[len(ms)-1]
			for _, m := range ms {
				if m > v {
					want = m
					break
				}
			}
			if got := a.after(v); got != want {
				t.Fatalf("%v.after(%d) = %d, want %d", a, v, got, want)
			}
		}
		for n := uint8(0); n < 4; n++ {
			for _, m := range ms {
				if !a.lsh(n).has(m<<n) || !a.rsh(n).has(m>>n) {
					t.Fatalf("shift of %v by %d lacks that of %x", a, n, m)
				}
			}
		}
		for _, b := range ts {
			common, subset := false, true
			for _, m := range membersOf(b) {
				common = common || a.has(m)
				subset = subset && a.has(m)
			}
			if a.overlaps(b) != common || a.contains(b) != subset {
				t.Fatalf("%v, %v: overlaps %v contains %v, want %v %v", a, b, a.overlaps(b), a.contains(b), common, subset)
			}
			u := a.union(b)
			if !u.contains(a) || !u.contains(b) {
				t.Fatalf("union of %v and %v is %v", a, b, u)
			}
			if common {
				i := a.intersect(b)
				for v := uint64(0); v < 32; v++ {
					if i.has(v) != (a.has(v) && b.has(v)) {
						t.Fatalf("intersection of %v and %v is %v", a, b, i)
					}
				}
			}
		}
	}
	for lo := uint64(0); lo < 32; lo++ {
		for hi := lo; hi < 32; hi++ {
			r := tnumRange(lo, hi)
			for v := lo; v <= hi; v++ {
				if !r.has(v) {
					t.Fatalf("range %d..%d = %v lacks %d", lo, hi, r, v)
				}
			}
		}
	}
}

// randomScalar makes an abstract number around a few concrete ones.
func randomScalar(r *rand.Rand) (s scalar, members []uint64) {
	pick := func() uint64 {
		switch r.IntN(5) {
		case 0:
			return uint64(r.IntN(300))
		case 1:
			return -uint64(r.IntN(300))
		case 2:
			return uint64(1)<<r.IntN(64) + uint64(r.IntN(3)) - 1
		case 3:
			return uint64(r.Uint32())
		}
		return r.Uint64() >> r.IntN(64)
	}
	n := 1 + r.IntN(4)
	s = constScalar(pick())
	members = append(members, s.umin)
	for len(members) < n {
		v := pick()
		c := constScalar(v)
		members = append(members, v)
		s.bits = s.bits.union(c.bits)
		s.smin, s.smax = min(s.smin, c.smin), max(s.smax, c.smax)
		s.umin, s.umax = min(s.umin, c.umin), max(s.umax, c.umax)
		s.s32min, s.s32max = min(s.s32min, c.s32min), max(s.s32max, c.s32max)
		s.u32min, s.u32max = min(s.u32min, c.u32min), max(s.u32max, c.u32max)
	}
	switch r.IntN(4) { // forget something
	case 0:
		s.bits = tnumUnknown
	case 1:
		s.unbound64()
	case 2:
		s.unbound32()
	}
	s.sync()
	return s, members
}

// TestScalarOps checks the arithmetic of abstract numbers against concrete members.
func TestScalarOps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	ops := []struct {
		name     string
		abstract func(d, s *scalar)
		concrete func(a, b uint64) uint64
	}{
		{"add", (*scalar).add, func(a, b uint64) uint64 { return a + b }},
		{"sub", (*scalar).sub, func(a, b uint64) uint64 { return a - b }},
		{"mul", (*scalar).mul, func(a, b uint64) uint64 { return a * b }},
		{"and", (*scalar).and, func(a, b uint64) uint64 { return a & b }},
		{"or", (*scalar).or, func(a, b uint64) uint64 { return a | b }},
		{"xor", (*scalar).xor, func(a, b uint64) uint64 { return a ^ b }},
	}
	for range 200000 {
		a, as := randomScalar(r)
		b, bs := randomScalar(r)
		for _, v := range as {
			if !a.has(v) {
				t.Fatalf("sync lost %x: %+v", v, a)
			}
		}
		op := ops[r.IntN(len(ops))]
		narrow := r.IntN(2) == 0
		got := a
		op.abstract(&got, &b)
		if narrow {
			got.zext()
		}
		got.sync()
		for _, x := range as {
			for _, y := range bs {
				v := op.concrete(x, y)
				if narrow {
					v = uint64(uint32(v))
				}
				if !got.has(v) {
					t.Fatalf("%s narrow=%v: %x, %x → %x is outside %+v\n%+v\n%+v", op.name, narrow, x, y, v, got, a, b)
				}
			}
		}
	}
}

// TestScalarShapes checks shifts, truncation, extension and byte swaps.
func TestScalarShapes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200000 {
		a, as := randomScalar(r)
		n := uint8(r.IntN(64))
		size := []int{1, 2, 4}[r.IntN(3)]
		got := a
		var f func(v uint64) uint64
		name := ""
		switch r.IntN(11) {
		case 0:
			name = "lsh64"
			got.lsh64(n)
			f = func(v uint64) uint64 { return v << n }
		case 1:
			name = "rsh64"
			got.rsh64(n)
			f = func(v uint64) uint64 { return v >> n }
		case 2:
			name = "arsh64"
			got.arsh64(n)
			f = func(v uint64) uint64 { return uint64(int64(v) >> n) }
		case 3:
			n %= 32
			name = "lsh32"
			got.lsh32(n)
			got.zext()
			f = func(v uint64) uint64 { return uint64(uint32(v) << n) }
		case 4:
			n %= 32
			name = "rsh32"
			got.rsh32(n)
			got.zext()
			f = func(v uint64) uint64 { return uint64(uint32(v) >> n) }
		case 5:
			n %= 32
			name = "arsh32"
			got.arsh32(n)
			got.zext()
			f = func(v uint64) uint64 { return uint64(uint32(int32(v) >> n)) }
		case 6:
			name = "truncate"
			got.truncate(size)
			f = func(v uint64) uint64 { return v & lowMask(size) }
		case 7:
			name = "signExtend"
			got.signExtend(size)
			f = func(v uint64) uint64 { return uint64(signExtend(int64(v), size)) }
		case 8:
			size = []int{1, 2}[r.IntN(2)]
			name = "signExtend32"
			got.signExtend32(size)
			got.zext()
			f = func(v uint64) uint64 { return uint64(uint32(signExtend(int64(v), size))) }
		case 9:
			name = "neg"
			got.neg()
			f = func(v uint64) uint64 { return -v }
		case 10:
			name = "swap"
			size = []int{2, 4, 8}[r.IntN(3)]
			got.swapBytes(size, true)
			f = func(v uint64) (w uint64) {
				for i := range size {
					w |= v >> (8 * i) & 0xff << (8 * (size - 1 - i))
				}
				return w
			}
		}
		got.sync()
		for _, v := range as {
			if !got.has(f(v)) {
				t.Fatalf("%s %d %d: %x → %x is outside %+v\nfrom %+v", name, n, size, v, f(v), got, a)
			}
		}
	}
}

// TestRefine checks that deciding and refining comparisons keeps every pair of
// numbers for which the comparison comes out that way.
func TestRefine(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 400000 {
		a, as := randomScalar(r)
		b, bs := randomScalar(r)
		op := compareOps[r.IntN(len(compareOps))]
		sub := r.IntN(2) == 0
		way := decide(&a, &b, op, sub)
		ta, tb, fa, fb := a, b, a, b
		if way == jumpUnknown {
			refine(&ta, &tb, op, sub)
			refine(&fa, &fb, negated(op), sub)
			for _, s := range []*scalar{&ta, &tb, &fa, &fb} {
				s.sync()
			}
		}
		for _, x := range as {
			for _, y := range bs {
				yes := compare(op, x, y, sub)
				if way == jumpAlways && !yes || way == jumpNever && yes {
					t.Fatalf("%x %x %x sub=%v decided %d wrongly: %+v %+v", x, op, y, sub, way, a, b)
				}
				if way != jumpUnknown {
					continue
				}
				if yes && !(ta.has(x) && tb.has(y)) || !yes && !(fa.has(x) && fb.has(y)) {
					t.Fatalf("%x %x %x sub=%v came out %v but was refined away", x, op, y, sub, yes)
				}
			}
		}
	}
}

var compareOps = []isa.Opcode{isa.Jeq, isa.Jne, isa.Jgt, isa.Jge, isa.Jlt, isa.Jle, isa.Jsgt, isa.Jsge, isa.Jslt, isa.Jsle, isa.Jset}

func compare(op isa.Opcode, x, y uint64, sub bool) bool {
	if sub {
		x, y = uint64(int64(int32(x))), uint64(int64(int32(y)))
	}
	switch op {
	case isa.Jeq:
		return x == y
	case isa.Jne:
		return x != y
	case isa.Jgt:
		return x > y
	case isa.Jge:
		return x >= y
	case isa.Jlt:
		return x < y
	case isa.Jle:
		return x <= y
	case isa.Jsgt:
		return int64(x) > int64(y)
	case isa.Jsge:
		return int64(x) >= int64(y)
	case isa.Jslt:
		return int64(x) < int64(y)
	case isa.Jsle:
		return int64(x) <= int64(y)
	}
	return x&y != 0
}
