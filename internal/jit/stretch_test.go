package jit

import (
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// chained serves tail calls to one program, and counts how often Go is asked.
type chained struct {
	Services
	next  *Program
	calls int
}

func (s *chained) Helper(int32, uint64, uint64, uint64, uint64, uint64) uint64 {
	s.calls++
	return 0
}

func (s *chained) TailCall() *Program { return s.next }
func (s *chained) Running(*Program)   {}

// short is a program that the verifier walked in so many instructions that it needs no polls.
func short(t *testing.T, processed int, parts ...isa.Part) *Program {
	t.Helper()
	p, err := Compile(&rewrite.Program{
		Insns: isa.Program(parts...), Source: &verifier.Program{},
		Facts: &verifier.Result{Stats: verifier.Stats{InsnProcessed: processed}},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Free)
	return p
}

// A chain of tail calls passes a safepoint before its programs, none of which needs one, have
// taken more instructions together than one alone might.
func TestChainPassesSafepoints(t *testing.T) {
	oracle.Need(t, "native code", Available())
	jumps, err := mem.Alloc(128)
	if err != nil {
		t.Fatal(err)
	}
	defer jumps.Free()
	mem.Store32(jumps.Addr()+code.MapMaxEntries, 1)
	mem.Store64(jumps.Addr()+code.MapBase, jumps.Addr()+96)
	for _, length := range []int{1, 1000, briefLimit / 5, briefLimit / 2, briefLimit} {
		s := &chained{}
		vm, err := New(s, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := short(t, length, isa.LdImm64(isa.R2, jumps.Addr()), isa.Mov64Imm(isa.R3, 0), isa.HelperCall(int32(catalog.FnTailCall)), isa.ExitInsn())
		s.next = p
		mem.Store64(jumps.Addr()+96, p.Target())
		if _, err := vm.Run(p, 0, Limits{}); err != nil {
			t.Fatal(err)
		}
		if vm.ctx.Tails != isa.MaxTailCalls {
			t.Errorf("%d tail calls, want %d", vm.ctx.Tails, isa.MaxTailCalls)
		}
		// Between two safepoints lie at most briefLimit of what was called, and the program that called.
		if most := (s.calls + 1) * (briefLimit + length); isa.MaxTailCalls*length > most {
			t.Errorf("%d programs of %d instructions with %d safepoints", isa.MaxTailCalls, length, s.calls)
		}
		if length < briefLimit/isa.MaxTailCalls && s.calls != 0 {
			t.Errorf("programs of %d instructions ask Go %d times", length, s.calls)
		}
		vm.Close()
	}
}

// Reading the clock is dear: programs that do so may do fewer things between two safepoints.
func TestClockCountsMore(t *testing.T) {
	oracle.Need(t, "native code", Available())
	for _, c := range []struct {
		id    catalog.HelperID
		brief bool
	}{{catalog.FnKtimeGetNs, false}, {catalog.FnKtimeGetBootNs, false}, {catalog.FnGetSmpProcessorID, true}} {
		p := short(t, briefLimit/4, isa.HelperCall(int32(c.id)), isa.ExitInsn())
		if brief(p.Program) != c.brief {
			t.Errorf("%v: a run of %d instructions needs polls: %v", c.id, briefLimit/4, c.brief)
		}
	}
}

// Runs that need no polls come one after the other only as long as one of them might take.
func TestTurnsPassSafepoints(t *testing.T) {
	oracle.Need(t, "native code", Available())
	vm, err := New(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	verdicts, err := mem.Alloc(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer verdicts.Free()
	for _, length := range []int{1, 2, 1000, briefLimit/2 + 1, briefLimit} {
		p := short(t, length, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
		done, left := vm.Turns(p, 0, 0, unsafe.Slice((*uint32)(mem.Ptr(verdicts.Addr())), 1<<20))
		if left || done < 1 || done > 1 && done*length > briefLimit {
			t.Errorf("%d runs of %d instructions in one go (left: %v)", done, length, left)
		}
	}
}
