package classic

import "math/rand/v2"

// generator draws programs from the rows.
type generator struct {
	*rand.Rand
	machine Machine
	// wild is one in how many instructions breaks a rule on purpose, 0 for none.
	wild int
	// size is the length of the packets the program will see: offsets lie
	// around it.
	size int
}

// program draws a program of n instructions. Without wild ones it is valid:
// scratch slots are written at the beginning.
func (g *generator) program(n int) []Instruction {
	var prog []Instruction
	if g.wild == 0 {
		for slot := range uint32(4) {
			prog = append(prog, Instruction{Code: LD | IMM, K: g.Uint32()}, Instruction{Code: ST, K: slot})
		}
		prog = append(prog, Instruction{Code: LDX | IMM, K: g.Uint32N(40)})
	}
	n += len(prog)
	for len(prog) < n-1 {
		prog = append(prog, g.instruction(n-len(prog)-2))
	}
	if g.wild > 0 && g.IntN(20) == 0 {
		return append(prog, g.instruction(0))
	}
	return append(prog, Instruction{Code: RET | A})
}

// instruction draws one that has room instructions between itself and the last.
func (g *generator) instruction(room int) Instruction {
	if g.wild > 0 && g.IntN(g.wild) == 0 {
		return Instruction{Code: uint16(g.IntN(300)), Jt: uint8(g.Uint32()), Jf: uint8(g.Uint32()), K: g.constant()}
	}
	row := &Rows[g.IntN(len(Rows))]
	for row.In&g.machine == 0 || row.Form == FormA || row.Code == RET|K && g.IntN(4) > 0 {
		row = &Rows[g.IntN(len(Rows))]
	}
	ins := Instruction{Code: row.Code, K: g.constant()}
	switch row.K {
	case Divisor:
		if g.wild == 0 {
			ins.K |= 1
		}
	case Shift:
		if g.wild == 0 || g.IntN(4) > 0 {
			ins.K %= 32
		}
	case Slot:
		ins.K = g.Uint32N(4)
		if g.wild > 0 {
			ins.K = g.Uint32N(17)
		}
	case Offset:
		if g.machine == Seccomp {
			ins.K = g.Uint32N(16) * 4
		} else if ins.K >= AncillaryOffset {
			ins.K = AncillaryRows[g.IntN(len(AncillaryRows))].ID.K()
		} else if g.wild == 0 && g.IntN(8) > 0 {
			ins.K %= uint32(g.size)
		}
	case Distance:
		ins.K = g.Uint32N(uint32(min(room, 3) + 1))
		if g.wild > 0 && g.IntN(4) == 0 {
			ins.K = g.Uint32N(20)
		}
	}
	switch {
	case row.conditional():
		ins.Jt, ins.Jf = uint8(g.IntN(min(room, 5)+1)), uint8(g.IntN(min(room, 5)+1))
		if g.wild > 0 && g.IntN(8) == 0 {
			ins.Jt = uint8(g.IntN(12))
		}
	case row.Form == FormInd || row.Form == FormMSH:
		if g.wild == 0 && g.IntN(8) > 0 {
			ins.K %= uint32(g.size / 2)
		}
	}
	return ins
}

// constant draws a number, often one on an edge.
func (g *generator) constant() uint32 {
	switch g.IntN(6) {
	case 0:
		return g.Uint32N(4)
	case 1:
		return g.Uint32N(32)
	case 2:
		return uint32(g.size - 3 + g.IntN(6))
	case 3:
		edges := [...]uint32{AncillaryOffset, AncillaryOffset - 1, AncillaryOffset + 64, AncillaryOffset + 6,
			NetworkOffset, LinkOffset, LinkOffset + 3, LinkOffset - 1, 1 << 31, 1<<31 - 1, 0xffffffff}
		return edges[g.IntN(len(edges))]
	}
	return g.Uint32() >> g.IntN(32)
}
