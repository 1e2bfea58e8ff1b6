package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/isa"
)

// ringReserve writes bpf_ringbuf_reserve; false if the map is not known:
//
//	test r8, r8                      flags
//	jne go
//	cmp rsi, largest size
//	ja go
//	lea rdx, [rsi+15]
//	and rdx, -8                      the record's length
//	(rax = the record, see ringTake)
//	or esi, busy
//	mov [rax], esi
//	(see ringGive)
//	add rax, 8
//	done:                            full: mov [rdi+lock], 0
//	                                 go: leave; jmp done
func (c *compiler) ringReserve(pc int) bool {
	m, _, ok := code.Lookup(c.prog, &c.opts, pc)
	if !ok {
		return false
	}
	size := native[isa.R2]
	mask := int32(m.MaxEntries) - 1
	slow := c.slowHelper(pc)
	c.rr(size64, opTest, native[isa.R3], native[isa.R3])
	c.jumpIf(condNE, slow)
	c.group1(size64, digitCmp, size, min(mask+1-code.RingHead, code.RingMaxSize))
	c.jumpIf(condA, slow)
	c.rm(size64, opLea, rdx, mem{size, code.RingHead + 7})
	c.group1(size64, digitAnd, rdx, -8)
	c.ringTake(mask, slow)
	c.group1(size32, digitOr, size, -code.RingBusy)
	c.rm(size32, opStore, size, mem{rax, 0})
	c.ringGive()
	c.group1(size64, digitAdd, rax, code.RingHead)
	return true
}

// ringTake finds room for a record of rdx bytes in the ring at rdi, if it is not full and
// nobody writes to it at this moment (see RingBuf in package maps). Then rax is where the
// record lies, and rdx the position behind it. It uses rcx, r10 and r11:
//
//	mov r11, [rdi+consumer]
//	xor eax, eax
//	mov ecx, 1
//	lock cmpxchg [rdi+lock], ecx
//	jne go
//	mov r10, [rdi+producer]
//	add rdx, r10
//	mov rcx, rdx
//	sub rcx, r11
//	cmp rcx, mask
//	ja full
//	(the same with [rdi+pending] for r11)
//	and r10d, mask
//	add r10, offset of the data
//	lea rax, [rdi+r10]
//	shr r10, 12
//	mov [rax+4], r10d                full: mov [rdi+lock], 0; jmp go
func (c *compiler) ringTake(mask int32, slow label) {
	full := c.label()
	ring := native[isa.R1]
	c.rm(size64, opLoad, r11, mem{ring, code.RingConsumer})
	c.rr(size32, opXor, rax, rax)
	c.movImm(rcx, 1)
	c.rm(size32, opCmpxchg, rcx, mem{ring, code.RingLock})
	c.jumpIf(condNE, slow)
	c.rm(size64, opLoad, r10, mem{ring, code.RingProducer})
	c.rr(size64, opAdd, r10, rdx)
	c.mov(size64, rcx, rdx)
	c.rr(size64, opSub, r11, rcx)
	c.group1(size64, digitCmp, rcx, mask)
	c.jumpIf(condA, full)
	c.mov(size64, rcx, rdx)
	c.rm(size64, opSub+2, rcx, mem{ring, code.RingPending})
	c.group1(size64, digitCmp, rcx, mask)
	c.jumpIf(condA, full)
	c.group1(size32, digitAnd, r10, mask)
	c.group1(size64, digitAdd, r10, code.RingData)
	c.lea2(size64, rax, ring, r10)
	c.shift(size64, digitShr, r10, 12)
	c.rm(size32, opStore, r10, mem{rax, 4})
	c.late = append(c.late, func() {
		c.bind(full)
		c.ringUnlock()
		c.jump(slow)
	})
}

// ringGive shows the record that ringTake made, and that says now that it is busy, to others.
func (c *compiler) ringGive() {
	c.rm(size64, opStore, rdx, mem{native[isa.R1], code.RingProducer})
	c.ringUnlock()
}

func (c *compiler) ringUnlock() {
	c.rm(size32, opMovI, 0, mem{native[isa.R1], code.RingLock})
	c.imm32(0)
}

// ringOutput writes bpf_ringbuf_output of a piece whose size is known, and not too large;
// false if it is left to Go:
//
//	cmp r9, BPF_RB_NO_WAKEUP
//	ja go
//	mov edx, length
//	(rax = the record, see ringTake)
//	mov [rax], size | busy
//	(see ringGive)
//	movups xmm0, [rsi]; movups [rax+8], xmm0 …
//	mov ecx, size
//	test r9, r9
//	jne quiet
//	xchg [rax], ecx                  seen before the consumer's position is looked at
//	sub rax, rdi
//	sub rax, offset of the data
//	mov rcx, [rdi+consumer]
//	and ecx, mask
//	cmp rcx, rax
//	je wake
//	jmp done
//	quiet: mov [rax], ecx
//	done: xor eax, eax               wake: mov rdx, rdi; leave; jmp done
func (c *compiler) ringOutput(pc int) bool {
	m, _, ok := code.Lookup(c.prog, &c.opts, pc)
	n, known := c.facts.Const(pc, isa.R3)
	if !ok || !known || n > code.MaxCopy || n+code.RingHead > uint64(m.MaxEntries) {
		return false
	}
	size, mask := int32(n), int32(m.MaxEntries)-1
	ring, data, flags := native[isa.R1], native[isa.R2], native[isa.R4]
	quiet, wake, done := c.label(), c.label(), c.label()
	slow := c.slowHelper(pc)
	c.group1(size64, digitCmp, flags, ringNoWakeup)
	c.jumpIf(condA, slow)
	c.movImm(rdx, uint64(size+code.RingHead+7)&^7)
	c.ringTake(mask, slow)
	c.rm(size32, opMovI, 0, mem{rax, 0})
	c.imm32(size | -code.RingBusy)
	c.ringGive()
	c.copyBytes(mem{rax, code.RingHead}, mem{data, 0}, size)
	c.movImm(rcx, uint64(size))
	c.rr(size32, opTest, flags, flags)
	c.jumpIf(condNE, quiet)
	c.rm(size32, opXchg, rcx, mem{rax, 0})
	c.rr(size64, opSub, ring, rax)
	c.group1(size64, digitSub, rax, code.RingData)
	c.rm(size64, opLoad, rcx, mem{ring, code.RingConsumer})
	c.group1(size32, digitAnd, rcx, mask)
	c.rr(size64, opCmp, rax, rcx)
	c.jumpIf(condE, wake)
	c.jump(done)
	c.bind(quiet)
	c.rm(size32, opStore, rcx, mem{rax, 0})
	c.bind(done)
	c.rr(size32, opXor, rax, rax)
	c.late = append(c.late, func() {
		c.bind(wake)
		c.mov(size64, rdx, ring)
		c.exit(code.Wake, pc, c.insns[pc])
		c.jump(done)
	})
	return true
}

// copyBytes copies n bytes. It uses xmm0 and rcx.
func (c *compiler) copyBytes(to, from mem, n int32) {
	for n > 0 {
		size := int32(size8)
		switch {
		case n >= 16:
			size = 16
			c.rm(size32, opLdups, 0, from)
			c.rm(size32, opMovups, 0, to)
		default:
			for size*2 <= n {
				size *= 2
			}
			c.loadZX(int(size), rcx, from)
			c.put(int(size), rcx, to)
		}
		to.disp += size
		from.disp += size
		n -= size
	}
}

// ringNoWakeup is BPF_RB_NO_WAKEUP.
const ringNoWakeup = 1

// ringCommit writes bpf_ringbuf_submit and, with the bit discard, bpf_ringbuf_discard.
// Unless the program asks for no wake-up, the reader is woken if it has come to this very
// record, and may have found it busy:
//
//	mov eax, [rdi-8]
//	and eax, not busy                (or eax, discard)
//	cmp rsi, BPF_RB_NO_WAKEUP
//	ja go
//	je quiet
//	lea rcx, [rdi-8]
//	mov r8d, [rdi-4]
//	shl r8, 12
//	mov rdx, rcx
//	and rdx, -4096
//	sub rdx, r8                      the ring
//	xchg [rcx], eax                  seen before the consumer's position is looked at
//	sub rcx, rdx
//	sub rcx, offset of the data
//	mov r8d, [rdx+mask]
//	and r8, [rdx+consumer]
//	cmp r8, rcx
//	je wake
//	jmp done
//	quiet: mov [rdi-8], eax
//	done: xor eax, eax               go: leave; jmp end
//	end:                             wake: leave; jmp done
func (c *compiler) ringCommit(pc int, discard int32) {
	slow, quiet, wake, done, end := c.label(), c.label(), c.label(), c.label(), c.label()
	sample := native[isa.R1]
	c.rm(size32, opLoad, rax, mem{sample, -code.RingHead})
	c.group1(size32, digitAnd, rax, code.RingBusy-1)
	if discard != 0 {
		c.group1(size32, digitOr, rax, discard)
	}
	c.group1(size64, digitCmp, native[isa.R2], ringNoWakeup)
	c.jumpIf(condA, slow)
	c.jumpIf(condE, quiet)
	c.rm(size64, opLea, rcx, mem{sample, -code.RingHead})
	c.rm(size32, opLoad, r8, mem{sample, 4 - code.RingHead})
	c.shift(size64, digitShl, r8, 12)
	c.mov(size64, rdx, rcx)
	c.group1(size64, digitAnd, rdx, -code.RingPage)
	c.rr(size64, opSub, r8, rdx)
	c.rm(size32, opXchg, rax, mem{rcx, 0})
	c.rr(size64, opSub, rdx, rcx)
	c.group1(size64, digitSub, rcx, code.RingData)
	c.rm(size32, opLoad, r8, mem{rdx, code.RingMask})
	c.rm(size64, opAnd+2, r8, mem{rdx, code.RingConsumer})
	c.rr(size64, opCmp, rcx, r8)
	c.jumpIf(condE, wake)
	c.jump(done)
	c.bind(quiet)
	c.rm(size32, opStore, rax, mem{sample, -code.RingHead})
	c.bind(done)
	c.rr(size32, opXor, rax, rax)
	c.bind(end)
	c.late = append(c.late, func() {
		c.bind(slow)
		c.exit(code.Helper, pc, c.insns[pc])
		c.jump(end)
		c.bind(wake)
		c.exit(code.Wake, pc, c.insns[pc])
		c.jump(done)
	})
}
