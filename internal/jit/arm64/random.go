package arm64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
)

// random writes get_prandom_u32, as [code.Random] draws.
func (c *compiler) random() {
	mix := func(shift int, mul uint64) {
		c.lsr(size64, x12, x0, shift)
		c.rrr(size64, opEor, x0, x0, x12)
		if mul != 0 {
			c.movImm(x12, mul)
			c.rrrr(size64, opMadd, x0, x0, x12, xzr)
		}
	}
	c.access(size64, opLdr, x0, context(exec.OffRandom))
	c.movImm(x12, code.RandomStep)
	c.rrr(size64, opAdd, x0, x0, x12)
	c.access(size64, opStr, x0, context(exec.OffRandom))
	mix(30, code.RandomMul1)
	mix(27, code.RandomMul2)
	mix(31, 0)
	c.lsr(size64, x0, x0, 32)
}
