package amd64

import (
	"math/bits"

	"github.com/skep-bpf/skep/isa"
)

// divide lowers division and modulo. BPF's never trap: by zero the quotient is
// 0 and the remainder the dividend; the smallest number by −1 is itself,
// remainder 0.
func (c *compiler) divide(ins isa.Instruction, size int) {
	if !ins.Op.UsesReg() {
		c.divideImm(ins, size)
		return
	}
	dst, src := native[ins.Dst], native[ins.Src]
	mod, signed := ins.Op.ALUOp() == isa.Mod, ins.Off == 1
	zero, minus, done := c.label(), c.label(), c.label()
	keep := mod && size == size64 // by zero: nothing to do
	c.rr(size, opTest, src, src)
	if keep {
		c.jumpIf(condE, done)
	} else {
		c.jumpIf(condE, zero)
	}
	if signed {
		c.group1(size, digitCmp, src, -1)
		c.jumpIf(condE, minus)
	}
	// rcx keeps R0 unless R0 is what is divided; as a divisor it stands for rax.
	divisor := src
	if src == rax {
		divisor = rcx
	}
	if src == rax || dst != rax {
		c.mov(size64, rcx, rax)
	}
	c.machineDivide(size, signed, dst, divisor)
	c.quotient(size, mod, dst)
	if dst != rax {
		c.mov(size64, rax, rcx)
	}
	if signed {
		c.jump(done)
		c.bind(minus)
		if mod {
			c.rr(size32, opXor, dst, dst)
		} else {
			c.rr(size, opGroup3, digitNeg, dst)
		}
	}
	if !keep {
		c.jump(done)
		c.bind(zero)
		if mod {
			c.mov(size, dst, dst)
		} else {
			c.rr(size32, opXor, dst, dst)
		}
	}
	c.bind(done)
}

// machineDivide divides dst by divisor: quotient in rax, remainder in rdx.
func (c *compiler) machineDivide(size int, signed bool, dst, divisor reg) {
	c.mov(size64, rax, dst)
	if signed {
		c.prefixes(size, 0x99, 0, 0, 0, false) // cdq, cqo: the sign of rax into rdx
		c.rr(size, opGroup3, digitIdiv, divisor)
		return
	}
	c.rr(size32, opXor, rdx, rdx)
	c.rr(size, opGroup3, digitDiv, divisor)
}

// quotient moves the result wanted into dst.
func (c *compiler) quotient(size int, mod bool, dst reg) {
	switch {
	case mod:
		c.mov(size, dst, rdx)
	case dst != rax:
		c.mov(size, dst, rax)
	}
}

// divideImm divides by a constant: powers of two by shifting, others by multiplying,
// unsigned where MULX is at hand.
func (c *compiler) divideImm(ins isa.Instruction, size int) {
	dst := native[ins.Dst]
	mod, signed := ins.Op.ALUOp() == isa.Mod, ins.Off == 1
	d := uint64(int64(ins.Imm))
	if size == size32 {
		d = uint64(uint32(ins.Imm))
	}
	n, power := log2(d)
	switch {
	case ins.Imm == 0 && mod:
		c.mov(size, dst, dst)
	case ins.Imm == 0, mod && (d == 1 || signed && ins.Imm == -1):
		c.rr(size32, opXor, dst, dst)
	case d == 1:
		c.mov(size, dst, dst)
	case signed && ins.Imm == -1:
		c.rr(size, opGroup3, digitNeg, dst)
	case power && !signed && mod:
		c.lowBits(size, dst, n)
	case power && !signed:
		c.shift(size, digitShr, dst, n)
	case !signed && size == size32 && c.opts.BMI2:
		c.multiplyDivide(mod, dst, ins.Imm)
	case !signed && size == size64 && ins.Imm > 0 && c.opts.BMI2:
		c.multiplyDivide64(mod, dst, ins.Imm)
	case signed:
		c.divideSigned(ins, size)
	default:
		if dst != rax {
			c.push(rax)
		}
		if size == size32 {
			d = uint64(uint32(d))
		}
		c.movImm(rcx, d)
		c.machineDivide(size, false, dst, rcx)
		c.quotient(size, mod, dst)
		if dst != rax {
			c.pop(rax)
		}
	}
}

// lowBits keeps the low n bits, 0 < n.
func (c *compiler) lowBits(size int, dst reg, n uint8) {
	switch {
	case n <= 31:
		c.aluImm(isa.And, size32, dst, int32(uint32(1)<<n-1))
	case n == 32:
		c.mov(size32, dst, dst)
	default:
		c.shift(size64, digitShl, dst, 64-n)
		c.shift(size64, digitShr, dst, 64-n)
	}
}

// multiplyDivide divides a 32-bit number x by a constant d, no power of two:
// the quotient is the upper half of x·m, with m = ⌊2⁶⁴/d⌋ + 1. For m is 2⁶⁴/d + e
// with 0 < e ≤ 1, and x·e/2⁶⁴ < 2⁻³² is too little to reach the next whole number.
func (c *compiler) multiplyDivide(mod bool, dst reg, d int32) {
	c.mov(size32, rdx, dst)
	c.movImm(rcx, ^uint64(0)/uint64(uint32(d))+1)
	if !mod {
		c.vex(size64, opMulx, dst, rcx, rcx)
		return
	}
	c.vex(size64, opMulx, rcx, rcx, rcx)
	c.rr(size32, opImul3, rcx, rcx)
	c.imm32(d)
	c.mov(size32, dst, rdx)
	c.rr(size32, opSub, rcx, dst)
}

// multiplyDivide64 divides a 64-bit number x by a constant d, 2ᵏ < d < 2ᵏ⁺¹: the
// quotient is the upper half of x·m, shifted by k, with m = ⌊2⁶⁴⁺ᵏ/d⌋ + 1 where that is
// exact enough (the error, at most 2ᵏ per 2⁶⁴⁺ᵏ/d, must not reach the next whole number).
// Else m needs one bit more, 65, whose part x is added without overflow (Granlund and Montgomery):
//
//	mov rdx, x
//	mov rcx, m
//	mulx rcx, rcx, rcx
//	(sub rdx, rcx; shr rdx, 1; add rcx, rdx)
//	shr rcx, k
//	mov x, rcx                       mod: imul rcx, rcx, d; sub x, rcx
func (c *compiler) multiplyDivide64(mod bool, dst reg, imm int32) {
	d := uint64(imm)
	k := bits.Len64(d) - 1
	m, rest := bits.Div64(1<<k, 0, d)
	short := d-rest < 1<<k
	if !short {
		twice := 2 * rest
		if m *= 2; twice >= d {
			m++
		}
	}
	c.mov(size64, rdx, dst)
	c.movImm(rcx, m+1)
	c.vex(size64, opMulx, rcx, rcx, rcx)
	if !short {
		c.rr(size64, opSub, rcx, rdx)
		c.shift(size64, digitShr, rdx, 1)
		c.rr(size64, opAdd, rdx, rcx)
	}
	c.shift(size64, digitShr, rcx, uint8(k))
	if !mod {
		c.mov(size64, dst, rcx)
		return
	}
	c.rr(size64, opImul3, rcx, rcx)
	c.imm32(imm)
	c.rr(size64, opSub, rcx, dst)
}

// divideSigned divides by a constant d, |d| > 1. By 2ⁿ: what is negative gets 2ⁿ − 1 added before
// it is shifted, which rounds towards zero:
//
//	mov rdx, x
//	sar rdx, 63
//	shr rdx, 64−n
//	add rdx, x
//	sar rdx, n                       mod: and rdx, −2ⁿ; sub x, rdx
//	(neg rdx)
//	mov x, rdx
//
// By others the quotient is x·m/2ᵏ rounded down, one more where x is negative. With
// m·|d| = 2ᵏ + e and 0 < e ≤ 2ᵏ⁻⁶³ (2ᵏ⁻³¹ for 32 bits) the error is too little to reach the next
// whole number.
func (c *compiler) divideSigned(ins isa.Instruction, size int) {
	dst, mod, d := native[ins.Dst], ins.Op.ALUOp() == isa.Mod, uint64(max(int64(ins.Imm), -int64(ins.Imm)))
	x := dst // where the dividend still is behind the multiplication
	n, power := log2(d)
	switch {
	case power:
		bits := uint8(8 * size)
		c.mov(size, rdx, dst)
		if n > 1 {
			c.shift(size, digitSar, rdx, bits-1)
		}
		c.shift(size, digitShr, rdx, bits-n)
		c.rr(size, opAdd, dst, rdx)
		if mod {
			c.group1(size, digitAnd, rdx, int32(-int64(d)))
		} else {
			c.shift(size, digitSar, rdx, n)
		}
	case size == size32:
		m, k := reciprocal(d, 32)
		c.rr(size64, opMovsxd, rcx, dst)
		c.movImm(rdx, m)
		c.rr(size64, opImul, rdx, rcx)
		c.shift(size64, digitSar, rdx, k)
		c.shift(size64, digitShr, rcx, 63)
		c.rr(size32, opAdd, rcx, rdx)
	default:
		x = c.multiplySigned(dst, d)
	}
	switch {
	case mod && !power:
		c.rr(size, opImul3, rdx, rdx)
		c.imm32(int32(d))
		fallthrough
	case mod:
		c.mov(size64, dst, x)
		c.rr(size, opSub, rdx, dst)
		return
	case ins.Imm < 0:
		c.rr(size, opGroup3, digitNeg, rdx)
	}
	c.mov(size, dst, rdx)
}

// multiplySigned puts the quotient of x, which is in dst, by d into rdx, and returns where x is then:
//
//	mov rcx, rax                     dst is rax: x; else: to keep R0
//	mov rax, m                       or rdx
//	imul x                           or rdx: the upper half of the product into rdx
//	mov rax, rcx                     dst is not rax
//	(add rdx, x)                     for m ≥ 2⁶³, which imul takes as m − 2⁶⁴
//	sar rdx, k−64
//	mov rcx, x                       or rax
//	shr rcx, 63
//	add rdx, rcx
func (c *compiler) multiplySigned(dst reg, d uint64) (x reg) {
	m, k := reciprocal(d, 64)
	c.mov(size64, rcx, rax)
	x, sign, factor := dst, rcx, rax
	if dst == rax {
		x, sign, factor = rcx, rax, rdx
	}
	c.movImm(factor, m)
	if dst == rax {
		c.rr(size64, opGroup3, digitImul, factor)
	} else {
		c.rr(size64, opGroup3, digitImul, x)
		c.mov(size64, rax, rcx)
	}
	if m >= 1<<63 {
		c.rr(size64, opAdd, x, rdx)
	}
	if k > 64 {
		c.shift(size64, digitSar, rdx, k-64)
	}
	c.mov(size64, sign, x)
	c.shift(size64, digitShr, sign, 63)
	c.rr(size64, opAdd, sign, rdx)
	return x
}

// reciprocal returns m and the least k ≥ w with m·d = 2ᵏ + e, 0 < e ≤ 2ᵏ⁺¹⁻ʷ, for d that is
// no power of two, below 2ʷ⁻¹; w is the width in bits, and m has no more.
func reciprocal(d uint64, width int) (m uint64, k uint8) {
	for k := width; ; k++ {
		var q, rest uint64
		if k < 64 {
			q, rest = 1<<k/d, 1<<k%d
		} else {
			q, rest = bits.Div64(1<<(k-64), 0, d)
		}
		if d-rest <= 1<<(k+1-width) {
			return q + 1, uint8(k)
		}
	}
}
