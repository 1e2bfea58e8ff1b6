package skep

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/run"
)

// Batch is packets for [CPU.RunBatch], and what the program made of each: a bulk,
// as a driver hands it to XDP. It is used by one goroutine at a time.
//
//	b, err := m.NewBatch(64)
//	defer b.Close()
//	for i, data := range packets {
//		err = b.Packet(i).SetXDP(data, skep.XDPOptions{})
//	}
//	err = cpu.RunBatch(prog, b, len(packets))
//	for i := range packets {
//		if b.Verdict(i) == pass { forward(b.Packet(i).Bytes()) }
//	}
type Batch struct {
	b    *run.Batch
	mach *Machine
	done int
}

// MaxBatch is the most packets a Batch can have.
const MaxBatch = 1 << 16

// NewBatch makes a batch with room for n packets.
func (m *Machine) NewBatch(n int) (*Batch, error) {
	if err := m.open(); err != nil {
		return nil, err
	}
	if n < 1 || n > MaxBatch {
		return nil, fmt.Errorf("skep: a batch of %d packets: 1 to %d are possible", n, MaxBatch)
	}
	b, err := run.NewBatch(n)
	if err != nil {
		return nil, fmt.Errorf("skep: a batch of %d packets: %w", n, err)
	}
	return &Batch{b: b, mach: m}, nil
}

// Close gives the memory back. Neither packets nor results may be used after it.
func (b *Batch) Close() {
	if b.b != nil {
		b.b.Free()
		b.b = nil
	}
}

// Len is how many packets there is room for.
func (b *Batch) Len() int { return b.b.Packets.Len() }

// Packet returns packet i, to be filled by SetXDP or SetSKB before a run and looked
// at after it. A packet that was read straight into its XDPBuffer or SKBBuffer is not copied again.
func (b *Batch) Packet(i int) *Packet { return b.b.Packets.Packet(i) }

// Verdict is what the last run on packet i left in R0.
func (b *Batch) Verdict(i int) uint32 { return b.b.Verdict(i) }

// Done is how many packets the last RunBatch has run on to the end: all it was asked
// for, unless it returned an error.
func (b *Batch) Done() int { return b.done }

// Redirect returns where the last run sent packet i, as [CPU.Redirect] does.
func (b *Batch) Redirect(i int) Redirect { return b.mach.redirect(b.b.Redirect(i), b.Packet(i), nil) }

// RunBatch runs a program on the first n packets of b, one after the other, with
// the results that Run has on each. The way into the program is paid once: native
// code goes from packet to packet by itself for as long as the program needs nothing of Go. An
// error ends the batch at the packet whose run it belongs to.
func (c *CPU) RunBatch(p *Program, b *Batch, n int) error {
	b.done = 0
	switch {
	case p.done.Load() || b.b == nil:
		return p.wrap(ErrClosed)
	case b.mach != c.mach:
		return p.wrap(fmt.Errorf("the batch belongs to another machine"))
	case n < 0 || n > b.Len():
		return p.wrap(fmt.Errorf("%d packets of a batch that has %d", n, b.Len()))
	}
	var err error
	if b.done, err = c.c.RunBatch(p.p, b.b, n); err != nil {
		return p.wrap(fmt.Errorf("packet %d: %w", b.done, err))
	}
	return nil
}
