package amd64

import "github.com/skep-bpf/skep/internal/jit/exec"

// Barriers and retpolines, where the options ask for them.

// barrier is lfence: nothing behind it begins before all before it is done, not even on a guess.
func (a *assembler) barrier() { a.bytes(0x0f, 0xae, 0xe8) }

// guard puts a barrier behind a check of what is inlined.
func (c *compiler) guard() {
	if c.opts.Guard {
		c.barrier()
	}
}

// jumpMem jumps to an address in memory.
//
//	jmp [m]             call over; catch: pause; lfence; jmp catch
//	                    over: lea rsp, [rsp+8]; push [m]; ret
//
// The processor guesses that a return goes behind the call it saw last, where
// it can do nothing but wait.
func (c *compiler) jumpMem(m mem) {
	if !c.opts.Retpolines {
		c.rm(size32, opGroup5, digitJmp, m)
		return
	}
	c.trapGuess()
	c.rm(size32, opGroup5, digitPush, m)
	c.bytes(0xc3)
}

// returnToGo goes to the return address on the stack, which no call put there: see leaveFunction.
func (c *compiler) returnToGo() {
	if !c.opts.Retpolines {
		c.pop(rcx)
		c.rr(size32, opGroup5, digitJmp, rcx)
		return
	}
	c.trapGuess()
	c.bytes(0xc3)
}

// trapGuess makes the next return one whose target is guessed to be a loop that waits.
func (c *compiler) trapGuess() {
	c.bytes(0xe8, 7, 0, 0, 0)             // call over
	c.bytes(0xf3, 0x90)                   // catch: pause
	c.barrier()                           // lfence
	c.bytes(0xeb, 0xf9)                   // jmp catch
	c.rm(size64, opLea, rsp, mem{rsp, 8}) // over:
}

// leave goes out of native code, by the assembly that [exec.Context] names. With
// retpolines all exits share one.
func (c *compiler) leave() {
	if !c.opts.Retpolines {
		c.jumpMem(context(exec.OffExit))
		return
	}
	c.jump(c.out)
}
