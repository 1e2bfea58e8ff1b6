//go:build linux

#include "textflag.h"

// The names are gdb's; see gdb.go.
DATA __jit_debug_descriptor+0(SB)/4, $1 // version
GLOBL __jit_debug_descriptor(SB), NOPTR, $24

// Debuggers break here.
TEXT __jit_debug_register_code(SB), NOSPLIT|NOFRAME, $0-0
	RET

// func descriptor() uint64
TEXT ·descriptor(SB), NOSPLIT, $0-8
	LEAQ __jit_debug_descriptor(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func notify()
TEXT ·notify(SB), NOSPLIT, $8-0
	CALL __jit_debug_register_code(SB)
	RET
