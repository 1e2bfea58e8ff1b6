package arm64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	ram "github.com/skep-bpf/skep/internal/mem" // mem is an operand here
)

// A frame, of which each function has what it needs. Functions that Go enters
// save none of R6 to R9.
//
//	┌──────────────────┐ ◄─ sp of the caller
//	│ (unused)         │ where the number of saved registers is odd
//	│ saved registers  │ those of R6 to R9 that the function changes, in order upwards
//	├──────────────────┤
//	│ return address   │ where the function needs R10, or calls another
//	│ x29              │ the caller's
//	├──────────────────┤ ◄─ x29 = R10
//	│ BPF stack        │ as deep as the verifier found, cleared on entry
//	└──────────────────┘ ◄─ sp

// record reports whether a function stores x29 and its return address.
func record(f *code.Function) bool { return f.Pointer || f.Calls }

// frameSize is the size of what lies above the BPF stack.
func frameSize(saved int, record bool) (size int32) {
	if record {
		size = 16
	}
	return size + int32(8*saved+15)&^15
}

// enterFunction writes the entry of c.fn. The stack is cleared, so that runs
// repeat bit for bit even where a program reads what it never wrote.
func (c *compiler) enterFunction() {
	f := c.fn
	c.bind(f.entry)
	size := frameSize(len(f.Saved), record(f.Function))
	at := int32(0)
	if record(f.Function) {
		c.pair(opStpPre, x29, x30, sp, -size)
		at = 16
	} else if size != 0 {
		c.addImm(size64, sp, sp, int64(-size))
	}
	for i := 0; i < len(f.Saved); i += 2 {
		if i+1 < len(f.Saved) {
			c.pair(opStp, native[f.Saved[i]], native[f.Saved[i+1]], sp, at)
		} else {
			c.access(size64, opStr, native[f.Saved[i]], mem{sp, at})
		}
		at += 16
	}
	if record(f.Function) {
		c.movSP(x29, sp)
	}
	if f.stack == 0 {
		return
	}
	c.addImm(size64, sp, sp, int64(-f.stack))
	for at := int32(0); at < f.stack; at += 16 {
		if at < 512 { // as far as a pair's displacement reaches
			c.pair(opStp, xzr, xzr, sp, at)
		} else {
			c.pair(opStp, xzr, xzr, x29, at-f.stack)
		}
	}
	if f.Counter {
		c.movImm(x14, code.MayGotoBudget)
		c.access(size64, opStr, x14, c.counter())
	}
}

// leaveFunction writes a return. Functions that Go enters jump to their return
// address: the processor predicts returns by calls it has seen, and it has seen
// none.
func (c *compiler) leaveFunction() {
	c.dropFrame()
	if c.fn.Root {
		c.op(opBr | opcode(x30<<5))
	} else {
		c.op(opRet | opcode(x30<<5))
	}
}

// dropFrame makes registers and stack what they were on entry.
func (c *compiler) dropFrame() {
	f := c.fn
	if f.stack != 0 {
		c.movSP(sp, x29)
	}
	size := frameSize(len(f.Saved), record(f.Function))
	at := int32(0)
	if record(f.Function) {
		at = 16
	}
	for i := 0; i < len(f.Saved); i += 2 {
		if i+1 < len(f.Saved) {
			c.pair(opLdp, native[f.Saved[i]], native[f.Saved[i+1]], sp, at)
		} else {
			c.access(size64, opLdr, native[f.Saved[i]], mem{sp, at})
		}
		at += 16
	}
	if record(f.Function) {
		c.pair(opLdpPost, x29, x30, sp, size)
	} else if size != 0 {
		c.addImm(size64, sp, sp, int64(size))
	}
}

// Caller finds what the function with frame f, which has left at a tail call,
// has of its caller's. regs are its own. Functions that make tail calls have R10,
// and so the return address in their frame.
func Caller(f *code.Frame, regs exec.Saved) code.Caller {
	at := regs.FP
	regs.FP = ram.Load64(at)
	for i, r := range f.Saved {
		*regs.Register(r) = ram.Load64(at + 16 + uint64(8*i))
	}
	return code.Caller{Regs: regs, Return: ram.Load64(at + 8), SP: at + uint64(frameSize(len(f.Saved), true))}
}
