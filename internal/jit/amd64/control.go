package amd64

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// tailCall writes bpf_tail_call. A function that Go enters is replaced here:
//
//	cmp r8d, [rsi+max_entries]       R3, R2: index, map
//	jae absent
//	mov rcx, [rsi+base]
//	mov eax, r8d
//	shl rax, 3
//	add rcx, rax
//	mov rcx, [rcx]                   what code.Target describes, or 0
//	test rcx, rcx
//	je absent
//	xor eax, eax
//	cmp [tails], MaxTailCalls
//	jae done
//	mov rax, [rcx+length]
//	sub [stretch], rax
//	jl go                            time for a safepoint
//	inc [tails]
//	mov rax, [rcx+number]
//	mov [running], rax
//	(mov rsp, rbp)
//	jmp [rcx+entry]                  in other functions: see replaceCalled
//	done:                            absent: mov rax, -ENOENT; jmp done
//	                                 go: leave; jmp done
func (c *compiler) tailCall(pc int, ins isa.Instruction) {
	if !c.fn.Root && c.opts.Retpolines { // the call there would be one to guess
		s := c.exit(code.TailCall, pc, ins)
		c.sites[s].Frame = c.fn.Frame
		return
	}
	absent, slow, done := c.label(), c.label(), c.label()
	index, prog := native[isa.R3], rcx
	c.rm(size32, opCmp+2, index, at(isa.R2, code.MapMaxEntries))
	c.jumpIf(condAE, absent)
	c.guard()
	c.rm(size64, opLoad, prog, at(isa.R2, code.MapBase))
	c.mov(size32, rax, index)
	c.shift(size64, digitShl, rax, 3)
	c.rr(size64, opAdd, rax, prog)
	c.rm(size64, opLoad, prog, mem{prog, 0})
	c.rr(size64, opTest, prog, prog)
	c.jumpIf(condE, absent)
	c.rr(size32, opXor, rax, rax)
	c.group1Mem(size64, digitCmp, context(exec.OffTails), isa.MaxTailCalls)
	c.jumpIf(condAE, done)
	c.rm(size64, opLoad, rax, mem{prog, code.TargetLength})
	c.rm(size64, opSub, rax, context(exec.OffStretch))
	c.jumpIf(condL, slow)
	c.group1Mem(size64, digitAdd, context(exec.OffTails), 1)
	c.rm(size64, opLoad, rax, mem{prog, code.TargetNumber})
	if c.fn.Root {
		c.rm(size64, opStore, rax, context(exec.OffRunning))
		if c.fn.Size != 0 {
			c.mov(size64, rsp, rbp)
		}
		c.jumpMem(mem{prog, code.TargetEntry})
	} else {
		c.replaceCalled(prog)
	}
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(absent)
		c.movImm(rax, errno.ENOENT.Ret())
		c.jump(done)
		c.bind(slow)
		s := c.exit(code.TailCall, pc, ins)
		c.sites[s].Frame = c.fn.Frame
		c.jump(done)
	})
}

// replaceCalled ends a tail call, of the program whose target prog is at and whose number is in rax, in a
// function that native code calls. Its frame goes. But the program it is replaced by keeps
// none of the registers that the function's caller counts on, nor is the caller's program
// the running one when it returns: both are kept on the stack, which may grow thus as
// often as a run makes tail calls. Go, if it comes by, finds a program that returns to native code.
//
//	leave; pop the saved registers
//	push rbp, rbx, r13, r14, r15
//	push [running]
//	mov [running], rax
//	call [rcx+entry]
//	pop [running]
//	pop r15, r14, r13, rbx, rbp
//	ret
func (c *compiler) replaceCalled(prog reg) {
	c.dropFrame()
	kept := []reg{rbp, rbx, r13, r14, r15}
	for _, r := range kept {
		c.push(r)
	}
	c.rm(size32, opGroup5, digitPush, context(exec.OffRunning))
	c.rm(size64, opStore, rax, context(exec.OffRunning))
	c.rm(size32, opGroup5, digitCall, mem{prog, code.TargetEntry})
	c.rm(size32, opPopMem, 0, context(exec.OffRunning))
	for i := range kept {
		c.pop(kept[len(kept)-1-i])
	}
	c.bytes(0xc3) // ret
}

// loop writes bpf_loop of a callback that is known, where R4 has no flags and R1
// not too many turns; false if it is left to Go.
//
//	test r9, r9
//	jne go
//	cmp rdi, MaxLoops
//	ja go
//	push rbx, r13, r14
//	mov rbx, rdi; mov r14, r8        turns, context
//	xor r13d, r13d                   turn
//	jmp check
//	again: (poll)
//	mov rdi, r13; mov rsi, r14
//	call callback
//	inc r13
//	test rax, rax
//	jne out
//	check: cmp r13, rbx
//	jb again
//	out: mov rax, r13
//	pop r14, r13, rbx
//	done:                            go: leave; jmp done
func (c *compiler) loop(pc int) bool {
	i, ok := c.facts.Callback(pc)
	if !ok || c.funcs[i].Root {
		return false
	}
	f := &c.funcs[i]
	slow, done, again, over, check, out := c.label(), c.label(), c.label(), c.label(), c.label(), c.label()
	turns, turn, ctx := rbx, r13, r14
	c.rr(size64, opTest, native[isa.R4], native[isa.R4])
	c.jumpIf(condNE, slow)
	c.group1(size64, digitCmp, native[isa.R1], code.MaxLoops)
	c.jumpIf(condA, slow)
	for _, r := range []reg{turns, turn, ctx} {
		c.push(r)
	}
	c.mov(size64, turns, native[isa.R1])
	c.mov(size64, ctx, native[isa.R3])
	c.rr(size32, opXor, turn, turn)
	c.jump(check)
	c.bind(again)
	if c.opts.Poll {
		c.poll(pc, code.Cost(c.facts.Heavy, f.Start, f.End), over)
	}
	c.bind(over)
	c.mov(size64, native[isa.R1], turn)
	c.mov(size64, native[isa.R2], ctx)
	c.call(f.entry)
	c.group1(size64, digitAdd, turn, 1)
	c.rr(size64, opTest, rax, rax)
	c.jumpIf(condNE, out)
	c.bind(check)
	c.rr(size64, opCmp, turns, turn)
	c.jumpIf(condB, again)
	c.bind(out)
	c.mov(size64, rax, turn)
	for _, r := range []reg{ctx, turn, turns} {
		c.pop(r)
	}
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(slow)
		c.exit(code.Helper, pc, c.insns[pc])
		c.jump(done)
	})
	return true
}
