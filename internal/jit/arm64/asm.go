package arm64

import (
	"encoding/binary"
	"math/bits"
)

// reg is a general register of the processor. Number 31 is the stack pointer
// in addresses and in additions of constants, and zero elsewhere.
type reg uint32

const (
	x0 reg = iota
	x1
	x2
	x3
	x4
	x5
	x6
	x7
	x8
	x9
	x10
	x11
	x12
	x13
	x14
	x15
	x16
	x17

	x29 reg = 29
	x30 reg = 30
	sp  reg = 31
	xzr reg = 31
)

// mem is an operand in memory.
type mem struct {
	base reg
	disp int32
}

// Sizes of operands, in bytes.
const (
	size8, size16, size32, size64 = 1, 2, 4, 8
)

// opcode is an instruction without its operands, as the manual draws it, and
// where the width can be chosen, in its 32-bit form: sf, the top bit, is added.
type opcode uint32

const (
	sf opcode = 1 << 31

	// Three registers: Rm in bits 20 to 16, Rn in 9 to 5, Rd in 4 to 0.
	opAdd      opcode = 0x0b000000
	opAdds     opcode = 0x2b000000
	opAddUXTW3 opcode = 0x0b204c00 // Rm: its lower half, times 8
	opAddLSL2  opcode = 0x0b000800 // Rm: times 4
	opAddLSL3  opcode = 0x0b000c00
	opSub      opcode = 0x4b000000
	opSubs     opcode = 0x6b000000
	opAnd      opcode = 0x0a000000
	opAnds     opcode = 0x6a000000
	opOrr      opcode = 0x2a000000
	opOrn      opcode = 0x2a200000
	opEor      opcode = 0x4a000000
	opUdiv     opcode = 0x1ac00800
	opSdiv     opcode = 0x1ac00c00
	opLslv     opcode = 0x1ac02000
	opLsrv     opcode = 0x1ac02400
	opAsrv     opcode = 0x1ac02800
	// Four: Ra in 14 to 10.
	opMadd opcode = 0x1b000000
	opMsub opcode = 0x1b008000
	// Two.
	opRev16 opcode = 0x5ac00400
	opRev32 opcode = 0x5ac00800
	opRev64 opcode = 0xdac00c00
	opClz   opcode = 0x5ac01000

	// A constant of 12 bits, perhaps shifted by 12 (bit 22), in 21 to 10.
	opAddI  opcode = 0x11000000
	opAddsI opcode = 0x31000000
	opSubI  opcode = 0x51000000
	opSubsI opcode = 0x71000000
	// A pattern of bits in 22 to 10, see bitmask.
	opAndI  opcode = 0x12000000
	opAndsI opcode = 0x72000000
	opOrrI  opcode = 0x32000000
	opEorI  opcode = 0x52000000
	// A constant of 16 bits in 20 to 5, and by how many times 16 it is shifted in 22 to 21.
	opMovn opcode = 0x12800000
	opMovz opcode = 0x52800000
	opMovk opcode = 0x72800000
	// Bit fields: immr in 21 to 16, imms in 15 to 10; N, bit 22, with sf.
	opSbfm opcode = 0x13000000
	opUbfm opcode = 0x53000000
	opExtr opcode = 0x13800000 // Rm, and the shift in 15 to 10

	// Loads and stores: the size in 31 to 30.
	opStr  opcode = 0x39000000
	opLdr  opcode = 0x39400000
	opLdrs opcode = 0x39800000 // extends the sign to 64 bits
	// The same with an unscaled displacement in 20 to 12, or with an index in 20 to 16.
	unscaled = 0x38000000 ^ 0x39000000
	indexed  = 0x38206800 ^ 0x39000000
	// Ordered and exclusive ones have no displacement; the status goes to 20 to 16.
	opLdar  opcode = 0x08dffc00
	opStlr  opcode = 0x089ffc00
	opLdxr  opcode = 0x085f7c00
	opStlxr opcode = 0x0800fc00
	opStxr  opcode = 0x08007c00
	// One instruction for what is read, changed and written: Rs in 20 to 16. The
	// first four are ordered like nothing else, the others like everything.
	opLdadd  opcode = 0x38200000
	opLdclr  opcode = 0x38201000
	opLdeor  opcode = 0x38202000
	opLdset  opcode = 0x38203000
	opOrder  opcode = 0x00c00000
	opSwpal  opcode = 0x38e08000
	opCasal  opcode = 0x08e0fc00
	opDmbISH opcode = 0xd5033bbf
	opDsbSY  opcode = 0xd5033f9f
	opISB    opcode = 0xd5033fdf
	opDmbLd  opcode = 0xd50339bf // of loads only: dmb ishld

	// Pairs of 64-bit registers: a displacement in eights in 21 to 15, Rt2 in 14 to 10.
	opStp     opcode = 0xa9000000
	opLdp     opcode = 0xa9400000
	opStpPre  opcode = 0xa9800000
	opLdpPost opcode = 0xa8c00000

	opB   opcode = 0x14000000
	opBl  opcode = 0x94000000
	opBif opcode = 0x54000000
	opCbz opcode = 0x34000000 // opCbz|opNot is cbnz
	opNot opcode = 0x01000000
	opBr  opcode = 0xd61f0000
	opRet opcode = 0xd65f0000
)

// cond is a condition code; flipping the lowest bit negates it.
type cond opcode

const (
	condEQ cond = 0x0
	condNE cond = 0x1
	condHS cond = 0x2
	condLO cond = 0x3
	condHI cond = 0x8
	condLS cond = 0x9
	condGE cond = 0xa
	condLT cond = 0xb
	condGT cond = 0xc
	condLE cond = 0xd
)

// label is a place in the code.
type label int

// fixup is a branch whose distance is filled in at the end: its field has so
// many bits from bit shift on, in words.
type fixup struct {
	at          int
	to          label
	bits, shift int
}

// assembler writes machine code. Conditional branches reach a megabyte: far
// says that the program is larger, so that they jump over an unconditional one.
type assembler struct {
	code   []byte
	at     []int // of labels; -1: not yet
	fixups []fixup
	far    bool
}

// label makes a new place.
func (a *assembler) label() label {
	a.at = append(a.at, -1)
	return label(len(a.at) - 1)
}

// bind puts a place here.
func (a *assembler) bind(l label) { a.at[l] = len(a.code) }

// link fills in the branches; false if one does not reach.
func (a *assembler) link() bool {
	for _, f := range a.fixups {
		d := (a.at[f.to] - f.at) / 4
		if d < -1<<(f.bits-1) || d >= 1<<(f.bits-1) {
			return false
		}
		word := a.code[f.at:]
		binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)|uint32(d)&(1<<f.bits-1)<<f.shift)
	}
	return true
}

func (a *assembler) op(o opcode) { a.code = binary.LittleEndian.AppendUint32(a.code, uint32(o)) }

// wide adds sf to an opcode for operands of 64 bits.
func wide(size int, o opcode) opcode {
	if size == size64 {
		return o | sf
	}
	return o
}

// rrr writes "op d, n, m".
func (a *assembler) rrr(size int, o opcode, d, n, m reg) {
	a.op(wide(size, o) | opcode(m<<16|n<<5|d))
}

// rrrr writes "op d, n, m, x".
func (a *assembler) rrrr(size int, o opcode, d, n, m, x reg) { a.rrr(size, o|opcode(x<<10), d, n, m) }

// rr writes "op d, n".
func (a *assembler) rr(size int, o opcode, d, n reg) { a.rrr(size, o, d, n, 0) }

// mov copies a register, none of which is the stack pointer; nothing where it is the same and 64 bits wide.
func (a *assembler) mov(size int, d, s reg) {
	if d != s || size != size64 {
		a.rrr(size, opOrr, d, xzr, s)
	}
}

// movSP copies to or from the stack pointer.
func (a *assembler) movSP(d, s reg) { a.rr(size64, opAddI, d, s) }

// addImm writes d = n + v; it uses x12 where v is large. Of n and d, either may be sp where v is small.
func (a *assembler) addImm(size int, d, n reg, v int64) {
	a.arith(size, opAddI, opSubI, opAdd, d, n, v)
}

// cmpImm compares with a constant; it uses x12 where v is large.
func (a *assembler) cmpImm(size int, n reg, v int64) {
	a.arith(size, opSubsI, opAddsI, opSubs, xzr, n, v)
}

// arith writes "op d, n, v" with the opcode for constants, that for their
// negatives, or that for registers.
func (a *assembler) arith(size int, plus, minus, register opcode, d, n reg, v int64) {
	if v < 0 && v != -v {
		plus, minus, v = minus, plus, -v
		if f, ok := imm12(v); ok {
			a.rr(size, plus|f, d, n)
			return
		}
		v = -v
	} else if f, ok := imm12(v); ok {
		a.rr(size, plus|f, d, n)
		return
	}
	a.movImm(x12, truncate(size, v))
	a.rrr(size, register, d, n, x12)
}

// truncate gives the bits of v an operand of size bytes has.
func truncate(size int, v int64) uint64 {
	if size == size32 {
		return uint64(uint32(v))
	}
	return uint64(v)
}

// imm12 encodes a constant of addition, where it can.
//
//	┌────┬──────────────┐
//	│ sh │ imm12        │   bits 22, 21–10; sh: shifted by 12
//	└────┴──────────────┘
func imm12(v int64) (field opcode, ok bool) {
	switch {
	case v>>12 == 0:
		return opcode(v) << 10, true
	case v>>24 == 0 && v&0xfff == 0:
		return 1<<22 | opcode(v>>12)<<10, true
	}
	return 0, false
}

// logic writes "d = n op v" with the opcode for constants or that for
// registers; it uses x12 where v is no pattern.
func (a *assembler) logic(size int, constant, register opcode, d, n reg, v int64) {
	u := truncate(size, v)
	if f, ok := bitmask(size, u); ok {
		a.rr(size, constant|f, d, n)
		return
	}
	a.movImm(x12, u)
	a.rrr(size, register, d, n, x12)
}

// bitmask encodes a constant of logic, where it can: a run of ones, rotated, and
// repeated in elements of 2, 4, 8, 16, 32 or 64 bits.
//
//	┌───┬────────┬────────┐   bits 22, 21–16, 15–10
//	│ N │ immr   │ imms   │   immr: by how much it is rotated to the right
//	└───┴────────┴────────┘   N:imms: 1 s…s, 0 0s…s, 0 10s…s, …: the element's size, and the run − 1
func bitmask(size int, v uint64) (field opcode, ok bool) {
	if size == size32 {
		v = v<<32 | v&0xffffffff
	}
	if v == 0 || v == ^uint64(0) {
		return 0, false
	}
	n := 64
	for n > 2 && v == bits.RotateLeft64(v, n/2) {
		n /= 2
	}
	// Turn the run to the lowest bits. Its start is the lowest one that has a zero below.
	start := bits.TrailingZeros64(v &^ bits.RotateLeft64(v, 1))
	run := bits.RotateLeft64(v, -start)
	ones := bits.TrailingZeros64(^run)
	mask := ^uint64(0) >> (64 - n)
	if run&mask != 1<<ones-1 {
		return 0, false
	}
	imms := opcode(^(n<<1-1)&0x3f) | opcode(ones-1)
	field = opcode((n-start%n)%n)<<16 | imms<<10
	if n == 64 {
		field |= 1 << 22
	}
	return field, true
}

// movImm loads a constant in the fewest instructions: one for every 16 bits that
// are not zero, or not ones; or one for a pattern.
func (a *assembler) movImm(d reg, v uint64) {
	size, o, fill := size64, opMovz, uint16(0)
	zeros, ones := 0, 0
	for s := 0; s < 64; s += 16 {
		switch uint16(v >> s) {
		case 0:
			zeros++
		case 0xffff:
			ones++
		}
	}
	if v>>32 == 0 {
		size = size32
		if v>>16 == 0xffff && v != 0xffff0000 { // movn of 32 bits clears the upper ones
			ones, zeros = 3, 2
		}
	}
	if min(4-zeros, 4-ones) > 1 {
		if f, ok := bitmask(size, v); ok {
			a.rr(size, opOrrI|f, d, xzr)
			return
		}
	}
	if ones > zeros {
		o, fill = opMovn, 0xffff
	}
	first := true
	for s := 0; s < 8*size; s += 16 {
		part := uint16(v >> s)
		if part == fill {
			continue
		}
		if first && o == opMovn {
			part = ^part
		}
		a.op(wide(size, o) | opcode(s/16)<<21 | opcode(part)<<5 | opcode(d))
		o, first = opMovk, false
	}
	if first { // all of it is fill
		a.op(wide(size, o) | opcode(d))
	}
}

// Shifts by constants, and extensions, are bit fields.

func (a *assembler) bitfield(size int, o opcode, d, n reg, immr, imms int) {
	if size == size64 {
		o |= 1 << 22
	}
	a.rr(size, o|opcode(immr)<<16|opcode(imms)<<10, d, n)
}

func (a *assembler) lsl(size int, d, n reg, by int) {
	a.bitfield(size, opUbfm, d, n, -by&(8*size-1), 8*size-1-by)
}
func (a *assembler) lsr(size int, d, n reg, by int) { a.bitfield(size, opUbfm, d, n, by, 8*size-1) }
func (a *assembler) asr(size int, d, n reg, by int) { a.bitfield(size, opSbfm, d, n, by, 8*size-1) }

// zext and sext extend the low bits of n.
func (a *assembler) zext(d, n reg, low int)           { a.bitfield(size32, opUbfm, d, n, 0, low-1) }
func (a *assembler) sext(size int, d, n reg, low int) { a.bitfield(size, opSbfm, d, n, 0, low-1) }

// rol writes d = n rotated left.
func (a *assembler) rol(size int, d, n reg, by int) {
	o := opExtr | opcode(8*size-by)<<10
	if size == size64 {
		o |= 1 << 22
	}
	a.rrr(size, o, d, n, n)
}

// access writes a load or store of size bytes. It uses x12 where the
// displacement is large.
func (a *assembler) access(size int, o opcode, r reg, m mem) {
	o |= opcode(bits.TrailingZeros(uint(size))) << 30
	switch {
	case m.disp >= 0 && m.disp%int32(size) == 0 && m.disp/int32(size) < 1<<12:
		a.rr(size32, o|opcode(m.disp/int32(size))<<10, r, m.base)
	case m.disp >= -256 && m.disp < 256:
		a.rr(size32, o^unscaled|opcode(m.disp&0x1ff)<<12, r, m.base)
	default:
		a.movImm(x12, uint64(m.disp))
		a.rrr(size32, o^indexed, r, m.base, x12)
	}
}

// exclusive writes an ordered or exclusive access, or one that changes memory.
func (a *assembler) exclusive(size int, o opcode, s, r, base reg) {
	a.rrr(size32, o|opcode(bits.TrailingZeros(uint(size)))<<30, r, base, s)
}

// pair writes a load or store of two registers.
func (a *assembler) pair(o opcode, r, r2, base reg, disp int32) {
	a.op(o | opcode(disp/8&0x7f)<<15 | opcode(r2<<10|base<<5|r))
}

func (a *assembler) branch(o opcode, l label, bits, shift int) {
	a.fixups = append(a.fixups, fixup{len(a.code), l, bits, shift})
	a.op(o)
}

func (a *assembler) jump(l label) { a.branch(opB, l, 26, 0) }
func (a *assembler) call(l label) { a.branch(opBl, l, 26, 0) }

// conditional writes a conditional branch; not is the bit that negates it.
func (a *assembler) conditional(o, not opcode, l label) {
	if a.far {
		a.op(o ^ not | 2<<5)
		a.jump(l)
		return
	}
	a.branch(o, l, 19, 5)
}

func (a *assembler) jumpIf(c cond, l label) { a.conditional(opBif|opcode(c), 1, l) }

// jumpZero jumps if r is zero, or if it is not.
func (a *assembler) jumpZero(size int, zero bool, r reg, l label) {
	o := wide(size, opCbz) | opcode(r)
	if !zero {
		o |= opNot
	}
	a.conditional(o, opNot, l)
}

// barrier lets nothing begin before all before it is done, not even on a guess.
func (a *assembler) barrier() {
	a.op(opDsbSY)
	a.op(opISB)
}
