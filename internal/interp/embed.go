package interp

import "github.com/skep-bpf/skep/isa"

// embed asserts state embedding: the registers at an original instruction lie
// inside a state the verifier explored there. It says nothing where the
// verifier was not asked to keep its states.
func (c *Checker) embed(vm *VM, p *Program, pc, orig int) *Violation {
	if p.Facts == nil || p.Facts.States == nil {
		return nil
	}
	if err := p.Facts.States.Contains(orig, (*[isa.RFP + 1]uint64)(vm.reg[:])); err != nil {
		return violation(p, vm, pc, isa.RFP, "%v", err)
	}
	return nil
}
