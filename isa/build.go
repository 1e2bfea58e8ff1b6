package isa

// This file builds instructions, one function per form, named after the
// kernel's BPF_* macros. They check nothing: a test may want the illegal.

// Part is a piece of a program: an [Instruction], or the [Instructions] of a
// form that takes more than one slot.
type Part interface{ slots() []Instruction }

// Instructions is a run of slots.
type Instructions []Instruction

func (ins Instruction) slots() []Instruction { return []Instruction{ins} }
func (s Instructions) slots() []Instruction  { return s }

// Program strings parts together:
//
//	isa.Program(
//		isa.LdMapFD(isa.R1, fd), // two slots
//		isa.Mov64Imm(isa.R0, 0),
//		isa.ExitInsn(),
//	)
func Program(parts ...Part) []Instruction {
	var prog []Instruction
	for _, p := range parts {
		prog = append(prog, p.slots()...)
	}
	return prog
}

// ALU64Reg is `dst op= src`, 64 bits wide. op is one of the ALU op bits.
func ALU64Reg(op Opcode, dst, src Register) Instruction {
	return Instruction{Op: Opcode(ClassALU64) | op | SrcX, Dst: dst, Src: src}
}

// ALU64Imm is `dst op= imm`, 64 bits wide; imm is sign-extended.
func ALU64Imm(op Opcode, dst Register, imm int32) Instruction {
	return Instruction{Op: Opcode(ClassALU64) | op | SrcK, Dst: dst, Imm: imm}
}

// ALU32Reg is `dst op= src` on the low halves; the high half of dst is zeroed.
func ALU32Reg(op Opcode, dst, src Register) Instruction {
	return Instruction{Op: Opcode(ClassALU) | op | SrcX, Dst: dst, Src: src}
}

// ALU32Imm is `dst op= imm` on the low half; the high half of dst is zeroed.
func ALU32Imm(op Opcode, dst Register, imm int32) Instruction {
	return Instruction{Op: Opcode(ClassALU) | op | SrcK, Dst: dst, Imm: imm}
}

// Mov64Reg is `dst = src`.
func Mov64Reg(dst, src Register) Instruction { return ALU64Reg(Mov, dst, src) }

// Mov64Imm is `dst = imm`, sign-extended to 64 bits.
func Mov64Imm(dst Register, imm int32) Instruction { return ALU64Imm(Mov, dst, imm) }

// Mov32Reg is `wdst = wsrc`.
func Mov32Reg(dst, src Register) Instruction { return ALU32Reg(Mov, dst, src) }

// Mov32Imm is `wdst = imm`.
func Mov32Imm(dst Register, imm int32) Instruction { return ALU32Imm(Mov, dst, imm) }

// MovSX64 is `dst = (s<bits>)src`, with bits 8, 16 or 32.
func MovSX64(dst, src Register, bits int16) Instruction {
	return Instruction{Op: Opcode(ClassALU64) | Mov | SrcX, Dst: dst, Src: src, Off: bits}
}

// MovSX32 is `wdst = (s<bits>)wsrc`, with bits 8 or 16.
func MovSX32(dst, src Register, bits int16) Instruction {
	return Instruction{Op: Opcode(ClassALU) | Mov | SrcX, Dst: dst, Src: src, Off: bits}
}

// Signed turns a division or modulo into its signed form: `s/=`, `s%=`.
func Signed(ins Instruction) Instruction { ins.Off = 1; return ins }

// Neg64 is `dst = -dst`.
func Neg64(dst Register) Instruction { return ALU64Imm(Neg, dst, 0) }

// Neg32 is `wdst = -wdst`.
func Neg32(dst Register) Instruction { return ALU32Imm(Neg, dst, 0) }

// ToLE is `dst = le<bits> dst`, with bits 16, 32 or 64.
func ToLE(dst Register, bits int32) Instruction {
	return Instruction{Op: Opcode(ClassALU) | End | SrcK, Dst: dst, Imm: bits}
}

// ToBE is `dst = be<bits> dst`, with bits 16, 32 or 64.
func ToBE(dst Register, bits int32) Instruction {
	return Instruction{Op: Opcode(ClassALU) | End | SrcX, Dst: dst, Imm: bits}
}

// Bswap is `dst = bswap<bits> dst`, with bits 16, 32 or 64.
func Bswap(dst Register, bits int32) Instruction {
	return Instruction{Op: Opcode(ClassALU64) | End, Dst: dst, Imm: bits}
}

// AddrSpaceCast is `dst = addr_space_cast(src, to, from)`; the kernel takes
// (0, 1) and (1, 0): between the kernel's addresses and the arena's.
func AddrSpaceCast(dst, src Register, to, from uint16) Instruction {
	return Instruction{
		Op: Opcode(ClassALU64) | Mov | SrcX, Dst: dst, Src: src, Off: 1,
		Imm: int32(uint32(to)<<16 | uint32(from)),
	}
}

// LoadMem is `dst = *(size *)(src + off)`; size is B, H, W or DW.
func LoadMem(size Opcode, dst, src Register, off int16) Instruction {
	return Instruction{Op: Opcode(ClassLDX) | ModeMEM | size, Dst: dst, Src: src, Off: off}
}

// LoadMemSX is LoadMem with sign extension; size is B, H or W.
func LoadMemSX(size Opcode, dst, src Register, off int16) Instruction {
	return Instruction{Op: Opcode(ClassLDX) | ModeMEMSX | size, Dst: dst, Src: src, Off: off}
}

// StoreMem is `*(size *)(dst + off) = src`.
func StoreMem(size Opcode, dst, src Register, off int16) Instruction {
	return Instruction{Op: Opcode(ClassSTX) | ModeMEM | size, Dst: dst, Src: src, Off: off}
}

// StoreImm is `*(size *)(dst + off) = imm`; imm is sign-extended.
func StoreImm(size Opcode, dst Register, off int16, imm int32) Instruction {
	return Instruction{Op: Opcode(ClassST) | ModeMEM | size, Dst: dst, Off: off, Imm: imm}
}

// Atomic is a read-modify-write at dst + off with operand src, W or DW wide;
// op is one of the Atomic* constants, perhaps with [Fetch].
func Atomic(op int32, size Opcode, dst, src Register, off int16) Instruction {
	return Instruction{Op: Opcode(ClassSTX) | ModeATOMIC | size, Dst: dst, Src: src, Off: off, Imm: op}
}

// LoadAcq is `dst = load_acquire((size *)(src + off))`.
func LoadAcq(size Opcode, dst, src Register, off int16) Instruction {
	return Atomic(LoadAcquire, size, dst, src, off)
}

// StoreRel is `store_release((size *)(dst + off), src)`.
func StoreRel(size Opcode, dst, src Register, off int16) Instruction {
	return Atomic(StoreRelease, size, dst, src, off)
}

// LoadAbs is the legacy packet load `r0 = *(size *)skb[imm]`; size is B, H or W.
func LoadAbs(size Opcode, imm int32) Instruction {
	return Instruction{Op: Opcode(ClassLD) | ModeABS | size, Imm: imm}
}

// LoadInd is the legacy packet load `r0 = *(size *)skb[src + imm]`.
func LoadInd(size Opcode, src Register, imm int32) Instruction {
	return Instruction{Op: Opcode(ClassLD) | ModeIND | size, Src: src, Imm: imm}
}

// LdImm64 is `dst = v ll`: two slots.
func LdImm64(dst Register, v uint64) Instructions {
	return LdPseudo(dst, 0, int32(uint32(v)), int32(uint32(v>>32)))
}

// LdPseudo is the two-slot load with one of the Pseudo* sources; lo and hi are
// the immediates of its slots.
func LdPseudo(dst, src Register, lo, hi int32) Instructions {
	return Instructions{{Op: LoadImm64, Dst: dst, Src: src, Imm: lo}, {Imm: hi}}
}

// LdMapFD loads the map behind a file descriptor.
func LdMapFD(dst Register, fd int32) Instructions { return LdPseudo(dst, PseudoMapFD, fd, 0) }

// LdMapValue loads the address off bytes into the value of a one-element map.
func LdMapValue(dst Register, fd, off int32) Instructions {
	return LdPseudo(dst, PseudoMapValue, fd, off)
}

// LdMapIdx loads the map at index idx of fd_array.
func LdMapIdx(dst Register, idx int32) Instructions { return LdPseudo(dst, PseudoMapIdx, idx, 0) }

// LdMapIdxValue is [LdMapValue] for the map at index idx of fd_array.
func LdMapIdxValue(dst Register, idx, off int32) Instructions {
	return LdPseudo(dst, PseudoMapIdxValue, idx, off)
}

// LdBTFID loads the address of the kernel variable with a BTF id; fd names its
// module's BTF object, 0 the kernel's own.
func LdBTFID(dst Register, id, fd int32) Instructions { return LdPseudo(dst, PseudoBTFID, id, fd) }

// LdFunc loads the address of a subprogram; delta counts from the load's own
// second slot, as a call's immediate counts from the slot after the call.
func LdFunc(dst Register, delta int32) Instructions { return LdPseudo(dst, PseudoFunc, delta, 0) }

// Goto is `goto +off`.
func Goto(off int16) Instruction { return Instruction{Op: Opcode(ClassJMP) | Ja, Off: off} }

// Gotol is `gotol +off`, with 32 bits of reach.
func Gotol(off int32) Instruction { return Instruction{Op: Opcode(ClassJMP32) | Ja, Imm: off} }

// MayGoto is `may_goto +off`: jump when the loop budget is spent.
func MayGoto(off int16) Instruction { return Instruction{Op: Opcode(ClassJMP) | Jcond, Off: off} }

// JmpReg is `if dst op src goto +off`, on 64 bits. op is one of the jump op bits.
func JmpReg(op Opcode, dst, src Register, off int16) Instruction {
	return Instruction{Op: Opcode(ClassJMP) | op | SrcX, Dst: dst, Src: src, Off: off}
}

// JmpImm is `if dst op imm goto +off`, on 64 bits; imm is sign-extended.
func JmpImm(op Opcode, dst Register, imm int32, off int16) Instruction {
	return Instruction{Op: Opcode(ClassJMP) | op | SrcK, Dst: dst, Off: off, Imm: imm}
}

// Jmp32Reg is [JmpReg] on the low halves.
func Jmp32Reg(op Opcode, dst, src Register, off int16) Instruction {
	return Instruction{Op: Opcode(ClassJMP32) | op | SrcX, Dst: dst, Src: src, Off: off}
}

// Jmp32Imm is [JmpImm] on the low half.
func Jmp32Imm(op Opcode, dst Register, imm int32, off int16) Instruction {
	return Instruction{Op: Opcode(ClassJMP32) | op | SrcK, Dst: dst, Off: off, Imm: imm}
}

// HelperCall calls the helper with an id.
func HelperCall(id int32) Instruction {
	return Instruction{Op: Opcode(ClassJMP) | Call, Src: CallHelper, Imm: id}
}

// LocalCall calls the subprogram delta slots after the next instruction.
func LocalCall(delta int32) Instruction {
	return Instruction{Op: Opcode(ClassJMP) | Call, Src: CallLocal, Imm: delta}
}

// KfuncCall calls the kernel function with a BTF id; fdIdx is its module's
// place in fd_array, 0 for the kernel itself.
func KfuncCall(btfID int32, fdIdx int16) Instruction {
	return Instruction{Op: Opcode(ClassJMP) | Call, Src: CallKfunc, Off: fdIdx, Imm: btfID}
}

// ExitInsn is `exit`.
func ExitInsn() Instruction { return Instruction{Op: Opcode(ClassJMP) | Exit} }

// Nospec is the barrier against speculation that rewriting puts in.
func Nospec() Instruction { return Instruction{Op: OpNospec} }
