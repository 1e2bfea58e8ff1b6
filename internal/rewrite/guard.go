package rewrite

import (
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// guardSpeculation puts in the barriers and masks the verifier asks for in
// programs whose loaders may not see memory that is not theirs, so that a
// processor which guesses wrongly finds nothing there (do_misc_fixups).
//
// A mask makes 0 of a number that is added to a pointer, where it is more than
// any real run has:
//
//	r1 += r2        rax = limit
//	                rax -= r2        negative if r2 is beyond the limit,
//	                rax |= r2        or negative itself
//	                rax = -rax
//	                rax s>>= 63      all ones, or 0
//	                rax &= r2
//	                r1 += rax
func guardSpeculation(c *code) {
	c.rewrite(func(x *node) bool {
		f := c.fact(x)
		class := x.ins.Op.Class()
		behind := f.NospecResult && (class == isa.ClassST || class == isa.ClassSTX)
		if !f.Nospec && !behind && f.Mask.Kind == 0 {
			return false
		}
		if f.Nospec {
			c.emit(isa.Nospec())
		}
		if f.Mask.Kind != 0 {
			c.maskNumber(x.ins, f.Mask)
		} else {
			c.out = append(c.out, *x)
		}
		if behind {
			c.emit(isa.Nospec())
		}
		return true
	})
}

// maskNumber adds to, or subtracts from, a pointer.
func (c *code) maskNumber(ins isa.Instruction, m verifier.ALUMask) {
	source := m.Kind&verifier.MaskSrc != 0
	negative := m.Kind&verifier.MaskNegative != 0
	number := ins.Dst
	if source {
		number = ins.Src
	}
	c.emitMask(number, m, negative)
	if !source {
		c.emit(isa.Mov64Reg(ins.Dst, ins.Src))
	}
	ins.Src = isa.AX
	if negative {
		ins.Op ^= isa.Add ^ isa.Sub
	}
	c.emit(ins)
	if source && negative && m.Kind&verifier.MaskConst == 0 {
		c.emit(isa.ALU64Imm(isa.Mul, number, -1))
	}
}

// emitMask leaves in AX what is to be added.
func (c *code) emitMask(number isa.Register, m verifier.ALUMask, negative bool) {
	limit := isa.Mov32Imm(isa.AX, int32(m.Limit))
	if m.Kind&verifier.MaskConst != 0 {
		c.emit(limit)
		return
	}
	if negative {
		c.emit(isa.ALU64Imm(isa.Mul, number, -1))
	}
	c.emit(limit,
		isa.ALU64Reg(isa.Sub, isa.AX, number), isa.ALU64Reg(isa.Or, isa.AX, number),
		isa.ALU64Imm(isa.Neg, isa.AX, 0), isa.ALU64Imm(isa.Arsh, isa.AX, 63), isa.ALU64Reg(isa.And, isa.AX, number))
}
