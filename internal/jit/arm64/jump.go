package arm64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// conditions are what each comparison asks for after cmp or, for Jset, tst.
var conditions = map[isa.Opcode]cond{
	isa.Jeq: condEQ, isa.Jne: condNE, isa.Jset: condNE,
	isa.Jgt: condHI, isa.Jge: condHS, isa.Jlt: condLO, isa.Jle: condLS,
	isa.Jsgt: condGT, isa.Jsge: condGE, isa.Jslt: condLT, isa.Jsle: condLE,
}

// jumps lowers everything of the two jump classes.
func (c *compiler) jumps(pc int, ins isa.Instruction) {
	target := pc + 1 + ins.JumpOffset()
	switch op := ins.Op.JumpOp(); op {
	case isa.Call:
		c.callOut(pc, ins)
	case isa.Exit:
		c.leaveFunction()
	case isa.Ja:
		if target != pc+1 {
			c.jumpTo(pc, target)
		}
	case isa.Jcond:
		c.mayGoto(pc, target)
	default:
		size := size64
		if ins.Op.Class() == isa.ClassJMP32 {
			size = size32
		}
		if !ins.Op.UsesReg() && ins.Imm == 0 && (op == isa.Jeq || op == isa.Jne) {
			dst := native[ins.Dst]
			c.jumpToIf(pc, target, op == isa.Jeq, func(equal bool, l label) { c.jumpZero(size, equal, dst, l) })
			return
		}
		c.compare(ins, size)
		cc := conditions[op]
		c.jumpToIf(pc, target, true, func(yes bool, l label) {
			if yes {
				c.jumpIf(cc, l)
			} else {
				c.jumpIf(cc^1, l)
			}
		})
	}
}

// compare sets the flags a conditional jump asks for.
func (c *compiler) compare(ins isa.Instruction, size int) {
	dst, src, v := native[ins.Dst], native[ins.Src], int64(ins.Imm)
	set, reg := ins.Op.JumpOp() == isa.Jset, ins.Op.UsesReg()
	switch {
	case set && reg:
		c.rrr(size, opAnds, xzr, dst, src)
	case set:
		c.logic(size, opAndsI, opAnds, xzr, dst, v)
	case reg:
		c.rrr(size, opSubs, xzr, dst, src)
	default:
		c.cmpImm(size, dst, v)
	}
}

// jumpTo goes to a slot, through a poll if that is backwards.
func (c *compiler) jumpTo(pc, target int) {
	if c.opts.Poll && target <= pc {
		c.poll(pc, code.Cost(c.facts.Heavy, target, pc+1), label(target))
		return
	}
	c.jump(label(target))
}

// jumpToIf is jumpTo on a condition that jump knows to write, as it is or negated.
func (c *compiler) jumpToIf(pc, target int, yes bool, jump func(yes bool, l label)) {
	if !c.opts.Poll || target > pc {
		jump(yes, label(target))
		return
	}
	not := c.label()
	jump(!yes, not)
	c.jumpTo(pc, target)
	c.bind(not)
}

// poll spends fuel for as many instructions and goes to l, through Go when the fuel is used up.
func (c *compiler) poll(pc, slots int, l label) {
	c.access(size64, opLdr, x14, context(exec.OffFuel))
	c.arith(size64, opSubsI, opAddsI, opSubs, x14, x14, int64(slots))
	c.access(size64, opStr, x14, context(exec.OffFuel))
	c.jumpIf(condGT, l)
	c.exitTo(code.Poll, pc, c.insns[pc], l)
}

// mayGoto lowers a may_goto that no rewriting pass has expanded.
func (c *compiler) mayGoto(pc, target int) {
	counter := c.counter()
	c.access(size64, opLdr, x14, counter)
	c.jumpToIf(pc, target, true, func(zero bool, l label) { c.jumpZero(size64, zero, x14, l) })
	c.addImm(size64, x14, x14, -1)
	c.access(size64, opStr, x14, counter)
}

// counter is where the function's may_goto counter lies: lowest on its stack.
func (c *compiler) counter() mem { return mem{sp, c.fn.stack - c.fn.Size} }
