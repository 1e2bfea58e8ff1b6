package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/isa"
)

// csumDiff writes bpf_csum_diff of pieces whose sizes are known, whole words and few of them;
// false if it is left to Go. Of 4 bytes taken away and 12 put in their place, for instance:
//
//	ecx = not the sum of from        as here
//	mov edx, r10d                    seed
//	add rdx, [r8]                    to
//	mov eax, [r8+8]
//	adc rdx, rax
//	adc rdx, 0
//	mov eax, edx                     its halves added
//	shr rdx, 32
//	add eax, edx
//	adc eax, 0
//	add eax, ecx
//	adc eax, 0
//	movzx edx, ax                    and again
//	shr eax, 16
//	add ax, dx
//	adc ax, 0
//
// Zero has two forms in one's complement. Which one comes out is as the helper in Go has it:
// sums are folded before they are complemented.
func (c *compiler) csumDiff(pc int) bool {
	fn, ok1 := c.facts.Const(pc, isa.R2)
	tn, ok2 := c.facts.Const(pc, isa.R4)
	if !ok1 || !ok2 || fn%4 != 0 || tn%4 != 0 || fn > code.MaxSum || tn > code.MaxSum {
		return false
	}
	from, to, seed := native[isa.R1], native[isa.R3], native[isa.R5]
	switch {
	case tn > 0:
		if fn > 0 {
			c.rr(size32, opXor, rdx, rdx)
			c.sum(rdx, from, int32(fn))
			c.fold32(rcx, rdx)
			c.rr(size32, opGroup3, digitNot, rcx)
		}
		c.mov(size32, rdx, seed)
		c.sum(rdx, to, int32(tn))
		c.fold32(rax, rdx)
		if fn > 0 {
			c.rr(size32, opAdd, rcx, rax)
			c.group1(size32, digitAdc, rax, 0)
		}
	case fn > 0:
		c.mov(size32, rdx, seed)
		c.rr(size32, opGroup3, digitNot, rdx)
		c.sum(rdx, from, int32(fn))
		c.fold32(rax, rdx)
		c.rr(size32, opGroup3, digitNot, rax)
	default:
		c.mov(size32, rax, seed)
	}
	c.rr(size32, opMovzxW, rdx, rax)
	c.shift(size32, digitShr, rax, 16)
	c.rr(size16, opAdd, rdx, rax)
	c.group1(size16, digitAdc, rax, 0)
	return true
}

// sum adds the n bytes at from to the 64 bits of acc, in one's complement. It uses rax.
func (c *compiler) sum(acc, from reg, n int32) {
	op := opAdd
	for at := int32(0); at < n; at += 8 {
		if n-at < 8 {
			c.rm(size32, opLoad, rax, mem{from, at})
			c.rr(size64, op, rax, acc)
		} else {
			c.rm(size64, op+2, acc, mem{from, at})
		}
		op = opAdc
	}
	c.group1(size64, digitAdc, acc, 0)
}

// fold32 puts the sum of the halves of acc into dst, in one's complement. acc is used up.
func (c *compiler) fold32(dst, acc reg) {
	c.mov(size32, dst, acc)
	c.shift(size64, digitShr, acc, 32)
	c.rr(size32, opAdd, acc, dst)
	c.group1(size32, digitAdc, dst, 0)
}
