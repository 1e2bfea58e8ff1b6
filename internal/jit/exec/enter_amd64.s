//go:build linux

#include "textflag.h"

// Offsets in Context. A test holds them to the Go structure.
#define natSP 16
#define natPC 24
#define site 32
#define x 40
#define r0 48
#define r1 56
#define r2 64
#define r3 72
#define r4 80
#define r5 88
#define ax 96
#define top 144
#define row 152
#define stride 160
#define left 168
#define verdict 176
#define main 184
#define running 192
#define tails 200
#define first 216

// func enter(c *Context)
//
// Native code keeps c in R12 for as long as it runs, Go's stack and frame pointer in X7
// and X6: through memory the way back would wait for them. BX, R13, R14, R15 and BP
// hold BPF's R6 to R10; they come from the native stack, where leave put them.
TEXT ·enter(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ c+0(FP), R12
	MOVQ BP, X6
	MOVQ SP, X7
	MOVQ natSP(R12), SP
	MOVQ natPC(R12), CX
	MOVQ x(R12), DX
	MOVQ r0(R12), AX
	MOVQ r1(R12), DI
	MOVQ r2(R12), SI
	MOVQ r3(R12), R8
	MOVQ r4(R12), R9
	MOVQ r5(R12), R10
	MOVQ ax(R12), R11
	MOVQ 0(SP), R15
	MOVQ 8(SP), R14
	MOVQ 16(SP), R13
	MOVQ 24(SP), BP
	MOVQ 32(SP), BX
	LEAQ 40(SP), SP
	JMP  CX

// func start(c *Context, pc, arg uint64)
//
// A function's start needs less than enter: nothing is taken up again.
TEXT ·start(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ c+0(FP), R12
	MOVQ pc+8(FP), CX
	MOVQ arg+16(FP), DI
	MOVQ BP, X6
	MOVQ SP, X7
	MOVQ top(R12), SP
	LEAQ ·finish(SB), AX
	PUSHQ AX
	XORL SI, SI // what a program reads of R2 to R5 is the same each time:
	XORL R8, R8 // variadic helpers take what is there
	XORL R9, R9
	XORL R10, R10
	JMP  CX

// func turns(c *Context)
//
// One run after the other, of main on what lies at row.
TEXT ·turns(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ c+0(FP), R12
	MOVQ BP, X6
	MOVQ SP, X7
	MOVQ top(R12), SP
	MOVQ row(R12), DI
	LEAQ ·turn(SB), AX
	PUSHQ AX
	XORL SI, SI
	XORL R8, R8
	XORL R9, R9
	XORL R10, R10
	MOVQ main(R12), CX
	JMP  CX

// turn is the return address of functions that turns entered.
TEXT ·turn(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ verdict(R12), CX
	MOVL AX, (CX)
	ADDQ $4, CX
	MOVQ CX, verdict(R12)
	MOVQ row(R12), DI
	ADDQ stride(R12), DI
	MOVQ DI, row(R12)
	DECQ left(R12)
	JLE  done
	MOVQ first(R12), CX
	MOVQ CX, running(R12)
	MOVQ $0, tails(R12)
	LEAQ ·turn(SB), CX
	PUSHQ CX
	XORL SI, SI
	XORL R8, R8
	XORL R9, R9
	XORL R10, R10
	MOVQ main(R12), CX
	JMP  CX

done:
	JMP ·finish(SB)

// leave is where native code jumps to get out, with the number of the exit in
// CX and an operand in DX. Its RET is that of enter, so that the processor's
// guess of where returns go stays right.
TEXT ·leave(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ -40(SP), SP
	MOVQ R15, 0(SP)
	MOVQ R14, 8(SP)
	MOVQ R13, 16(SP)
	MOVQ BP, 24(SP)
	MOVQ BX, 32(SP)
	MOVQ SP, natSP(R12)
	MOVQ CX, site(R12)
	MOVQ DX, x(R12)
	MOVQ AX, r0(R12)
	MOVQ DI, r1(R12)
	MOVQ SI, r2(R12)
	MOVQ R8, r3(R12)
	MOVQ R9, r4(R12)
	MOVQ R10, r5(R12)
	MOVQ R11, ax(R12)
	MOVQ X6, BP
	MOVQ X7, SP
	RET

// finish is the return address of functions that Go entered. Of their registers
// none but R0 is of use to anyone.
TEXT ·finish(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ AX, r0(R12)
	MOVQ $0, site(R12) // SiteFinish
	JMP  back          // what follows looks to vet as if it forgot to save BP

back:
	MOVQ X6, BP
	MOVQ X7, SP
	RET

// returned is the return address of programs tail-called in a subprogram.
TEXT ·returned(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $1, CX // SiteReturned
	JMP  ·leave(SB)

// func stubs() (leave, finish, returned uint64)
TEXT ·stubs(SB), NOSPLIT, $0-24
	LEAQ ·leave(SB), AX
	MOVQ AX, leave+0(FP)
	LEAQ ·finish(SB), AX
	MOVQ AX, finish+8(FP)
	LEAQ ·returned(SB), AX
	MOVQ AX, returned+16(FP)
	RET

// func cpuid(leaf uint32) (ecx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-12
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL CX, ecx+8(FP)
	RET
