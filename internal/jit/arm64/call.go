package arm64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// callOut lowers calls: of functions of the program, helpers and kfuncs.
func (c *compiler) callOut(pc int, ins isa.Instruction) {
	switch {
	case ins.IsLocalCall():
		c.callLocal(pc)
	case ins.IsKfuncCall():
		c.exit(code.Kfunc, pc, ins)
	case ins.Imm == int32(catalog.FnTailCall):
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
//	mov w16, #site
//	ldr x17, [ctx, #exit]
//	br x17
func (c *compiler) exitTo(k code.SiteKind, pc int, ins isa.Instruction, resume label) int {
	c.sites = append(c.sites, site{code.Site{Kind: k, Slot: pc, Insn: ins}, resume, none})
	s := len(c.sites) - 1
	c.movImm(regSite, uint64(s))
	c.access(size64, opLdr, regOut, context(exec.OffExit))
	c.op(opBr | opcode(regOut<<5))
	return s
}

// guard puts a barrier against speculation behind a check of what is inlined, where one is asked for.
func (c *compiler) guard() {
	if c.opts.Guard {
		c.barrier()
	}
}

// inline writes helpers that need no Go; false if id is none of them.
func (c *compiler) inline(pc int, id catalog.HelperID) bool {
	switch id {
	case catalog.FnGetSmpProcessorID:
		c.access(size32, opLdr, x0, context(exec.OffCPU))
		return true
	case catalog.FnMapLookupElem:
		return c.lookup(pc)
	case catalog.FnLoop:
		return c.loop(pc)
	case catalog.FnGetPrandomU32:
		c.random()
		return true
	case catalog.FnRingBufReserve:
		return c.ringReserve(pc)
	case catalog.FnRingBufSubmit:
		return c.ringCommit(pc, 0)
	case catalog.FnRingBufDiscard:
		return c.ringCommit(pc, code.RingDiscard)
	}
	return false
}
