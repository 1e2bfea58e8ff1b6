package amd64

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// TestRelax writes branches over random distances: each must go to its label,
// in its short form wherever that reaches.
func TestRelax(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		a := new(assembler)
		labels := make([]label, 1+r.IntN(40))
		for i := range labels {
			labels[i] = a.label()
		}
		order := r.Perm(len(labels))
		var to []label
		for _, i := range order {
			for range r.IntN(4) {
				for range r.IntN(60) {
					a.byte(0x90)
				}
				l := labels[r.IntN(len(labels))]
				to = append(to, l)
				switch r.IntN(5) {
				case 0:
					a.call(l)
				case 1:
					a.jump(l)
				default:
					a.jumpIf(condE, l)
				}
			}
			a.bind(labels[i])
		}
		a.byte(0xc3)
		a.relax()
		for pc := 0; pc < len(a.code); {
			ins, err := x86asm.Decode(a.code[pc:], 64)
			if err != nil {
				t.Fatalf("seed %d: at %d: %v", seed, pc, err)
			}
			if rel, ok := ins.Args[0].(x86asm.Rel); ok {
				want := a.at[to[0]]
				if got := pc + ins.Len + int(rel); got != want {
					t.Fatalf("seed %d: %v at %d goes to %d, its label is at %d", seed, ins, pc, got, want)
				}
				d := want - pc - 2
				if ins.Len > 2 && ins.Op != x86asm.CALL && d < 0 && d >= -128 || ins.Len > 2 && ins.Op != x86asm.CALL && d > 0 && d-(ins.Len-2) <= 127 {
					t.Fatalf("seed %d: %v at %d is long, though its label is %d away", seed, ins, pc, d)
				}
				to = to[1:]
			}
			pc += ins.Len
		}
		if len(to) != 0 {
			t.Fatalf("seed %d: %d branches are missing", seed, len(to))
		}
	}
}
