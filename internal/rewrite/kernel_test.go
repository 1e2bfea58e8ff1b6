package rewrite_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/interp"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

var widths = []isa.Opcode{isa.B, isa.H, isa.W, isa.DW}

// What a tc program stores in a context field and loads again, whole or in
// part, zero- or sign-extended, is what the kernel gives it.
func TestContextConversion(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	kind := catalog.ProgKindByType(catalog.ProgSchedCls)
	frame := block(t, 512)
	asked := 0
	for i := range kind.Ctx.Fields {
		f := &kind.Ctx.Fields[i]
		if f.Kind != catalog.FieldScalar || !f.Write.Has(kind.Type) || f.Name == "tstamp" { // whose value the kernel ties to its type
			continue
		}
		for _, store := range widths {
			for at := f.Off; at < f.Off+f.Size; at += store.Bytes() {
				if kind.Field(catalog.Access{Off: at, Width: store.Bytes(), Write: true}) == nil {
					continue
				}
				for _, value := range []int32{1, 0xfffe, 0xffff, 0x10000, 0x12345678, -1} {
					for _, constant := range []bool{false, true} {
						put := isa.Instructions{isa.StoreImm(store, isa.R1, int16(at), value)}
						if !constant {
							put = isa.Instructions{isa.Mov64Imm(isa.R2, value), isa.StoreMem(store, isa.R1, isa.R2, int16(at))}
						}
						asked += compareLoads(t, kind, f, put, frame.Addr(), &linux.Run{Data: make([]byte, 64)}, fmt.Sprintf("%d bytes of %#x at %s+%d", store.Bytes(), value, f.Name, at-f.Off))
						clear(frame.Bytes())
					}
				}
			}
		}
	}
	t.Logf("%d values", asked)
}

// A field that programs only read is taken apart as the kernel does: its whole
// value, asked of the kernel first, is put where Frame has it.
func TestNarrowLoads(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	kind := catalog.ProgKindByType(catalog.ProgSchedCls)
	frame := block(t, 512)
	packet := make([]byte, 300)
	packet[0], packet[12] = 2, 8 // to another host, IPv4
	ctx := make([]byte, kind.Ctx.Size)
	le := binary.LittleEndian
	for off, v := range map[int]uint32{ // what the kernel lets a test run set
		8: 0x11223344, 32: 0x55667788, 40: 1, 48: 0x99aabbcc, 160: 0x1234, 164: 0x2345, 176: 0x3456,
	} {
		le.PutUint32(ctx[off:], v)
	}
	asked := 0
	for i := range kind.Ctx.Fields {
		f := &kind.Ctx.Fields[i]
		if f.Kind != catalog.FieldScalar || !f.Read.Has(kind.Type) || f.Narrow == 0 || f.Elem != 0 {
			continue
		}
		in := &linux.Run{Data: packet, Ctx: ctx}
		lp, err := linux.Load(&linux.Prog{Type: kind.Type, License: "GPL", Insns: isa.Program(isa.LoadMem(isa.W, isa.R0, isa.R1, int16(f.Off)), isa.ExitInsn())})
		if err != nil {
			t.Fatal(err)
		}
		out, err := lp.TestRun(in)
		lp.Close()
		if err != nil {
			t.Fatal(err)
		}
		le.PutUint32(frame.Bytes()[f.At:], out.Ret)
		asked += compareLoads(t, kind, f, nil, frame.Addr(), in, fmt.Sprintf("%s = %#x", f.Name, out.Ret))
		clear(frame.Bytes())
	}
	t.Logf("%d values", asked)
}

// compareLoads runs put and then every legal load of the field in one program
// each, which mixes what it loads into R0.
func compareLoads(t *testing.T, kind *catalog.ProgKind, f *catalog.Field, put isa.Instructions, frame uint64, in *linux.Run, what string) (asked int) {
	t.Helper()
	prog := append(isa.Instructions{}, put...)
	prog = append(prog, isa.Mov64Imm(isa.R0, 0))
	for off := f.Off; off < f.Off+f.Size; off++ {
		for _, w := range widths {
			for _, sx := range []bool{false, true} {
				if sx && w == isa.DW || kind.Field(catalog.Access{Off: off, Width: w.Bytes(), SignExtend: sx}) == nil {
					continue
				}
				ins := isa.LoadMem(w, isa.R3, isa.R1, int16(off))
				if sx {
					ins = isa.LoadMemSX(w, isa.R3, isa.R1, int16(off))
				}
				prog = append(prog, ins,
					isa.ALU64Imm(isa.Mul, isa.R0, 31), isa.ALU64Reg(isa.Add, isa.R0, isa.R3),
					isa.ALU64Imm(isa.Rsh, isa.R3, 32), isa.ALU64Reg(isa.Add, isa.R0, isa.R3))
				asked++
			}
		}
	}
	prog = append(prog, isa.ExitInsn())

	lp, err := linux.Load(&linux.Prog{Type: kind.Type, Insns: prog, License: "GPL"})
	if err != nil {
		t.Fatalf("%s: %+v", what, err)
	}
	defer lp.Close()
	out, err := lp.TestRun(in)
	if err != nil {
		t.Fatal(err)
	}

	facts := &verifier.Result{Insns: make([]verifier.InsnFacts, len(prog))}
	for i, ins := range prog {
		facts.Insns[i].Seen = true
		switch ins.Op.Class() {
		case isa.ClassLDX, isa.ClassST, isa.ClassSTX:
			facts.Insns[i].Access = verifier.AccessCtx
		}
	}
	p, err := rewrite.Rewrite(&verifier.Program{Type: kind.Type, Insns: prog}, facts)
	if err != nil {
		t.Fatal(err)
	}
	ready, err := interp.Prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := interp.New(&world{})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	got, err := vm.Run(ready, frame, interp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if uint32(got) != out.Ret {
		t.Errorf("%s: loads give %#x here, %#x in the kernel", what, uint32(got), out.Ret)
	}
	return asked
}
