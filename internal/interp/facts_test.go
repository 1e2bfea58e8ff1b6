package interp

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Checked mode notices when the verifier is wrong about where runs go.
func TestFacts(t *testing.T) {
	vp := &verifier.Program{Type: catalog.ProgXDP, GPL: true, Insns: isa.Program(
		isa.Mov64Imm(isa.R0, 0),
		isa.ALU64Imm(isa.Add, isa.R0, 1),
		isa.JmpImm(isa.Jlt, isa.R0, 5, -2), // 2: four times
		isa.JmpImm(isa.Jgt, isa.R0, 9, 1),  // 3: never
		isa.JmpImm(isa.Jeq, isa.R0, 5, 1),  // 4: always
		isa.Mov64Imm(isa.R0, 7),            // 5: not reached
		isa.ExitInsn())}
	for _, tt := range []struct {
		name  string
		lie   func(f []verifier.InsnFacts)
		orig  int
		claim string
	}{
		{"the truth", func([]verifier.InsnFacts) {}, 0, ""},
		{"too few turns", func(f []verifier.InsnFacts) { f[2].TripBound = 3 }, 2, "taken 3 times at most"},
		{"never taken", func(f []verifier.InsnFacts) { f[4].AlwaysJumps, f[4].NeverJumps = false, true }, 4, "never taken"},
		{"always taken", func(f []verifier.InsnFacts) { f[3].AlwaysJumps, f[3].NeverJumps = true, false }, 3, "always taken"},
		{"not reached", func(f []verifier.InsnFacts) { f[6].Seen = false }, 6, "no path reaches it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			facts, err := verifier.Verify(vp, verifier.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if f := facts.Insns; f[2].TripBound != 4 || !f[3].NeverJumps || !f[4].AlwaysJumps || f[5].Seen {
				t.Fatalf("facts %+v", f)
			}
			facts.Insns = slices.Clone(facts.Insns)
			tt.lie(facts.Insns)
			rw, err := rewrite.Options{Doubt: true}.Rewrite(vp, facts)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Prepare(rw)
			if err != nil {
				t.Fatal(err)
			}
			b, vm, c := newBench(t)
			var v *Violation
			_, err = vm.Run(p, b.ctx.Addr(), Options{Checker: c})
			switch {
			case tt.claim == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &v) || v.Orig != tt.orig || !strings.Contains(v.Claim, tt.claim):
				t.Errorf("%v; want %q at insn %d", err, tt.claim, tt.orig)
			}
		})
	}
}
