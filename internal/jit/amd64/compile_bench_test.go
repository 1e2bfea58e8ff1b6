package amd64

import (
	"testing"

	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// BenchmarkCompile compiles 4,000 instructions with a jump in every eighth.
func BenchmarkCompile(b *testing.B) {
	var insns []isa.Instruction
	for i := range int32(500) {
		insns = append(insns, isa.Program(
			isa.LoadMem(isa.W, isa.R2, isa.R1, int16(i)), isa.ALU64Imm(isa.Add, isa.R2, i), isa.Mov64Reg(isa.R3, isa.R2),
			isa.ALU32Reg(isa.Xor, isa.R0, isa.R3), isa.ALU64Imm(isa.Lsh, isa.R3, 7), isa.StoreMem(isa.DW, isa.R1, isa.R3, 8),
			isa.ALU64Reg(isa.Mul, isa.R0, isa.R3), isa.JmpImm(isa.Jeq, isa.R0, i, int16(min(i%97*8, 3991-8*i))))...)
	}
	insns[len(insns)-1] = isa.ExitInsn()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(&rewrite.Program{Insns: insns}, code.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
