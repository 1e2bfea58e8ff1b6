package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/isa"
)

// ringReserve writes bpf_ringbuf_reserve for a ring that is not full and that nobody
// writes to at this moment; false if the map is not known (see RingBuf in package maps):
//
//	test r8, r8                      flags
//	jne go
//	cmp rsi, largest size
//	ja go
//	mov r9, [rdi+consumer]
//	lea rdx, [rsi+15]
//	and rdx, -8                      the record's length
//	xor eax, eax
//	mov ecx, 1
//	lock cmpxchg [rdi+lock], ecx
//	jne go
//	mov r10, [rdi+producer]
//	add rdx, r10                     the position behind it
//	mov rcx, rdx
//	sub rcx, r9
//	cmp rcx, mask
//	ja full
//	(the same with [rdi+pending] for r9)
//	and r10d, mask
//	add r10, offset of the data
//	lea rax, [rdi+r10]
//	shr r10, 12
//	mov [rax+4], r10d
//	or esi, busy
//	mov [rax], esi
//	mov [rdi+producer], rdx
//	mov [rdi+lock], 0
//	add rax, 8
//	done:                            full: mov [rdi+lock], 0
//	                                 go: leave; jmp done
func (c *compiler) ringReserve(pc int) bool {
	m, _, ok := code.Lookup(c.prog, &c.opts, pc)
	if !ok {
		return false
	}
	full, slow, done := c.label(), c.label(), c.label()
	ring, size := native[isa.R1], native[isa.R2]
	mask := int32(m.MaxEntries) - 1
	c.rr(size64, opTest, native[isa.R3], native[isa.R3])
	c.jumpIf(condNE, slow)
	c.group1(size64, digitCmp, size, min(mask+1-code.RingHead, code.RingMaxSize))
	c.jumpIf(condA, slow)
	c.rm(size64, opLoad, r9, mem{ring, code.RingConsumer})
	c.rm(size64, opLea, rdx, mem{size, code.RingHead + 7})
	c.group1(size64, digitAnd, rdx, -8)
	c.rr(size32, opXor, rax, rax)
	c.movImm(rcx, 1)
	c.rm(size32, opCmpxchg, rcx, mem{ring, code.RingLock})
	c.jumpIf(condNE, slow)
	c.rm(size64, opLoad, r10, mem{ring, code.RingProducer})
	c.rr(size64, opAdd, r10, rdx)
	c.mov(size64, rcx, rdx)
	c.rr(size64, opSub, r9, rcx)
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
	c.group1(size32, digitOr, size, -code.RingBusy)
	c.rm(size32, opStore, size, mem{rax, 0})
	c.rm(size64, opStore, rdx, mem{ring, code.RingProducer})
	unlock := func() {
		c.rm(size32, opMovI, 0, mem{ring, code.RingLock})
		c.imm32(0)
	}
	unlock()
	c.group1(size64, digitAdd, rax, code.RingHead)
	c.bind(done)
	c.late = append(c.late, func() {
		c.bind(full)
		unlock()
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
	const noWakeup = 1
	c.rm(size32, opLoad, rax, mem{sample, -code.RingHead})
	c.group1(size32, digitAnd, rax, code.RingBusy-1)
	if discard != 0 {
		c.group1(size32, digitOr, rax, discard)
	}
	c.group1(size64, digitCmp, native[isa.R2], noWakeup)
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
