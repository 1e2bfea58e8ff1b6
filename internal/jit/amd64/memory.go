package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// at is the memory operand of a load from, or a store through, a register.
func at(base isa.Register, off int16) mem { return mem{native[base], int32(off)} }

// load lowers loads: from memory, probing ones too.
func (c *compiler) load(pc int, ins isa.Instruction) {
	dst, from := native[ins.Dst], at(ins.Src, ins.Off)
	switch ins.Op.Mode() {
	case isa.ModeMEM:
		c.loadZX(ins.Op.Bytes(), dst, from)
	case isa.ModeMEMSX:
		c.loadSX(ins.Op.Bytes(), dst, from)
	case isa.ModeProbeMEM, isa.ModeProbeMEMSX:
		c.probe(pc, ins)
	default:
		c.fail(pc)
	}
}

func (c *compiler) loadZX(bytes int, dst reg, from mem) {
	switch bytes {
	case 1:
		c.rm(size32, opMovzxB, dst, from)
	case 2:
		c.rm(size32, opMovzxW, dst, from)
	default:
		c.rm(bytes, opLoad, dst, from)
	}
}

func (c *compiler) loadSX(bytes int, dst reg, from mem) {
	switch bytes {
	case 1:
		c.rm(size64, opMovsxB, dst, from)
	case 2:
		c.rm(size64, opMovsxW, dst, from)
	case 4:
		c.rm(size64, opMovsxd, dst, from)
	}
}

// store lowers a store of a register.
func (c *compiler) store(ins isa.Instruction) {
	c.put(ins.Op.Bytes(), native[ins.Src], at(ins.Dst, ins.Off))
}

func (c *compiler) put(bytes int, src reg, to mem) {
	if bytes == 1 {
		c.rm(size8, opStoreByte, src, to)
		return
	}
	c.rm(bytes, opStore, src, to)
}

// storeImm lowers a store of a constant.
func (c *compiler) storeImm(ins isa.Instruction) {
	to := at(ins.Dst, ins.Off)
	switch bytes := ins.Op.Bytes(); bytes {
	case 1:
		c.rm(size8, opMovIByte, 0, to)
		c.imm8(ins.Imm)
	case 2:
		c.rm(size16, opMovI, 0, to)
		c.bytes(byte(ins.Imm), byte(ins.Imm>>8))
	default:
		c.rm(bytes, opMovI, 0, to)
		c.imm32(ins.Imm)
	}
}

// context is the memory operand of a field of exec.Context.
func context(off int32) mem { return mem{r12, off} }

// probe lowers a load that reads 0 where there is no memory. The block such a
// load last found is read at once; other addresses are for Go to judge.
//
//	lea rcx, [src+off]
//	mov rdx, rcx
//	sub rdx, probeLo
//	cmp rdx, probeLen
//	jae slow
//	mov dst, [rcx]
//	done:                        slow: mov rdx, rcx; leave; mov dst, rdx; jmp done
func (c *compiler) probe(pc int, ins isa.Instruction) {
	dst := native[ins.Dst]
	slow, done := c.label(), c.label()
	c.rm(size64, opLea, rcx, at(ins.Src, ins.Off))
	c.mov(size64, rdx, rcx)
	c.rm(size64, opSub+2, rdx, context(exec.OffProbeLo))
	c.rm(size64, opCmp+2, rdx, context(exec.OffProbeLen))
	c.jumpIf(condAE, slow)
	c.guard()
	if ins.Op.Mode() == isa.ModeProbeMEMSX {
		c.loadSX(ins.Op.Bytes(), dst, mem{rcx, 0})
	} else {
		c.loadZX(ins.Op.Bytes(), dst, mem{rcx, 0})
	}
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(slow)
		c.mov(size64, rdx, rcx)
		c.exit(code.Probe, pc, ins)
		c.mov(size64, dst, rdx)
		c.jump(done)
	})
}

// legacyLoad lowers LD_ABS and LD_IND. Beyond the packet's end the function returns 0.
func (c *compiler) legacyLoad(pc int, ins isa.Instruction) {
	switch ins.Op.Mode() {
	case isa.ModeABS:
		c.movImm(rdx, uint64(uint32(ins.Imm)))
	case isa.ModeIND:
		c.rm(size32, opLea, rdx, mem{native[ins.Src], ins.Imm})
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
