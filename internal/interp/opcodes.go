package interp

import "github.com/skep-bpf/skep/isa"

// Bases of the opcodes below.
const (
	ld    = isa.Opcode(isa.ClassLD)
	ldx   = isa.Opcode(isa.ClassLDX)
	st    = isa.Opcode(isa.ClassST)
	stx   = isa.Opcode(isa.ClassSTX)
	alu32 = isa.Opcode(isa.ClassALU)
	alu64 = isa.Opcode(isa.ClassALU64)
	jmp   = isa.Opcode(isa.ClassJMP)
	jmp32 = isa.Opcode(isa.ClassJMP32)
	x     = isa.SrcX
)

// Whole opcodes of loads, stores and control flow, so that the cases of the
// loop stay readable. Arithmetic and jumps are written as class|operation|source.
const (
	ldxB, ldxH, ldxW, ldxDW = ldx | isa.ModeMEM | isa.B, ldx | isa.ModeMEM | isa.H, ldx | isa.ModeMEM | isa.W, ldx | isa.ModeMEM | isa.DW
	ldsB, ldsH, ldsW        = ldx | isa.ModeMEMSX | isa.B, ldx | isa.ModeMEMSX | isa.H, ldx | isa.ModeMEMSX | isa.W

	probeB, probeH   = ldx | isa.ModeProbeMEM | isa.B, ldx | isa.ModeProbeMEM | isa.H
	probeW, probeDW  = ldx | isa.ModeProbeMEM | isa.W, ldx | isa.ModeProbeMEM | isa.DW
	probesB, probesH = ldx | isa.ModeProbeMEMSX | isa.B, ldx | isa.ModeProbeMEMSX | isa.H
	probesW          = ldx | isa.ModeProbeMEMSX | isa.W

	absB, absH, absW = ld | isa.ModeABS | isa.B, ld | isa.ModeABS | isa.H, ld | isa.ModeABS | isa.W
	indB, indH, indW = ld | isa.ModeIND | isa.B, ld | isa.ModeIND | isa.H, ld | isa.ModeIND | isa.W

	stB, stH, stW, stDW     = st | isa.ModeMEM | isa.B, st | isa.ModeMEM | isa.H, st | isa.ModeMEM | isa.W, st | isa.ModeMEM | isa.DW
	stxB, stxH, stxW, stxDW = stx | isa.ModeMEM | isa.B, stx | isa.ModeMEM | isa.H, stx | isa.ModeMEM | isa.W, stx | isa.ModeMEM | isa.DW

	atomicB, atomicH  = stx | isa.ModeATOMIC | isa.B, stx | isa.ModeATOMIC | isa.H
	atomicW, atomicDW = stx | isa.ModeATOMIC | isa.W, stx | isa.ModeATOMIC | isa.DW

	opGoto, opGotol  = jmp | isa.Ja, jmp32 | isa.Ja
	opMayGoto        = jmp | isa.Jcond
	opCall, opReturn = jmp | isa.Call, jmp | isa.Exit
)
