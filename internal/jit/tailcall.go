package jit

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// tailCall replaces the function that left at s by the program the helper
// chose, unless the run has made [isa.MaxTailCalls] already. The stack does not
// grow; on amd64, for instance:
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
func (v *VM) tailCall(s *code.Site) {
	c := v.ctx
	c.Stretch = briefLimit // this is a safepoint
	next := v.services.TailCall()
	if next == nil || c.Tails >= isa.MaxTailCalls {
		return
	}
	c.Tails++
	// Sound: leave has put a Saved there, on a stack that lives as long as the VM.
	up := caller(&s.Frame, *(*exec.Saved)(mem.Ptr(c.SP)))
	if !s.Frame.Root && up.Return != exec.Finish && up.Return != exec.Returned {
		v.tails[v.depth] = tail{v.code, up.Return, up.Regs}
		v.depth++
		up.Return = exec.Returned
	}
	c.SP = up.SP
	c.Call(next.base+uint64(next.Object.Entries[0]), up.Return)
	if v.room() {
		v.resume(next)
	}
}

// returned takes up the caller of a function that tail calls replaced.
func (v *VM) returned() {
	v.depth--
	t := &v.tails[v.depth]
	*(*exec.Saved)(mem.Ptr(v.ctx.SP)) = t.regs // sound as in tailCall
	v.ctx.PC = t.ret
	v.resume(t.code)
}
