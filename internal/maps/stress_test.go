package maps_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// machine is a set of vCPUs that run Go functions as if they were programs.
type machine struct {
	*maps.Config
	scratch []*scratch

	calls atomic.Uint64   // of run's functions so far
	since []atomic.Uint64 // calls when a vCPU's run began, plus one; 0 between runs
}

// patience is how many calls a run may outlast: less than the elements a map has
// in reserve, since one that waits for a processor for longer sees elements used
// again, as it would in the kernel.
const patience = 512

// turn waits until no run is too old.
func (m *machine) turn() {
	now := m.calls.Add(1)
	for i := range m.since {
		for {
			if s := m.since[i].Load(); s == 0 || int64(now-s) < patience {
				break
			}
			runtime.Gosched()
		}
	}
}

func newMachine(t testing.TB, cpus int) *machine {
	m := &machine{Config: &maps.Config{CPUs: cpus, Epoch: mem.NewEpoch(cpus)}, since: make([]atomic.Uint64, cpus)}
	for range cpus {
		m.scratch = append(m.scratch, newScratch(t))
	}
	return m
}

// run calls f n times on every vCPU at once, each time inside an epoch, beside the other functions.
func (m *machine) run(n int, f func(cpu int, r *rand.Rand, s *scratch), beside ...func(r *rand.Rand)) {
	var wg sync.WaitGroup
	for cpu := range m.CPUs {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(12, uint64(cpu)))
			for range n {
				m.turn()
				m.since[cpu].Store(m.calls.Load() + 1)
				m.Epoch.Enter(cpu)
				f(cpu, r, m.scratch[cpu])
				m.Epoch.Leave(cpu)
				m.since[cpu].Store(0)
			}
		})
	}
	for i, g := range beside {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(13, uint64(i)))
			for range n {
				m.turn()
				g(r)
			}
		})
	}
	wg.Wait()
}

func iterations(t testing.TB) int {
	if testing.Short() {
		return 500
	}
	return 5000
}

// wide is a value of eight equal words that also names its key.
func wide(key, stamp uint32) []byte {
	var b []byte
	for range 8 {
		b = binary.NativeEndian.AppendUint64(b, uint64(key)<<32|uint64(stamp))
	}
	return b
}

// whole reports whether a value was written at once, for the key.
func whole(b []byte, key uint32) bool {
	first := binary.NativeEndian.Uint64(b)
	for i := 8; i < len(b); i += 8 {
		if binary.NativeEndian.Uint64(b[i:]) != first {
			return false
		}
	}
	return uint32(first>>32) == key
}

// TestValuesStayWhole: a value a program found keeps its content for the rest
// of the run, whatever happens to the key; user code never reads half a value.
func TestValuesStayWhole(t *testing.T) {
	for _, d := range []catalog.MapDef{
		def(catalog.MapHash, 4, 64, 8, 0), def(catalog.MapHash, 4, 64, 8, catalog.FlagNoPrealloc), def(catalog.MapHash, 4, 64, 400, 0),
	} {
		t.Run(fmt.Sprintf("%d/%#x", d.MaxEntries, d.Flags), func(t *testing.T) {
			mc := newMachine(t, 3)
			m, err := maps.New(mc.Config, d)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			m.Acquire() // the programs'
			defer m.Close()
			keys := d.MaxEntries + 4
			program := func(cpu int, r *rand.Rand, s *scratch) {
				key := r.Uint32N(keys)
				switch r.IntN(4) {
				case 0:
					m.ProgUpdate(cpu, s.put(u32(key)), s.put(wide(key, r.Uint32())), 0)
				case 1:
					m.ProgDelete(cpu, s.put(u32(key)))
				default:
					if at := m.ProgLookup(cpu, s.put(u32(key))); at != 0 {
						for range 3 {
							if b := s.read(at, 64); !whole(b, key) {
								t.Errorf("key %d: %x", key, b)
							}
						}
					}
				}
			}
			user := func(r *rand.Rand) {
				key, b := r.Uint32N(keys), make([]byte, 64)
				switch r.IntN(5) {
				case 0:
					m.Update(u32(key), wide(key, r.Uint32()), 0)
				case 1:
					m.Delete(u32(key))
				case 2:
					if m.LookupAndDelete(u32(key), b, 0) == nil && !whole(b, key) {
						t.Errorf("key %d taken out: %x", key, b)
					}
				default:
					if m.Lookup(u32(key), b, 0) == nil && !whole(b, key) {
						t.Errorf("key %d: %x", key, b)
					}
				}
			}
			mc.run(iterations(t), program, user, user)
			n := countKeys(t, m)
			if n > int(d.MaxEntries) {
				t.Errorf("%d elements, max_entries %d", n, d.MaxEntries)
			}
			// All room is still there.
			for k := range d.MaxEntries {
				m.Delete(u32(k))
			}
			for k := d.MaxEntries; k < keys; k++ {
				m.Delete(u32(k))
			}
			for k := range d.MaxEntries {
				if err := m.Update(u32(k), wide(k, 0), catalog.UpdateNoExist); err != nil {
					t.Fatalf("refilling, key %d: %v", k, err)
				}
			}
		})
	}
}

func countKeys(t *testing.T, m maps.Map) int {
	t.Helper()
	seen := map[string]bool{}
	key := make([]byte, m.Def().KeySize)
	for err := m.NextKey(nil, key); err == nil; err = m.NextKey(key, key) {
		if seen[string(key)] {
			t.Fatalf("key %x comes twice", key)
		}
		seen[string(key)] = true
	}
	return len(seen)
}

// TestLRUUnderContention: the map never overflows, never loses room, and what
// user code reads belongs to the key it asked for.
func TestLRUUnderContention(t *testing.T) {
	for _, flags := range []uint32{0, catalog.FlagNoCommonLRU} {
		for _, typ := range []catalog.MapType{catalog.MapLRUHash, catalog.MapLRUPerCPUHash} {
			for _, entries := range []uint32{3, 100} {
				t.Run(fmt.Sprintf("%d/%d/%#x", typ, entries, flags), func(t *testing.T) {
					mc := newMachine(t, 3)
					var turn atomic.Int32
					mc.CPU = func() int { return int(turn.Add(1)) % 3 }
					m, err := maps.New(mc.Config, def(typ, 4, 64, entries, flags))
					if err != nil {
						t.Fatal(err)
					}
					defer m.Close()
					keys := 2 * entries
					program := func(cpu int, r *rand.Rand, s *scratch) {
						key := r.Uint32N(keys)
						switch r.IntN(4) {
						case 0, 1:
							m.ProgUpdate(cpu, s.put(u32(key)), s.put(wide(key, r.Uint32())), 0)
						case 2:
							m.ProgDelete(cpu, s.put(u32(key)))
						case 3:
							m.ProgLookup(cpu, s.put(u32(key)))
						}
					}
					size := m.ValueSize()
					user := func(r *rand.Rand) {
						key, b := r.Uint32N(keys), make([]byte, size)
						switch r.IntN(3) {
						case 0:
							copy(b, wide(key, 1))
							m.Update(u32(key), b, 0)
						case 1:
							if m.Lookup(u32(key), b, 0) == nil && typ == catalog.MapLRUHash && !whole(b, key) {
								t.Errorf("key %d: %x", key, b)
							}
						case 2:
							m.LookupAndDelete(u32(key), b, 0)
						}
					}
					mc.run(iterations(t), program, user)
					if n := countKeys(t, m); n > int(m.Def().MaxEntries) {
						t.Errorf("%d elements, max_entries %d", n, m.Def().MaxEntries)
					}
					for k := range keys * 2 {
						if err := m.Update(u32(k), make([]byte, size), 0); err != nil {
							t.Fatalf("key %d: %v", k, err)
						}
					}
				})
			}
		}
	}
}

// TestLPMUnderContention: readers always find the shortest prefix at least, and
// what they find contains what they asked for.
func TestLPMUnderContention(t *testing.T) {
	mc := newMachine(t, 3)
	m, err := maps.New(mc.Config, def(catalog.MapLPMTrie, 8, 8, 64, catalog.FlagNoPrealloc))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	key := func(length, addr uint32) []byte {
		return binary.BigEndian.AppendUint32(u32(length), addr)
	}
	mask := func(length uint32) uint32 { return uint32(^uint64(0) << (32 - length)) }
	value := func(length, addr uint32) []byte { return append(u32(length), u32(addr&mask(length))...) }
	if err := m.Update(key(0, 0), value(0, 0), 0); err != nil {
		t.Fatal(err)
	}
	program := func(cpu int, r *rand.Rand, s *scratch) {
		addr := r.Uint32() & 0xf000f00f
		if r.IntN(4) == 0 {
			length := 1 + r.Uint32N(32)
			if r.IntN(2) == 0 {
				m.ProgUpdate(cpu, s.put(key(length, addr)), s.put(value(length, addr)), 0)
			} else {
				m.ProgDelete(cpu, s.put(key(length, addr)))
			}
			return
		}
		at := m.ProgLookup(cpu, s.put(key(32, addr)))
		if at == 0 {
			t.Error("not even the default was found")
			return
		}
		for range 3 {
			length, prefix := mem.Load32(at), mem.Load32(at+4)
			if length > 32 || addr&mask(length) != prefix {
				t.Errorf("%#x found %#x/%d", addr, prefix, length)
			}
		}
	}
	user := func(r *rand.Rand) {
		addr, length := r.Uint32()&0xf000f00f, 1+r.Uint32N(32)
		if r.IntN(2) == 0 {
			m.Update(key(length, addr), value(length, addr), 0)
		} else {
			m.Delete(key(length, addr))
		}
	}
	mc.run(iterations(t), program, user)
	countKeys(t, m)
}

// TestInnerMapsUnderContention: the header and values of an inner map a program
// found can be read to the end of its run, though user code has long replaced and closed it.
func TestInnerMapsUnderContention(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapArrayOfMaps, catalog.MapHashOfMaps} {
		mc := newMachine(t, 3)
		inner := def(catalog.MapArray, 4, 8, 2, 0)
		made := make(chan maps.Map, 1)
		mc.Map = func(uint32) (maps.Map, error) { return <-made, nil }
		outer := def(typ, 4, 4, 2, 0)
		outer.Inner = &inner
		m, err := maps.New(mc.Config, outer)
		if err != nil {
			t.Fatal(err)
		}
		program := func(cpu int, r *rand.Rand, s *scratch) {
			if ptr := m.ProgLookup(cpu, s.put(u32(r.Uint32N(2)))); ptr != 0 {
				for range 3 {
					if mem.Load32(ptr+maps.HeaderMaxEntries) != 2 || mem.Load64(mem.Load64(ptr+maps.HeaderBase)+8) != 0xfeed {
						t.Error("an inner map is gone")
					}
				}
			}
		}
		user := func(r *rand.Rand) {
			in, err := maps.New(mc.Config, inner)
			if err != nil {
				t.Error(err)
				return
			}
			in.Update(u32(1), binary.NativeEndian.AppendUint64(nil, 0xfeed), 0)
			made <- in
			if err := m.Update(u32(r.Uint32N(2)), u32(0), 0); err != nil {
				t.Error(err)
			}
			if r.IntN(8) == 0 {
				m.Delete(u32(r.Uint32N(2)))
			}
		}
		mc.run(iterations(t)/5, program, user)
		m.Close()
		mc.Epoch.Wait()
	}
}

// TestRingBufUnderContention: every record that found room arrives once, whole,
// and those of one writer in order; the reader sleeps in between.
func TestRingBufUnderContention(t *testing.T) {
	mc := newMachine(t, 3)
	mp, err := maps.New(mc.Config, def(catalog.MapRingBuf, 0, 0, uint32(os.Getpagesize()), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer mp.Close()
	m := mp.(*maps.RingBuf)
	var sent, discarded [3]uint64
	done := make(chan struct{})
	var got [3]uint64
	var last [3]uint64
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for open := true; open; {
			select {
			case <-m.Wake():
			case <-done:
				open = false
			}
			m.Consume(func(b []byte) bool {
				cpu, n := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint64(b[4:])
				for i := 12; i < len(b); i++ {
					if b[i] != byte(n) {
						t.Errorf("record %d of CPU %d: %x", n, cpu, b)
						break
					}
				}
				if n <= last[cpu] {
					t.Errorf("CPU %d: record %d after %d", cpu, n, last[cpu])
				}
				last[cpu] = n
				got[cpu]++
				return true
			})
		}
	}()
	var number [3]uint64
	mc.run(iterations(t), func(cpu int, r *rand.Rand, s *scratch) {
		number[cpu]++
		size := 12 + r.IntN(90)
		rec := binary.NativeEndian.AppendUint64(u32(uint32(cpu)), number[cpu])
		for len(rec) < size {
			rec = append(rec, byte(number[cpu]))
		}
		if r.IntN(2) == 0 {
			if m.Output(s.put(rec), uint64(size), 0) == 0 {
				sent[cpu]++
			}
			return
		}
		at := m.Reserve(uint64(size), 0)
		if at == 0 {
			return
		}
		copy(s.read(at, size), rec)
		if r.IntN(4) == 0 {
			m.Discard(at, 0)
			discarded[cpu]++
		} else {
			m.Submit(at, 0)
			sent[cpu]++
		}
	})
	close(done)
	<-finished
	if got != sent {
		t.Errorf("sent %d, got %d", sent, got)
	}
	total := m.Dropped()
	for cpu := range 3 {
		total += sent[cpu] + discarded[cpu]
	}
	if total != uint64(3*iterations(t)) {
		t.Errorf("%d records accounted for", total)
	}
}

// TestQueueUnderContention: what is pushed is popped once.
func TestQueueUnderContention(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapQueue, catalog.MapStack} {
		mc := newMachine(t, 3)
		mp, err := maps.New(mc.Config, def(typ, 0, 8, 16, 0))
		if err != nil {
			t.Fatal(err)
		}
		m := mp.(maps.StackMap)
		var in, out [3]uint64
		mc.run(iterations(t), func(cpu int, r *rand.Rand, s *scratch) {
			if r.IntN(2) == 0 {
				v := r.Uint64()
				if m.ProgPush(s.put(binary.NativeEndian.AppendUint64(nil, v)), 0) == 0 {
					in[cpu] += v
				}
				return
			}
			at := s.put(make([]byte, 8))
			if m.ProgPop(at) == 0 {
				out[cpu] += mem.Load64(at)
			}
		})
		for b := make([]byte, 8); m.LookupAndDelete(nil, b, 0) == nil; {
			out[0] += binary.NativeEndian.Uint64(b)
		}
		if in[0]+in[1]+in[2] != out[0]+out[1]+out[2] {
			t.Errorf("type %d: values were lost or doubled", typ)
		}
		m.Close()
	}
}

// TestBatchesUnderContention walks tables by batches while they change: a key
// that stays is seen in every walk, and no batch names a key twice.
func TestBatchesUnderContention(t *testing.T) {
	mc := newMachine(t, 2)
	m, err := maps.New(mc.Config, def(catalog.MapHash, 4, 8, 300, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const staying = 100
	for k := range uint32(staying) {
		m.Update(u32(k), make([]byte, 8), 0)
	}
	program := func(cpu int, r *rand.Rand, s *scratch) {
		key := s.put(u32(staying + r.Uint32N(200)))
		if r.IntN(2) == 0 {
			m.ProgUpdate(cpu, key, s.put(make([]byte, 8)), 0)
		} else {
			m.ProgDelete(cpu, key)
		}
	}
	walks := 0
	user := func(*rand.Rand) {
		if walks++; walks%50 != 0 {
			return
		}
		seen := map[uint32]int{}
		b := maps.Batch{Out: make([]byte, 4), Keys: make([]byte, 4*64), Values: make([]byte, 8*64), Count: 64}
		for {
			n, err := m.LookupBatch(b)
			for i := range n {
				seen[binary.NativeEndian.Uint32(b.Keys[4*i:])]++
			}
			if err != nil {
				break
			}
			b.In = append(b.In[:0], b.Out...)
		}
		for k := range uint32(staying) {
			if seen[k] != 1 {
				t.Errorf("key %d was seen %d times", k, seen[k])
			}
		}
	}
	mc.run(iterations(t), program, user)
}
