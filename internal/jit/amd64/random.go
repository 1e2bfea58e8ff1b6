package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
)

// random writes get_prandom_u32, as [code.Random] draws.
func (c *compiler) random() {
	mix := func(shift uint8, mul uint64) {
		c.mov(size64, rcx, rax)
		c.shift(size64, digitShr, rcx, shift)
		c.rr(size64, opXor, rcx, rax)
		if mul != 0 {
			c.movImm(rcx, mul)
			c.rr(size64, opImul, rax, rcx)
		}
	}
	c.movImm(rax, code.RandomStep)
	c.rm(size64, opAdd+2, rax, context(exec.OffRandom))
	c.rm(size64, opStore, rax, context(exec.OffRandom))
	mix(30, code.RandomMul1)
	mix(27, code.RandomMul2)
	mix(31, 0)
	c.shift(size64, digitShr, rax, 32)
}
