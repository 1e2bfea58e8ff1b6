package isa_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// operands are bounds of every width, and what lies beside them.
var operands = []uint64{
	0, 1, 7, 31, 0x80, 0xffff, math.MaxInt32, 1 << 31, math.MaxUint32, 0x1_0000_0002, 0x0123_4567_89ab_cdef, 1 << 63,
	math.MaxInt64, math.MaxUint64, 0xffff_ffff_ffff_fff9,
}

// cell is where a case lives in the map: operands in, result out, and a word
// of memory for loads and atomics.
//
//	┌────────┬────────┬────────┬────────┐
//	│ a      │ b      │ result │ memory │
//	└────────┴────────┴────────┴────────┘
//	0        8        16       24       32
const cell = 32

// semanticsCase makes the instruction under test, between loading R1 and R2
// from a cell and storing R1 as the result.
func semanticsCase(r *isa.Row, at int16, imm int32) []isa.Instruction {
	ins := isa.Instruction{Op: r.Op, Dst: isa.R1, Imm: imm}
	if v := r.Off.Values(); v != nil {
		ins.Off = int16(v[0])
	}
	if v := r.Imm.Values(); v != nil {
		ins.Imm = v[0]
	}
	memory := at + 24
	switch r.Op.Class() {
	case isa.ClassLDX:
		ins.Src, ins.Off = isa.R6, memory
		return isa.Program(isa.StoreMem(isa.DW, isa.R6, isa.R1, memory), ins)
	case isa.ClassSTX:
		store := isa.StoreMem(isa.DW, isa.R6, isa.R1, memory)
		if ins.Off = memory; r.Dst == isa.Write { // load_acquire
			ins.Src = isa.R6
			return isa.Program(store, ins)
		}
		ins.Dst, ins.Src = isa.R6, isa.R2
		return isa.Program(store, ins, isa.LoadMem(r.Op.SizeBits(), isa.R1, isa.R6, memory))
	}
	if r.Src == isa.Read {
		ins.Src = isa.R2
	}
	if r.Test != nil {
		ins.Off = 1
		return isa.Program(isa.Mov64Imm(isa.R3, 1), ins, isa.Mov64Imm(isa.R3, 0), isa.Mov64Reg(isa.R1, isa.R3))
	}
	return isa.Program(ins)
}

// TestSemanticsOnKernel runs every row that has semantics on the live kernel
// with all pairs of operands and compares with what the row says.
func TestSemanticsOnKernel(t *testing.T) {
	needKernel(t)
	cases := len(operands) * len(operands)
	m, err := linux.NewMap(&catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: uint32(cases * cell), MaxEntries: 1}, nil)
	oracle.Need(t, "a map", err)
	defer m.Close()
	key, value := make([]byte, 4), make([]byte, cases*cell)

	for i := range isa.Table {
		r := &isa.Table[i]
		if r.Sem == nil && r.Test == nil || r.Op == isa.LoadImm64 {
			continue
		}
		prog := isa.Program(isa.LdMapValue(isa.R6, int32(m.FD()), 0))
		want := map[int]uint64{}
		for i := range cases {
			at, a, b := i*cell, operands[i/len(operands)], operands[i%len(operands)]
			binary.LittleEndian.PutUint64(value[at:], a)
			binary.LittleEndian.PutUint64(value[at+8:], b)
			body := semanticsCase(r, int16(at), int32(b))
			if isa.CheckValue(body[0]) != nil {
				continue
			}
			if !r.Op.UsesReg() && (r.Op.Class().IsALU() || r.Op.Class().IsJump()) {
				b = uint64(int64(int32(b)))
			}
			switch {
			case r.Sem != nil:
				want[at] = r.Sem(a, b)
			case r.Test(a, b):
				want[at] = 1
			default:
				want[at] = 0
			}
			prog = append(prog, isa.LoadMem(isa.DW, isa.R1, isa.R6, int16(at)), isa.LoadMem(isa.DW, isa.R2, isa.R6, int16(at+8)))
			prog = append(prog, body...)
			prog = append(prog, isa.StoreMem(isa.DW, isa.R6, isa.R1, int16(at+16)))
		}
		prog = append(prog, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())

		if err := m.Update(key, value, 0); err != nil {
			t.Fatal(err)
		}
		p, err := linux.Load(&linux.Prog{Type: catalog.ProgSocketFilter, Insns: prog, License: "GPL"})
		if err != nil {
			t.Errorf("%s: %v", r.Name, err)
			continue
		}
		_, err = p.TestRun(&linux.Run{Data: make([]byte, 64)})
		p.Close()
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		out := make([]byte, len(value))
		if err := m.Lookup(key, out, 0); err != nil {
			t.Fatal(err)
		}
		for at, want := range want {
			if got := binary.LittleEndian.Uint64(out[at+16:]); got != want {
				t.Errorf("%s(%#x, %#x) = %#x, kernel: %#x", r.Name,
					binary.LittleEndian.Uint64(out[at:]), binary.LittleEndian.Uint64(out[at+8:]), want, got)
			}
		}
	}
}
