package isa

import "slices"

// Row is one legal form of an instruction: everything skep knows about it.
// Disassembler, assembler, validity check and the engines' completeness tests
// read the same rows, so that an instruction is declared once.
//
// Several rows may share an opcode; they then differ in what Src, Off or Imm
// select (a local call and a helper call, say, or the atomic operations).
type Row struct {
	// Name is unique and made of operation, width and second operand: add64_imm.
	Name string
	Op   Opcode

	// Dst and Src say how the two register fields are used, Off and Imm which
	// values the other two may hold. A Src that selects holds SrcIs.
	Dst, Src Use
	SrcIs    Register
	Off, Imm Field

	// Uses and Sets are the registers touched without being named.
	Uses, Sets RegSet

	// Width is how many bits are computed, compared, loaded or stored; 0 where
	// that means nothing.
	Width int
	// CPU is the lowest clang -mcpu that emits the form.
	CPU CPU
	// Group is the conformance group of RFC 9669, section 2.4.
	Group Group

	// Syntax is the instruction as the assembler writes it; LLVM, ALU32 and
	// Kernel are the other dialects where they differ. See template.go.
	Syntax, LLVM, ALU32, Kernel string

	// Sem computes the result of arithmetic: a is the destination's old value,
	// b the source register or the sign-extended immediate. For an atomic
	// operation a is the memory's old value and the result what is stored; for
	// a load it is what the register gets for the bits a in memory.
	Sem func(a, b uint64) uint64
	// Test decides a conditional jump; operands as for Sem.
	Test func(a, b uint64) bool

	// Doc explains the instruction in one line.
	Doc string

	text [dialects]template // Syntax and its variants, parsed
}

// Use says what an instruction does with a register field.
type Use uint8

// Uses of a register field.
const (
	Reserved  Use = 0 // must be zero
	Read      Use = 1 // names a register that is read
	Write     Use = 2 // names a register that is written
	ReadWrite     = Read | Write
	Selector  Use = 4 // not a register: its value (SrcIs) selects the form
)

// Field is what Off or Imm may hold.
type Field struct {
	kind   fieldKind
	values []int32
}

type fieldKind uint8

const (
	fieldReserved fieldKind = iota // zero
	fieldOperand                   // anything: it is an operand
	fieldIgnored                   // anything, and nobody looks at it
	fieldSelects                   // the one value that selects the form
	fieldOneOf                     // an operand with few legal values
)

// Allows reports whether the field may hold v.
func (f Field) Allows(v int32) bool {
	switch f.kind {
	case fieldReserved:
		return v == 0
	case fieldOperand, fieldIgnored:
		return true
	}
	return slices.Contains(f.values, v)
}

// IsOperand reports whether the field carries an operand (as opposed to being
// reserved, ignored, or there to select the form).
func (f Field) IsOperand() bool { return f.kind == fieldOperand || f.kind == fieldOneOf }

// Values returns the only values the field may hold, nil if it may hold any.
func (f Field) Values() []int32 {
	if f.kind == fieldReserved {
		return []int32{0}
	}
	return slices.Clone(f.values)
}

var (
	anything = Field{kind: fieldOperand}
	noCare   = Field{kind: fieldIgnored}
)

func is(v int32) Field            { return Field{fieldSelects, []int32{v}} }
func among(values ...int32) Field { return Field{fieldOneOf, values} }

// CPU is a clang processor version, as -mcpu takes it.
type CPU uint8

// CPU versions. CPUKernel marks what clang emits for no -mcpu by itself, only
// for inline assembly, relocations or attributes.
const (
	CPUv1 CPU = 1 + iota
	CPUv2
	CPUv3
	CPUv4
	CPUKernel
)

func (c CPU) String() string {
	if c == CPUKernel {
		return "kernel"
	}
	return "v" + string('0'+rune(c))
}

// Group is a conformance group of RFC 9669, or [GroupLinux].
type Group string

// Conformance groups.
const (
	GroupBase32   Group = "base32"
	GroupBase64   Group = "base64"
	GroupAtomic32 Group = "atomic32"
	GroupAtomic64 Group = "atomic64"
	GroupDivMul32 Group = "divmul32"
	GroupDivMul64 Group = "divmul64"
	GroupPacket   Group = "packet"
	// GroupLinux holds what Linux has and the RFC has not.
	GroupLinux Group = "linux"
)

// Table holds every instruction form that Linux 6.18 accepts, in a fixed order.
// Nobody may change it.
var Table = withTemplates(slices.Concat(
	aluRows(), moveRows(), swapRows(), jumpRows(), callRows(), loadRows(), storeRows(), atomicRows(),
))

var byOp = indexRows(Table)

// indexRows points from opcodes to their rows.
func indexRows(rows []Row) (index [256][]*Row) {
	for i := range rows {
		r := &rows[i]
		index[r.Op] = append(index[r.Op], r)
	}
	return index
}

// Lookup returns the row that ins is an instance of, nil if no kernel would
// accept its opcode with these fields. It does not judge register numbers, nor
// immediates that are values (see [Check]); of a 64-bit load it sees the first
// slot only.
func Lookup(ins Instruction) *Row {
	return findRow(byOp[ins.Op], ins)
}

func findRow(rows []*Row, ins Instruction) *Row {
	for _, r := range rows {
		if r.matches(ins) {
			return r
		}
	}
	return nil
}

func (r *Row) matches(ins Instruction) bool {
	return r.selected(ins) && (r.Dst != Reserved || ins.Dst == 0) && (r.Src != Reserved || ins.Src == 0) &&
		r.Off.Allows(int32(ins.Off)) && r.Imm.Allows(ins.Imm)
}

// selected reports whether the fields that tell rows of one opcode apart say r.
func (r *Row) selected(ins Instruction) bool {
	return (r.Src != Selector || ins.Src == r.SrcIs) &&
		(r.Off.kind != fieldSelects || r.Off.Allows(int32(ins.Off))) &&
		(r.Imm.kind != fieldSelects || r.Imm.Allows(ins.Imm))
}

// Slots returns how many slots the instruction takes: 2 for 64-bit loads, else 1.
func (r *Row) Slots() int {
	if r.Op == LoadImm64 {
		return 2
	}
	return 1
}

// IsJump reports whether the instruction goes, or may go, to another slot of the
// same function: goto, gotol, may_goto and the conditional jumps.
func (r *Row) IsJump() bool {
	op := r.Op.JumpOp()
	return r.Op.Class().IsJump() && op != Call && op != Exit
}

// IsConditional reports whether the instruction compares to decide a jump.
func (r *Row) IsConditional() bool { return r.Test != nil }

// RegSet is a set of registers, bit n standing for Rn.
type RegSet uint16

// Regs makes a set.
func Regs(regs ...Register) (s RegSet) {
	for _, r := range regs {
		s |= 1 << r
	}
	return s
}

// Has reports whether r is in the set.
func (s RegSet) Has(r Register) bool { return s&(1<<r) != 0 }

// Reads returns the registers ins reads. A call reads no more than the
// arguments its function takes; the set then has all of R1–R5.
func (r *Row) Reads(ins Instruction) RegSet { return r.Uses | r.named(ins, Read) }

// Writes returns the registers ins writes. A call leaves R1–R5 unusable, which
// counts as writing them.
func (r *Row) Writes(ins Instruction) RegSet { return r.Sets | r.named(ins, Write) }

func (r *Row) named(ins Instruction, u Use) (s RegSet) {
	if r.Dst&u != 0 {
		s |= Regs(ins.Dst)
	}
	if r.Src&u != 0 {
		s |= Regs(ins.Src)
	}
	return s
}
