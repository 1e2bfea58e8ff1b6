package run

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// Batch is packets to run a program on in one go, and what it made of them.
type Batch struct {
	Packets *packet.Row

	block      *mem.Block
	verdicts   []uint32 // R0 of each, in block: native code writes them
	redirects  []helpers.Redirect
	redirected bool // some of them are not zero
}

// NewBatch makes a batch of n packets, empty ones.
func NewBatch(n int) (*Batch, error) {
	row, err := packet.NewRow(n)
	if err != nil {
		return nil, err
	}
	block, err := mem.Alloc(4 * n)
	if err != nil {
		row.Free()
		return nil, err
	}
	// Sound: the block is aligned, has room for n numbers and lives as long as b.
	verdicts := unsafe.Slice((*uint32)(mem.Ptr(block.Addr())), n)
	return &Batch{Packets: row, block: block, verdicts: verdicts, redirects: make([]helpers.Redirect, n)}, nil
}

// Free gives the memory back.
func (b *Batch) Free() {
	b.Packets.Free()
	b.block.Free()
	b.verdicts = nil
}

// Verdict is R0 of the last run on packet i, and Redirect where it sent the packet.
func (b *Batch) Verdict(i int) uint32 { return b.verdicts[i] }

// Redirect is described with [Batch.Verdict].
func (b *Batch) Redirect(i int) *helpers.Redirect { return &b.redirects[i] }

// note keeps what the run on packet i came to.
func (b *Batch) note(c *CPU, i int, r0 uint64) {
	b.verdicts[i] = uint32(r0)
	if c.env.Redirect.Kind != helpers.RedirectNone {
		b.redirects[i], b.redirected = c.env.Redirect, true
	}
}

// RunBatch runs a program on the first n packets of b, as Run would on one after
// the other. It returns how many runs came to their end, all if there is no error.
func (c *CPU) RunBatch(p *Program, b *Batch, n int) (done int, err error) {
	if b.redirected {
		clear(b.redirects)
		b.redirected = false
	}
	// A budget is one run's, labels are one program's: there native code may not go on by itself.
	if c.native != nil && p.tracing.now.Load() == nil && c.m.opts.Budget == 0 && !c.m.opts.Labels && n > 0 {
		return c.turns(p, b, n)
	}
	for ; done < n; done++ {
		pkt := b.Packets.Packet(done)
		r0, err := c.Run(p, pkt.Addr(), pkt)
		if err != nil {
			return done, err
		}
		b.note(c, done, r0)
	}
	return done, nil
}

// turns is RunBatch with native code, which goes from packet to packet by itself, until
// it has run for a while or a program needs Go; that run is brought to its end here.
func (c *CPU) turns(p *Program, b *Batch, n int) (done int, err error) {
	c.epoch.Enter()
	pkt := b.Packets.Packet(0)
	start := c.begin(p, pkt.Addr(), pkt)
	for done < n && err == nil {
		if c.used() { // by the run before
			c.begin(p, 0, nil)
		}
		runs, left := c.native.Turns(p.native, b.Packets.Packet(done).Addr(), b.Packets.Stride(), b.verdicts[done:n])
		if done += runs; left {
			var r0 uint64
			pkt = b.Packets.Packet(done)
			c.ctx, c.env.Pkt = pkt.Addr(), pkt
			if c.prog != p { // a tail call of the run before
				c.running(p)
			}
			if r0, err = c.native.Serve(p.native, jit.Limits{}); err == nil {
				b.note(c, done, r0)
				done++
			}
		}
		c.epoch.Leave() // who reclaims does not wait for the whole batch
		c.epoch.Enter()
	}
	c.end(p, start, done)
	c.epoch.Leave()
	return done, err
}
