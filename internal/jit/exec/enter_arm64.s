//go:build linux

#include "go_asm.h" // Context_X is the offset of its field X
#include "textflag.h"

// func enter(c *Context)
//
// Native code keeps c in R11 for as long as it runs. BPF's R0 to R9 are the
// machine's, R10 is R29, AX is R10; R6 to R10 and the return address come from the
// native stack, where leave put them. R18, the platform's, and R28, Go's g, are
// never touched: a signal's handler finds the goroutine by the latter.
TEXT ·enter(SB), NOSPLIT|NOFRAME, $0-8
	MOVD c+0(FP), R11
	MOVD RSP, R12
	STP  (R12, R29), Context_goSP(R11)
	MOVD R30, Context_goLR(R11)
	MOVD Context_SP(R11), R12
	MOVD Context_PC(R11), R16
	MOVD Context_X(R11), R13
	LDP  Context_R(R11), (R0, R1)
	LDP  (Context_R+16)(R11), (R2, R3)
	LDP  (Context_R+32)(R11), (R4, R5)
	MOVD Context_AX(R11), R10
	LDP  0(R12), (R30, R9)
	LDP  16(R12), (R8, R7)
	LDP  32(R12), (R29, R6)
	ADD  $48, R12
	MOVD R12, RSP
	JMP  (R16)

// func start(c *Context, pc, arg uint64)
//
// A function's start needs less than enter: nothing is taken up again.
TEXT ·start(SB), NOSPLIT|NOFRAME, $0-24
	MOVD c+0(FP), R11
	MOVD pc+8(FP), R16
	MOVD arg+16(FP), R1
	MOVD ZR, R2 // what a program reads of R2 to R5 is the same each time:
	MOVD ZR, R3 // variadic helpers take what is there
	MOVD ZR, R4
	MOVD ZR, R5
	MOVD RSP, R12
	STP  (R12, R29), Context_goSP(R11)
	MOVD R30, Context_goLR(R11)
	MOVD $·finish(SB), R30
	MOVD Context_Top(R11), R12
	MOVD R12, RSP
	JMP  (R16)

// func turns(c *Context)
//
// One run after the other, of Main on what lies at Row.
TEXT ·turns(SB), NOSPLIT|NOFRAME, $0-8
	MOVD c+0(FP), R11
	MOVD RSP, R12
	STP  (R12, R29), Context_goSP(R11)
	MOVD R30, Context_goLR(R11)
	MOVD Context_Top(R11), R12
	MOVD R12, RSP
	MOVD Context_Row(R11), R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD ZR, R5
	MOVD $·turn(SB), R30
	MOVD Context_Main(R11), R16
	JMP  (R16)

// turn is the return address of functions that turns entered.
TEXT ·turn(SB), NOSPLIT|NOFRAME, $0-0
	MOVD Context_Verdict(R11), R12
	MOVW R0, (R12)
	ADD  $4, R12
	MOVD R12, Context_Verdict(R11)
	MOVD Context_Row(R11), R1
	MOVD Context_Stride(R11), R12
	ADD  R12, R1
	MOVD R1, Context_Row(R11)
	MOVD Context_Left(R11), R12
	SUBS $1, R12
	MOVD R12, Context_Left(R11)
	BLE  done
	MOVD Context_First(R11), R12
	MOVD R12, Context_Running(R11)
	MOVD ZR, Context_Tails(R11)
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD ZR, R5
	MOVD $·turn(SB), R30
	MOVD Context_Main(R11), R16
	JMP  (R16)

done:
	JMP ·finish(SB)

// leave is where native code jumps to get out, with the number of the exit in
// R16 and an operand in R13. Its RET is that of enter, so that the processor's
// guess of where returns go stays right.
TEXT ·leave(SB), NOSPLIT|NOFRAME, $0-0
	MOVD RSP, R12
	SUB  $48, R12
	STP  (R30, R9), 0(R12)
	STP  (R8, R7), 16(R12)
	STP  (R29, R6), 32(R12)
	MOVD R12, Context_SP(R11)
	MOVD R16, Context_Site(R11)
	MOVD R13, Context_X(R11)
	STP  (R0, R1), Context_R(R11)
	STP  (R2, R3), (Context_R+16)(R11)
	STP  (R4, R5), (Context_R+32)(R11)
	MOVD R10, Context_AX(R11)
	MOVD Context_goLR(R11), R30
	LDP  Context_goSP(R11), (R12, R29)
	MOVD R12, RSP
	RET

// finish is the return address of functions that Go entered. Of their registers
// none but R0 is of use to anyone.
TEXT ·finish(SB), NOSPLIT|NOFRAME, $0-0
	MOVD R0, Context_R(R11)
	MOVD ZR, Context_Site(R11) // SiteFinish
	JMP  back // what follows looks to vet as if it forgot to save R29

back:
	MOVD Context_goLR(R11), R30
	LDP  Context_goSP(R11), (R12, R29)
	MOVD R12, RSP
	RET

// returned is the return address of programs tail-called in a subprogram.
TEXT ·returned(SB), NOSPLIT|NOFRAME, $0-0
	MOVD $1, R16 // SiteReturned
	JMP  ·leave(SB)

// func stubs() (leave, finish, returned uint64)
TEXT ·stubs(SB), NOSPLIT, $0-24
	MOVD $·leave(SB), R0
	MOVD R0, leave+0(FP)
	MOVD $·finish(SB), R0
	MOVD R0, finish+8(FP)
	MOVD $·returned(SB), R0
	MOVD R0, returned+16(FP)
	RET

// func publish(lo, hi uintptr)
//
// CTR_EL0 has the sizes of cache lines as powers of two of words: of the data
// caches in bits 19 to 16, of the instruction caches in bits 3 to 0.
TEXT ·publish(SB), NOSPLIT, $0-16
	MOVD lo+0(FP), R0
	MOVD hi+8(FP), R1
	MRS  CTR_EL0, R2
	UBFX $16, R2, $4, R3
	MOVD $4, R4
	LSL  R3, R4, R3 // bytes of a data line
	SUB  $1, R3, R5
	BIC  R5, R0, R5

data:
	DC  CVAU, R5
	ADD R3, R5
	CMP R1, R5
	BLO data
	DSB $0xb // ISH

	UBFX $0, R2, $4, R3
	LSL  R3, R4, R3
	SUB  $1, R3, R5
	BIC  R5, R0, R5

instructions:
	WORD $0xd50b7525 // IC IVAU, R5
	ADD  R3, R5
	CMP  R1, R5
	BLO  instructions
	DSB  $0xb // ISH
	ISB  $0xf
	RET

// func discard()
TEXT ·discard(SB), NOSPLIT, $0-0
	ISB $0xf
	RET
