package rewrite

import "github.com/skep-bpf/skep/isa"

// blindConstants keeps the numbers a program is made of out of native code
// (bpf_jit_blind_constants): an author who could choose four bytes in a row of
// executable memory would choose instructions. Each constant arrives in
// [isa.AX] as one number and is turned into itself by another, drawn anew each time:
//
//	r1 += 1234                  rax = 1234 ^ x
//	                            rax ^= x
//	                            r1 += rax
//
// As in the kernel, offsets, counts of shifts and numbers of helpers stay: they
// have 16 bits or few values. Instructions that work on AX are the passes'
// own, with constants they choose.
func blindConstants(c *code) {
	i := -1
	c.rewrite(func(x *node) bool {
		for i++; &c.nodes[i] != x; i++ { // rewrite calls for instructions only
		}
		if c.hidden(i) {
			return false
		}
		ins := x.ins
		switch class := ins.Op.Class(); {
		case ins.IsLoadImm64():
			if ins.Dst == isa.AX || x.to != nowhere {
				return false
			}
			c.blindImm64(ins.Dst, uint32(ins.Imm), uint32(x.next))
		case class == isa.ClassLD:
			c.blindLegacy(ins)
		case ins.Dst == isa.AX:
			return false
		case class == isa.ClassST && ins.Op.Mode() == isa.ModeMEM:
			c.mask(isa.ALU64Imm, isa.ALU64Imm, ins.Imm)
			c.emit(isa.StoreMem(ins.Op.SizeBits(), ins.Dst, isa.AX, ins.Off))
		case ins.Op.UsesReg():
			return false
		case class == isa.ClassALU || class == isa.ClassALU64:
			return c.blindALU(ins)
		case isConditional(ins):
			c.mask(isa.ALU64Imm, isa.ALU64Imm, ins.Imm)
			ins.Op, ins.Src, ins.Imm = ins.Op|isa.SrcX, isa.AX, 0
			c.jump(ins, x.to)
		default:
			return false
		}
		return true
	})
}

// hidden reports whether AX is in use across node i, where nothing may be
// inserted that changes it. What a pass made of one instruction is the farthest
// AX reaches.
func (c *code) hidden(i int) bool {
	for j := i + 1; j < len(c.nodes) && c.nodes[j].orig == c.nodes[i].orig; j++ {
		x := &c.nodes[j]
		if x.at != nowhere {
			continue
		}
		row := isa.LookupRewritten(x.ins)
		switch {
		case x.ins.IsLoadImm64() && x.ins.Dst == isa.AX:
			return false
		case row == nil:
			continue
		case row.Reads(x.ins).Has(isa.AX):
			return true
		case row.Writes(x.ins).Has(isa.AX):
			return false
		}
	}
	return false
}

// mask leaves v in AX without naming it. mov and xor are the builders of the width.
func (c *code) mask(mov, xor func(isa.Opcode, isa.Register, int32) isa.Instruction, v int32) {
	r := int32(c.blind())
	c.emit(mov(isa.Mov, isa.AX, v^r), xor(isa.Xor, isa.AX, r))
}

// blindALU blinds arithmetic with a constant; not that whose constant is a count or a width.
func (c *code) blindALU(ins isa.Instruction) bool {
	switch ins.Op.ALUOp() {
	case isa.Mov:
		if ins.Imm == 0 { // nothing to hide, and the usual way to clear a register
			return false
		}
	case isa.Add, isa.Sub, isa.And, isa.Or, isa.Xor, isa.Mul, isa.Div, isa.Mod:
	default:
		return false
	}
	build := isa.ALU64Imm
	if ins.Op.Class() == isa.ClassALU {
		build = isa.ALU32Imm
	}
	c.mask(build, build, ins.Imm)
	ins.Op, ins.Src, ins.Imm = ins.Op|isa.SrcX, isa.AX, 0
	c.emit(ins)
	return true
}

// blindImm64 makes a 64-bit constant of its halves.
func (c *code) blindImm64(dst isa.Register, lo, hi uint32) {
	c.mask(isa.ALU64Imm, isa.ALU64Imm, int32(hi))
	c.emit(isa.ALU64Imm(isa.Lsh, isa.AX, 32), isa.Mov64Reg(dst, isa.AX))
	c.mask(isa.ALU32Imm, isa.ALU32Imm, int32(lo))
	c.emit(isa.ALU64Reg(isa.Or, dst, isa.AX))
}

// blindLegacy makes a packet load's offset a register's, as LD_IND has it.
func (c *code) blindLegacy(ins isa.Instruction) {
	c.mask(isa.ALU32Imm, isa.ALU32Imm, ins.Imm)
	if ins.Op.Mode() == isa.ModeIND {
		c.emit(isa.ALU32Reg(isa.Add, isa.AX, ins.Src))
	}
	ins.Op, ins.Src, ins.Imm = ins.Op&^0xe0|isa.ModeIND, isa.AX, 0
	c.emit(ins)
}
