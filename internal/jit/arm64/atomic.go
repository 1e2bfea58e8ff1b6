package arm64

import "github.com/skep-bpf/skep/isa"

// updates are the read-modify-write operations: the instruction on registers,
// the one that does it in memory, and whether that takes the operand inverted.
var updates = map[int32]struct {
	register, atomic opcode
	inverted         bool
}{
	isa.AtomicAdd: {opAdd, opLdadd, false}, isa.AtomicOr: {opOrr, opLdset, false},
	isa.AtomicAnd: {opAnd, opLdclr, true}, isa.AtomicXor: {opEor, opLdeor, false},
}

// atomic lowers atomic operations. As in the kernel those that return what was
// there are ordered with everything before and behind, the others with nothing.
func (c *compiler) atomic(ins isa.Instruction) {
	size, dst, src := ins.Op.Bytes(), native[ins.Dst], native[ins.Src]
	switch ins.Imm {
	case isa.LoadAcquire:
		c.exclusive(size, opLdar, xzr, dst, c.address(src, ins.Off))
	case isa.StoreRelease:
		c.exclusive(size, opStlr, xzr, src, c.address(dst, ins.Off))
	case isa.AtomicXchg:
		c.exchange(size, src, src, c.address(dst, ins.Off))
	case isa.AtomicCmpXch:
		c.compareExchange(size, src, c.address(dst, ins.Off))
	default:
		c.update(ins.Imm, size, src, c.address(dst, ins.Off))
	}
}

// exchange puts src into memory, and what was there into old.
func (c *compiler) exchange(size int, old, src, at reg) {
	if c.opts.LSE {
		c.exclusive(size, opSwpal, src, old, at)
		return
	}
	c.retry(size, at, func() reg { return src })
	c.mov(size, old, x15)
}

// address is base + off in a register; atomic operations have no displacement.
func (c *compiler) address(base reg, off int16) reg {
	if off == 0 {
		return base
	}
	c.addImm(size64, x13, base, int64(off))
	return x13
}

// update lowers operations on memory.
func (c *compiler) update(imm int32, size int, src, at reg) {
	fetch := imm&isa.Fetch != 0
	row := updates[imm&^isa.Fetch]
	if !c.opts.LSE {
		c.retry(size, at, func() reg {
			c.rrr(size, row.register, x14, x15, src)
			return x14
		})
		if fetch {
			c.mov(size, src, x15)
		}
		return
	}
	operand := src
	if row.inverted {
		operand = x14
		c.rrr(size, opOrn, operand, xzr, src)
	}
	if fetch {
		c.exclusive(size, row.atomic|opOrder, operand, src, at)
		return
	}
	c.exclusive(size, row.atomic, operand, xzr, at)
}

// retry changes memory without LSE; value makes the new value of the old one, in x15.
//
//	again: ldxr x15, [at]
//	(value)
//	stlxr w12, value, [at]
//	cbnz w12, again
//	dmb ish
func (c *compiler) retry(size int, at reg, value func() reg) {
	again := c.label()
	c.bind(again)
	c.exclusive(size, opLdxr, xzr, x15, at)
	c.exclusive(size, opStlxr, x12, value(), at)
	c.jumpZero(size32, false, x12, again)
	c.op(opDmbISH)
}

// compareExchange puts src into memory that holds R0; R0 becomes what it held.
//
//	again: ldxr x15, [at]
//	cmp x15, x0
//	b.ne differs
//	stlxr w12, src, [at]
//	cbnz w12, again
//	differs: dmb ish
//	mov x0, x15
func (c *compiler) compareExchange(size int, src, at reg) {
	if c.opts.LSE {
		c.exclusive(size, opCasal, x0, src, at)
		return
	}
	again, differs := c.label(), c.label()
	c.bind(again)
	c.exclusive(size, opLdxr, xzr, x15, at)
	c.rrr(size, opSubs, xzr, x15, x0)
	c.jumpIf(condNE, differs)
	c.exclusive(size, opStlxr, x12, src, at)
	c.jumpZero(size32, false, x12, again)
	c.bind(differs)
	c.op(opDmbISH)
	c.mov(size, x0, x15)
}
