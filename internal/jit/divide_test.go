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
	divisors := []int32{1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 25, 60, 100, 125, 255, 641, 1000, 1 << 20, 1<<20 + 1, 1e9, 1<<30 + 1, 1<<31 - 1, -1, -3, -1 << 31}
	for range 40 {
		divisors = append(divisors, int32(r.Uint32()>>r.IntN(31))|1)
	}
	for _, imm := range divisors {
		d := uint64(int64(imm))
		values := []uint64{0, 1, d - 1, d, d + 1, 2*d - 1, 2 * d, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, -d, (1<<64 - 1) / d * d, (1<<64-1)/d*d - 1}
		for range 200 {
			values = append(values, r.Uint64()>>r.IntN(64), r.Uint64()>>r.IntN(64)/d*d-uint64(r.IntN(2)))
		}
		for _, c := range []struct {
			op   isa.Part
			want func(x uint64) uint64
		}{
			{isa.ALU64Imm(isa.Div, isa.R0, imm), func(x uint64) uint64 { return x / d }},
			{isa.ALU64Imm(isa.Mod, isa.R0, imm), func(x uint64) uint64 { return x % d }},
			{isa.ALU32Imm(isa.Div, isa.R0, imm), func(x uint64) uint64 { return uint64(uint32(x) / uint32(imm)) }},
			{isa.ALU32Imm(isa.Mod, isa.R0, imm), func(x uint64) uint64 { return uint64(uint32(x) % uint32(imm)) }},
		} {
			p, err := Compile(&rewrite.Program{Insns: isa.Program(isa.Mov64Reg(isa.R0, isa.R1), c.op, isa.ExitInsn())}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range values {
				if got, err := vm.Run(p, x, Limits{}); err != nil || got != c.want(x) {
					t.Errorf("%v with r0 = %d: %d (%v), want %d", c.op, x, got, err, c.want(x))
				}
			}
			p.Free()
		}
	}
}
