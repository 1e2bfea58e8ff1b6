package rewrite

import "github.com/skep-bpf/skep/isa"

// trap is what stands where no run arrives, so that a function of which
// nothing is left still has an address.
var trap = isa.Goto(-1)

// removeDead takes out what no path reaches and makes jumps whose outcome is
// known plain ones (opt_hard_wire_dead_code_branches, opt_remove_dead_code).
func removeDead(c *code) {
	dead := make([]bool, len(c.subprogs))
	for i, s := range c.subprogs {
		dead[i] = !c.facts.Insns[s.Start].Seen
	}
	starts := make(map[int32]int, len(c.subprogs))
	for i, s := range c.subprogs {
		starts[int32(s.Start)] = i
	}
	c.rewrite(func(x *node) bool {
		f := c.fact(x)
		if !f.Seen {
			if i, ok := starts[x.orig]; ok && dead[i] || c.doubt {
				c.emit(trap)
			}
			return true
		}
		if !isConditional(x.ins) || c.doubt {
			return false
		}
		behind := int(x.orig) + 1
		switch {
		case f.AlwaysJumps || behind < len(c.facts.Insns) && !c.facts.Insns[behind].Seen:
			c.jump(isa.Goto(0), x.to)
			return true
		case f.NeverJumps || !c.facts.Insns[x.to].Seen:
			return true
		}
		return false
	})
}

// isConditional reports whether ins is a comparison and a jump.
func isConditional(ins isa.Instruction) bool {
	return isJump(ins) && ins.Op.JumpOp() != isa.Ja && ins.Op.JumpOp() != isa.Jcond
}

// removeNops takes out jumps to where the run goes anyway (opt_remove_nops).
func removeNops(c *code) {
	const goto16 = isa.Opcode(isa.ClassJMP) | isa.Ja
	i := -1
	c.rewrite(func(x *node) bool {
		for i++; &c.nodes[i] != x; i++ { // rewrite calls for instructions only
		}
		if x.ins.Op != goto16 || x.to == nowhere {
			return false
		}
		for _, behind := range c.nodes[i+1:] {
			if behind.at == nowhere {
				break
			}
			if behind.at == x.to {
				return true
			}
		}
		return false
	})
}
