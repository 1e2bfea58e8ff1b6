package isa

import (
	"errors"
	"fmt"
)

// ErrEncoding is the sentinel of every [EncodingError].
var ErrEncoding = errors.New("illegal instruction encoding")

// EncodingError says why an instruction is illegal, in the words the kernel's
// verifier uses, which are all its message consists of.
type EncodingError struct {
	Ins Instruction
	Msg string
}

func (e *EncodingError) Error() string { return e.Msg }

// Is makes every EncodingError an [ErrEncoding].
func (e *EncodingError) Is(target error) bool { return target == ErrEncoding }

// Check reports whether the kernel takes the instruction's fields as they are:
// known opcode, nothing in reserved fields, existing registers. It judges one
// slot; of a 64-bit load, only the first. Its error is an [*EncodingError].
//
// The kernel checks this when control flow reaches the instruction, before it
// looks at the registers' state; what it checks earlier is in [CheckProgram],
// what it checks later in [CheckValue].
func Check(ins Instruction) error {
	r := Lookup(ins)
	switch {
	case isConditional(ins.Op) && ins.Dst > R10: // asked before anything else
		return noRegister(ins, ins.Dst)
	case r == nil:
		return &EncodingError{ins, whyIllegal(ins)}
	case r.Src&ReadWrite != 0 && ins.Src > R10:
		return noRegister(ins, ins.Src)
	case r.Dst&ReadWrite != 0 && ins.Dst > R10:
		return noRegister(ins, ins.Dst)
	}
	return nil
}

func noRegister(ins Instruction, r Register) error {
	return &EncodingError{ins, fmt.Sprintf("R%d is invalid", r)}
}

// isConditional reports whether op compares registers to decide a jump.
func isConditional(op Opcode) bool { return byOp[op] != nil && byOp[op][0].IsConditional() }

// CheckValue reports whether the immediate makes sense as a value: no division
// by a constant zero, no shift by the operand's width or more. The kernel
// checks this after it has found the operands readable.
func CheckValue(ins Instruction) error {
	if !ins.Op.Class().IsALU() || ins.Op.UsesReg() {
		return nil
	}
	width := int32(64)
	if ins.Op.Class() == ClassALU {
		width = 32
	}
	switch ins.Op.ALUOp() {
	case Div, Mod:
		if ins.Imm == 0 {
			return &EncodingError{ins, "div by zero"}
		}
	case Lsh, Rsh, Arsh:
		if ins.Imm < 0 || ins.Imm >= width {
			return &EncodingError{ins, fmt.Sprintf("invalid shift %d", ins.Imm)}
		}
	}
	return nil
}

// CheckProgram makes the pass over all slots that the kernel makes before it
// follows control flow (resolve_pseudo_ldimm64): unknown opcodes, malformed
// loads, halves of 64-bit loads. It returns the first slot at fault; an
// instruction it lets pass must still stand up to [Check].
func CheckProgram(prog []Instruction) (slot int, err error) {
	for pc := 0; pc < len(prog); pc++ {
		ins := prog[pc]
		switch {
		case ins.IsLoadImm64():
			if err := checkPair(prog, pc); err != nil {
				return pc, err
			}
			pc++
		case ins.Op.Class() == ClassLDX && Lookup(ins) == nil, byOp[ins.Op] == nil && !isAtomic(ins.Op):
			return pc, &EncodingError{ins, whyIllegal(ins)}
		}
	}
	return 0, nil
}

func checkPair(prog []Instruction, pc int) error {
	ins := prog[pc]
	if !pairAt(prog, pc) {
		return &EncodingError{ins, "invalid bpf_ld_imm64 insn"}
	}
	one := ins.Src == PseudoMapFD || ins.Src == PseudoMapIdx // one immediate is enough
	if ins.Src > PseudoMapIdxValue || one && prog[pc+1].Imm != 0 {
		return &EncodingError{ins, unrecognizedLoad}
	}
	return nil
}

const unrecognizedLoad = "unrecognized bpf_ld_imm64 insn"

func isAtomic(op Opcode) bool { return op.Class() == ClassSTX && op.Mode() == ModeATOMIC }

// whyIllegal words the kernel's refusal of an instruction that no row matches.
func whyIllegal(ins Instruction) string {
	class := ins.Op.Class()
	if class == ClassLDX && (ins.Imm != 0 || ins.Op.Mode() != ModeMEM && ins.Op.Mode() != ModeMEMSX) {
		return "BPF_LDX uses reserved fields"
	}
	if byOp[ins.Op] == nil {
		return fmt.Sprintf("unknown opcode %02x", uint8(ins.Op))
	}
	switch class {
	case ClassALU, ClassALU64:
		switch ins.Op.ALUOp() {
		case Neg:
			return "BPF_NEG uses reserved fields"
		case End:
			return "BPF_END uses reserved fields"
		case Mov:
			if ins.Op == Opcode(ClassALU64)|Mov|SrcX && ins.Off == 1 {
				return "addr_space_cast insn can only convert between address space 1 and 0"
			}
			return "BPF_MOV uses reserved fields"
		}
		return "BPF_ALU uses reserved fields"
	case ClassJMP, ClassJMP32:
		switch ins.Op.JumpOp() {
		case Call:
			return "BPF_CALL uses reserved fields"
		case Ja:
			return "BPF_JA uses reserved fields"
		case Exit:
			return "BPF_EXIT uses reserved fields"
		case Jcond:
			return fmt.Sprintf("invalid may_goto imm %d", ins.Imm)
		}
		return "BPF_JMP/JMP32 uses reserved fields"
	case ClassST:
		return "BPF_ST uses reserved fields"
	case ClassSTX:
		if isAtomic(ins.Op) {
			return whyIllegalAtomic(ins)
		}
		return "BPF_STX uses reserved fields"
	}
	if !ins.IsLoadImm64() {
		return "BPF_LD_[ABS|IND] uses reserved fields"
	}
	if ins.Src > PseudoMapIdxValue {
		return unrecognizedLoad
	}
	return "BPF_LD_IMM64 uses reserved fields"
}

// whyIllegalAtomic: either the operation does not exist, or not in this width.
func whyIllegalAtomic(ins Instruction) string {
	for _, r := range byOp[Opcode(ClassSTX)|ModeATOMIC|DW] {
		if r.Imm.Allows(ins.Imm) {
			return "invalid atomic operand size"
		}
	}
	return fmt.Sprintf("BPF_ATOMIC uses invalid atomic opcode %02x", uint32(ins.Imm))
}
