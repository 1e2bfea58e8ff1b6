package maps_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// sharedDefs are maps that processes can share, one of each type.
var sharedDefs = []catalog.MapDef{
	{Type: catalog.MapArray, KeySize: 4, ValueSize: 12, MaxEntries: 3, Shared: true, Name: "array"},
	{Type: catalog.MapHash, KeySize: 6, ValueSize: 12, MaxEntries: 20, Shared: true, Name: "hash"},
	{Type: catalog.MapRingBuf, MaxEntries: 4096, Shared: true, Name: "ring"},
	{Type: catalog.MapPerCPUArray, KeySize: 4, ValueSize: 12, MaxEntries: 3, Shared: true, Sharers: 2, Name: "percpu"},
	{Type: catalog.MapPerCPUHash, KeySize: 6, ValueSize: 12, MaxEntries: 20, Shared: true, Sharers: 2, Name: "percpuhash"},
	{Type: catalog.MapQueue, ValueSize: 12, MaxEntries: 5, Shared: true, Name: "queue"},
	{Type: catalog.MapStack, ValueSize: 12, MaxEntries: 5, Shared: true, Name: "stack"},
}

// twice makes a map and opens its memory once more, as another process would, and gives the memory itself.
func twice(t testing.TB, cfg *maps.Config, def catalog.MapDef) (a, b maps.Map, raw []byte) {
	t.Helper()
	a, err := maps.New(cfg, def)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	f, err := maps.Hand(a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err = maps.OpenShared(cfg, f, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return a, b, mapAll(t, f)
}

func mapAll(t testing.TB, f *os.File) []byte {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(raw) })
	return raw
}

// use does something of everything with a map; what comes of it does not matter.
func use(m maps.Map, s *scratch, n uint32) {
	def := m.Def()
	if ring, ok := m.(*maps.RingBuf); ok {
		if at := ring.Reserve(uint64(n%500), 0); at != 0 {
			clear(mem.Bytes(at, int(n%500)))
			switch n % 3 {
			case 0:
				ring.Submit(at, 0)
			case 1:
				ring.Discard(at, 0)
			}
		}
		ring.Output(s.put(make([]byte, 24)), 24, uint64(n%3))
		ring.Consume(func(b []byte) bool { return len(b) < 1<<20 })
		for what := range uint64(4) {
			ring.Query(what)
		}
		return
	}
	if q, ok := m.(maps.StackMap); ok {
		v := s.put(make([]byte, 12))
		q.ProgPush(v, uint64(n%3))
		q.ProgPeek(v)
		m.Update(nil, make([]byte, 12), 2)
		q.ProgPop(v)
		m.LookupAndDelete(nil, make([]byte, 12), 0)
		return
	}
	key, value := make([]byte, def.KeySize), make([]byte, m.ValueSize())
	binary.NativeEndian.PutUint32(key, n%40)
	m.Update(key, value, uint64(n%4))
	m.Lookup(key, value, 0)
	k := s.put(key)
	if at := m.ProgLookup(0, k); at != 0 {
		mem.Bytes(at, int(def.ValueSize))[0]++
	}
	m.ProgUpdate(0, k, s.put(value), 0)
	m.NextKey(key, key)
	m.NextKey(nil, key)
	b := maps.Batch{Keys: make([]byte, 64*def.KeySize), Values: make([]byte, 64*m.ValueSize()), Out: make([]byte, 16), Count: 64}
	m.LookupBatch(b)
	if n%5 == 0 {
		m.LookupAndDeleteBatch(b)
	}
	if walk, ok := m.(maps.IterMap); ok {
		it, more := maps.Iter{KeyBuf: s.put(make([]byte, 4))}, true
		for more {
			it, more = walk.ProgNext(0, it)
		}
	}
	if n%2 == 0 {
		m.Delete(key)
	}
	m.LookupAndDelete(key, value, 0)
}

// FuzzSharedMemory writes what the input says where it says into the memory of maps between uses of them: nothing
// faults, panics or goes on for ever. A write is six bytes: where, in words of 4 bytes, and the word.
func FuzzSharedMemory(f *testing.F) {
	for i := range sharedDefs {
		f.Add(uint8(i), []byte{0, 0, 1, 2, 3, 4})
	}
	words := []uint32{0, 1, 2, 5, 21, 84, 85, 86, 1 << 31, 1<<31 | 3, 1 << 30, ^uint32(0), 7, 8, 4096, 0x01000001, 1 << 8}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 60 { // guesses that lead somewhere
		var b []byte
		for range 40 {
			b = binary.LittleEndian.AppendUint16(b, uint16(r.IntN(4096)))
			b = binary.LittleEndian.AppendUint32(b, words[r.IntN(len(words))])
		}
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, writes []byte) {
		scribble(t, sharedDefs[int(which)%len(sharedDefs)], writes)
	})
}

// scribble uses a map from two sides while writes go into its memory.
func scribble(t *testing.T, def catalog.MapDef, writes []byte) {
	a, b, raw := twice(t, &maps.Config{CPUs: 1}, def)
	s := newScratch(t)
	for n := uint32(0); len(writes) >= 6; n++ {
		use(a, s, n)
		at := int(binary.LittleEndian.Uint16(writes)) * 4 % (len(raw) - 4)
		if lockWordAt(at) {
			at += 4 // waited for a second each time: see TestSharedLockIsNotWaitedForWithoutEnd
		}
		copy(raw[at:at+4], writes[2:6])
		use(b, s, n+1)
		writes = writes[6:]
	}
}

// TestSharedMemoryWhileItChanges: the same with somebody who writes all the time, from a thread of his own.
func TestSharedMemoryWhileItChanges(t *testing.T) {
	words := []uint32{0, 1, 2, 5, 21, 84, 85, 86, 1 << 31, 1<<31 | 3, 1 << 30, ^uint32(0), 7, 8, 4096}
	for _, def := range sharedDefs {
		t.Run(def.Name, func(t *testing.T) {
			a, b, raw := twice(t, &maps.Config{CPUs: 1}, def)
			var wg sync.WaitGroup
			var stop atomic.Bool
			wg.Go(func() {
				for r := rand.New(rand.NewPCG(5, 6)); !stop.Load(); {
					at := 4 * r.IntN(len(raw)/4)
					if at < 128 || at >= 256 && at < 4096 || lockWordAt(at) { // read once; seats; locks
						continue
					}
					binary.NativeEndian.PutUint32(raw[at:], words[r.IntN(len(words))])
				}
			})
			s := newScratch(t)
			for n := range uint32(1500) {
				use(a, s, n)
				use(b, s, n)
			}
			stop.Store(true)
			wg.Wait()
		})
	}
}

// lockWordAt reports whether a lock lies at an offset, of rings or of hash tables.
func lockWordAt(at int) bool {
	return at == 136 || at == 140 || at >= 4096 && at < 2*4096 && at%64 == 0
}

// FuzzSharedHeader opens files whose first page says what the input says, at the size that the input says.
func FuzzSharedHeader(f *testing.F) {
	for _, def := range sharedDefs {
		m, err := maps.New(nil, def)
		if err != nil {
			f.Fatal(err)
		}
		file, err := maps.Hand(m)
		if err != nil {
			f.Fatal(err)
		}
		head := make([]byte, 72)
		file.ReadAt(head, 0)
		info, _ := file.Stat()
		f.Add(head, uint32(info.Size()))
		f.Add(head, uint32(4096))
		file.Close()
		m.Close()
	}
	f.Fuzz(func(t *testing.T, head []byte, size uint32) {
		size %= 1 << 22
		s, err := mem.NewShared(int64(size))
		if err != nil {
			t.Skip()
		}
		defer s.Close()
		file, err := s.Hand()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if len(head) > int(size) {
			head = head[:size]
		}
		file.WriteAt(head, 0)
		m, err := maps.OpenShared(&maps.Config{CPUs: 1}, file, nil, nil)
		if err != nil {
			return
		}
		defer m.Close()
		use(m, newScratch(t), 1)
		use(m, newScratch(t), 2)
	})
}

// TestSharedHeaderIsChecked: each fact of the first page, made wrong, is noticed.
func TestSharedHeaderIsChecked(t *testing.T) {
	for _, def := range sharedDefs {
		for at := 0; at < 72; at += 4 {
			if at == 36 || at > 40 && at < 60 { // the seed, which may be anything; the name's later words
				continue
			}
			m, err := maps.New(nil, def)
			if err != nil {
				t.Fatal(err)
			}
			f, err := maps.Hand(m)
			if err != nil {
				t.Fatal(err)
			}
			raw := mapAll(t, f)
			raw[at+3] ^= 0x41
			if at == 40 {
				copy(raw[at:], "a/b")
			}
			got, err := maps.OpenShared(&maps.Config{}, f, nil, nil)
			if !errors.Is(err, maps.ErrBadShared) {
				t.Errorf("%s with a wrong word at %d: %v", def.Name, at, err)
			}
			if err == nil {
				got.Close()
			}
			f.Close()
			m.Close()
		}
	}
}

// A lock whose holder lives and never gives it back costs a second, and EBUSY; one whose holder is no
// process, or none any more, is taken.
func TestSharedLockIsNotWaitedForWithoutEnd(t *testing.T) {
	a, b, raw := twice(t, &maps.Config{CPUs: 1}, sharedDefs[1])
	lockAll := func(word uint32) {
		for n := range 64 {
			binary.NativeEndian.PutUint32(raw[4096+64*n:], word)
		}
	}
	key, value := make([]byte, 6), make([]byte, 12)
	const seat0, seat2 = 1<<8 | 1, 1<<8 | 3 // a's token, c's
	lockAll(seat0)
	if err := b.Update(key, value, 0); err != errno.EBUSY {
		t.Errorf("a lock that another holds: %v, want EBUSY", err)
	}
	for _, dead := range []uint32{seat0 + 1<<8, 1<<8 | 77, 1 << 8, ^uint32(0)} {
		lockAll(dead)
		if err := b.Update(key, value, 0); err != nil {
			t.Errorf("a lock that %#x holds, which is nobody: %v", dead, err)
		}
	}
	f, err := maps.Hand(a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := maps.OpenShared(&maps.Config{CPUs: 1}, f, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	lockAll(seat2)
	if err := b.Update(key, value, 0); err != errno.EBUSY {
		t.Errorf("a lock that c holds: %v, want EBUSY", err)
	}
	c.Close()
	if err := a.Delete(key); err != nil {
		t.Errorf("a lock whose holder has closed the map: %v", err)
	}
}

// Two who have the same table change it at once, as a [maps.Hash] can be: what is there is always whole.
func TestSharedHashUnderContention(t *testing.T) {
	def := catalog.MapDef{Type: catalog.MapHash, KeySize: 8, ValueSize: 32, MaxEntries: 16, Shared: true}
	a, b, _ := twice(t, &maps.Config{CPUs: 1}, def)
	var wg sync.WaitGroup
	for i, m := range []maps.Map{a, a, b, b} {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(i)))
			key, value := make([]byte, 8), make([]byte, 32)
			for range 20000 {
				k := uint64(r.IntN(24))
				binary.NativeEndian.PutUint64(key, k)
				switch r.IntN(5) {
				case 0:
					m.Delete(key)
				case 1, 2:
					v := k<<32 | uint64(r.Uint32())
					for w := range 4 {
						binary.NativeEndian.PutUint64(value[8*w:], v)
					}
					if err := m.Update(key, value, 0); err != nil && err != errno.E2BIG {
						t.Error(err)
						return
					}
				default:
					if m.Lookup(key, value, 0) != nil {
						continue
					}
					first := binary.NativeEndian.Uint64(value)
					for w := range 4 {
						if v := binary.NativeEndian.Uint64(value[8*w:]); v != first || v>>32 != k {
							t.Errorf("key %d has the value %x", k, value)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for key := []byte(nil); ; n++ {
		next := make([]byte, 8)
		if a.NextKey(key, next) != nil {
			break
		}
		key = next
	}
	if n > 16 {
		t.Errorf("%d keys", n)
	}
}

// The program side of shared maps allocates nothing.
func TestSharedAllocatesNothing(t *testing.T) {
	for _, def := range sharedDefs {
		m, _, _ := twice(t, &maps.Config{CPUs: 1}, def)
		s := newScratch(t)
		key, value := s.put(make([]byte, 8)), s.put(make([]byte, 16))
		n := testing.AllocsPerRun(100, func() {
			switch m := m.(type) {
			case *maps.RingBuf:
				m.Submit(m.Reserve(8, 0), 0)
				m.Consume(func([]byte) bool { return true })
			case maps.StackMap:
				m.ProgPush(value, 0)
				m.ProgPop(value)
			default:
				m.ProgUpdate(0, key, value, 0)
				m.ProgLookup(0, key)
				m.ProgDelete(0, key)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", def.Name, n)
		}
	}
}

// BenchmarkShared measures maps of several processes beside private ones.
func BenchmarkShared(b *testing.B) {
	for _, typ := range []catalog.MapType{catalog.MapArray, catalog.MapHash, catalog.MapPerCPUHash} {
		for _, shared := range []bool{false, true} {
			d := def(typ, 4, 8, 1000, 0)
			name := "private"
			if d.Shared = shared; shared {
				name, d.Sharers = "shared", 1
			}
			b.Run("lookup/"+typ.String()+"/"+name, func(b *testing.B) {
				m, keys, s := filled(b, d, d.MaxEntries)
				for i := 0; b.Loop(); i++ {
					mem.Store32(s, keys[i%len(keys)])
					m.ProgLookup(0, s)
				}
			})
			b.Run("update/"+typ.String()+"/"+name, func(b *testing.B) {
				m, keys, s := filled(b, d, d.MaxEntries)
				for i := 0; b.Loop(); i++ {
					mem.Store32(s, keys[i%len(keys)])
					m.ProgUpdate(0, s, s+8, 0)
				}
			})
		}
	}
	for _, shared := range []bool{false, true} {
		d := catalog.MapDef{Type: catalog.MapRingBuf, MaxEntries: 1 << 16, Shared: shared}
		b.Run(map[bool]string{false: "ringbuf/private", true: "ringbuf/shared"}[shared], func(b *testing.B) {
			m, err := maps.New(nil, d)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(m.Close)
			ring := m.(*maps.RingBuf)
			for b.Loop() {
				ring.Submit(ring.Reserve(8, 0), 0)
				ring.Consume(func([]byte) bool { return true })
			}
		})
	}
}
