package run

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/isa"
)

// Each run of a batch has the budget for itself; the one that spends it ends the batch.
func TestBatchBudget(t *testing.T) {
	each(t, Options{CPUs: 1, Budget: 1000}, func(t *testing.T, m *Machine) {
		loop := program(t, m, nil, // as often as the packet's mark says
			isa.LoadMem(isa.W, isa.R2, isa.R1, int16(unsafe.Offsetof(packet.Frame{}.Mark))),
			isa.Mov64Reg(isa.R0, isa.R2),
			isa.JmpImm(isa.Jeq, isa.R2, 0, 2),
			isa.ALU64Imm(isa.Sub, isa.R2, 1),
			isa.Goto(-3),
			isa.ExitInsn(),
		)
		b, err := NewBatch(5)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Free()
		for i, mark := range []uint32{100, 50, 200, 1 << 20, 7} {
			b.Packets.Packet(i).Mark = mark
		}
		c := m.Acquire()
		defer c.Release()
		done, err := c.RunBatch(loop, b, 5)
		if done != 3 || !errors.Is(err, ErrBudget) {
			t.Errorf("%d runs, then %v, want 3, then ErrBudget", done, err)
		}
		for i, want := range []uint32{100, 50, 200} {
			if got := b.Verdict(i); got != want {
				t.Errorf("packet %d: %d, want %d", i, got, want)
			}
		}
	})
}
