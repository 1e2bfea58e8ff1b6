package run

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
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
	step := 1
	if testing.Short() {
		step = 3
	}
	for _, at := range []int{0, 14 - n, n - 14, -216, -208, -256, 252, 256, 3520 - n, 3840 - n, 1<<31 - 3, -1 << 31, 1 << 20} {
		for d := -9; d <= 9; d += step {
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

// Where a packet goes is what the last helper said that decided it, in Go or native
// code, for one packet and for many in one go; and nothing of it is left to the next run.
func TestRedirectMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	each(t, Options{CPUs: 2}, func(t *testing.T, m *Machine) {
		pass := program(t, m, nil, isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
		batch, err := NewBatch(3)
		if err != nil {
			t.Fatal(err)
		}
		defer batch.Free()
		c := m.Acquire()
		defer c.Release()
		set := func() {
			c.Packet().SetXDP(make([]byte, 64), packetOptions)
			for i := range 3 {
				batch.Packets.Packet(i).SetXDP(make([]byte, 64), packetOptions)
			}
		}
		for _, typ := range []catalog.MapType{catalog.MapDevMap, catalog.MapDevMapHash, catalog.MapCPUMap} {
			mp := newMap(t, m, catalog.MapDef{Type: typ, KeySize: 4, ValueSize: 4, MaxEntries: 4})
			present := map[uint32]bool{1: true}
			if typ == catalog.MapDevMapHash {
				present[1<<31+5] = true
			}
			for k := range present {
				if err := mp.Update(u32(k), u32(1), 0); err != nil {
					t.Fatal(err)
				}
			}
			programs := 300
			if testing.Short() {
				programs = 30
			}
			for range programs {
				var want helpers.Redirect
				var r0 uint64
				var code []isa.Part
				text := typ.String()
				for range 1 + r.IntN(3) {
					if r.IntN(4) == 0 {
						code = append(code, isa.Mov64Imm(isa.R1, 7), isa.Mov64Imm(isa.R2, 0), isa.HelperCall(int32(catalog.FnRedirect)))
						want, r0 = helpers.Redirect{Kind: helpers.RedirectIfindex, Ifindex: 7}, 4
						text += " redirect"
						continue
					}
					key, flags := []uint32{0, 1, 3, 4, 1<<31 + 5}[r.IntN(5)], uint64(r.IntN(5))
					code = append(code, isa.LdImm64(isa.R1, mp.Def().Ptr), isa.LdImm64(isa.R2, uint64(key)|1<<40), isa.Mov64Imm(isa.R3, int32(flags)),
						isa.HelperCall(int32(catalog.FnRedirectMap)))
					text += fmt.Sprintf(" map(%d, %d)", key, flags)
					switch {
					case flags > 3:
						r0 = 0
					case present[key]:
						want, r0 = helpers.Redirect{Kind: helpers.RedirectMap, Map: mp, Key: key}, 4
					default:
						want, r0 = helpers.Redirect{Kind: helpers.RedirectMissed}, flags
					}
				}
				p := programOn(t, m, mp.Def(), append(code, isa.ExitInsn())...)
				for range 2 {
					set()
					got, err := c.Run(p, c.Packet().Addr(), c.Packet())
					if err != nil || got != r0 || !same(*c.Redirect(), want) {
						t.Errorf("%s: %d, %+v (%v), want %d, %+v", text, got, *c.Redirect(), err, r0, want)
					}
				}
				if got, err := c.Run(pass, c.Packet().Addr(), c.Packet()); err != nil || got != 2 || c.Redirect().Kind != helpers.RedirectNone {
					t.Errorf("%s: the next run goes to %+v", text, *c.Redirect())
				}
				if n, err := c.RunBatch(p, batch, 3); n != 3 || err != nil {
					t.Fatal(n, err)
				}
				for i := range 3 {
					if uint64(batch.Verdict(i)) != r0 || !same(*batch.Redirect(i), want) {
						t.Errorf("%s: packet %d of a batch: %d, %+v, want %d, %+v", text, i, batch.Verdict(i), *batch.Redirect(i), r0, want)
					}
				}
			}
		}
	})
}

// same compares redirects, whose maps may be other handles of one.
func same(a, b helpers.Redirect) bool {
	if (a.Map == nil) != (b.Map == nil) || a.Map != nil && a.Map.Def().Ptr != b.Map.Def().Ptr {
		return false
	}
	a.Map, b.Map = nil, nil
	return a == b
}

// Entries come and go while native code asks for them; a packet goes to one that is or was
// there, or passes.
func TestRedirectMapUnderChange(t *testing.T) {
	each(t, Options{CPUs: 3}, func(t *testing.T, m *Machine) {
		for _, typ := range []catalog.MapType{catalog.MapDevMap, catalog.MapDevMapHash, catalog.MapCPUMap} {
			mp := newMap(t, m, catalog.MapDef{Type: typ, KeySize: 4, ValueSize: 4, MaxEntries: 4})
			if err := mp.Update(u32(2), u32(1), 0); err != nil { // always there
				t.Fatal(err)
			}
			code := func(key int32) *Program {
				return programOn(t, m, mp.Def(), isa.LdImm64(isa.R1, mp.Def().Ptr), isa.Mov64Imm(isa.R2, key), isa.Mov64Imm(isa.R3, 2),
					isa.HelperCall(int32(catalog.FnRedirectMap)), isa.ExitInsn())
			}
			stays, moves := code(2), code(1)
			done := make(chan struct{})
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					c := m.Acquire()
					defer c.Release()
					c.Packet().SetXDP(make([]byte, 64), packetOptions)
					for {
						select {
						case <-done:
							return
						default:
						}
						if r0, err := c.Run(stays, c.Packet().Addr(), c.Packet()); r0 != 4 || err != nil || c.Redirect().Key != 2 {
							t.Errorf("%v: what is always there: %d, %+v (%v)", typ, r0, *c.Redirect(), err)
							return
						}
						r0, err := c.Run(moves, c.Packet().Addr(), c.Packet())
						if to := c.Redirect(); err != nil || r0 != 4 && r0 != 2 || r0 == 4 && (to.Kind != helpers.RedirectMap || to.Key != 1) || r0 == 2 && to.Kind != helpers.RedirectMissed {
							t.Errorf("%v: what comes and goes: %d, %+v (%v)", typ, r0, *to, err)
							return
						}
					}
				})
			}
			rounds := 3000
			if testing.Short() {
				rounds = 100
			}
			for range rounds {
				mp.Update(u32(1), u32(1), 0)
				mp.Delete(u32(1))
			}
			close(done)
			wg.Wait()
		}
	})
}
