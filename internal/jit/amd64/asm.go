package amd64

import "encoding/binary"

// reg is a general register of the processor.
type reg uint8

const (
	rax reg = iota
	rcx
	rdx
	rbx
	rsp
	rbp
	rsi
	rdi
	r8
	r9
	r10
	r11
	r12
	r13
	r14
	r15
)

// mem is an operand in memory.
type mem struct {
	base reg
	disp int32
}

// Opcodes, as the manual numbers them: one byte, 0x0f and one, or 0x0f38 and
// one; a legacy prefix stands in the top byte. Those for bytes and those for
// words differ in the lowest bit.
type opcode uint32

const (
	opAdd    opcode = 0x01
	opOr     opcode = 0x09
	opAdc    opcode = 0x11
	opAnd    opcode = 0x21
	opSub    opcode = 0x29
	opXor    opcode = 0x31
	opCmp    opcode = 0x39
	opMovsxd opcode = 0x63
	opImul3  opcode = 0x69 // with imm32; 0x6b with imm8
	opTest   opcode = 0x85
	opXchg   opcode = 0x87
	opStore  opcode = 0x89
	opLoad   opcode = 0x8b
	opLea    opcode = 0x8d
	opShift  opcode = 0xc1
	opShift1 opcode = 0xd1
	opShiftC opcode = 0xd3
	opMovI   opcode = 0xc7
	opGroup3 opcode = 0xf7
	opGroup5 opcode = 0xff
	opPopMem opcode = 0x8f
	opImul   opcode = 0x0faf
	opMovzxB opcode = 0x0fb6
	opMovzxW opcode = 0x0fb7
	opMovsxB opcode = 0x0fbe
	opMovsxW opcode = 0x0fbf
	opMovbe  opcode = 0x0f38f0
	opLzcnt  opcode = 0x0fbd | 0xf3000000
	opMovups opcode = 0x0f11 // store
	opLdups  opcode = 0x0f10

	opLock        opcode = 0xf0000000
	opXadd        opcode = 0x0fc1 | opLock
	opCmpxchg     opcode = 0x0fb1 | opLock
	opGroup1      opcode = 0x81 // with imm32; 0x83 with imm8
	opGroup1Byte  opcode = 0x80
	opGroup3Byte  opcode = 0xf6
	opMovIByte    opcode = 0xc6
	opLoadByte    opcode = 0x8a
	opStoreByte   opcode = 0x88
	opXchgByte    opcode = 0x86
	opcodePrefix         = 0xff000000
	opcodeEscape2        = 0x00ff00
	opcodeEscape3        = 0xff0000
	rexW, rexR           = 8, 4
	rexX, rexB           = 2, 1
	operand16     byte   = 0x66
)

// Digits that select within a group of opcodes.
const (
	digitAdd, digitOr, digitAdc  = 0, 1, 2
	digitAnd                     = 4
	digitSub, digitXor, digitCmp = 5, 6, 7
	digitRol, digitRor           = 0, 1
	digitShl, digitShr, digitSar = 4, 5, 7
	digitTest, digitNot          = 0, 2
	digitNeg                     = 3
	digitImul                    = 5
	digitDiv, digitIdiv          = 6, 7
	digitDec, digitCall          = 1, 2
	digitJmp                     = 4
	digitPush                    = 6
)

// cond is a condition code; flipping the lowest bit negates it.
type cond byte

const (
	condB  cond = 0x2
	condAE cond = 0x3
	condE  cond = 0x4
	condNE cond = 0x5
	condBE cond = 0x6
	condA  cond = 0x7
	condL  cond = 0xc
	condGE cond = 0xd
	condLE cond = 0xe
	condG  cond = 0xf
)

// label is a place in the code.
type label int

// assembler writes machine code. How long a jump is depends on where its target
// comes to lie: all are written long, and relax makes short ones of those that reach.
type assembler struct {
	code     []byte
	at       []int // of labels; -1: not yet
	branches []branch
}

// label makes a new place.
func (a *assembler) label() label {
	a.at = append(a.at, -1)
	return label(len(a.at) - 1)
}

// bind puts a place here.
func (a *assembler) bind(l label) { a.at[l] = len(a.code) }

func (a *assembler) byte(b byte)     { a.code = append(a.code, b) }
func (a *assembler) bytes(b ...byte) { a.code = append(a.code, b...) }
func (a *assembler) imm8(v int32)    { a.code = append(a.code, byte(v)) }
func (a *assembler) imm32(v int32) {
	a.code = append(a.code, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}
func (a *assembler) imm64(v uint64) { a.code = binary.LittleEndian.AppendUint64(a.code, v) }

// Sizes of operands, in bytes.
const (
	size8, size16, size32, size64 = 1, 2, 4, 8
)

func is8(v int32) bool { return v == int32(int8(v)) }

// prefixes writes what comes before an opcode, and the opcode:
//
//	┌────────┬──────┬───────────┬──────────────┬────────┐
//	│ lock   │ 0x66 │ REX 4WRXB │ 0x0f (0x38)  │ opcode │
//	└────────┴──────┴───────────┴──────────────┴────────┘
//
// byteReg asks for a REX in any case, as without one the numbers 4 to 7 name
// the upper halves of other byte registers.
func (a *assembler) prefixes(size int, op opcode, r, x, b reg, byteReg bool) {
	if p := byte(op >> 24); p != 0 {
		a.byte(p)
	}
	if size == size16 {
		a.byte(operand16)
	}
	rex := byte(r>>3)<<2 | byte(x>>3)<<1 | byte(b>>3)
	if size == size64 {
		rex |= rexW
	}
	if rex != 0 || byteReg {
		a.byte(0x40 | rex)
	}
	if op&opcodeEscape3 != 0 {
		a.byte(byte(op >> 16))
	}
	if op&opcodeEscape2 != 0 {
		a.byte(byte(op >> 8))
	}
	a.byte(byte(op))
}

// rr writes "op rm, r" (or "op r, rm", as the opcode has it) on registers.
func (a *assembler) rr(size int, op opcode, r, rm reg) {
	byteReg := false
	switch op {
	case opMovzxB, opMovsxB, opGroup1Byte, opGroup3Byte:
		byteReg = rm >= rsp
	}
	a.prefixes(size, op, r, 0, rm, byteReg)
	a.modRM(3, r, rm)
}

// rm writes an instruction on a register and memory.
func (a *assembler) rm(size int, op opcode, r reg, m mem) {
	byteReg := false
	switch op {
	case opStoreByte, opXchgByte:
		byteReg = r >= rsp
	}
	a.prefixes(size, op, r, 0, m.base, byteReg)
	a.memory(r, m)
}

func (a *assembler) modRM(mod byte, r, rm reg) {
	a.byte(mod<<6 | byte(r&7)<<3 | byte(rm&7))
}

// memory writes ModRM, SIB where the base needs one, and the shortest
// displacement: rbp and r13 have none without.
func (a *assembler) memory(r reg, m mem) {
	mod := byte(2)
	switch {
	case m.disp == 0 && m.base&7 != rbp:
		mod = 0
	case is8(m.disp):
		mod = 1
	}
	a.modRM(mod, r, m.base)
	if m.base&7 == rsp {
		a.byte(0x24)
	}
	switch mod {
	case 1:
		a.imm8(m.disp)
	case 2:
		a.imm32(m.disp)
	}
}

// lea2 writes "lea dst, [base+index]".
func (a *assembler) lea2(size int, dst, base, index reg) {
	if base&7 == rbp { // needs a displacement as base, but not as index
		base, index = index, base
	}
	a.prefixes(size, opLea, dst, index, base, false)
	mod := byte(0)
	if base&7 == rbp {
		mod = 1
	}
	a.modRM(mod, dst, rsp)
	a.byte(byte(index&7)<<3 | byte(base&7))
	if mod == 1 {
		a.imm8(0)
	}
}

// group1 writes add, or, and, sub, xor or cmp with an immediate.
func (a *assembler) group1(size int, digit reg, rm reg, v int32) {
	switch {
	case is8(v):
		a.prefixes(size, opGroup1+2, digit, 0, rm, false)
		a.modRM(3, digit, rm)
		a.imm8(v)
	case rm == rax:
		a.prefixes(size, opcode(digit)<<3|5, 0, 0, 0, false)
		a.imm32(v)
	default:
		a.prefixes(size, opGroup1, digit, 0, rm, false)
		a.modRM(3, digit, rm)
		a.imm32(v)
	}
}

// group1Mem is group1 on memory, of four or eight bytes.
func (a *assembler) group1Mem(size int, digit reg, m mem, v int32) {
	if is8(v) {
		a.rm(size, opGroup1+2, digit, m)
		a.imm8(v)
		return
	}
	a.rm(size, opGroup1, digit, m)
	a.imm32(v)
}

// shift writes a shift or rotation by a constant.
func (a *assembler) shift(size int, digit reg, rm reg, n uint8) {
	if n == 1 {
		a.rr(size, opShift1, digit, rm)
		return
	}
	a.rr(size, opShift, digit, rm)
	a.imm8(int32(n))
}

// mov copies a register; nothing where it is the same and 64 bits wide.
func (a *assembler) mov(size int, dst, src reg) {
	if dst != src || size != size64 {
		a.rr(size, opStore, src, dst)
	}
}

// movImm loads a constant in its shortest form. It changes the flags.
func (a *assembler) movImm(dst reg, v uint64) {
	switch {
	case v == 0:
		a.rr(size32, opXor, dst, dst)
	case v == uint64(uint32(v)):
		a.prefixes(size32, 0xb8+opcode(dst&7), 0, 0, dst, false)
		a.imm32(int32(uint32(v)))
	case v == uint64(int64(int32(v))):
		a.rr(size64, opMovI, 0, dst)
		a.imm32(int32(v))
	default:
		a.prefixes(size64, 0xb8+opcode(dst&7), 0, 0, dst, false)
		a.imm64(v)
	}
}

func (a *assembler) push(r reg) { a.prefixes(size32, 0x50+opcode(r&7), 0, 0, r, false) }
func (a *assembler) pop(r reg)  { a.prefixes(size32, 0x58+opcode(r&7), 0, 0, r, false) }

// bswap reverses the bytes of a register.
func (a *assembler) bswap(size int, r reg) {
	a.prefixes(size, 0x0fc8+opcode(r&7), 0, 0, r, false)
}

// vexOp is an opcode of the VEX encoding with its implied prefix and map.
type vexOp struct{ pp, mmmmm, op byte }

var (
	opShlx = vexOp{1, 2, 0xf7}
	opSarx = vexOp{2, 2, 0xf7}
	opShrx = vexOp{3, 2, 0xf7}
	opMulx = vexOp{3, 2, 0xf6}
	opRorx = vexOp{3, 3, 0xf0}
)

// vex writes "op r, rm, v" (SHLX and its kin), "op r, v, rm" (MULX: high and
// low half) or, with v 0 and an immediate to follow, "op r, rm" (RORX).
//
//	┌──────┬────────────┬────────────┬────────┬───────┐
//	│ 0xc4 │ RXB mmmmm  │ W vvvv L pp│ opcode │ ModRM │   R, X, B and vvvv inverted
//	└──────┴────────────┴────────────┴────────┴───────┘
func (a *assembler) vex(size int, op vexOp, r, v, rm reg) {
	b1 := op.mmmmm | 0xe0 ^ byte(r>>3)<<7 ^ byte(rm>>3)<<5
	b2 := op.pp | (^byte(v)&15)<<3
	if size == size64 {
		b2 |= 0x80
	}
	a.bytes(0xc4, b1, b2, op.op)
	a.modRM(3, r, rm)
}
