package afxdp

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
)

// TestRingOrder has a producer and a consumer pass chunks round and round, through
// a ring each way as fill and rx ring do. Rings and chunks are Go's memory here, so that the race detector
// sees every access that an atomic one does not order.
func TestRingOrder(t *testing.T) {
	const entries, chunk, rounds = 8, 64, 200_000
	area := make([]byte, entries*chunk)
	there := make([]byte, ringSize(offsets, RX, entries))
	back := make([]byte, ringSize(offsets, Fill, entries))
	done := make(chan struct{})
	go func() {
		defer close(done)
		rx, fill := newRing(there, offsets, entries), newRing(back, offsets, entries)
		for i := 0; i < rounds; {
			n := fill.Waiting(entries)
			if n == 0 {
				runtime.Gosched()
				continue
			}
			for range n {
				addr := fill.Addr()
				fill.Skip()
				binary.LittleEndian.PutUint64(area[addr:], uint64(i))
				rx.PutDesc(Desc{Addr: addr, Len: uint32(i)})
				i++
			}
			fill.Release()
			rx.Submit()
		}
	}()
	rx, fill := newRing(there, offsets, entries), newRing(back, offsets, entries)
	for i := range uint64(entries) {
		fill.PutAddr(i * chunk)
	}
	fill.Submit()
	for i := 0; i < rounds; {
		n := rx.Waiting(entries)
		if n == 0 {
			runtime.Gosched()
			continue
		}
		if n > entries || fill.Free(n) < n {
			t.Fatalf("%d descriptors in a ring of %d, room for %d chunks", n, entries, fill.Free(n))
		}
		for range n {
			d := rx.Desc()
			rx.Skip()
			if got := binary.LittleEndian.Uint64(area[d.Addr:]); got != uint64(i) || d.Len != uint32(i) {
				t.Fatalf("packet %d: descriptor %+v, content %d", i, d, got)
			}
			fill.PutAddr(d.Addr)
			i++
		}
		rx.Release()
		fill.Submit()
	}
	<-done
}

// plug is a device that takes so many frames, and then is busy or drops.
type plug struct {
	pools *Pools
	takes int
	busy  bool
	down  bool
	got   int
}

func (p *plug) Queues() int        { return 1 }
func (p *plug) Up() bool           { return !p.down }
func (p *plug) PlacesFrames() bool { return false }
func (p *plug) Pools() *Pools      { return p.pools }
func (p *plug) Transmit(frames [][]byte) (int, bool) {
	n := min(len(frames), p.takes)
	p.takes -= n
	p.got += n
	return n, p.busy
}

// bench is a socket that is bound, with views of its rings.
func bench(t testing.TB, dev *plug, flags uint16) (*Socket, [ringKinds]*Ring) {
	t.Helper()
	s := NewSocket(new(Sockets))
	area, err := NewArea(64 * 2048)
	if err != nil {
		t.Fatal(err)
	}
	var rings [ringKinds]*Ring
	steps := []func() error{func() error { return s.Register(area, Reg{ChunkSize: 2048}) }}
	for k := range ringKinds {
		steps = append(steps, func() (err error) {
			if err = s.MakeRing(k, 64); err == nil {
				rings[k], err = s.MapRing(k)
			}
			return err
		})
	}
	for _, f := range append(steps, func() error { return s.Bind(Addr{Device: dev, Flags: flags}) }) {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.Close(); area.Close() })
	return s, rings
}

// TestBusy: what a busy device does not take stays in the ring, whole packets at a
// time; what it drops is completed.
func TestBusy(t *testing.T) {
	dev := &plug{pools: NewPools(1), busy: true}
	s, r := bench(t, dev, UseSG)
	put := func(options ...uint32) {
		for _, o := range options {
			r[TX].PutDesc(Desc{Addr: uint64(r[TX].prod%64) * 2048, Len: 60, Options: o})
		}
		r[TX].Submit()
	}
	completed := uint32(0)
	check := func(want error, frames, completions int) {
		t.Helper()
		if err := s.Send(); err != want {
			t.Errorf("%v, want %v", err, want)
		}
		for r[Completion].Waiting(1) > 0 {
			if a := r[Completion].Addr(); a != uint64(completed%64)*2048 {
				t.Errorf("completion %d is of %#x", completed, a)
			}
			completed++
			r[Completion].Skip()
		}
		r[Completion].Release()
		if dev.got != frames || completed != uint32(completions) {
			t.Errorf("%d frames and %d completions, want %d and %d", dev.got, completed, frames, completions)
		}
	}
	put(0, 1, 1) // a packet, and the beginning of another
	check(errno.EAGAIN, 0, 0)
	put(0, 0)
	check(errno.EAGAIN, 0, 0)
	dev.takes = 1
	check(errno.EAGAIN, 1, 1)
	dev.takes = 1
	check(errno.EAGAIN, 2, 4)
	dev.takes = 9
	check(nil, 3, 5)
	put(1, 1)
	check(nil, 3, 5)
	dev.takes = 0
	put(0)
	check(errno.EAGAIN, 3, 5)
	dev.takes = 9
	check(nil, 4, 8)
	dev.busy, dev.takes = false, 1
	put(0, 0, 0)
	check(errno.EBUSY, 5, 11)
	dev.down = true
	check(errno.ENETDOWN, 5, 11)
	if n := s.pool.Load().reserved; n != 0 {
		t.Errorf("%d descriptors are never completed", n)
	}
}

// TestMaps: entries follow their sockets.
func TestMaps(t *testing.T) {
	var table Sockets
	def := catalog.MapDef{Type: catalog.MapXSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 4}
	mp, err := maps.New(&maps.Config{XSK: table.Get}, def)
	if err != nil {
		t.Fatal(err)
	}
	defer mp.Close()
	m := mp.(maps.RedirectMap)
	u32 := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	a, b := NewSocket(&table), NewSocket(&table)
	for key, s := range []*Socket{a, b, a} {
		if err := m.Update(u32(uint32(key)), u32(s.FD()), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Update(u32(1), u32(a.FD()), 0); err != nil { // in the place of b
		t.Fatal(err)
	}
	if len(a.held(false)) != 3 || len(b.held(false)) != 0 {
		t.Errorf("a is held %d times, b %d", len(a.held(false)), len(b.held(false)))
	}
	if err := m.Delete(u32(2)); err != nil || len(a.held(false)) != 2 {
		t.Errorf("%v, a is held %d times", err, len(a.held(false)))
	}
	if err := m.Update(u32(3), u32(b.FD()), 0); err != nil {
		t.Fatal(err)
	}
	fd := a.FD()
	a.Close()
	for key, want := range []bool{false, false, false, true} {
		if tg, ok := m.Target(uint32(key)); ok != want || ok && tg.Socket != b {
			t.Errorf("entry %d: %v %v", key, tg, ok)
		}
	}
	if err := m.Update(u32(0), u32(fd), 0); err != errno.EBADF {
		t.Errorf("a closed socket enters a map: %v", err)
	}
	b.Close()
}

// FuzzRings has a user write whatever into the rings, positions too.
func FuzzRings(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, uint32(1), uint32(0), uint8(1))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"), ^uint32(0), uint32(7), uint8(0))
	f.Fuzz(func(t *testing.T, content []byte, producer, consumer uint32, mode uint8) {
		dev := &plug{pools: NewPools(1), takes: int(mode), busy: mode&1 != 0}
		flags := uint16(Copy)
		if mode&2 != 0 {
			flags |= UseSG
		}
		s, r := bench(t, dev, flags)
		for _, ring := range r {
			at := ring.memory[offsets.Desc:]
			for i := 0; len(content) > 0 && i < len(at); i += len(content) {
				copy(at[i:], content)
			}
			atomic.StoreUint32(ring.producer, producer)
			atomic.StoreUint32(ring.consumer, consumer)
		}
		for i := range 8 {
			s.Send()
			if s.Receive(dev, 0, content[:min(len(content), 32)], make([]byte, 60+i*500)) == 0 {
				s.Flush()
			}
		}
	})
}
