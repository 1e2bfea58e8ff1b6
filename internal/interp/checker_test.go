package interp

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// bench is a run's surroundings for the checker: a context, one map of eight
// byte values with one element, and a ring buffer.
type bench struct {
	services
	ctx, memory *mem.Block
	hash, ring  catalog.MapDef
}

// Offsets in bench.memory.
const (
	hashHeader = 0
	ringHeader = 8
	hashValue  = 64
	ringRecord = 128
)

func newBench(t *testing.T) (*bench, *VM, *Checker) {
	t.Helper()
	b := &bench{}
	for _, blk := range []**mem.Block{&b.ctx, &b.memory} {
		m, err := mem.Alloc(256)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Free)
		*blk = m
	}
	b.hash = catalog.MapDef{Name: "h", Type: catalog.MapHash, KeySize: 4, ValueSize: 8, Ptr: b.memory.Addr() + hashHeader}
	b.ring = catalog.MapDef{Name: "r", Type: catalog.MapRingBuf, Ptr: b.memory.Addr() + ringHeader}
	vm, err := New(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Close)
	b.vm = vm
	return b, vm, &Checker{
		Map: func(ptr uint64) *catalog.MapDef {
			for _, m := range []*catalog.MapDef{&b.hash, &b.ring} {
				if m.Ptr == ptr {
					return m
				}
			}
			return nil
		},
		Helper:  func(_ *Program, id catalog.HelperID) *catalog.Helper { return catalog.HelperByID(id) },
		Regions: func(r []Region) []Region { return append(r, Region{b.ctx.Addr(), 64, false, "context"}) },
	}
}

func (b *bench) Helper(id int32, r1, r2, r3, r4, r5 uint64) uint64 {
	switch catalog.HelperID(id) {
	case catalog.FnMapLookupElem:
		return b.memory.Addr() + hashValue
	case catalog.FnRingBufReserve:
		return b.memory.Addr() + ringRecord
	case catalog.FnLoop:
		for i := range r1 {
			if b.vm.Call(r2, i, r3, 0, 0, 0) != 0 {
				return i + 1
			}
		}
		return r1
	}
	return 0
}

func TestChecker(t *testing.T) {
	b, vm, c := newBench(t)
	lookup := isa.Program(
		isa.StoreImm(isa.W, isa.RFP, -4, 0),
		isa.LdImm64(isa.R1, b.hash.Ptr),
		isa.Mov64Reg(isa.R2, isa.RFP),
		isa.ALU64Imm(isa.Add, isa.R2, -4),
		isa.HelperCall(int32(catalog.FnMapLookupElem)),
	)
	reserve := isa.Program(
		isa.LdImm64(isa.R1, b.ring.Ptr), isa.Mov64Imm(isa.R2, 16), isa.Mov64Imm(isa.R3, 0),
		isa.HelperCall(int32(catalog.FnRingBufReserve)),
	)
	submit := isa.Program(
		isa.Mov64Reg(isa.R1, isa.R0), isa.Mov64Imm(isa.R2, 0),
		isa.HelperCall(int32(catalog.FnRingBufSubmit)),
	)
	exit := isa.Program(isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	join := func(parts ...[]isa.Instruction) (all isa.Instructions) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return append(all, exit...)
	}
	one := func(parts ...isa.Part) []isa.Instruction { return isa.Program(parts...) }
	tests := []struct {
		name  string
		prog  isa.Instructions
		claim string // part of the violation; "" where the run is fine
	}{
		{"stack and context", join(one(
			isa.StoreMem(isa.DW, isa.RFP, isa.R1, -16), isa.LoadMem(isa.DW, isa.R2, isa.RFP, -16), isa.LoadMem(isa.W, isa.R3, isa.R2, 60))), ""},
		{"uninitialised register", join(one(isa.Mov64Reg(isa.R3, isa.R2))), "R2"},
		{"uninitialised after a call", join(lookup, one(isa.Mov64Reg(isa.R3, isa.R2))), "read while uninitialised"},
		{"no result", one(isa.ExitInsn()), "returned while uninitialised"},
		{"below the stack", join(one(isa.StoreImm(isa.B, isa.RFP, -513, 0))), "no memory of the run"},
		{"above the stack", join(one(isa.LoadMem(isa.DW, isa.R0, isa.RFP, -4))), "no memory of the run"},
		{"after the context", join(one(isa.LoadMem(isa.W, isa.R0, isa.R1, 62))), "no memory of the run"},
		{"write to the context", join(one(isa.StoreImm(isa.W, isa.R1, 0, 0))), "read-only context"},
		{"nowhere", join(one(isa.Mov64Imm(isa.R2, 64), isa.LoadMem(isa.W, isa.R0, isa.R2, 0))), "no memory of the run"},
		{"misaligned atomic", join(one(isa.Mov64Imm(isa.R2, 1), isa.StoreImm(isa.DW, isa.RFP, -8, 0), isa.StoreImm(isa.DW, isa.RFP, -16, 0),
			isa.Atomic(isa.AtomicAdd, isa.DW, isa.RFP, isa.R2, -12))), "not aligned"},

		{"map value", join(lookup, one(isa.Mov64Imm(isa.R1, 1), isa.Atomic(isa.AtomicAdd, isa.DW, isa.R0, isa.R1, 0))), ""},
		{"after the map value", join(lookup, one(isa.LoadMem(isa.B, isa.R1, isa.R0, 8))), "no memory of the run"},
		{"map value nobody looked up", join(one(isa.LdImm64(isa.R1, b.memory.Addr()+hashValue), isa.LoadMem(isa.B, isa.R1, isa.R1, 0))), "no memory of the run"},
		{"no map", join(one(isa.Mov64Reg(isa.R2, isa.RFP), isa.HelperCall(int32(catalog.FnMapLookupElem)))), "is no map"},
		{"key outside the stack", join(one(isa.LdImm64(isa.R1, b.hash.Ptr), isa.Mov64Reg(isa.R2, isa.RFP),
			isa.HelperCall(int32(catalog.FnMapLookupElem)))), "read of 4 bytes"},
		{"missing argument", join(one(isa.LdImm64(isa.R1, b.hash.Ptr), isa.HelperCall(int32(catalog.FnMapLookupElem)))), "uninitialised"},
		{"memory and size", join(one(isa.StoreImm(isa.DW, isa.RFP, -8, 0), isa.Mov64Reg(isa.R1, isa.RFP), isa.ALU64Imm(isa.Add, isa.R1, -8),
			isa.Mov64Imm(isa.R2, 9), isa.HelperCall(int32(catalog.FnTracePrintk)))), "read of 9 bytes"},
		{"another context", join(one(isa.Mov64Reg(isa.R1, isa.RFP), isa.HelperCall(int32(catalog.FnGetSocketCookie)))), "not the context"},
		{"unknown helper", join(one(isa.HelperCall(9999))), "no helper"},

		{"record", join(reserve, one(isa.StoreImm(isa.DW, isa.R0, 8, 1)), submit), ""},
		{"after the record", join(reserve, one(isa.StoreImm(isa.DW, isa.R0, 9, 1)), submit), "write of 8 bytes"},
		{"record after submit", join(reserve, one(isa.Mov64Reg(isa.R6, isa.R0)), submit, one(isa.StoreImm(isa.B, isa.R6, 0, 1))), "no memory of the run"},
		{"submit twice", join(reserve, one(isa.Mov64Reg(isa.R6, isa.R0)), submit, one(isa.Mov64Reg(isa.R0, isa.R6)), submit), "not a record"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := vm.Run(prepare(t, nil, tt.prog), b.ctx.Addr(), Options{Checker: c})
			var v *Violation
			switch {
			case tt.claim == "" && err != nil:
				t.Errorf("a sound run: %v", err)
			case tt.claim != "" && !errors.As(err, &v):
				t.Errorf("no violation but %v", err)
			case tt.claim != "" && !strings.Contains(err.Error(), tt.claim):
				t.Errorf("%v; want one about %q", err, tt.claim)
			}
		})
	}
}

// A callback gets what its helper passes, no more; its caller's stack is the run's too.
func TestCheckedCallback(t *testing.T) {
	_, vm, c := newBench(t)
	loop := func(body isa.Instruction) isa.Instructions {
		return isa.Program(
			isa.Mov64Imm(isa.R1, 4), isa.LdFunc(isa.R2, 8), isa.Mov64Reg(isa.R3, isa.RFP), isa.Mov64Imm(isa.R4, 0),
			isa.StoreImm(isa.DW, isa.RFP, -8, 0),
			isa.HelperCall(int32(catalog.FnLoop)),
			isa.LoadMem(isa.DW, isa.R0, isa.RFP, -8),
			isa.ExitInsn(),
			isa.ExitInsn(),
			body, // slot 10
			isa.StoreMem(isa.DW, isa.R2, isa.R1, -8),
			isa.Mov64Imm(isa.R0, 0),
			isa.ExitInsn(),
		)
	}
	subs := []verifier.Subprog{{Start: 0, End: 10, StackDepth: 8}, {Start: 10, End: 14}}
	got, err := vm.Run(prepare(t, subs, loop(isa.ALU64Imm(isa.Add, isa.R1, 10))), 0, Options{Checker: c})
	if err != nil || got != 13 {
		t.Errorf("R0 = %d, %v; want 13", got, err)
	}
	_, err = vm.Run(prepare(t, subs, loop(isa.Mov64Reg(isa.R0, isa.R3))), 0, Options{Checker: c})
	if v := (*Violation)(nil); !errors.As(err, &v) || v.Reg != isa.R3 || v.Slot != 10 {
		t.Errorf("third argument of a bpf_loop callback: %v", err)
	}
}

// Code that rewriting put in the place of an instruction may look inside maps;
// the program's own may not.
func TestCheckerTrustsExpansions(t *testing.T) {
	b, vm, c := newBench(t)
	insns := isa.Program(isa.LdImm64(isa.R1, b.memory.Addr()), isa.LoadMem(isa.W, isa.R0, isa.R1, 0), isa.ExitInsn())
	for _, expanded := range []bool{false, true} {
		p, err := Prepare(&rewrite.Program{Insns: insns, Orig: []int32{0, 0, 0, 1}, First: []bool{true, false, !expanded, true}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = vm.Run(p, 0, Options{Checker: c}); (err == nil) != expanded {
			t.Errorf("expanded %v: %v", expanded, err)
		}
	}
}

// A register outside what the verifier claimed is a violation, wherever it came
// from: here from code that is not the code that was verified.
func TestStateEmbedding(t *testing.T) {
	vp := &verifier.Program{Type: catalog.ProgXDP, GPL: true, Insns: isa.Program(
		isa.LoadMem(isa.W, isa.R1, isa.R1, 16), // rx_queue_index
		isa.ALU64Imm(isa.And, isa.R1, 7),
		isa.Mov64Reg(isa.R0, isa.R1),
		isa.ExitInsn())}
	facts, err := verifier.Verify(vp, verifier.Options{States: true})
	if err != nil {
		t.Fatal(err)
	}
	rw, err := rewrite.Rewrite(vp, facts)
	if err != nil {
		t.Fatal(err)
	}
	b, vm, c := newBench(t)
	c.Regions = func(r []Region) []Region { return append(r, Region{b.ctx.Addr(), 256, false, "context"}) }
	for i := range b.ctx.Bytes() {
		b.ctx.Bytes()[i] = 0xff
	}
	run := func() error {
		p, err := Prepare(rw)
		if err != nil {
			t.Fatal(err)
		}
		_, err = vm.Run(p, b.ctx.Addr(), Options{Checker: c})
		return err
	}
	if err := run(); err != nil {
		t.Errorf("the verified program: %v", err)
	}
	at := slices.IndexFunc(rw.Insns, func(ins isa.Instruction) bool { return ins.Op.ALUOp() == isa.And && ins.Op.Class() == isa.ClassALU64 })
	rw.Insns[at].Imm = 15
	var v *Violation
	if err := run(); !errors.As(err, &v) || v.Orig != 2 || !strings.Contains(v.Claim, "R1 is 0xf") {
		t.Errorf("%v; want a violation at insn 2, where R1 is at most 7", err)
	}
}
