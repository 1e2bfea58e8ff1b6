package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	ram "github.com/skep-bpf/skep/internal/mem" // mem is an operand here
)

// Caller finds what the function with frame f, which has left at a tail call,
// has of its caller's. regs are its own. A frame:
//
//	┌──────────────────┐ ◄─ SP of the caller
//	│ return address   │
//	├──────────────────┤
//	│ saved registers  │ those of R6 to R9 that the function changes, in order
//	│ rbp              │ the caller's
//	├──────────────────┤ ◄─ rbp = R10
//	│ BPF stack        │
//	└──────────────────┘ ◄─ rsp
//
// Functions that Go enters save nothing.
func Caller(f *code.Frame, regs exec.Saved) code.Caller {
	at := regs.FP
	if !f.Root {
		regs.FP = ram.Load64(at)
		for i := len(f.Saved) - 1; i >= 0; i-- {
			at += 8
			*regs.Register(f.Saved[i]) = ram.Load64(at)
		}
		at += 8
	}
	return code.Caller{Regs: regs, Return: ram.Load64(at), SP: at + 8}
}
