package amd64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// tailCall is the id of bpf_tail_call.
const tailCall = int32(catalog.FnTailCall)

// enterFunction writes the entry of c.fn. The stack is cleared, so that runs
// repeat bit for bit even where a program reads what it never wrote.
func (c *compiler) enterFunction() {
	f := c.fn
	c.bind(f.entry)
	for _, r := range f.Saved {
		c.push(native[r])
	}
	if !f.Pointer {
		return
	}
	if !f.Root {
		c.push(rbp)
	}
	c.mov(size64, rbp, rsp)
	if f.Size == 0 {
		return
	}
	c.group1(size64, digitSub, rsp, f.Size)
	c.clearStack(f.Size)
	if f.Counter {
		c.rm(size64, opMovI, 0, mem{rbp, -f.Size})
		c.imm32(code.MayGotoBudget)
	}
}

// clearStack writes zeroes over the size bytes below rbp, a multiple of 8.
func (c *compiler) clearStack(size int32) {
	at := -size
	if size >= 16 {
		c.rr(size32, 0x0f57, 0, 0) // xorps xmm0, xmm0
	}
	for ; at <= -16; at += 16 {
		c.rm(size32, opMovups, 0, mem{rbp, at})
	}
	if at < 0 {
		c.rm(size64, opMovI, 0, mem{rbp, at})
		c.imm32(0)
	}
}

// leaveFunction writes a return. Functions that Go enters jump to their return
// address: the processor predicts returns by calls it has seen, and it has seen
// none.
func (c *compiler) leaveFunction() {
	f := c.fn
	if f.Root {
		if f.Size != 0 {
			c.mov(size64, rsp, rbp)
		}
		c.returnToGo()
		return
	}
	c.dropFrame()
	c.bytes(0xc3) // ret
}

// dropFrame takes the frame of a function that native code calls off the stack: the registers are the caller's again.
func (c *compiler) dropFrame() {
	if c.fn.Pointer {
		c.bytes(0xc9) // leave
	}
	for i := len(c.fn.Saved) - 1; i >= 0; i-- {
		c.pop(native[c.fn.Saved[i]])
	}
}

// callOut lowers calls: of functions of the program, helpers and kfuncs.
func (c *compiler) callOut(pc int, ins isa.Instruction) {
	switch {
	case ins.IsLocalCall():
		c.callLocal(pc)
	case ins.IsKfuncCall():
		c.exit(code.Kfunc, pc, ins)
	case ins.Imm == tailCall:
		c.tailCall(pc, ins)
	case !c.inline(pc, catalog.HelperID(ins.Imm)):
		c.exit(code.Helper, pc, ins)
	}
}

func (c *compiler) callLocal(pc int) {
	i, ok := c.facts.Callee(pc)
	if !ok {
		c.fail(pc)
		return
	}
	f := &c.funcs[i]
	if c.opts.Poll {
		over := c.label()
		c.poll(pc, code.Cost(c.facts.Heavy, f.Start, f.End), over)
		c.bind(over)
	}
	c.call(f.entry)
}

// exit leaves for Go and goes on behind the exit. It returns the site's number.
func (c *compiler) exit(k code.SiteKind, pc int, ins isa.Instruction) int {
	behind := c.label()
	s := c.exitTo(k, pc, ins, behind)
	c.bind(behind)
	return s
}

// exitTo leaves for Go, which goes on at resume:
//
//	mov ecx, site
//	jmp [r12+exit]
func (c *compiler) exitTo(k code.SiteKind, pc int, ins isa.Instruction, resume label) int {
	c.sites = append(c.sites, site{code.Site{Kind: k, Slot: pc, Insn: ins}, resume, none})
	s := len(c.sites) - 1
	c.movImm(rcx, uint64(s))
	c.leave()
	return s
}

// inline writes helpers that need no Go; false if id is none of them.
func (c *compiler) inline(pc int, id catalog.HelperID) bool {
	switch id {
	case catalog.FnGetSmpProcessorID:
		c.rm(size32, opLoad, rax, context(exec.OffCPU))
		return true
	case catalog.FnMapLookupElem:
		return c.lookup(pc)
	case catalog.FnLoop:
		return c.loop(pc)
	case catalog.FnGetPrandomU32:
		c.random()
		return true
	case catalog.FnKtimeGetNs:
		return c.clock(0)
	case catalog.FnKtimeGetBootNs:
		return c.opts.Clock != nil && c.clock(c.opts.Clock.Boot)
	case catalog.FnCsumDiff:
		return c.csumDiff(pc)
	case catalog.FnRedirectMap:
		return c.redirectMap(pc)
	case catalog.FnXDPAdjustHead:
		c.adjustHead(pc)
		return true
	case catalog.FnXDPAdjustTail:
		c.adjustTail(pc)
		return true
	case catalog.FnXDPAdjustMeta:
		c.adjustMeta(pc)
		return true
	case catalog.FnRingBufReserve:
		return c.ringReserve(pc)
	case catalog.FnRingBufOutput:
		return !c.opts.SharedRings && c.ringOutput(pc)
	case catalog.FnRingBufSubmit, catalog.FnRingBufDiscard:
		if c.opts.SharedRings {
			return false
		}
		discard := int32(0)
		if id == catalog.FnRingBufDiscard {
			discard = code.RingDiscard
		}
		c.ringCommit(pc, discard)
		return true
	}
	return false
}
