package interp

import (
	"testing"

	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// operands are the numbers at which arithmetic turns.
var operands = []uint64{
	0, 1, 2, 7, 8, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
	0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x123456789abcdef0, 1<<63 - 1, 1 << 63,
	^uint64(0), ^uint64(0) - 1, 0xffffffff80000000, 0xffffffff7fffffff,
}

// immediates returns the operands a form's immediate can hold.
func immediates(row *isa.Row) []int32 {
	if v := row.Imm.Values(); v != nil {
		return v
	}
	var out []int32
	for _, v := range operands {
		if int64(v) == int64(int32(v)) {
			out = append(out, int32(v))
		}
	}
	return out
}

// TestLoopMeansWhatRowsSay runs every arithmetic form and every conditional
// jump on all pairs of operands: the loop and the row's own function are two
// accounts of one instruction. The rows themselves are held against the kernel in package isa.
func TestLoopMeansWhatRowsSay(t *testing.T) {
	vm, _ := newVM(t)
	operandsAt := block(t)
	for i := range isa.Table {
		row := &isa.Table[i]
		class := row.Op.Class()
		if !class.IsALU() && row.Test == nil || row.Op == isa.LoadImm64 || row.Name == "addr_space_cast" {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			ins := isa.Instruction{Op: row.Op, Dst: isa.R2}
			if v := row.Off.Values(); v != nil {
				ins.Off = int16(v[0])
			}
			if row.Test != nil {
				ins.Off = 1
			}
			imms := []int32{0}
			if row.Src&isa.Read != 0 {
				ins.Src = isa.R3
			}
			if row.Src&isa.Read == 0 || row.Imm.Values() != nil {
				imms = immediates(row)
			}
			for _, ins.Imm = range imms {
				if isa.CheckValue(ins) != nil {
					continue
				}
				p := prepare(t, nil,
					isa.LoadMem(isa.DW, isa.R2, isa.R1, 0), isa.LoadMem(isa.DW, isa.R3, isa.R1, 8),
					isa.Mov64Imm(isa.R0, 1), ins, isa.Mov64Imm(isa.R0, 0), isa.StoreMem(isa.DW, isa.R1, isa.R2, 16), isa.ExitInsn())
				for _, a := range operands {
					for _, b := range operands {
						mem.Store64(operandsAt, a)
						mem.Store64(operandsAt+8, b)
						taken, err := vm.Run(p, operandsAt, Options{})
						if err != nil {
							t.Fatal(err)
						}
						right := b
						if row.Src&isa.Read == 0 {
							right = uint64(int64(ins.Imm))
						}
						if row.Test != nil {
							if want := row.Test(a, right); (taken == 1) != want {
								t.Fatalf("%v with %#x, %#x: taken %v, the row says %v", ins, a, right, taken == 1, want)
							}
						} else if got, want := mem.Load64(operandsAt+16), row.Sem(a, right); got != want {
							t.Fatalf("%v with %#x, %#x: %#x, the row says %#x", ins, a, right, got, want)
						}
					}
				}
			}
		})
	}
}

// TestMemoryFormsMeanWhatRowsSay does the same for loads, stores and atomics,
// at every place in a word that their width allows.
func TestMemoryFormsMeanWhatRowsSay(t *testing.T) {
	vm, _ := newVM(t)
	at := block(t)
	const before = 0x8877665544332211
	for i := range isa.Table {
		row := &isa.Table[i]
		class := row.Op.Class()
		if class != isa.ClassLDX && class != isa.ClassSTX || row.Sem == nil {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			size := row.Width / 8
			for off := 0; off+size <= 8; off += size {
				for _, v := range append(operands, before, before>>(8*off)) {
					load := class == isa.ClassLDX || row.Imm.Allows(isa.LoadAcquire) && len(row.Imm.Values()) == 1
					ins := isa.Instruction{Op: row.Op, Dst: isa.R1, Src: isa.R2, Off: int16(off)}
					if values := row.Imm.Values(); values != nil {
						ins.Imm = values[0]
					}
					if load {
						ins.Dst, ins.Src = isa.R2, isa.R1
					}
					p := prepare(t, nil,
						isa.LdImm64(isa.R2, v), isa.LdImm64(isa.R0, before&^7), ins,
						isa.StoreMem(isa.DW, isa.R1, isa.R2, 8), isa.ExitInsn())
					mem.Store64(at, before)
					if _, err := vm.Run(p, at, Options{}); err != nil {
						t.Fatal(err)
					}
					mask := ^uint64(0) >> (64 - row.Width)
					old := before >> (8 * off) & mask
					if load {
						if got, want := mem.Load64(at+8), row.Sem(old, 0); got != want {
							t.Fatalf("%v of %#x: %#x, the row says %#x", ins, old, got, want)
						}
						continue
					}
					want := row.Sem(old, v) & mask
					if ins.Imm == isa.AtomicCmpXch && ins.Op.Mode() == isa.ModeATOMIC {
						continue // stores only where r0 is equal: see internal/difftest
					}
					if got := mem.Load64(at) >> (8 * off) & mask; got != want {
						t.Fatalf("%v on %#x with %#x: %#x, the row says %#x", ins, old, v, got, want)
					}
					if rest := ^(mask << (8 * off)); mem.Load64(at)&rest != before&rest {
						t.Fatalf("%v changed its neighbours: %#x", ins, mem.Load64(at))
					}
				}
			}
		})
	}
}

// block gives a few words of memory.
func block(t *testing.T) uint64 {
	t.Helper()
	b, err := mem.Alloc(64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	return b.Addr()
}
