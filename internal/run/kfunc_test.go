package run

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// kernelTypes makes a kernel BTF with functions of the given names, and calls to them.
func kernelTypes(t *testing.T, names ...string) (*btf.Spec, map[string]isa.Instruction) {
	t.Helper()
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]isa.Instruction{}
	for _, name := range names {
		id, err := b.Add(&btf.Func{Name: name, Type: &btf.FuncProto{Return: &btf.Void{}}, Linkage: btf.GlobalFunc})
		if err != nil {
			t.Fatal(err)
		}
		calls[name] = isa.KfuncCall(int32(id), 0)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec, calls
}

func TestThrow(t *testing.T) {
	spec, calls := kernelTypes(t, "bpf_throw")
	each(t, Options{}, func(t *testing.T, m *Machine) {
		p, err := m.NewProgram(&rewrite.Program{
			Insns: isa.Program(
				isa.LocalCall(2), isa.Mov64Imm(isa.R0, 1), isa.ExitInsn(),
				isa.Mov64Imm(isa.R1, 42), calls["bpf_throw"], isa.Mov64Imm(isa.R0, 2), isa.ExitInsn()),
			Subprogs: []verifier.Subprog{{Start: 0, End: 3}, {Start: 3, End: 7}},
			Source:   &verifier.Program{Name: "test", Type: catalog.ProgXDP, KernelBTF: spec},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if r0 := runOn(t, m, p); r0 != 42 {
			t.Errorf("R0 = %d, want the cookie", r0)
		}
	})
}

// An iterator's numbers lie in the program's own stack.
func TestNumberIterator(t *testing.T) {
	spec, calls := kernelTypes(t, "bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy")
	iterator := isa.Program(isa.Mov64Reg(isa.R1, isa.RFP), isa.ALU64Imm(isa.Add, isa.R1, -8))
	code := isa.Program(
		isa.Mov64Imm(isa.R6, 0), isa.Instructions(iterator), isa.Mov64Imm(isa.R2, 3), isa.Mov64Imm(isa.R3, 7),
		calls["bpf_iter_num_new"],
		isa.Instructions(iterator), calls["bpf_iter_num_next"], // slot 6
		isa.JmpImm(isa.Jeq, isa.R0, 0, 3),
		isa.LoadMem(isa.W, isa.R1, isa.R0, 0), isa.ALU64Reg(isa.Add, isa.R6, isa.R1), isa.Goto(-7),
		isa.Instructions(iterator), calls["bpf_iter_num_destroy"],
		isa.Mov64Reg(isa.R0, isa.R6), isa.ExitInsn())
	each(t, Options{}, func(t *testing.T, m *Machine) {
		p, err := m.NewProgram(&rewrite.Program{
			Insns: code, Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP, KernelBTF: spec},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if r0 := runOn(t, m, p); r0 != 3+4+5+6 {
			t.Errorf("R0 = %d, want 18", r0)
		}
	})
}

func TestUnsupportedKfunc(t *testing.T) {
	spec, calls := kernelTypes(t, "bpf_fly_to_the_moon")
	m := newMachine(t, Options{})
	_, err := m.NewProgram(&rewrite.Program{
		Insns:  isa.Program(calls["bpf_fly_to_the_moon"], isa.ExitInsn()),
		Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP, KernelBTF: spec},
	}, nil)
	if e := (*UnsupportedError)(nil); !errors.As(err, &e) || e.Name != "bpf_fly_to_the_moon" || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
