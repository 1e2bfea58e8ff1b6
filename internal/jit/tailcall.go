package jit

import (
	"github.com/skep-bpf/skep/internal/jit/amd64"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// tailCall replaces the function that left at s by the program the helper
// chose, unless the run has made [isa.MaxTailCalls] already. The stack does not grow:
//
//	before                    after
//	┌────────────────┐        ┌────────────────┐
//	│ return address │        │ return address │ ◄─ in a subprogram: that of the
//	├────────────────┤        ├────────────────┤    stub returned, see below
//	│ frame          │        │ saved          │
//	├────────────────┤        └────────────────┘ ◄─ SP
//	│ saved          │
//	└────────────────┘ ◄─ SP
//
// A program returns to whoever called the function it replaced. Where that is
// native code of the calling program, it has to become the running one again,
// with its registers as the function would have left them: the first tail call
// of a chain notes both, and lets the program return to Go first.
func (v *VM) tailCall(s *amd64.Site) {
	next := v.services.TailCall()
	if next == nil || v.tailCalls >= isa.MaxTailCalls {
		return
	}
	v.tailCalls++
	c := v.ctx
	// Sound: leave has put a Saved there, on a stack that lives as long as the VM.
	regs := *(*exec.Saved)(mem.Ptr(c.SP))
	at := regs.FP // of the return address; above the caller's frame pointer, then the saved registers
	if !s.Frame.Root {
		caller := regs
		caller.FP = mem.Load64(at)
		for i := len(s.Frame.Saved) - 1; i >= 0; i-- {
			at += 8
			*register(&caller, s.Frame.Saved[i]) = mem.Load64(at)
		}
		at += 8
		if ret := mem.Load64(at); ret != exec.Finish && ret != exec.Returned {
			v.tails[v.depth] = tail{v.code, ret, caller}
			v.depth++
			mem.Store64(at, exec.Returned)
		}
	}
	c.SP = at - uint64(exec.SavedSize)
	if !v.room() {
		return
	}
	c.PC = next.base + uint64(next.Object.Entries[0])
	v.resume(next)
}

// register is where a Saved keeps one of R6 to R9.
func register(s *exec.Saved, r isa.Register) *uint64 {
	switch r {
	case isa.R6:
		return &s.R6
	case isa.R7:
		return &s.R7
	case isa.R8:
		return &s.R8
	}
	return &s.R9
}

// returned takes up the caller of a function that tail calls replaced.
func (v *VM) returned() {
	v.depth--
	t := &v.tails[v.depth]
	*(*exec.Saved)(mem.Ptr(v.ctx.SP)) = t.regs // sound as in tailCall
	v.ctx.PC = t.ret
	v.resume(t.code)
}
