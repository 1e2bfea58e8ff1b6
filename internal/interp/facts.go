package interp

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// tripKey is a jump back of a program.
type tripKey struct {
	prog *Program
	orig int
}

// facts holds the verifier to what it says of the original instruction that
// begins at pc: that some path reaches it, which way its jump goes, how often
// the jump is taken, with which key it calls. Code that is never reached, and
// jumps that are decided, are only here if rewriting kept them (Doubt).
func (c *Checker) facts(vm *VM, p *Program, pc, orig int) *Violation {
	src := p.source(orig)
	if src == nil || p.Facts == nil || orig >= len(p.Facts.Insns) {
		return nil
	}
	f := &p.Facts.Insns[orig]
	if !f.Seen {
		return violation(p, vm, pc, isa.R0, "no path reaches it, by the verifier")
	}
	if src.IsHelperCall() && f.HasConst && catalog.HelperID(src.Imm) == catalog.FnTailCall && uint32(vm.reg[isa.R3]) != f.Const {
		return violation(p, vm, pc, isa.R3, "the key of this tail call is always %d, by the verifier", f.Const)
	}
	taken, jump := c.jumps(vm, src)
	switch {
	case !jump:
		return nil
	case taken && f.NeverJumps:
		return violation(p, vm, pc, src.Dst, "this jump is never taken, by the verifier")
	case !taken && f.AlwaysJumps:
		return violation(p, vm, pc, src.Dst, "this jump is always taken, by the verifier")
	}
	if taken && f.TripBound > 0 {
		if c.trips == nil {
			c.trips = map[tripKey]uint32{}
		}
		k := tripKey{p, orig}
		if c.trips[k]++; c.trips[k] > f.TripBound {
			return violation(p, vm, pc, src.Dst, "this jump back is taken %d times at most, by the verifier", f.TripBound)
		}
	}
	return nil
}

// jumps says whether a plain jump of the original program is taken now; jump is false for all else.
func (c *Checker) jumps(vm *VM, src *isa.Instruction) (taken, jump bool) {
	if !src.Op.Class().IsJump() {
		return false, false
	}
	if src.Op.JumpOp() == isa.Ja {
		return true, true
	}
	row := isa.Lookup(*src)
	if row == nil || row.Test == nil {
		return false, false
	}
	b := uint64(int64(src.Imm))
	if src.Op.UsesReg() {
		b = vm.reg[src.Src&15]
	}
	return row.Test(vm.reg[src.Dst&15], b), true
}
