package run

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// TestTracedFunction: what is attached to a function of a program has its arguments and its result, or makes the
// result, on native code as in the interpreter.
func TestTracedFunction(t *testing.T) {
	for name, choice := range map[string]JIT{"native or not": JITAuto, "interpreter": JITOff} {
		t.Run(name, func(t *testing.T) { traceFunction(t, newMachine(t, Options{JIT: choice})) })
	}
}

func traceFunction(t *testing.T, m *Machine) {
	function := func(name string, args int) *btf.Func {
		return &btf.Func{Name: name, Linkage: btf.GlobalFunc, Type: &btf.FuncProto{Return: &btf.Int{Size: 4}, Params: make([]btf.FuncParam, args)}}
	}
	// main(ctx) = sum(5, 7) + 1
	insns := isa.Program(
		isa.Mov64Imm(isa.R1, 5), isa.Mov64Imm(isa.R2, 7), isa.LocalCall(2), isa.ALU64Imm(isa.Add, isa.R0, 1), isa.ExitInsn(),
		isa.Mov64Reg(isa.R0, isa.R1), isa.ALU64Reg(isa.Add, isa.R0, isa.R2), isa.ExitInsn())
	rw := &rewrite.Program{
		Insns: insns, Subprogs: []verifier.Subprog{{End: 5}, {Start: 5, End: 8}},
		Source: &verifier.Program{
			Name: "test", Type: catalog.ProgXDP, Insns: insns,
			Funcs: []verifier.FuncInfo{{Slot: 0, Func: function("main", 1)}, {Slot: 5, Func: function("sum", 2)}},
		},
	}
	for pc := range insns {
		rw.Orig, rw.First = append(rw.Orig, int32(pc)), append(rw.First, true)
	}
	target, err := m.NewProgram(rw, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	fn, ok := target.FuncIndex("sum")
	if !ok || fn != 1 {
		t.Fatalf("sum is function %d, %v", fn, ok)
	}
	seen, err := mem.Alloc(64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(seen.Free)
	// note is a program that copies n words of its context to place at.
	note := func(at, n int) *Program {
		parts := []isa.Part{isa.LdImm64(isa.R2, seen.Addr()+uint64(8*at))}
		for i := range int16(n) {
			parts = append(parts, isa.LoadMem(isa.DW, isa.R3, isa.R1, 8*i), isa.StoreMem(isa.DW, isa.R2, isa.R3, 8*i))
		}
		return program(t, m, nil, append(parts, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())...)
	}
	entry, exit := note(0, 2), note(2, 3)
	instead := program(t, m, nil, isa.Mov64Reg(isa.R0, isa.R1), isa.ALU64Imm(isa.Mul, isa.R0, 100), isa.ALU64Reg(isa.Add, isa.R0, isa.R2), isa.ExitInsn())
	want := func(what string, r0 uint64, words ...uint64) {
		t.Helper()
		clear(seen.Bytes())
		for range 3 { // the third run would take the short way
			if got := runOn(t, m, target); got != r0 {
				t.Errorf("%s: %d, want %d", what, got, r0)
			}
		}
		for i := range 5 {
			w := uint64(0)
			if i < len(words) {
				w = words[i]
			}
			if got := mem.Load64(seen.Addr() + uint64(8*i)); got != w {
				t.Errorf("%s: word %d is %d, want %d", what, i, got, w)
			}
		}
	}
	attach := func(kind TraceKind, by *Program) *Attachment {
		t.Helper()
		a, e := target.Trace(fn, kind, by, 0)
		if e != 0 {
			t.Fatal(e)
		}
		return a
	}
	want("untraced", 13)
	before, after := attach(TraceEntry, entry), attach(TraceExit, exit)
	want("traced", 13, 5, 7, 5, 7, 12)
	if _, e := target.Trace(fn, TraceReplace, instead, 0); e != errno.EBUSY {
		t.Errorf("replaced while traced: %v", e)
	}
	before.Detach()
	want("traced at its end", 13, 0, 0, 5, 7, 12)
	after.Detach()
	replaced := attach(TraceReplace, instead)
	want("replaced", 508)
	if target.Enter() {
		t.Error("an extended program goes into a prog_array")
	}
	replaced.Detach()
	want("no longer replaced", 13)
}
