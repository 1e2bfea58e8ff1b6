package run

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// underChange runs p on three vCPUs, with a key of its own in R1's memory for each
// run, while change goes on, and looks at every result.
func underChange(t *testing.T, m *Machine, p *Program, key func(i uint32, b []byte), ok func(r0 uint64) bool, rounds int, change func(i int)) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		block, err := mem.Alloc(64)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(block.Free)
		wg.Go(func() {
			for i := uint32(0); !stop.Load(); i++ {
				key(i, block.Bytes())
				c := m.Acquire()
				r0, err := c.Run(p, block.Addr(), nil)
				c.Release()
				if err != nil || !ok(r0) {
					t.Errorf("key % x: %d (%v)", block.Bytes()[:24], r0, err)
					return
				}
			}
		})
	}
	for i := range rounds {
		change(i)
	}
	stop.Store(true)
	wg.Wait()
}

// Lookups in a trie with an index, by each engine's own means: while prefixes come
// and go around it, the longest one that stays is found, or one below it.
func TestTrieUnderChange(t *testing.T) {
	each(t, Options{CPUs: 3}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the key is not the run's")
		}
		mp := newMap(t, m, catalog.MapDef{Type: catalog.MapLPMTrie, KeySize: 8, ValueSize: 8, MaxEntries: 4096, Flags: catalog.FlagNoPrealloc})
		key := func(length, addr uint32) []byte {
			return binary.BigEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, length), addr)
		}
		put := func(length, addr uint32) {
			if err := mp.Update(key(length, addr), binary.NativeEndian.AppendUint64(nil, uint64(length)), 0); err != nil {
				t.Error(err)
			}
		}
		for i := range uint32(400) {
			put(24, 0xc0000000+i<<8)
		}
		const stays = 0x0a010000
		put(12, stays)
		p := programOn(t, m, mp.Def(), isa.Mov64Reg(isa.R2, isa.R1), isa.LdImm64(isa.R1, mp.Def().Ptr),
			isa.HelperCall(int32(catalog.FnMapLookupElem)), isa.JmpImm(isa.Jeq, isa.R0, 0, 1),
			isa.LoadMem(isa.DW, isa.R0, isa.R0, 0), isa.ExitInsn())
		r := rand.New(rand.NewPCG(5, 6))
		underChange(t, m, p,
			func(i uint32, b []byte) { copy(b, key(32, stays|i*2654435761>>14&0x3ffff)) },
			func(r0 uint64) bool { return r0 >= 12 && r0 <= 32 }, 300,
			func(int) {
				length := []uint32{0, 8, 11, 13, 15, 16, 17, 20, 24, 32}[r.IntN(10)]
				addr := uint32(stays)
				if length > 12 {
					addr |= r.Uint32() & 0x3ffff &^ (1<<(32-length) - 1)
				} else {
					addr &^= 1<<(32-length) - 1
				}
				put(length, addr)
				if err := mp.Delete(key(length, addr)); err != nil {
					t.Error(err)
				}
			})
	})
}

// A lookup by way of a map of maps finds an element of the inner map that was there,
// with its own value, though inner maps are exchanged and freed meanwhile.
func TestInnerMapsUnderChange(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapArray, catalog.MapHash} {
		each(t, Options{CPUs: 3}, func(t *testing.T, m *Machine) {
			if m.opts.Checked {
				t.Skip("the key is not the run's")
			}
			template := catalog.MapDef{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 16}
			outer := newMap(t, m, catalog.MapDef{Type: catalog.MapArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 2, Inner: &template})
			put := func(slot uint32) {
				inner, err := m.NewMap(template)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range uint32(16) {
					if err := inner.Update(u32(i), binary.NativeEndian.AppendUint64(nil, 1000+uint64(i)), 0); err != nil {
						t.Error(err)
					}
				}
				if err := outer.Update(u32(slot), u32(maps.Unwrap(inner).Def().ID), 0); err != nil {
					t.Error(err)
				}
				m.CloseMap(inner)
			}
			put(0)
			// r0 = 1 if outer[key] is not there, else its [key2], less key2.
			code := isa.Program(isa.Mov64Reg(isa.R6, isa.R1), isa.Mov64Reg(isa.R2, isa.R1), isa.LdImm64(isa.R1, outer.Def().Ptr),
				isa.HelperCall(int32(catalog.FnMapLookupElem)), isa.JmpImm(isa.Jne, isa.R0, 0, 2), isa.Mov64Imm(isa.R0, 1), isa.ExitInsn(),
				isa.Mov64Reg(isa.R1, isa.R0), isa.Mov64Reg(isa.R2, isa.R6), isa.ALU64Imm(isa.Add, isa.R2, 4),
				isa.HelperCall(int32(catalog.FnMapLookupElem)), isa.JmpImm(isa.Jne, isa.R0, 0, 2), isa.Mov64Imm(isa.R0, 2), isa.ExitInsn(),
				isa.LoadMem(isa.DW, isa.R0, isa.R0, 0), isa.LoadMem(isa.W, isa.R1, isa.R6, 4), isa.ALU64Reg(isa.Sub, isa.R0, isa.R1), isa.ExitInsn())
			p := programOnMaps(t, m, func(call int) *catalog.MapDef { return []*catalog.MapDef{outer.Def(), &template}[call] }, code)
			underChange(t, m, p,
				func(i uint32, b []byte) {
					binary.NativeEndian.PutUint32(b, i%3)
					binary.NativeEndian.PutUint32(b[4:], i*7%16)
				},
				func(r0 uint64) bool { return r0 == 1 || r0 == 1000 }, 300,
				func(i int) {
					put(0)
					if put(1); i%2 == 0 {
						_ = outer.Delete(u32(1))
					}
				})
		})
	}
}
