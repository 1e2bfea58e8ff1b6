package arm64

import "github.com/skep-bpf/skep/internal/jit/code"

// ringReserve writes bpf_ringbuf_reserve for a ring that is not full and that nobody
// writes to at this moment; false if the map is not known or pages are larger (see RingBuf in package maps).
// The consumer's position is read before the lock is taken, and a record's head is
// written before the producer's position.
//
//	cbnz x3, go                      flags
//	cmp x2, #largest size
//	b.hi go
//	ldar x4, [x1, #consumer]
//	add x5, x2, #15
//	and x5, x5, #-8                  the record's length
//	mov w0, #0; mov w14, #1
//	casal w0, w14, [x1, #lock]
//	cbnz w0, go
//	ldr x15, [x1, #producer]
//	add x5, x5, x15                  the position behind it
//	mov x0, #mask
//	sub x14, x5, x4
//	cmp x14, x0
//	b.hi full
//	(the same with [x1, #pending] for x4)
//	and x15, x15, x0
//	add x15, x15, #offset of the data
//	add x0, x1, x15
//	lsr x15, x15, #12
//	str w15, [x0, #4]
//	orr w2, w2, #busy
//	str w2, [x0]
//	stlr x5, [x1, #producer]
//	stlr wzr, [x1, #lock]
//	add x0, x0, #8
//	done:                            full: stlr wzr, [x1, #lock]
//	                                 go: leave; b done
func (c *compiler) ringReserve(pc int) bool {
	m, _, ok := code.Lookup(c.prog, &c.opts, pc)
	if !ok || !c.opts.Page4 {
		return false
	}
	full, slow, done := c.label(), c.label(), c.label()
	lock := x13
	mask := int64(m.MaxEntries) - 1
	c.jumpZero(size64, false, x3, slow)
	c.cmpImm(size64, x2, min(mask+1-code.RingHead, code.RingMaxSize))
	c.jumpIf(condHI, slow)
	c.addImm(size64, x12, x1, code.RingConsumer)
	c.exclusive(size64, opLdar, xzr, x4, x12)
	c.addImm(size64, x5, x2, code.RingHead+7)
	c.logic(size64, opAndI, opAnd, x5, x5, -8)
	c.movImm(x0, 0)
	c.movImm(x14, 1)
	c.addImm(size64, lock, x1, code.RingLock)
	c.compareExchange(size32, x14, lock)
	c.jumpZero(size32, false, x0, slow)
	c.access(size64, opLdr, x15, mem{x1, code.RingProducer})
	c.rrr(size64, opAdd, x5, x5, x15)
	c.movImm(x0, uint64(mask))
	c.rrr(size64, opSub, x14, x5, x4)
	c.rrr(size64, opSubs, xzr, x14, x0)
	c.jumpIf(condHI, full)
	c.access(size64, opLdr, x14, mem{x1, code.RingPending})
	c.rrr(size64, opSub, x14, x5, x14)
	c.rrr(size64, opSubs, xzr, x14, x0)
	c.jumpIf(condHI, full)
	c.rrr(size64, opAnd, x15, x15, x0)
	c.addImm(size64, x15, x15, code.RingData)
	c.rrr(size64, opAdd, x0, x1, x15)
	c.lsr(size64, x15, x15, 12)
	c.access(size32, opStr, x15, mem{x0, 4})
	c.logic(size32, opOrrI, opOrr, x2, x2, code.RingBusy)
	c.access(size32, opStr, x2, mem{x0, 0})
	c.addImm(size64, x12, x1, code.RingProducer)
	c.exclusive(size64, opStlr, xzr, x5, x12)
	c.exclusive(size32, opStlr, xzr, xzr, lock)
	c.addImm(size64, x0, x0, code.RingHead)
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(full)
		c.exclusive(size32, opStlr, xzr, xzr, lock)
		c.bind(slow)
		c.exit(code.Helper, pc, c.insns[pc])
		c.jump(done)
	})
	return true
}

// ringCommit writes bpf_ringbuf_submit and, with the bit discard, bpf_ringbuf_discard.
// Unless the program asks for no wake-up, the reader is woken if it has come to this very
// record, and may have found it busy:
//
//	ldr w0, [x1, #-8]
//	and w0, w0, #not busy            (orr w0, w0, #discard)
//	sub x14, x1, #8
//	cmp x2, #BPF_RB_NO_WAKEUP
//	b.hi go
//	b.eq quiet
//	ldr w12, [x1, #-4]
//	lsl x12, x12, #12
//	and x13, x14, #-4096
//	sub x13, x13, x12                the ring
//	swpal w0, w15, [x14]             seen before the consumer's position is looked at
//	sub x14, x14, x13
//	sub x14, x14, #offset of the data
//	ldr w15, [x13, #mask]
//	ldr x12, [x13, #consumer]
//	and x15, x15, x12
//	cmp x15, x14
//	b.eq wake
//	b done
//	quiet: stlr w0, [x14]
//	done: mov w0, #0                 go: leave; b end
//	end:                             wake: leave; b done
func (c *compiler) ringCommit(pc int, discard int64) bool {
	if !c.opts.Page4 {
		return false
	}
	slow, quiet, wake, done, end := c.label(), c.label(), c.label(), c.label(), c.label()
	head, ring := x14, regOperand
	const noWakeup = 1
	c.access(size32, opLdr, x0, mem{x1, -code.RingHead})
	c.logic(size32, opAndI, opAnd, x0, x0, code.RingBusy-1)
	if discard != 0 {
		c.logic(size32, opOrrI, opOrr, x0, x0, discard)
	}
	c.addImm(size64, head, x1, -code.RingHead)
	c.cmpImm(size64, x2, noWakeup)
	c.jumpIf(condHI, slow)
	c.jumpIf(condEQ, quiet)
	c.access(size32, opLdr, x12, mem{x1, 4 - code.RingHead})
	c.lsl(size64, x12, x12, 12)
	c.logic(size64, opAndI, opAnd, ring, head, -code.RingPage)
	c.rrr(size64, opSub, ring, ring, x12)
	c.exchange(size32, x15, x0, head)
	c.rrr(size64, opSub, head, head, ring)
	c.addImm(size64, head, head, -code.RingData)
	c.access(size32, opLdr, x15, mem{ring, code.RingMask})
	c.access(size64, opLdr, x12, mem{ring, code.RingConsumer})
	c.rrr(size64, opAnd, x15, x15, x12)
	c.rrr(size64, opSubs, xzr, x15, head)
	c.jumpIf(condEQ, wake)
	c.jump(done)
	c.bind(quiet)
	c.exclusive(size32, opStlr, xzr, x0, head)
	c.bind(done)
	c.movImm(x0, 0)
	c.bind(end)
	c.late = append(c.late, func() {
		c.bind(slow)
		c.exit(code.Helper, pc, c.insns[pc])
		c.jump(end)
		c.bind(wake)
		c.exit(code.Wake, pc, c.insns[pc])
		c.jump(done)
	})
	return true
}
