package maps_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// TestProgramsAllocateNothing: what a program does to a map leaves no garbage.
func TestProgramsAllocateNothing(t *testing.T) {
	cfg := &maps.Config{CPUs: 2, Epoch: mem.NewEpoch(2)}
	var reg maps.Registry
	s := newScratch(t)
	key, value := s.put(make([]byte, 8)), s.put(make([]byte, 64))
	none := func(what string, f func()) {
		t.Helper()
		f() // what grows once may grow now
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	open := func(d catalog.MapDef) maps.Map {
		t.Helper()
		m, err := maps.New(cfg, d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		if err := reg.Add(m); err != nil {
			t.Fatal(err)
		}
		none(fmt.Sprintf("type %v: by header", d.Type), func() {
			if reg.ByPtr(m.Def().Ptr) != m {
				t.Error("another map")
			}
		})
		return m
	}
	for _, d := range []catalog.MapDef{
		def(catalog.MapArray, 4, 8, 4, 0), def(catalog.MapPerCPUArray, 4, 8, 4, 0), def(catalog.MapHash, 4, 8, 4, 0),
		def(catalog.MapHash, 4, 8, 4, catalog.FlagNoPrealloc), def(catalog.MapPerCPUHash, 8, 8, 4, 0),
		def(catalog.MapLRUHash, 8, 8, 4, 0), def(catalog.MapLRUHash, 8, 8, 4, catalog.FlagNoCommonLRU), def(catalog.MapLRUPerCPUHash, 8, 8, 4, 0),
		def(catalog.MapLPMTrie, 8, 8, 4, catalog.FlagNoPrealloc), def(catalog.MapDevMap, 4, 8, 4, 0), def(catalog.MapDevMapHash, 4, 8, 4, 0),
		def(catalog.MapCPUMap, 4, 8, 4, 0), def(catalog.MapXSKMap, 4, 4, 4, 0),
	} {
		m := open(d)
		none(fmt.Sprintf("type %v", d.Type), func() {
			m.ProgUpdate(1, key, value, 0)
			m.ProgLookup(1, key)
			m.ProgUpdate(1, key, value, 0)
			if p, ok := m.(maps.PerCPUMap); ok {
				p.ProgLookupPerCPU(key, 0)
			}
			if w, ok := m.(maps.IterMap); ok {
				for it, ok := w.ProgNext(0, maps.Iter{KeyBuf: value}); ok; it, ok = w.ProgNext(0, it) {
				}
			}
			if r, ok := m.(maps.RedirectMap); ok {
				r.Target(1)
			}
			m.ProgDelete(1, key)
		})
	}
	for _, typ := range []catalog.MapType{catalog.MapQueue, catalog.MapStack, catalog.MapBloomFilter} {
		m := open(def(typ, 0, 8, 4, 0)).(maps.StackMap)
		none(fmt.Sprintf("type %v", typ), func() {
			m.ProgPush(value, 0)
			m.ProgPeek(value)
			m.ProgPop(value)
		})
	}
	ring := open(def(catalog.MapRingBuf, 0, 0, uint32(os.Getpagesize()), 0)).(*maps.RingBuf)
	drop := func([]byte) bool { return true }
	none("ringbuf", func() {
		ring.Submit(ring.Reserve(16, 0), 0)
		ring.Output(value, 16, 0)
		ring.Query(maps.RingAvailData)
		ring.Consume(drop)
	})
	perf := open(def(catalog.MapPerfEventArray, 4, 4, 2, 0)).(*maps.PerfEventArray)
	buf, err := maps.NewPerfBuffer(0, 4096, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := perf.Set(0, buf); err != nil {
		t.Fatal(err)
	}
	var rec maps.PerfRecord
	extra := make([]byte, 40)
	none("perf_event_array", func() {
		if perf.ProgOutput(0, maps.PerfCurrentCPU, value, 16, extra) != 0 || !buf.Read(&rec) {
			t.Error("no sample")
		}
	})
	progs := open(def(catalog.MapProgArray, 4, 4, 2, 0)).(*maps.ProgArray)
	if err := progs.Set(1, &fakeProg{id: 3}); err != nil {
		t.Fatal(err)
	}
	none("prog_array", func() {
		if progs.Prog(1) == nil || progs.Prog(9) != nil {
			t.Error("wrong program")
		}
	})
	stacks := open(def(catalog.MapStackTrace, 4, 64, 4, 0)).(*maps.StackTrace)
	chain := []uint64{1, 2, 3}
	none("stack_trace", func() { stacks.ProgStackID(chain, 0) })
	inner := def(catalog.MapArray, 4, 8, 1, 0)
	outer := def(catalog.MapHashOfMaps, 4, 4, 1, 0)
	outer.Inner = &inner
	mm := open(outer)
	none("hash_of_maps", func() { mm.ProgLookup(0, key) })
}

// benchKeys are random keys, half of which are in the map.
func benchKeys(n int) []uint32 {
	r := rand.New(rand.NewPCG(14, 14))
	keys := make([]uint32, 2*n)
	for i := range keys {
		keys[i] = r.Uint32()
	}
	return keys
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []uint32{1000, 1_000_000} {
		for _, d := range []catalog.MapDef{
			def(catalog.MapArray, 4, 8, n, 0), def(catalog.MapPerCPUArray, 4, 8, n, 0), def(catalog.MapHash, 4, 8, n, 0),
			def(catalog.MapPerCPUHash, 4, 8, n, 0), def(catalog.MapLRUHash, 4, 8, n, 0),
		} {
			b.Run(fmt.Sprintf("%v/%d", d.Type, n), func(b *testing.B) {
				m, keys, s := filled(b, d, n)
				for i := 0; b.Loop(); i++ {
					mem.Store32(s, keys[i%len(keys)])
					m.ProgLookup(0, s)
				}
			})
		}
	}
	b.Run("lpm_trie/100000", func(b *testing.B) {
		m, err := maps.New(nil, def(catalog.MapLPMTrie, 8, 8, 100_000, catalog.FlagNoPrealloc))
		if err != nil {
			b.Fatal(err)
		}
		defer m.Close()
		keys := benchKeys(100_000)
		s := newScratch(b)
		for i, k := range keys[:100_000] {
			m.ProgUpdate(0, s.put(binary.BigEndian.AppendUint32(u32(16+uint32(i%9)), k)), s.put(make([]byte, 8)), 0)
		}
		at := s.put(append(u32(32), 0, 0, 0, 0))
		for i := 0; b.Loop(); i++ {
			mem.Store32(at+4, keys[i%len(keys)])
			m.ProgLookup(0, at)
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	for _, d := range []catalog.MapDef{
		def(catalog.MapArray, 4, 8, 100_000, 0), def(catalog.MapHash, 4, 8, 100_000, 0), def(catalog.MapLRUHash, 4, 8, 100_000, 0),
	} {
		b.Run(d.Type.String(), func(b *testing.B) {
			m, keys, s := filled(b, d, d.MaxEntries)
			for i := 0; b.Loop(); i++ {
				mem.Store32(s, keys[i%len(keys)])
				m.ProgUpdate(0, s, s+8, 0)
			}
		})
	}
}

// filled makes a map with n elements; half of the keys are of these. The
// address is of memory for a key and, 8 bytes on, a value.
func filled(b *testing.B, d catalog.MapDef, n uint32) (maps.Map, []uint32, uint64) {
	m, err := maps.New(nil, d)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Close)
	s := newScratch(b)
	at := s.put(make([]byte, 16))
	keys := benchKeys(int(n))
	for i := range keys {
		if d.Type == catalog.MapArray || d.Type == catalog.MapPerCPUArray {
			keys[i] %= 2 * n
		}
		if i < int(n) {
			mem.Store32(at, keys[i])
			m.ProgUpdate(0, at, at+8, 0)
		}
	}
	rand.New(rand.NewPCG(15, 15)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return m, keys, at
}
