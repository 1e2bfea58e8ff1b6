package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// conditions are the flags each comparison asks for after cmp or, for Jset, test.
var conditions = [...]cond{
	isa.Jeq: condE, isa.Jne: condNE, isa.Jset: condNE,
	isa.Jgt: condA, isa.Jge: condAE, isa.Jlt: condB, isa.Jle: condBE,
	isa.Jsgt: condG, isa.Jsge: condGE, isa.Jslt: condL, isa.Jsle: condLE,
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
		c.compare(ins, size)
		c.jumpToIf(conditions[op], pc, target)
	}
}

// compare sets the flags a conditional jump asks for.
func (c *compiler) compare(ins isa.Instruction, size int) {
	dst, src, v := native[ins.Dst], native[ins.Src], ins.Imm
	op := ins.Op.JumpOp()
	if ins.Op.UsesReg() {
		if op == isa.Jset {
			c.rr(size, opTest, src, dst)
		} else {
			c.rr(size, opCmp, src, dst)
		}
		return
	}
	asked := zeroFlag{ins.Dst, size}
	// Where only the lower half can make a difference its instructions are shorter.
	signed := conditions[op] >= condL
	if c.zext.Has(ins.Dst) && v >= 0 && !signed || op == isa.Jset && v >= 0 {
		size = size32
	}
	switch {
	case v == 0 && (op == isa.Jeq || op == isa.Jne) && c.zero == asked:
		// The instruction before has compared already.
	case op == isa.Jset && v >= 0 && v < 256:
		if dst == rax {
			c.bytes(0xa8)
		} else {
			c.rr(size8, opGroup3Byte, digitTest, dst)
		}
		c.imm8(v)
	case op == isa.Jset:
		if dst == rax {
			c.prefixes(size, 0xa9, 0, 0, 0, false)
		} else {
			c.rr(size, opGroup3, digitTest, dst)
		}
		c.imm32(v)
	case v == 0:
		c.rr(size, opTest, dst, dst) // leaves the flags a comparison with 0 does
	default:
		c.group1(size, digitCmp, dst, v)
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

// jumpToIf is jumpTo on a condition.
func (c *compiler) jumpToIf(cc cond, pc, target int) {
	if !c.opts.Poll || target > pc {
		c.jumpIf(cc, label(target))
		return
	}
	not := c.label()
	c.jumpIf(cc^1, not)
	c.jumpTo(pc, target)
	c.bind(not)
}

// poll spends fuel for as many instructions and goes to l, through Go when the fuel is used up.
func (c *compiler) poll(pc, slots int, l label) {
	c.group1Mem(size64, digitSub, context(exec.OffFuel), int32(slots))
	c.jumpIf(condG, l)
	c.exitTo(code.Poll, pc, c.insns[pc], l)
}

// mayGoto lowers a may_goto that no rewriting pass has expanded.
func (c *compiler) mayGoto(pc, target int) {
	counter := mem{rbp, -c.fn.Size}
	c.group1Mem(size64, digitCmp, counter, 0)
	c.jumpToIf(condE, pc, target)
	c.rm(size64, opGroup5, digitDec, counter)
}
