package difftest

import "github.com/skep-bpf/skep/isa"

// idiom draws what compilers write for one operation of a machine, and what
// native code may make one operation again: rotations, big-endian loads, sums in a
// third register, divisions by constants, comparisons of a result with zero.
func (g *generator) idiom() unit {
	s, t, u := g.threeScalars()
	switch g.rng.IntN(5) {
	case 0:
		return unit{code: g.rotation(s, t, u)}
	case 1:
		size, swap := isa.W, isa.ToBE(t, 32)
		if g.rng.IntN(2) == 0 {
			size, swap = isa.DW, isa.ToBE(t, 64)
		}
		return unit{code: isa.Program(isa.LoadMem(size, t, g.base, g.off+8*int16(g.rng.IntN(memSize/8))), swap)}
	case 2:
		add := isa.ALU64Reg(isa.Add, t, []isa.Register{s, t, u}[g.rng.IntN(3)])
		if g.rng.IntN(2) == 0 {
			add = isa.ALU64Imm(isa.Add, t, g.imm())
		}
		return unit{code: isa.Program(isa.Mov64Reg(t, s), add)}
	case 3:
		div := isa.ALU32Imm([]isa.Opcode{isa.Div, isa.Mod}[g.rng.IntN(2)], t, g.imm()|1)
		if g.rng.IntN(2) == 0 {
			div.Op = div.Op&^7 | isa.Opcode(isa.ClassALU64)
		}
		div.Off = int16(g.rng.IntN(2)) // signed or not
		return unit{code: isa.Program(div)}
	}
	ops := []isa.Opcode{isa.Add, isa.Sub, isa.Or, isa.And, isa.Xor}
	op := isa.ALU64Imm(ops[g.rng.IntN(len(ops))], t, g.imm())
	jump := isa.JmpImm(isa.Jeq, t, 0, 0)
	if g.rng.IntN(2) == 0 {
		op = isa.ALU32Reg(ops[g.rng.IntN(len(ops))], t, s)
	}
	if g.rng.IntN(2) == 0 {
		jump = isa.Jmp32Imm(isa.Jne, t, 0, 0)
	}
	return unit{code: isa.Program(op, jump), skip: 1}
}

// rotation shifts a number both ways and joins the two; the copies lose their
// values afterwards, or mostly so, and the shifts fit each other, or mostly so.
func (g *generator) rotation(s, t, u isa.Register) []isa.Instruction {
	mov, alu, width := isa.Mov64Reg, isa.ALU64Imm, int32(64)
	join := isa.ALU64Reg
	if g.rng.IntN(2) == 0 {
		alu, join, width = isa.ALU32Imm, isa.ALU32Reg, 32
		if g.rng.IntN(2) == 0 {
			mov = isa.Mov32Reg
		}
	}
	n := 1 + g.rng.Int32N(width-1)
	m := width - n
	if g.rng.IntN(8) == 0 {
		m = g.rng.Int32N(width)
	}
	left, right := isa.Lsh, isa.Rsh
	if g.rng.IntN(2) == 0 {
		left, right = right, left
	}
	var code []isa.Instruction
	if g.rng.IntN(2) == 0 {
		u = s
		code = isa.Program(mov(t, s), alu(left, t, n), alu(right, s, m))
	} else {
		code = isa.Program(mov(t, s), alu(left, t, n), mov(u, s), alu(right, u, m))
	}
	sum, rest := t, u
	if g.rng.IntN(2) == 0 {
		sum, rest = u, t
	}
	code = append(code, join(isa.Or, sum, rest))
	if g.rng.IntN(4) != 0 {
		code = append(code, isa.Mov64Imm(rest, g.imm()))
	}
	return code
}

// threeScalars draws three numbers' registers.
func (g *generator) threeScalars() (a, b, c isa.Register) {
	i := g.rng.Perm(len(g.scalars))
	return g.scalars[i[0]], g.scalars[i[1]], g.scalars[i[2]]
}
