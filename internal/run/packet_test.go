package run

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/isa"
)

// An engine that moves a packet's edges by itself moves them as the packet's own
// methods do, and refuses what they refuse.
func TestAdjust(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		other, err := packet.New()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Free()
		helpers := map[catalog.HelperID]func(off int32) errno.Errno{
			catalog.FnXDPAdjustHead: other.AdjustHead, catalog.FnXDPAdjustTail: other.AdjustTail, catalog.FnXDPAdjustMeta: other.AdjustMeta,
		}
		c := m.Acquire()
		defer c.Release()
		for _, long := range []int{60, 5000} { // in one piece; with paged bytes
			data := make([]byte, long)
			for i := range data {
				data[i] = byte(i)
			}
			for id, want := range helpers {
				for _, meta := range []int{0, 8} {
					o := packetOptions
					o.Meta = meta
					for _, off := range offsets(long - meta) {
						p := program(t, m, nil, isa.Mov64Imm(isa.R2, off), isa.HelperCall(int32(id)), isa.ExitInsn())
						for _, pkt := range []*packet.Packet{c.Packet(), other} {
							if err := pkt.SetXDP(data, o); err != nil {
								t.Fatal(err)
							}
						}
						r0, err := c.Run(p, c.Packet().Addr(), c.Packet())
						if err != nil {
							t.Fatal(err)
						}
						what := fmt.Sprintf("%v by %d of %d bytes, %d of metadata", id, off, long, meta)
						if want := want(off).Ret(); r0 != want {
							t.Errorf("%s: %d, want %d", what, int64(r0), int64(want))
						}
						if got, want := shape(c.Packet()), shape(other); got != want {
							t.Errorf("%s: edges at %v, want %v", what, got, want)
						}
						if !bytes.Equal(c.Packet().Bytes(), other.Bytes()) || !bytes.Equal(c.Packet().Meta(), other.Meta()) {
							t.Errorf("%s: other bytes", what)
						}
					}
				}
			}
		}
	})
}

// offsets are those around every edge of a packet of n bytes.
func offsets(n int) (all []int32) {
	for _, at := range []int{0, 14 - n, n - 14, -216, -208, -256, 252, 256, 3520 - n, 3840 - n, 1<<31 - 3, -1 << 31, 1 << 20} {
		for d := -9; d <= 9; d++ {
			all = append(all, int32(at+d))
		}
	}
	return all
}

// shape is where a packet's edges are, from the beginning of its buffer.
func shape(p *packet.Packet) [4]int64 {
	at := func(a uint64) int64 { return int64(a - p.HardStart) }
	return [4]int64{at(p.Data), at(p.DataMeta), at(p.DataEnd), at(p.End)}
}

// Sums made in native code are those the helper makes, down to which zero they are.
func TestCsumDiff(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	block, err := mem.Alloc(256)
	if err != nil {
		t.Fatal(err)
	}
	defer block.Free()
	from, to := block.Addr(), block.Addr()+128
	fill := func(b []byte) {
		special := []byte{0, 0xff}
		random, one := r.IntN(4) == 0, special[r.IntN(2)]
		for i := range b {
			switch {
			case random:
				b[i] = byte(r.Uint32())
			case r.IntN(4) == 0:
				b[i] = special[r.IntN(2)]
			default:
				b[i] = one
			}
		}
	}
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the bytes are not the run's")
		}
		for _, fn := range []int32{0, 4, 8, 12, 20, 40, 64, 6, 68} {
			for _, tn := range []int32{0, 4, 8, 12, 20, 40, 64, 3, 96} {
				p := program(t, m, nil,
					isa.LoadMem(isa.W, isa.R5, isa.R1, 0), // the seed, at the context
					isa.LdImm64(isa.R1, from), isa.Mov64Imm(isa.R2, fn), isa.LdImm64(isa.R3, to), isa.Mov64Imm(isa.R4, tn),
					isa.HelperCall(int32(catalog.FnCsumDiff)), isa.ExitInsn())
				c := m.Acquire()
				for range 200 {
					fill(block.Bytes())
					seed := []uint32{0, 0xffffffff, r.Uint32(), 0xffff}[r.IntN(4)]
					mem.Store32(c.scratch.Addr(), seed)
					got, err := c.Run(p, c.scratch.Addr(), nil)
					if err != nil {
						t.Fatal(err)
					}
					want := csumDiff(block.Bytes()[:fn], block.Bytes()[128:128+tn], seed)
					if got != want {
						t.Fatalf("%x for %x, %#x: %#x, want %#x", block.Bytes()[128:128+tn], block.Bytes()[:fn], seed, got, want)
					}
				}
				c.Release()
			}
		}
	})
}

// csumDiff says once more what bpf_csum_diff is, by 32-bit sums with end-around carry of whole words.
func csumDiff(from, to []byte, seed uint32) uint64 {
	add := func(sum uint32, b []byte) uint32 {
		v := uint64(sum)
		for i, x := range b {
			v += uint64(x) << (8 * (i % 4))
			v = v>>32 + v&(1<<32-1)
		}
		return uint32(v)
	}
	var sum uint32
	switch {
	case len(to) == 0 && len(from) == 0:
		sum = seed
	case len(to) == 0:
		sum = ^add(^seed, from)
	default:
		sum = add(seed, to)
		if len(from) > 0 {
			v := uint64(sum) + uint64(^add(0, from))
			sum = uint32(v>>32 + v&(1<<32-1))
		}
	}
	sum = sum>>16 + sum&0xffff
	return uint64(uint16(sum>>16 + sum))
}
