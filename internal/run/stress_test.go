package run

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// Programs on every vCPU look up, count in, and delete elements of a hash map,
// while user code stores and deletes them and the collector runs: no run sees
// an element that was given to another key under it.
//
// A value is { u32 key; u32 unused; u64 count }; the program returns 1 when the
// key in the value it found, or still holds at its end, is not the one it asked for.
func TestMapsChangeUnderRuns(t *testing.T) {
	const keys, rounds, writers = 8, 20000, 4
	// As many elements as are ever given back: with fewer, a run that the system
	// suspends for long uses them all up, and they are reused under it, as documented.
	const entries = 2 * writers * rounds
	m := newMachine(t, Options{CPUs: 4})
	for _, flags := range []uint32{0, catalog.FlagNoPrealloc} {
		mp := newMap(t, m, catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: 16, MaxEntries: entries, Flags: flags})
		p := programOn(t, m, mp.Def(),
			isa.HelperCall(int32(catalog.FnGetPrandomU32)),
			isa.ALU64Imm(isa.And, isa.R0, keys-1), isa.Mov64Reg(isa.R7, isa.R0),
			isa.StoreMem(isa.W, isa.RFP, isa.R0, -4),
			isa.LdImm64(isa.R1, mp.Def().Ptr), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -4),
			isa.HelperCall(int32(catalog.FnMapLookupElem)),
			isa.JmpImm(isa.Jeq, isa.R0, 0, 16),
			isa.Mov64Reg(isa.R6, isa.R0),
			isa.LoadMem(isa.W, isa.R8, isa.R6, 0),
			isa.Mov64Imm(isa.R1, 1), isa.Atomic(isa.AtomicAdd, isa.DW, isa.R6, isa.R1, 8),
			isa.LdImm64(isa.R1, mp.Def().Ptr), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -4),
			isa.HelperCall(int32(catalog.FnMapDeleteElem)),
			isa.Mov64Imm(isa.R1, 20000), isa.ALU64Imm(isa.Sub, isa.R1, 1), isa.JmpImm(isa.Jne, isa.R1, 0, -2), // time for others
			isa.LoadMem(isa.W, isa.R9, isa.R6, 0),
			isa.Mov64Imm(isa.R0, 1),
			isa.JmpReg(isa.Jne, isa.R8, isa.R7, 2),
			isa.JmpReg(isa.Jne, isa.R9, isa.R7, 1),
			isa.Mov64Imm(isa.R0, 0),
			isa.ExitInsn())
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for i := range rounds {
					c := m.Acquire()
					r0, err := c.Run(p, c.Packet().Addr(), c.Packet())
					c.Release()
					if err != nil || r0 != 0 {
						t.Errorf("flags %d, round %d: a value went to another key under the run (%d, %v)", flags, i, r0, err)
						return
					}
				}
			})
			wg.Go(func() {
				value := make([]byte, 16)
				for i := range uint32(rounds) {
					binary.LittleEndian.PutUint32(value, i%keys)
					mp.Update(u32(i%keys), value, 0)
					if i%3 == 0 {
						mp.Delete(u32((i + 1) % keys))
					}
					if i%5000 == 0 {
						runtime.GC()
					}
				}
			})
		}
		wg.Wait()
	}
}
