package rewrite

import (
	"testing"

	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// No constant that an author is free to choose is left in any instruction.
func TestBlindHidesEveryConstant(t *testing.T) {
	const secret = 0x5ec4e7
	kept := map[isa.Opcode]bool{isa.Lsh: true, isa.Rsh: true, isa.Arsh: true, isa.End: true} // counts and widths
	for _, row := range isa.Table {
		ins := isa.Instruction{Op: row.Op, Dst: isa.R1, Imm: secret}
		if v := row.Off.Values(); len(v) > 0 {
			ins.Off = int16(v[0])
		}
		class := row.Op.Class()
		switch {
		case isa.Lookup(ins) == nil, row.Op.Class().IsJump() && row.Op.JumpOp() == isa.Call,
			class == isa.ClassJMP32 && row.Op.JumpOp() == isa.Ja, (class == isa.ClassALU || class == isa.ClassALU64) && kept[row.Op.ALUOp()]:
			continue
		}
		insns := isa.Program(ins)
		if ins.IsLoadImm64() {
			insns = append(insns, isa.Instruction{Imm: secret})
		}
		insns = append(insns, isa.ExitInsn())
		facts := &verifier.Result{Insns: make([]verifier.InsnFacts, len(insns))}
		for i := range facts.Insns {
			facts.Insns[i].Seen = true
		}
		n := uint32(99)
		p, err := Options{Blind: func() uint32 { n += 1e6; return n }}.Rewrite(&verifier.Program{Insns: insns}, facts)
		if err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		for _, out := range p.Insns {
			if out.Imm == secret {
				t.Errorf("%s: %v is left", row.Name, out)
			}
		}
		if len(p.Insns) == len(insns) {
			t.Errorf("%s: nothing was changed", row.Name)
		}
	}
}
