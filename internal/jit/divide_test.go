package jit

import (
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// Division by constants, which becomes multiplication, against the machine's own.
func TestDivideByConstants(t *testing.T) {
	oracle.Need(t, "native code", Available())
	vm, err := New(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	r := rand.New(rand.NewPCG(1, 2))
	divisors := []int32{1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 25, 60, 100, 125, 255, 641, 1000, 1 << 20, 1<<20 + 1, 1e9, 1<<30 + 1, 1<<31 - 1, -1, -2, -3, -7, -10, -64, -1000, -1 << 20, -1<<31 + 1, -1 << 31}
	for range 40 {
		divisors = append(divisors, int32(r.Uint32()>>r.IntN(31))|1)
	}
	for _, imm := range divisors {
		d := uint64(int64(imm))
		values := []uint64{0, 1, d - 1, d, d + 1, 2*d - 1, 2 * d, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, -d, (1<<64 - 1) / d * d, (1<<64-1)/d*d - 1}
		for range 200 {
			small := uint64(int64(r.Uint64()) >> r.IntN(64))
			values = append(values, r.Uint64()>>r.IntN(64), r.Uint64()>>r.IntN(64)/d*d-uint64(r.IntN(2)), small, small*d+uint64(r.IntN(3))-1)
		}
		for _, c := range []struct {
			op   isa.Instruction
			want func(x uint64) uint64
		}{
			{isa.ALU64Imm(isa.Div, isa.R0, imm), func(x uint64) uint64 { return x / d }},
			{isa.ALU64Imm(isa.Mod, isa.R0, imm), func(x uint64) uint64 { return x % d }},
			{isa.ALU32Imm(isa.Div, isa.R0, imm), func(x uint64) uint64 { return uint64(uint32(x) / uint32(imm)) }},
			{isa.ALU32Imm(isa.Mod, isa.R0, imm), func(x uint64) uint64 { return uint64(uint32(x) % uint32(imm)) }},
			{signed(isa.ALU64Imm(isa.Div, isa.R0, imm)), func(x uint64) uint64 { return uint64(int64(x) / int64(imm)) }},
			{signed(isa.ALU64Imm(isa.Mod, isa.R0, imm)), func(x uint64) uint64 { return uint64(int64(x) % int64(imm)) }},
			{signed(isa.ALU32Imm(isa.Div, isa.R0, imm)), func(x uint64) uint64 { return uint64(uint32(int32(x) / imm)) }},
			{signed(isa.ALU32Imm(isa.Mod, isa.R0, imm)), func(x uint64) uint64 { return uint64(uint32(int32(x) % imm)) }},
		} {
			elsewhere := c.op
			elsewhere.Dst = isa.R3 // where R0 must stay
			for _, code := range [][]isa.Instruction{
				isa.Program(isa.Mov64Reg(isa.R0, isa.R1), c.op, isa.ExitInsn()),
				isa.Program(isa.Mov64Imm(isa.R0, 1), isa.Mov64Reg(isa.R3, isa.R1), elsewhere, isa.ALU64Reg(isa.Add, isa.R0, isa.R3), isa.ALU64Imm(isa.Sub, isa.R0, 1), isa.ExitInsn()),
			} {
				p, err := Compile(&rewrite.Program{Insns: code}, Options{})
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range values {
					if got, err := vm.Run(p, x, Limits{}); err != nil || got != c.want(x) {
						t.Errorf("%v of %d: %d (%v), want %d", c.op, x, got, err, c.want(x))
					}
				}
				p.Free()
			}
		}
	}
}

// signed makes a division one of signed numbers.
func signed(ins isa.Instruction) isa.Instruction {
	ins.Off = 1
	return ins
}
