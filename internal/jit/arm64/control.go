package arm64

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// tailCall writes bpf_tail_call. A function that Go enters is replaced here:
//
//	ldr w12, [x2, #max_entries]      R3, R2: index, map
//	cmp w3, w12
//	b.hs absent
//	ldr x12, [x2, #base]
//	ldr x12, [x12, w3, uxtw #3]      what code.Target describes, or 0
//	cbz x12, absent
//	mov w0, #0
//	ldr x14, [ctx, #tails]
//	cmp x14, #MaxTailCalls
//	b.hs done
//	ldr x15, [ctx, #stretch]
//	ldr x13, [x12, #length]
//	subs x15, x15, x13
//	str x15, [ctx, #stretch]
//	b.lt go                          time for a safepoint
//	add x14, x14, #1
//	str x14, [ctx, #tails]
//	ldr x13, [x12, #number]
//	str x13, [ctx, #running]
//	(the frame goes)
//	ldr x16, [x12, #entry]
//	br x16
//	done:                            absent: mov x0, -ENOENT; b done
//	                                 go: leave; b done
//
// What was called by native code needs Go, which notes whom to return to.
func (c *compiler) tailCall(pc int, ins isa.Instruction) {
	if !c.fn.Root {
		s := c.exit(code.TailCall, pc, ins)
		c.sites[s].Frame = c.fn.Frame
		return
	}
	absent, slow, done := c.label(), c.label(), c.label()
	c.access(size32, opLdr, x12, mem{x2, code.MapMaxEntries})
	c.rrr(size32, opSubs, xzr, x3, x12)
	c.jumpIf(condHS, absent)
	c.guard()
	c.access(size64, opLdr, x12, mem{x2, code.MapBase})
	c.rrr(size64, opAddUXTW3, x12, x12, x3)
	c.access(size64, opLdr, x12, mem{x12, 0})
	c.jumpZero(size64, true, x12, absent)
	c.movImm(x0, 0)
	c.access(size64, opLdr, x14, context(exec.OffTails))
	c.cmpImm(size64, x14, isa.MaxTailCalls)
	c.jumpIf(condHS, done)
	c.access(size64, opLdr, x15, context(exec.OffStretch))
	c.access(size64, opLdr, x13, mem{x12, code.TargetLength})
	c.rrr(size64, opSubs, x15, x15, x13)
	c.access(size64, opStr, x15, context(exec.OffStretch))
	c.jumpIf(condLT, slow)
	c.addImm(size64, x14, x14, 1)
	c.access(size64, opStr, x14, context(exec.OffTails))
	c.access(size64, opLdr, x13, mem{x12, code.TargetNumber})
	c.access(size64, opStr, x13, context(exec.OffRunning))
	c.dropFrame()
	c.access(size64, opLdr, regSite, mem{x12, code.TargetEntry})
	if !c.opts.Sync {
		c.op(opISB)
	}
	c.op(opBr | opcode(regSite<<5))
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(absent)
		c.movImm(x0, errno.ENOENT.Ret())
		c.jump(done)
		c.bind(slow)
		s := c.exit(code.TailCall, pc, ins)
		c.sites[s].Frame = c.fn.Frame
		c.jump(done)
	})
}

// loop writes bpf_loop of a callback that is known, where R4 has no flags and R1
// not too many turns; false if it is left to Go.
//
//	cbnz x4, go
//	cmp x1, #MaxLoops
//	b.hi go
//	sub sp, sp, #32
//	stp x6, x7, [sp]
//	str x8, [sp, #16]
//	mov x6, x1; mov x8, x3           turns, context
//	mov w7, #0                       turn
//	b check
//	again: (poll)
//	mov x1, x7; mov x2, x8
//	bl callback
//	add x7, x7, #1
//	cbnz x0, out
//	check: cmp x7, x6
//	b.lo again
//	out: mov x0, x7
//	ldr x8, [sp, #16]
//	ldp x6, x7, [sp], #32
//	done:                            go: leave; b done
func (c *compiler) loop(pc int) bool {
	i, ok := c.facts.Callback(pc)
	if !ok || c.funcs[i].Root {
		return false
	}
	f := &c.funcs[i]
	slow, done, again, over, check, out := c.label(), c.label(), c.label(), c.label(), c.label(), c.label()
	turns, turn, ctx := x6, x7, x8
	c.jumpZero(size64, false, x4, slow)
	c.cmpImm(size64, x1, code.MaxLoops)
	c.jumpIf(condHI, slow)
	c.addImm(size64, sp, sp, -32)
	c.pair(opStp, turns, turn, sp, 0)
	c.access(size64, opStr, ctx, mem{sp, 16})
	c.mov(size64, turns, x1)
	c.mov(size64, ctx, x3)
	c.movImm(turn, 0)
	c.jump(check)
	c.bind(again)
	if c.opts.Poll {
		c.poll(pc, code.Cost(c.facts.Heavy, f.Start, f.End), over)
	}
	c.bind(over)
	c.mov(size64, x1, turn)
	c.mov(size64, x2, ctx)
	c.call(f.entry)
	c.addImm(size64, turn, turn, 1)
	c.jumpZero(size64, false, x0, out)
	c.bind(check)
	c.rrr(size64, opSubs, xzr, turn, turns)
	c.jumpIf(condLO, again)
	c.bind(out)
	c.mov(size64, x0, turn)
	c.access(size64, opLdr, ctx, mem{sp, 16})
	c.pair(opLdpPost, turns, turn, sp, 32)
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(slow)
		c.exit(code.Helper, pc, c.insns[pc])
		c.jump(done)
	})
	return true
}
