package verifier

import (
	"math/bits"

	"github.com/skep-bpf/skep/isa"
)

// Outcomes of a conditional jump.
const (
	jumpUnknown = -1
	jumpNever   = 0
	jumpAlways  = 1
)

// swapped is the operator that compares the same with the operands exchanged.
func swapped(op isa.Opcode) isa.Opcode {
	switch op {
	case isa.Jge:
		return isa.Jle
	case isa.Jgt:
		return isa.Jlt
	case isa.Jle:
		return isa.Jge
	case isa.Jlt:
		return isa.Jgt
	case isa.Jsge:
		return isa.Jsle
	case isa.Jsgt:
		return isa.Jslt
	case isa.Jsle:
		return isa.Jsge
	case isa.Jslt:
		return isa.Jsgt
	}
	return op
}

// jnset holds where jset does not jump; no instruction has it.
const jnset = isa.Jset | isa.SrcX

// negated is the operator that holds where op does not.
func negated(op isa.Opcode) isa.Opcode {
	switch op {
	case isa.Jeq:
		return isa.Jne
	case isa.Jne:
		return isa.Jeq
	case isa.Jset:
		return jnset
	case isa.Jge:
		return isa.Jlt
	case isa.Jgt:
		return isa.Jle
	case isa.Jle:
		return isa.Jgt
	case isa.Jlt:
		return isa.Jge
	case isa.Jsge:
		return isa.Jslt
	case isa.Jsgt:
		return isa.Jsle
	case isa.Jsle:
		return isa.Jsgt
	case isa.Jslt:
		return isa.Jsge
	}
	return op
}

// differ reports whether a and b can never be equal.
func differ(a, b *scalar, sub bool) bool {
	if a.u32min > b.u32max || a.u32max < b.u32min || a.s32min > b.s32max || a.s32max < b.s32min {
		return true
	}
	if sub {
		return !a.bits.subreg().overlaps(b.bits.subreg())
	}
	return a.umin > b.umax || a.umax < b.umin || a.smin > b.smax || a.smax < b.smin || !a.bits.overlaps(b.bits)
}

// order decides a < b or a <= b from ranges, or does not.
func order[T int64 | uint64](amin, amax, bmin, bmax T, orEqual bool) int {
	if orEqual {
		switch {
		case amax <= bmin:
			return jumpAlways
		case amin > bmax:
			return jumpNever
		}
		return jumpUnknown
	}
	switch {
	case amax < bmin:
		return jumpAlways
	case amin >= bmax:
		return jumpNever
	}
	return jumpUnknown
}

// decide says how comparing numbers a and b must come out (is_scalar_branch_taken).
func decide(a, b *scalar, op isa.Opcode, sub bool) int {
	switch op {
	case isa.Jeq, isa.Jne:
		eq := jumpUnknown
		av, ak := a.known(sub)
		bv, bk := b.known(sub)
		switch {
		case ak && bk && av == bv:
			eq = jumpAlways
		case ak && bk || differ(a, b, sub):
			eq = jumpNever
		}
		if op == isa.Jne && eq != jumpUnknown {
			eq = 1 - eq
		}
		return eq
	case isa.Jset:
		v, ok := b.known(sub)
		if !ok {
			if v, ok = a.known(sub); !ok {
				return jumpUnknown
			}
			a = b
		}
		t := a.bits
		if sub {
			t = t.subreg()
		}
		switch {
		case t.value&^t.mask&v != 0:
			return jumpAlways
		case (t.value|t.mask)&v == 0:
			return jumpNever
		}
		return jumpUnknown
	case isa.Jgt, isa.Jge, isa.Jsgt, isa.Jsge:
		return decide(b, a, swapped(op), sub)
	}
	orEqual := op == isa.Jle || op == isa.Jsle
	if op == isa.Jlt || op == isa.Jle {
		if sub {
			return order(uint64(a.u32min), uint64(a.u32max), uint64(b.u32min), uint64(b.u32max), orEqual)
		}
		return order(a.umin, a.umax, b.umin, b.umax, orEqual)
	}
	if sub {
		return order(int64(a.s32min), int64(a.s32max), int64(b.s32min), int64(b.s32max), orEqual)
	}
	return order(a.smin, a.smax, b.smin, b.smax, orEqual)
}

// decidePkt is decide for a packet pointer that was already found at or beyond
// the packet's end (is_pkt_ptr_branch_taken).
func decidePkt(a, b *reg, op isa.Opcode) int {
	pkt := a
	switch {
	case b.typ == ptrToPacketEnd:
	case a.typ == ptrToPacketEnd:
		pkt, op = b, swapped(op)
	default:
		return jumpUnknown
	}
	yes := func(b bool) int {
		if b {
			return jumpAlways
		}
		return jumpNever
	}
	switch {
	case pkt.rng >= 0:
	case op == isa.Jle || op == isa.Jgt:
		if pkt.rng == beyondPktEnd {
			return yes(op == isa.Jgt)
		}
	case op == isa.Jlt || op == isa.Jge:
		return yes(op == isa.Jge)
	}
	return jumpUnknown
}

// decideRegs is decide for any two values (is_branch_taken).
func decideRegs(a, b *reg, op isa.Opcode, sub bool) int {
	if a.typ.isPktAny() && b.typ.isPktAny() && !sub {
		return decidePkt(a, b, op)
	}
	if a.typ == scalarValue && b.typ == scalarValue {
		return decide(&a.scalar, &b.scalar, op, sub)
	}
	if sub {
		return jumpUnknown
	}
	if _, ok := b.constVal(false); !ok {
		a, b = b, a
	}
	v, ok := b.constVal(false)
	if !ok || v != 0 || !a.notNull() {
		return jumpUnknown
	}
	switch op {
	case isa.Jeq:
		return jumpNever
	case isa.Jne:
		return jumpAlways
	}
	return jumpUnknown
}

// refine cuts a and b down to where a op b holds (regs_refine_cond_op); sync follows.
func refine(a, b *scalar, op isa.Opcode, sub bool) {
	switch op {
	case isa.Jge, isa.Jgt, isa.Jsge, isa.Jsgt:
		op = swapped(op)
		a, b = b, a
	case isa.Jne, isa.Jset, jnset:
		if _, ok := b.known(sub); !ok {
			a, b = b, a
		}
		v, ok := b.known(sub)
		if ok {
			refineConst(a, v, op, sub)
		}
		return
	}
	switch op {
	case isa.Jeq:
		refineEqual(a, b, sub)
	case isa.Jle:
		if sub {
			a.u32max = min(a.u32max, b.u32max)
			b.u32min = max(a.u32min, b.u32min)
		} else {
			a.umax = min(a.umax, b.umax)
			b.umin = max(a.umin, b.umin)
		}
	case isa.Jlt:
		if sub {
			a.u32max = min(a.u32max, b.u32max-1)
			b.u32min = max(a.u32min+1, b.u32min)
		} else {
			a.umax = min(a.umax, b.umax-1)
			b.umin = max(a.umin+1, b.umin)
		}
	case isa.Jsle:
		if sub {
			a.s32max = min(a.s32max, b.s32max)
			b.s32min = max(a.s32min, b.s32min)
		} else {
			a.smax = min(a.smax, b.smax)
			b.smin = max(a.smin, b.smin)
		}
	case isa.Jslt:
		if sub {
			a.s32max = min(a.s32max, b.s32max-1)
			b.s32min = max(a.s32min+1, b.s32min)
		} else {
			a.smax = min(a.smax, b.smax-1)
			b.smin = max(a.smin+1, b.smin)
		}
	}
}

func refineEqual(a, b *scalar, sub bool) {
	if sub {
		a.u32min, a.u32max = max(a.u32min, b.u32min), min(a.u32max, b.u32max)
		a.s32min, a.s32max = max(a.s32min, b.s32min), min(a.s32max, b.s32max)
		b.u32min, b.u32max, b.s32min, b.s32max = a.u32min, a.u32max, a.s32min, a.s32max
		t := a.bits.subreg().intersect(b.bits.subreg())
		a.bits, b.bits = a.bits.withSubreg(t), b.bits.withSubreg(t)
		return
	}
	a.umin, a.umax = max(a.umin, b.umin), min(a.umax, b.umax)
	a.smin, a.smax = max(a.smin, b.smin), min(a.smax, b.smax)
	b.umin, b.umax, b.smin, b.smax = a.umin, a.umax, a.smin, a.smax
	a.bits = a.bits.intersect(b.bits)
	b.bits = a.bits
}

// refineConst cuts a down to where it differs from v, or shares, or does not share, a bit with it.
func refineConst(a *scalar, v uint64, op isa.Opcode, sub bool) {
	switch {
	case op == isa.Jne && sub:
		if a.u32min == uint32(v) {
			a.u32min++
		}
		if a.u32max == uint32(v) {
			a.u32max--
		}
		if a.s32min == int32(v) {
			a.s32min++
		}
		if a.s32max == int32(v) {
			a.s32max--
		}
	case op == isa.Jne:
		if a.umin == v {
			a.umin++
		}
		if a.umax == v {
			a.umax--
		}
		if a.smin == int64(v) {
			a.smin++
		}
		if a.smax == int64(v) {
			a.smax--
		}
	case op == isa.Jset:
		if bits.OnesCount64(v) == 1 {
			a.bits.value |= v
			a.bits.mask &^= v
		}
	default: // jnset
		// Ranges that contradict the bits, on a branch no run takes, must not meet them.
		a.unbound()
		if sub {
			a.bits = a.bits.withSubreg(a.bits.subreg().and(tnumConst(^v)))
		} else {
			a.bits = a.bits.and(tnumConst(^v))
		}
	}
}
