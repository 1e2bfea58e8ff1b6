package run

import (
	"sync"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// A program's clock is the system's, whoever reads it: its times lie between those
// that Go reads before and after, on every vCPU and engine.
func TestSystemClock(t *testing.T) {
	each(t, Options{CPUs: 3}, func(t *testing.T, m *Machine) {
		boot := m.clock.(*systemClock).boot
		for id, ahead := range map[catalog.HelperID]uint64{catalog.FnKtimeGetNs: 0, catalog.FnKtimeGetBootNs: boot} {
			// In a subprogram with a frame and registers of its own, which stay as they are.
			p := program(t, m, []verifier.Subprog{{End: 5, StackDepth: 8}, {Start: 5, End: 12, StackDepth: 8}},
				isa.Mov64Imm(isa.R6, 1), isa.StoreImm(isa.DW, isa.RFP, -8, 2), isa.LocalCall(2), isa.ALU64Reg(isa.Add, isa.R0, isa.R6), isa.ExitInsn(),
				isa.Mov64Imm(isa.R6, 3), isa.StoreImm(isa.DW, isa.RFP, -8, 4), isa.HelperCall(int32(id)),
				isa.LoadMem(isa.DW, isa.R1, isa.RFP, -8), isa.ALU64Reg(isa.Sub, isa.R0, isa.R1), isa.ALU64Reg(isa.Add, isa.R0, isa.R6), isa.ExitInsn())
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					c := m.Acquire()
					defer c.Release()
					for range 2000 {
						before := m.Monotonic() + ahead
						now, err := c.Run(p, c.Packet().Addr(), c.Packet())
						if after := m.Monotonic() + ahead; err != nil || now < before || now > after {
							t.Errorf("%v: %d, which is not between %d and %d (%v)", id, now, before, after, err)
							return
						}
					}
				})
			}
			wg.Wait()
		}
	})
}

// Other clocks are asked in Go.
func TestOtherClock(t *testing.T) {
	each(t, Options{CPUs: 1, Clock: fixedClock{}}, func(t *testing.T, m *Machine) {
		for id, want := range map[catalog.HelperID]uint64{catalog.FnKtimeGetNs: 5, catalog.FnKtimeGetBootNs: 6} {
			if now := runOn(t, m, program(t, m, nil, isa.HelperCall(int32(id)), isa.ExitInsn())); now != want {
				t.Errorf("%v: %d, want %d", id, now, want)
			}
		}
	})
}

type fixedClock struct{}

func (fixedClock) Monotonic() uint64 { return 5 }
func (fixedClock) Boot() uint64      { return 6 }
func (fixedClock) Real() uint64      { return 7 }
func (fixedClock) TAI() uint64       { return 8 }
