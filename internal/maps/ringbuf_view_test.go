//go:build linux

package maps_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// mapped maps the file of a shared ring as a client does.
func mapped(t testing.TB, m maps.Mapped) []byte {
	st, err := m.File().Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(m.File().Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

func sharedRing(t testing.TB, typ catalog.MapType, entries uint32) maps.Map {
	m, err := maps.New(&maps.Config{CPUs: 1, Share: true}, catalog.MapDef{Type: typ, MaxEntries: entries})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestRingView reads what is shown of a ring, over its end many times, as another process would.
func TestRingView(t *testing.T) {
	const page, size = 4096, 4096
	m := sharedRing(t, catalog.MapRingBuf, size).(*maps.RingBuf)
	b := mapped(t, m)
	cons := uint64(0)
	order := binary.NativeEndian
	for i := range 2000 {
		n := uint64(1 + i%700)
		first := m.Reserve(n, 0)
		second := m.Reserve(8, 0)
		if first == 0 || second == 0 {
			t.Fatalf("record %d: no room, although all was read", i)
		}
		for j := range mem.Bytes(first, int(n)) {
			mem.Bytes(first, int(n))[j] = byte(i + j)
		}
		m.Discard(second, 0)
		if order.Uint64(b[page:]) != cons {
			t.Fatalf("record %d: shown before the one that was reserved earlier", i)
		}
		m.Submit(first, 0)
		at := 2*page + int(cons%size)
		if h := order.Uint32(b[at:]); h != uint32(n) {
			t.Fatalf("record %d: header %#x, want %d", i, h, n)
		}
		for j, v := range b[at+8:][:n] {
			if v != byte(i+j) {
				t.Fatalf("record %d, byte %d: %d", i, j, v)
			}
		}
		cons += (n+8+7)&^7 + 16
		if got := order.Uint64(b[page:]); got != cons {
			t.Fatalf("record %d: shown up to %d, want %d", i, got, cons)
		}
		order.PutUint64(b, cons)
	}
}

// FuzzRingMemory has another process write anything into the memory of rings
// while records come and go: some may be lost or made of junk, and nothing else happens.
func FuzzRingMemory(f *testing.F) {
	for i := range uint64(8) {
		f.Add(i, uint64(1)<<(i*9), i%2 == 0)
	}
	const size = 4096
	out := sharedRing(f, catalog.MapRingBuf, size).(*maps.RingBuf)
	in := sharedRing(f, catalog.MapUserRingBuf, size).(*maps.UserRingBuf)
	outMem, inMem := mapped(f, out), mapped(f, in)
	f.Fuzz(func(t *testing.T, seed, value uint64, everywhere bool) {
		r := rand.New(rand.NewPCG(seed, value))
		scribble := func(b []byte) {
			at := 8 * r.IntN(2) * 512 // the positions
			if everywhere {
				at = r.IntN(len(b)/4-1) * 4
			}
			v := value + r.Uint64N(4096)
			if r.IntN(4) == 0 {
				v = r.Uint64()
			}
			binary.NativeEndian.PutUint64(b[at:], v)
		}
		var open []uint64
		for range 100 {
			scribble(outMem)
			switch r.IntN(4) {
			case 0, 1:
				if s := out.Reserve(r.Uint64N(size), 0); s != 0 {
					mem.Bytes(s, 1)[0] = 1
					open = append(open, s)
				}
			case 2:
				if len(open) != 0 {
					i := r.IntN(len(open))
					out.Submit(open[i], r.Uint64N(3))
					open = append(open[:i], open[i+1:]...)
				}
			case 3:
				out.Consume(func(b []byte) bool {
					sum := byte(0)
					for _, x := range b {
						sum += x
					}
					return sum != 1
				})
			}
			scribble(inMem)
			in.ProgDrain(0, func(sample, n uint64) uint64 {
				sum := byte(0)
				for _, x := range mem.Bytes(sample, int(n)) {
					sum += x
				}
				return uint64(sum & 1)
			})
		}
		for _, s := range open {
			out.Discard(s, 0)
		}
	})
}
