package jit

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"

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
