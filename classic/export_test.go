package classic

import "math/rand/v2"

// RandomProgram draws a valid program for tests of other packages' engines. Its
// loads stay within what a socket pair's packets have: no headers, no chance.
func RandomProgram(r *rand.Rand, m Machine, n, size int) []Instruction {
	g := &generator{Rand: r, machine: m, size: size}
	for {
		prog := g.program(n)
		plain := true
		for _, ins := range prog {
			anc := ins.Ancillary()
			if anc != nil && (anc.ID == Random || anc.ID == CPU) || ins.K >= LinkOffset-16 && ins.K < AncillaryOffset {
				plain = false
			}
		}
		if plain {
			return prog
		}
	}
}
