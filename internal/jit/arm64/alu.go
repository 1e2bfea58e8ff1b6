package arm64

import "github.com/skep-bpf/skep/isa"

// arith are the operations on registers, and those with a constant in src's place.
var arith = map[isa.Opcode]struct{ register, constant opcode }{
	isa.Add: {opAdd, opAddI}, isa.Sub: {opSub, opSubI},
	isa.Or: {opOrr, opOrrI}, isa.And: {opAnd, opAndI}, isa.Xor: {opEor, opEorI},
}

// shifts are the shifts by a register, which takes its count modulo the width as BPF does.
var shifts = map[isa.Opcode]opcode{isa.Lsh: opLslv, isa.Rsh: opLsrv, isa.Arsh: opAsrv}

// alu lowers arithmetic. Operations on 32 bits clear the upper half by themselves.
func (c *compiler) alu(ins isa.Instruction, size int) {
	dst, src, v := native[ins.Dst], native[ins.Src], int64(ins.Imm)
	op, reg := ins.Op.ALUOp(), ins.Op.UsesReg()
	switch op {
	case isa.Add, isa.Sub, isa.Or, isa.And, isa.Xor:
		switch {
		case reg:
			c.rrr(size, arith[op].register, dst, dst, src)
		case op == isa.Add:
			c.addImm(size, dst, dst, v)
		case op == isa.Sub:
			c.addImm(size, dst, dst, -v)
		default:
			c.logic(size, arith[op].constant, arith[op].register, dst, dst, v)
		}
	case isa.Mul:
		if !reg {
			c.movImm(x12, truncate(size, v))
			src = x12
		}
		c.rrrr(size, opMadd, dst, dst, src, xzr)
	case isa.Lsh, isa.Rsh, isa.Arsh:
		if reg {
			c.rrr(size, shifts[op], dst, dst, src)
		} else {
			c.shiftImm(op, size, dst, int(ins.Imm)&(8*size-1))
		}
	case isa.Neg:
		c.rrr(size, opSub, dst, xzr, dst)
	case isa.Div, isa.Mod:
		if !reg {
			c.movImm(x12, truncate(size, v))
			src = x12
		}
		c.divide(op == isa.Mod, ins.Off == 1, size, dst, src)
	case isa.Mov:
		switch {
		case !reg:
			c.movImm(dst, truncate(size, v))
		case ins.Off != 0:
			c.sext(size, dst, src, int(ins.Off))
		default:
			c.mov(size, dst, src)
		}
	case isa.End:
		c.swap(ins, size)
	}
}

func (c *compiler) shiftImm(op isa.Opcode, size int, dst reg, n int) {
	switch op {
	case isa.Lsh:
		c.lsl(size, dst, dst, n)
	case isa.Rsh:
		c.lsr(size, dst, dst, n)
	case isa.Arsh:
		c.asr(size, dst, dst, n)
	}
}

// divide lowers division and modulo. The machine's never trap, and give what
// BPF's do: by zero the quotient is 0, and so the remainder the dividend; the
// smallest number by −1 is itself.
func (c *compiler) divide(mod, signed bool, size int, dst, src reg) {
	op := opUdiv
	if signed {
		op = opSdiv
	}
	if !mod {
		c.rrr(size, op, dst, dst, src)
		return
	}
	c.rrr(size, op, x14, dst, src)
	c.rrrr(size, opMsub, dst, x14, src, dst)
}

// swap lowers byte swaps. The machine is little endian: to-little only cuts.
func (c *compiler) swap(ins isa.Instruction, size int) {
	dst := native[ins.Dst]
	if size == size32 && !ins.Op.UsesReg() {
		switch ins.Imm {
		case 16:
			c.zext(dst, dst, 16)
		case 32:
			c.mov(size32, dst, dst)
		}
		return
	}
	switch ins.Imm {
	case 16:
		c.rr(size32, opRev16, dst, dst)
		c.zext(dst, dst, 16)
	case 32:
		c.rr(size32, opRev32, dst, dst)
	case 64:
		c.rr(size32, opRev64, dst, dst) // sf is part of it
	}
}

// loadImm64 lowers a 64-bit immediate. A callback's token is its slot.
func (c *compiler) loadImm64(pc int) {
	ins := c.insns[pc]
	v := isa.Imm64(c.insns, pc)
	switch ins.Src {
	case 0:
	case isa.PseudoFunc:
		v = uint64(pc + 1 + int(ins.Imm))
	default:
		c.fail(pc)
	}
	c.movImm(native[ins.Dst], v)
}
