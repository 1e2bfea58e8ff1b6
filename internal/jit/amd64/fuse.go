package amd64

import "github.com/skep-bpf/skep/isa"

// fuse writes one or two instructions of the machine for several of BPF's that
// begin at pc, and returns the slot behind them; 0 if no rule applies. None but
// the first may be a jump's target.
func (c *compiler) fuse(pc int) (next int) {
	for _, rule := range fusions {
		if n := rule(c, pc); n != 0 {
			var written isa.RegSet
			for _, w := range c.facts.Writes[pc : pc+n] {
				written |= w
			}
			c.zext &^= written
			return pc + n
		}
	}
	return 0
}

// fusions are tried in order. Each returns how many slots it took.
var fusions = []func(c *compiler, pc int) int{
	(*compiler).fuseRotate, (*compiler).fuseRotateCopies, (*compiler).fuseLoadSwap, (*compiler).fuseLea,
}

// straight reports whether n instructions from pc are in one function and are entered at the first only.
func (c *compiler) straight(pc, n int) bool {
	if pc+n > c.fn.End {
		return false
	}
	for i := pc + 1; i < pc+n; i++ {
		if c.facts.Target[i] {
			return false
		}
	}
	return true
}

// fuseLoadSwap reads big-endian numbers:
//
//	r1 = *(u32 *)(r2 + 4); r1 = be32 r1     movbe edi, [rsi+4]
func (c *compiler) fuseLoadSwap(pc int) int {
	if !c.opts.MOVBE || !c.straight(pc, 2) {
		return 0
	}
	ld, swap := c.insns[pc], c.insns[pc+1]
	bytes := ld.Op.Bytes()
	if ld.Op.Class() != isa.ClassLDX || ld.Op.Mode() != isa.ModeMEM || bytes < 4 || swap.Dst != ld.Dst ||
		swap.Imm != int32(8*bytes) || swap.Op != alu32|isa.End|isa.SrcX && swap.Op != alu64|isa.End {
		return 0
	}
	c.rm(bytes, opMovbe, native[ld.Dst], at(ld.Src, ld.Off))
	return 2
}

// fuseLea adds into another register:
//
//	r1 = r2; r1 += 8      lea rdi, [rsi+8]
//	r1 = r2; r1 += r3     lea rdi, [rsi+r8]
func (c *compiler) fuseLea(pc int) int {
	if !c.straight(pc, 2) {
		return 0
	}
	mov, add := c.insns[pc], c.insns[pc+1]
	if mov.Op != mov64X || mov.Off != 0 || mov.Dst == mov.Src || add.Dst != mov.Dst {
		return 0
	}
	dst, src := native[mov.Dst], native[mov.Src]
	switch {
	case add.Op == add64K:
		c.rm(size64, opLea, dst, mem{src, add.Imm})
	case add.Op == add64X && add.Src == mov.Dst: // twice the source
		c.lea2(size64, dst, src, src)
	case add.Op == add64X:
		c.lea2(size64, dst, src, native[add.Src])
	default:
		return 0
	}
	return 2
}

// Compilers write a rotation of s by shifting it both ways, s itself or copies
// t and u of it, and joining the two:
//
//	t = s; t <<= n; s >>= w-n; s |= t               rol s, n
//	t = s; t >>= w-n; u = s; u <<= n; u |= t        rorx u, s, w-n
//
// in 32 or 64 bits, the shifts in either order, the sum in either register; the
// other one must not be needed any more.

// fuseRotate finds rotations that shift s itself.
func (c *compiler) fuseRotate(pc int) int {
	if !c.straight(pc, 4) {
		return 0
	}
	mov, a, b, or := c.insns[pc], c.insns[pc+1], c.insns[pc+2], c.insns[pc+3]
	if !isCopy(mov, or) || isa.Regs(a.Dst, b.Dst) != isa.Regs(mov.Dst, mov.Src) {
		return 0
	}
	return c.join(mov.Src, a, b, or, pc+3) * 4
}

// fuseRotateCopies finds rotations that shift two copies of s.
func (c *compiler) fuseRotateCopies(pc int) int {
	if !c.straight(pc, 5) {
		return 0
	}
	mov, a, mov2, b, or := c.insns[pc], c.insns[pc+1], c.insns[pc+2], c.insns[pc+3], c.insns[pc+4]
	if !isCopy(mov, or) || !isCopy(mov2, or) || mov.Src != mov2.Src || a.Dst != mov.Dst || b.Dst != mov2.Dst {
		return 0
	}
	return c.join(mov.Src, a, b, or, pc+4) * 5
}

// isCopy reports whether mov copies a register to another, as wide as or needs it.
func isCopy(mov, or isa.Instruction) bool {
	return mov.Dst != mov.Src && mov.Off == 0 && (mov.Op == mov64X || mov.Op == mov32X && or.Op.Class() == isa.ClassALU)
}

// join writes the rotation of s that the shifts a and b and the instruction or
// at slot end make up; 0 if they do not.
func (c *compiler) join(s isa.Register, a, b, or isa.Instruction, end int) int {
	class := or.Op.Class()
	shift := func(i isa.Instruction) bool {
		return i.Op == isa.Opcode(class)|isa.Lsh || i.Op == isa.Opcode(class)|isa.Rsh
	}
	size := size64
	if class == isa.ClassALU {
		size = size32
	}
	if !class.IsALU() || or.Op != isa.Opcode(class)|isa.Or|isa.SrcX || !shift(a) || !shift(b) || a.Op == b.Op ||
		a.Imm <= 0 || b.Imm <= 0 || int(a.Imm+b.Imm) != 8*size ||
		a.Dst == b.Dst || isa.Regs(or.Dst, or.Src) != isa.Regs(a.Dst, b.Dst) || c.facts.Live[end].Has(or.Src) {
		return 0
	}
	left := a.Imm
	if a.Op.ALUOp() != isa.Lsh {
		left = b.Imm
	}
	c.rotate(size, native[or.Dst], native[s], uint8(left))
	return 1
}

// rotate writes dst = src rotated left by n.
func (c *compiler) rotate(size int, dst, src reg, n uint8) {
	if dst != src && c.opts.BMI2 {
		c.vex(size, opRorx, dst, 0, src)
		c.imm8(int32(8*size) - int32(n))
		return
	}
	if dst != src {
		c.mov(size, dst, src)
	}
	c.shift(size, digitRol, dst, n)
}
