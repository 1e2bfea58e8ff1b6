package arm64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// operand is the memory operand of a load from, or a store through, a register.
// The deep end of the stack is near sp, from which displacements reach further.
func (c *compiler) operand(base isa.Register, off int16) mem {
	if up := c.fn.stack + int32(off); base == isa.RFP && off < -256 && up >= 0 {
		return mem{sp, up}
	}
	return mem{native[base], int32(off)}
}

// context is the memory operand of a field of exec.Context.
func context(off int32) mem { return mem{regContext, off} }

// load lowers loads: from memory, probing ones too.
func (c *compiler) load(pc int, ins isa.Instruction) {
	dst := native[ins.Dst]
	switch ins.Op.Mode() {
	case isa.ModeMEM, isa.ModeMEMSX:
		c.get(ins.Op, dst, c.operand(ins.Src, ins.Off))
	case isa.ModeProbeMEM, isa.ModeProbeMEMSX:
		c.probe(pc, ins)
	default:
		c.fail(pc)
	}
}

func (c *compiler) get(op isa.Opcode, dst reg, from mem) {
	if mode := op.Mode(); mode == isa.ModeMEMSX || mode == isa.ModeProbeMEMSX {
		c.access(op.Bytes(), opLdrs, dst, from)
		return
	}
	c.access(op.Bytes(), opLdr, dst, from)
}

func (c *compiler) put(bytes int, src reg, to mem) { c.access(bytes, opStr, src, to) }

// storeImm lowers a store of a constant.
func (c *compiler) storeImm(ins isa.Instruction) {
	bytes, src := ins.Op.Bytes(), xzr
	v := uint64(int64(ins.Imm))
	if bytes < 8 {
		v &= 1<<(8*bytes) - 1
	}
	if v != 0 {
		c.movImm(x14, v)
		src = x14
	}
	c.put(bytes, src, c.operand(ins.Dst, ins.Off))
}

// probe lowers a load that reads 0 where there is no memory. The block such a
// load last found is read at once; other addresses are for Go to judge.
//
//	add x13, src, #off
//	ldr x14, [ctx, #probeLo]
//	ldr x15, [ctx, #probeLen]
//	sub x14, x13, x14
//	cmp x14, x15
//	b.hs slow
//	ldr dst, [x13]
//	done:                        slow: leave; mov dst, x13; b done
func (c *compiler) probe(pc int, ins isa.Instruction) {
	dst := native[ins.Dst]
	slow, done := c.label(), c.label()
	c.addImm(size64, regOperand, native[ins.Src], int64(ins.Off))
	c.access(size64, opLdr, x14, context(exec.OffProbeLo))
	c.access(size64, opLdr, x15, context(exec.OffProbeLen))
	c.rrr(size64, opSub, x14, regOperand, x14)
	c.rrr(size64, opSubs, xzr, x14, x15)
	c.jumpIf(condHS, slow)
	c.guard()
	c.get(ins.Op, dst, mem{regOperand, 0})
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(slow)
		c.exit(code.Probe, pc, ins)
		c.mov(size64, dst, regOperand)
		c.jump(done)
	})
}

// legacyLoad lowers LD_ABS and LD_IND. Beyond the packet's end the function returns 0.
func (c *compiler) legacyLoad(pc int, ins isa.Instruction) {
	switch ins.Op.Mode() {
	case isa.ModeABS:
		c.movImm(regOperand, uint64(uint32(ins.Imm)))
	case isa.ModeIND:
		c.addImm(size32, regOperand, native[ins.Src], int64(ins.Imm))
	default:
		c.fail(pc)
	}
	s := c.exit(code.Legacy, pc, ins)
	if c.fn.leave == none {
		leave := c.label()
		c.fn.leave = leave
		c.late = append(c.late, func() {
			c.bind(leave)
			c.leaveFunction()
		})
	}
	c.sites[s].leave = c.fn.leave
}
