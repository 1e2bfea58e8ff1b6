package maps_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// FuzzPerfPositions has a reader write anything into the page it shares with a
// buffer: samples may be lost, and nothing else happens.
func FuzzPerfPositions(f *testing.F) {
	f.Add(uint64(1), uint64(1<<63), true, false)
	f.Add(uint64(2), ^uint64(0), false, false)
	f.Add(uint64(3), uint64(4096), true, true)
	f.Add(uint64(4), uint64(7), false, true)
	m, err := maps.New(&maps.Config{CPUs: 1}, catalog.MapDef{Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		f.Fatal(err)
	}
	sample, err := mem.Alloc(512)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, seed, at uint64, overwrite, backward bool) {
		const page = 4096
		memory := make([]byte, 2*page)
		b := maps.EmptyPerfBuffer(0)
		if err := b.Share(memory, page, maps.PerfSharing{Overwrite: overwrite, Backward: backward}); err != nil {
			t.Fatal(err)
		}
		events := m.(*maps.PerfEventArray)
		events.Set(0, b)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 200 {
			switch r.IntN(3) {
			case 0:
				binary.NativeEndian.PutUint64(memory[1024+8*r.IntN(4):], at+r.Uint64N(64))
			case 1:
				binary.NativeEndian.PutUint64(memory[1024+8*r.IntN(4):], r.Uint64())
			}
			events.ProgOutput(0, 0, sample.Addr(), r.Uint64N(512), nil)
		}
		b.Close()
	})
}

// A buffer that is overwritten holds the newest samples, the last one at the head.
func TestPerfBackward(t *testing.T) {
	m, err := maps.New(&maps.Config{CPUs: 1}, catalog.MapDef{Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	data, err := mem.Alloc(16)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	memory := make([]byte, 2*page)
	b := maps.EmptyPerfBuffer(0)
	if m.(*maps.PerfEventArray).Set(0, b); m.(*maps.PerfEventArray).ProgOutput(0, 0, data.Addr(), 8, nil) == 0 {
		t.Error("a sample went to a buffer without memory")
	}
	woken := 0
	b.OnWake(func() { woken++ })
	if err := b.Share(memory, page, maps.PerfSharing{Backward: true, Every: 100}); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		data.Bytes()[0] = byte(i)
		if r := m.(*maps.PerfEventArray).ProgOutput(0, 0, data.Addr(), 12, nil); r != 0 {
			t.Fatalf("sample %d: %d", i, int64(r))
		}
	}
	head := binary.NativeEndian.Uint64(memory[1024:])
	for i := range 100 { // 24 bytes each: header, size, data
		at := page + int((head+uint64(24*i))%page)
		if typ, got := binary.NativeEndian.Uint32(memory[at:]), memory[page+(at-page+12)%page]; typ != 9 || got != byte(999-i) {
			t.Fatalf("record %d from the head: type %d, first byte %d, want 9, %d", i, typ, got, byte(999-i))
		}
	}
	if woken < 10 {
		t.Errorf("woken %d times by 1000 samples, every hundredth should", woken)
	}
}

// Events that want it have a time and a CPU before each sample.
func TestPerfSampleFields(t *testing.T) {
	m, err := maps.New(&maps.Config{CPUs: 1}, catalog.MapDef{Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	data, err := mem.Alloc(4)
	if err != nil {
		t.Fatal(err)
	}
	copy(mem.Bytes(data.Addr(), 4), "skep")
	const page = 4096
	memory := make([]byte, 2*page)
	b := maps.EmptyPerfBuffer(0)
	defer b.Close()
	if err := b.Share(memory, page, maps.PerfSharing{Now: func() uint64 { return 7 }, CPU: true}); err != nil {
		t.Fatal(err)
	}
	events := m.(*maps.PerfEventArray)
	events.Set(0, b)
	if n := testing.AllocsPerRun(10, func() { events.ProgOutput(0, 0, data.Addr(), 4, nil) }); n != 0 {
		t.Errorf("a sample allocates %v times", n)
	}
	word := func(at int) uint64 { return binary.NativeEndian.Uint64(memory[page+at:]) }
	if memory[page+6] != 32 || word(8) != 7 || word(16) != 0 || string(memory[page+28:page+32]) != "skep" {
		t.Errorf("% x", memory[page:page+40])
	}
}
