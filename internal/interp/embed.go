package interp

// embed asserts state embedding: the registers at an original instruction lie
// inside a state the verifier explored there.
func (c *Checker) embed(vm *VM, p *Program, pc, orig int) *Violation {
	return nil
}
