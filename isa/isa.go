// Package isa is the extended BPF instruction set: the instruction table, the
// wire codec, the assembler and the disassembler.
//
// It follows RFC 9669 (BPF Instruction Set Architecture) and, where Linux has
// gone further (may_goto, load-acquire, address-space casts, pseudo sources),
// include/uapi/linux/bpf.h of Linux 6.18. It imports nothing else of skep.
//
// A program is a slice of [Instruction], one element per 8-byte slot, exactly
// as the kernel counts them: a 64-bit immediate load takes two elements, jump
// offsets and positions in verifier logs are slot numbers.
package isa

// Register is one of the eleven BPF registers, or the hidden scratch register
// that rewriting passes may use.
type Register uint8

// The registers. R0 holds return values, R1–R5 arguments, R6–R9 survive calls,
// R10 is the read-only frame pointer.
const (
	R0 Register = iota
	R1
	R2
	R3
	R4
	R5
	R6
	R7
	R8
	R9
	R10
	// AX is the kernel's hidden auxiliary register (BPF_REG_AX). Only code
	// that internal/rewrite made may name it; no program a user hands in may.
	AX

	RFP = R10
)

// Instruction is one 8-byte slot of a program.
//
//	 byte 0    byte 1     bytes 2–3    bytes 4–7
//	┌────────┬─────┬─────┬───────────┬───────────────┐
//	│ opcode │ dst │ src │ offset    │ immediate     │
//	│        │ low │ high│ signed 16 │ signed 32     │
//	└────────┴─────┴─────┴───────────┴───────────────┘
//
// (little endian; on big-endian objects the register nibbles swap places too).
type Instruction struct {
	Op  Opcode
	Dst Register
	Src Register
	Off int16
	Imm int32
}

// Opcode is the first byte of an instruction.
//
// Arithmetic and jumps:         Loads and stores:
//
//	 7 6 5 4   3     2 1 0         7 6 5   4 3    2 1 0
//	┌────────┬─────┬───────┐      ┌──────┬──────┬───────┐
//	│ op     │ src │ class │      │ mode │ size │ class │
//	└────────┴─────┴───────┘      └──────┴──────┴───────┘
type Opcode uint8

// Class is the low three bits of an [Opcode].
type Class uint8

// Instruction classes.
const (
	ClassLD    Class = 0x00
	ClassLDX   Class = 0x01
	ClassST    Class = 0x02
	ClassSTX   Class = 0x03
	ClassALU   Class = 0x04 // 32-bit arithmetic
	ClassJMP   Class = 0x05 // 64-bit comparisons, calls, exit
	ClassJMP32 Class = 0x06 // 32-bit comparisons, gotol
	ClassALU64 Class = 0x07
)

// Source bit of arithmetic and jump opcodes.
const (
	SrcK Opcode = 0x00 // the immediate
	SrcX Opcode = 0x08 // the source register
)

// Op bits of the ALU and ALU64 classes.
const (
	Add  Opcode = 0x00
	Sub  Opcode = 0x10
	Mul  Opcode = 0x20
	Div  Opcode = 0x30 // Off 1: signed
	Or   Opcode = 0x40
	And  Opcode = 0x50
	Lsh  Opcode = 0x60
	Rsh  Opcode = 0x70
	Neg  Opcode = 0x80
	Mod  Opcode = 0x90 // Off 1: signed
	Xor  Opcode = 0xa0
	Mov  Opcode = 0xb0 // Off 8/16/32: sign-extending; Off 1 on ALU64: address-space cast
	Arsh Opcode = 0xc0
	End  Opcode = 0xd0 // ALU: SrcK to little, SrcX to big endian; ALU64: unconditional swap
)

// Op bits of the JMP and JMP32 classes.
const (
	Ja    Opcode = 0x00 // JMP: by Off; JMP32 (gotol): by Imm
	Jeq   Opcode = 0x10
	Jgt   Opcode = 0x20
	Jge   Opcode = 0x30
	Jset  Opcode = 0x40
	Jne   Opcode = 0x50
	Jsgt  Opcode = 0x60
	Jsge  Opcode = 0x70
	Call  Opcode = 0x80
	Exit  Opcode = 0x90
	Jlt   Opcode = 0xa0
	Jle   Opcode = 0xb0
	Jslt  Opcode = 0xc0
	Jsle  Opcode = 0xd0
	Jcond Opcode = 0xe0 // may_goto (Src 0)
)

// Size bits of loads and stores.
const (
	W  Opcode = 0x00 // 4 bytes
	H  Opcode = 0x08 // 2 bytes
	B  Opcode = 0x10 // 1 byte
	DW Opcode = 0x18 // 8 bytes
)

// Mode bits of loads and stores.
const (
	ModeIMM    Opcode = 0x00 // 64-bit immediate, with DW
	ModeABS    Opcode = 0x20 // legacy packet load at Imm
	ModeIND    Opcode = 0x40 // legacy packet load at Src + Imm
	ModeMEM    Opcode = 0x60
	ModeMEMSX  Opcode = 0x80 // sign-extending load
	ModeATOMIC Opcode = 0xc0
)

// Modes that only rewritten programs carry: the same access, but a fault reads
// as zero (the kernel's BPF_PROBE_MEM). They share bit patterns the uapi leaves free.
const (
	ModeProbeMEM   Opcode = 0x20 // with ClassLDX
	ModeProbeMEMSX Opcode = 0x40 // with ClassLDX
	ModeArenaMEM   Opcode = 0xa0 // with ClassLDX, ClassST, ClassSTX: address is an arena offset
	ModeArenaAtom  Opcode = 0xe0 // with ClassSTX
)

// OpNospec is the kernel's barrier against speculation (BPF_ST | BPF_NOSPEC),
// which only rewritten programs have.
const OpNospec = Opcode(ClassST) | 0xc0

// Atomic operations: the immediate of an instruction with ModeATOMIC.
const (
	Fetch        int32 = 0x01
	AtomicAdd    int32 = 0x00
	AtomicOr     int32 = 0x40
	AtomicAnd    int32 = 0x50
	AtomicXor    int32 = 0xa0
	AtomicXchg   int32 = 0xe0 | Fetch
	AtomicCmpXch int32 = 0xf0 | Fetch
	LoadAcquire  int32 = 0x100
	StoreRelease int32 = 0x110
)

// Pseudo sources of a 64-bit immediate load (the Src field of its first slot).
const (
	PseudoMapFD       Register = 1 // Imm: map fd
	PseudoMapValue    Register = 2 // Imm: map fd, next Imm: offset into its value
	PseudoBTFID       Register = 3 // Imm: BTF id of a ksym variable, next Imm: BTF object fd
	PseudoFunc        Register = 4 // Imm: relative slot of a subprogram
	PseudoMapIdx      Register = 5 // Imm: index into fd_array
	PseudoMapIdxValue Register = 6 // Imm: index into fd_array, next Imm: offset
)

// Pseudo sources of a call (the Src field).
const (
	CallHelper Register = 0 // Imm: helper id
	CallLocal  Register = 1 // Imm: relative slot of a subprogram
	CallKfunc  Register = 2 // Imm: BTF id; Off: index into fd_array of its module's BTF
)

// Limits of the machine.
const (
	// InsnSize is the size of a slot on the wire, in bytes.
	InsnSize = 8
	// StackSize is the stack a chain of calls may use, in bytes (MAX_BPF_STACK).
	StackSize = 512
	// MaxCallFrames is how deep local calls nest, the main program included.
	MaxCallFrames = 8
	// MaxTailCalls is how many tail calls one run may make (MAX_TAIL_CALL_CNT).
	MaxTailCalls = 33
)

// LoadImm64 is the opcode of the first slot of a 64-bit immediate load.
const LoadImm64 = Opcode(ClassLD) | ModeIMM | DW

// Class returns the instruction's class.
func (op Opcode) Class() Class { return Class(op & 0x07) }

// ALUOp returns the operation bits of an arithmetic opcode; JumpOp those of a jump.
func (op Opcode) ALUOp() Opcode { return op & 0xf0 }

// JumpOp returns the operation bits of a jump opcode.
func (op Opcode) JumpOp() Opcode { return op & 0xf0 }

// UsesReg reports whether an arithmetic or jump opcode takes its second operand
// from the source register.
func (op Opcode) UsesReg() bool { return op&SrcX != 0 }

// Mode returns the mode bits of a load or store.
func (op Opcode) Mode() Opcode { return op & 0xe0 }

// SizeBits returns the size bits of a load or store.
func (op Opcode) SizeBits() Opcode { return op & 0x18 }

// Bytes returns the width of a load or store in bytes: 1, 2, 4 or 8.
func (op Opcode) Bytes() int {
	switch op.SizeBits() {
	case B:
		return 1
	case H:
		return 2
	case W:
		return 4
	}
	return 8
}

// IsALU reports whether the opcode is arithmetic, 32 or 64 bits wide.
func (c Class) IsALU() bool { return c == ClassALU || c == ClassALU64 }

// IsJump reports whether the class is JMP or JMP32.
func (c Class) IsJump() bool { return c == ClassJMP || c == ClassJMP32 }

// IsLoadImm64 reports whether ins is the first slot of a 64-bit immediate load.
func (ins Instruction) IsLoadImm64() bool { return ins.Op == LoadImm64 }

// IsHelperCall reports whether ins calls a helper by id.
func (ins Instruction) IsHelperCall() bool {
	return ins.Op == Opcode(ClassJMP)|Call && ins.Src == CallHelper
}

// IsLocalCall reports whether ins calls a subprogram of the same program.
func (ins Instruction) IsLocalCall() bool {
	return ins.Op == Opcode(ClassJMP)|Call && ins.Src == CallLocal
}

// IsKfuncCall reports whether ins calls a kernel function by BTF id.
func (ins Instruction) IsKfuncCall() bool {
	return ins.Op == Opcode(ClassJMP)|Call && ins.Src == CallKfunc
}

// IsExit reports whether ins leaves the current function.
func (ins Instruction) IsExit() bool { return ins.Op == Opcode(ClassJMP)|Exit }

// Imm64 returns the 64-bit immediate of the load that starts at slot pc.
// The caller has checked that prog[pc] is such a load and prog[pc+1] exists.
func Imm64(prog []Instruction, pc int) uint64 {
	return uint64(uint32(prog[pc].Imm)) | uint64(uint32(prog[pc+1].Imm))<<32
}

// JumpOffset returns how many slots, counted from the next one, a jump moves:
// Imm for gotol, Off for every other jump.
func (ins Instruction) JumpOffset() int {
	if ins.Op == Opcode(ClassJMP32)|Ja {
		return int(ins.Imm)
	}
	return int(ins.Off)
}
