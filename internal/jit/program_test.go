package jit

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Programs without polls are those whose runs the verifier's work bounds.
func TestBrief(t *testing.T) {
	body := func(parts ...isa.Part) []isa.Instruction { return isa.Program(append(parts, isa.ExitInsn())...) }
	for _, c := range []struct {
		name      string
		insns     []isa.Instruction
		processed int
		linkage   btf.FuncLinkage
		want      bool
	}{
		{"plain", body(isa.JmpImm(isa.Jne, isa.R1, 0, -1)), 100, btf.StaticFunc, true},
		{"helper", body(isa.HelperCall(7)), 100, btf.StaticFunc, true},
		{"nothing known", body(), 0, btf.StaticFunc, false},
		{"long", body(), briefLimit + 1, btf.StaticFunc, false},
		{"may_goto", body(isa.MayGoto(0)), 100, btf.StaticFunc, false},
		{"kfunc, perhaps an iterator", body(isa.KfuncCall(7, 0)), 100, btf.StaticFunc, false},
		{"callback", body(isa.LdFunc(isa.R2, 1)), 100, btf.StaticFunc, false},
		{"global function", body(), 100, btf.GlobalFunc, false},
	} {
		p := &rewrite.Program{
			Insns: c.insns, Facts: &verifier.Result{Stats: verifier.Stats{InsnProcessed: c.processed}},
			Source: &verifier.Program{Insns: c.insns, Funcs: []verifier.FuncInfo{
				{Func: &btf.Func{Linkage: btf.GlobalFunc}}, {Slot: 1, Func: &btf.Func{Linkage: c.linkage}},
			}},
		}
		if got := brief(p); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestHeavy: a lookup in a trie may go by a node for each bit of its key, and counts for as
// many instructions as that takes: in what makes a run brief, and in what a poll takes of the fuel.
func TestHeavy(t *testing.T) {
	trie := &catalog.MapDef{Type: catalog.MapLPMTrie, KeySize: 20}
	build := func(m *catalog.MapDef, processed int, insns ...isa.Part) *rewrite.Program {
		p := &rewrite.Program{Insns: isa.Program(append(insns, isa.ExitInsn())...)}
		p.Facts = &verifier.Result{Stats: verifier.Stats{InsnProcessed: processed}}
		p.Source = &verifier.Program{Insns: p.Insns}
		for pc := range p.Insns {
			p.Orig = append(p.Orig, int32(pc))
			p.Facts.Insns = append(p.Facts.Insns, verifier.InsnFacts{Map: m})
		}
		return p
	}
	lookup, back := isa.HelperCall(int32(catalog.FnMapLookupElem)), isa.JmpImm(isa.Jne, isa.R1, 0, -2)
	const extra = 128 * 4
	for _, c := range []struct {
		name    string
		program *rewrite.Program
		brief   bool
		cost    int
	}{
		{"straight", build(trie, 90_000, lookup, lookup), true, 3 + 2*extra},
		{"loop, short", build(trie, 1000, lookup, back), true, 1000 * (1 + extra/4)},
		{"loop, long", build(trie, 2000, lookup, back), false, 2000 * (1 + extra/4)},
		{"loop over a hash table", build(&catalog.MapDef{Type: catalog.MapHash, KeySize: 20}, 2000, lookup, back), true, 2000},
	} {
		heavy := code.FindHeavy(c.program)
		if got := brief(c.program); got != c.brief {
			t.Errorf("%s: brief: %v, want %v", c.name, got, c.brief)
		}
		if got := code.RunCost(c.program, heavy, walked(c.program)); got != c.cost {
			t.Errorf("%s: a run takes %d instructions, want %d", c.name, got, c.cost)
		}
	}
	heavy := code.FindHeavy(build(trie, 1, lookup, back, back, lookup))
	if got := code.Cost(heavy, 0, 2); got != 2+extra {
		t.Errorf("slots 0 and 1 take %d, want %d", got, 2+extra)
	}
	if got := code.Cost(heavy, 1, 3); got != 2 {
		t.Errorf("slots 1 and 2 take %d, want 2", got)
	}
}

func TestCompileErrors(t *testing.T) {
	oracle.Need(t, "native code", Available())
	_, err := Compile(&rewrite.Program{Insns: isa.Program(isa.Instruction{Op: 0xff}, isa.ExitInsn())}, Options{})
	if !errors.Is(err, code.ErrUnknown) {
		t.Errorf("%v, want ErrUnknown", err)
	}
	p, err := Compile(&rewrite.Program{Insns: isa.Program(isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Free()
	if _, _, err := p.entry(1); err == nil {
		t.Error("a callback may begin in the middle of a function")
	}
}

// arm64 faults where the stack pointer is no multiple of 16; emulators do not.
func TestStackIsAligned(t *testing.T) {
	oracle.Need(t, "native code", Available())
	vm, err := New(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	if vm.ctx.Top%16 != 0 {
		t.Errorf("the native stack ends at %#x", vm.ctx.Top)
	}
}
