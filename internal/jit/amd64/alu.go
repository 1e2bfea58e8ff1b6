package amd64

import "github.com/skep-bpf/skep/isa"

// Opcodes that several rules name.
const (
	alu32, alu64 = isa.Opcode(isa.ClassALU), isa.Opcode(isa.ClassALU64)
	jmp, jmp32   = isa.Opcode(isa.ClassJMP), isa.Opcode(isa.ClassJMP32)

	and64   = alu64 | isa.And
	add64K  = alu64 | isa.Add
	add64X  = alu64 | isa.Add | isa.SrcX
	mov64X  = alu64 | isa.Mov | isa.SrcX
	mov32X  = alu32 | isa.Mov | isa.SrcX
	mayGoto = jmp | isa.Jcond
)

// simple are the operations that x86 has as "op dst, src", and their digits
// where an immediate takes src's place.
var simple = map[isa.Opcode]struct {
	op    opcode
	digit reg
}{
	isa.Add: {opAdd, digitAdd}, isa.Sub: {opSub, digitSub}, isa.Or: {opOr, digitOr},
	isa.And: {opAnd, digitAnd}, isa.Xor: {opXor, digitXor},
}

// shifts are the digits of shifts, and the instruction that takes any count register.
var shifts = map[isa.Opcode]struct {
	digit reg
	vex   vexOp
}{
	isa.Lsh: {digitShl, opShlx}, isa.Rsh: {digitShr, opShrx}, isa.Arsh: {digitSar, opSarx},
}

// alu lowers arithmetic. Operations on 32 bits clear the upper half by themselves.
func (c *compiler) alu(ins isa.Instruction, size int) {
	dst, src := native[ins.Dst], native[ins.Src]
	op, reg := ins.Op.ALUOp(), ins.Op.UsesReg()
	switch op {
	case isa.Add, isa.Sub, isa.Or, isa.And, isa.Xor:
		if reg {
			c.rr(size, simple[op].op, src, dst)
			c.next = zeroFlag{ins.Dst, size}
		} else if c.aluImm(op, size, dst, ins.Imm) {
			c.next = zeroFlag{ins.Dst, size}
		}
	case isa.Mul:
		if reg {
			c.rr(size, opImul, dst, src)
		} else {
			c.mulImm(size, dst, ins.Imm)
		}
	case isa.Lsh, isa.Rsh, isa.Arsh:
		if reg {
			c.shiftReg(op, size, dst, src)
		} else {
			c.shiftImm(op, size, dst, ins.Imm)
		}
	case isa.Neg:
		c.rr(size, opGroup3, digitNeg, dst)
	case isa.Div, isa.Mod:
		c.divide(ins, size)
	case isa.Mov:
		switch {
		case !reg && size == size32:
			c.movImm(dst, uint64(uint32(ins.Imm)))
		case !reg:
			c.movImm(dst, uint64(int64(ins.Imm)))
		case ins.Off != 0:
			c.movSX(size, dst, src, ins.Off)
		case size == size32 && ins.Dst == ins.Src && c.zext.Has(ins.Dst):
			// Clears what is clear.
		default:
			c.mov(size, dst, src)
		}
	case isa.End:
		c.swap(ins, size)
	}
}

// aluImm lowers an operation with a constant. The result says whether the flags tell of dst.
func (c *compiler) aluImm(op isa.Opcode, size int, dst reg, v int32) (flags bool) {
	switch {
	case op == isa.And && v == 0xff: // shorter than the immediate
		c.rr(size32, opMovzxB, dst, dst)
		return false
	case op == isa.And && v == 0xffff:
		c.rr(size32, opMovzxW, dst, dst)
		return false
	case op == isa.And && v >= 0:
		size = size32 // the upper half becomes 0 in any case
	case (op == isa.Add || op == isa.Sub) && v == 128:
		op, v = op^isa.Add^isa.Sub, -128 // fits a byte
	}
	c.group1(size, simple[op].digit, dst, v)
	return true
}

// mulImm multiplies by a constant, by shifting where it is a power of two.
func (c *compiler) mulImm(size int, dst reg, v int32) {
	if n, ok := log2(uint64(v)); ok && v > 1 {
		c.shift(size, digitShl, dst, n)
		return
	}
	if is8(v) {
		c.rr(size, opImul3+2, dst, dst)
		c.imm8(v)
		return
	}
	c.rr(size, opImul3, dst, dst)
	c.imm32(v)
}

// log2 returns n for v = 2ⁿ.
func log2(v uint64) (n uint8, ok bool) {
	for n = 0; n < 64; n++ {
		if v == 1<<n {
			return n, true
		}
	}
	return 0, false
}

// shiftImm shifts by a constant, taken modulo the width as everywhere in BPF.
func (c *compiler) shiftImm(op isa.Opcode, size int, dst reg, v int32) {
	n := uint8(v) & uint8(8*size-1)
	if n == 0 {
		c.mov(size, dst, dst) // 32 bits: clears the upper half
		return
	}
	c.shift(size, shifts[op].digit, dst, n)
}

// shiftReg shifts by a register. The machine takes counts modulo the width, too.
func (c *compiler) shiftReg(op isa.Opcode, size int, dst, src reg) {
	if c.opts.BMI2 {
		c.vex(size, shifts[op].vex, dst, src, dst)
		return
	}
	c.mov(size32, rcx, src)
	c.rr(size, opShiftC, shifts[op].digit, dst)
}

// movSX extends the sign of the low 8, 16 or 32 bits.
func (c *compiler) movSX(size int, dst, src reg, bits int16) {
	op := opMovsxd
	switch bits {
	case 8:
		op = opMovsxB
	case 16:
		op = opMovsxW
	}
	c.rr(size, op, dst, src)
}

// swap lowers byte swaps. The machine is little endian: to-little only cuts.
func (c *compiler) swap(ins isa.Instruction, size int) {
	dst := native[ins.Dst]
	if size == size32 && !ins.Op.UsesReg() {
		switch ins.Imm {
		case 16:
			c.rr(size32, opMovzxW, dst, dst)
		case 32:
			c.mov(size32, dst, dst)
		}
		return
	}
	switch ins.Imm {
	case 16:
		c.shift(size16, digitRol, dst, 8)
		c.rr(size32, opMovzxW, dst, dst)
	case 32:
		c.bswap(size32, dst)
	case 64:
		c.bswap(size64, dst)
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
	c.zext &^= isa.Regs(ins.Dst)
}
