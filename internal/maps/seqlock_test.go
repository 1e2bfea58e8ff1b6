package maps

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// TestWholeValues: who looks a key up while others set, delete and evict it sees
// one of the values that were set, never parts of two, nor another key's.
func TestWholeValues(t *testing.T) {
	const words, keys, workers = 8, 3, 3
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	for _, d := range []catalog.MapDef{
		{Type: catalog.MapArray, KeySize: 4, ValueSize: 8 * words, MaxEntries: keys},
		{Type: catalog.MapArray, KeySize: 4, ValueSize: 8*words - 3, MaxEntries: keys},
		{Type: catalog.MapHash, KeySize: 4, ValueSize: 8 * words, MaxEntries: 2 * keys},
		{Type: catalog.MapLRUHash, KeySize: 4, ValueSize: 8 * words, MaxEntries: 2 * keys},
	} {
		for _, shared := range []bool{false, true} {
			m, err := New(&Config{CPUs: 1, Epoch: mem.NewEpoch(1)}, d)
			if err != nil {
				t.Fatal(err)
			}
			if shared { // as a program would have it: hash maps replace elements
				m.Acquire()
				m.Close()
			}
			fill := func(v []byte, key, n uint32) {
				for i := range v {
					v[i] = byte(n)
				}
				v[0] = byte(key)
			}
			var writers sync.WaitGroup
			var done atomic.Bool
			for w := range workers {
				writers.Go(func() {
					v := make([]byte, d.ValueSize)
					for n := range uint32(rounds) {
						key := (n + uint32(w)) % keys
						fill(v, key, n*workers+uint32(w))
						if e := m.Update(u32le(key), v, 0); e != nil && e != errno.ENOMEM {
							t.Error(e)
						}
						if n%5 == 0 && d.Type != catalog.MapArray {
							m.Delete(u32le(key))
							m.Update(u32le(keys+key), v, 0)
						}
					}
				})
			}
			go func() { writers.Wait(); done.Store(true) }()
			v := make([]byte, d.ValueSize)
			seen := 0
			for n := uint32(0); !done.Load(); n++ {
				key := n % keys
				if m.Lookup(u32le(key), v, 0) != nil {
					continue
				}
				if rest := v[1:]; slices.ContainsFunc(rest, func(b byte) bool { return b != rest[0] }) || uint32(v[0]) != key && rest[0] != 0 {
					t.Fatalf("%v: key %d has %x", d.Type, key, v)
				}
				seen++
			}
			writers.Wait()
			if m.Lookup(u32le(0), v, 0) == nil {
				seen++
			}
			if seen == 0 {
				t.Errorf("%v: nothing was ever there", d.Type)
			}
			m.Close()
		}
	}
}

// TestWholeBatches: batches beside batches and single updates move whole elements.
func TestWholeBatches(t *testing.T) {
	const size, count = 40, 300
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	m, err := New(&Config{CPUs: 1, Epoch: mem.NewEpoch(1)}, catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: size, MaxEntries: count})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	element := func(values []byte, key, n uint32) {
		for i := range values {
			values[i] = byte(n)
		}
		values[0] = byte(key)
	}
	var writers sync.WaitGroup
	for w := range uint32(2) {
		writers.Go(func() {
			b := Batch{Count: count, Values: make([]byte, size*count)}
			for i := range uint32(count) {
				b.Keys = append(b.Keys, u32le(i)...)
			}
			for n := range uint32(rounds) {
				for i := range uint32(count) {
					element(b.Values[i*size:][:size], i, 2*n+w)
				}
				if got, err := m.UpdateBatch(b); got != count || err != nil {
					t.Errorf("%d, %v", got, err)
				}
				one := make([]byte, size)
				element(one, n%count, n)
				m.Delete(u32le(n % count))
				m.Update(u32le(n%count), one, 0)
			}
		})
	}
	var done atomic.Bool
	go func() { writers.Wait(); done.Store(true) }()
	for last := false; ; {
		b := Batch{Count: 2 * count, Keys: make([]byte, 8*count), Values: make([]byte, 2*size*count), Out: make([]byte, 4)}
		n, err := m.LookupBatch(b)
		if err != nil && err != errno.ENOENT {
			t.Fatal(err)
		}
		for i := range n {
			key, v := binary.NativeEndian.Uint32(b.Keys[4*i:]), b.Values[i*size:][:size]
			if key >= count || v[0] != byte(key) || slices.ContainsFunc(v[1:], func(c byte) bool { return c != v[1] }) {
				t.Fatalf("key %d has %x", key, v)
			}
		}
		if last {
			if n != count {
				t.Errorf("%d elements, want %d", n, count)
			}
			return
		}
		last = done.Load()
	}
}

func u32le(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// TestOverwritten: the values of a hash map that nobody else knows are overwritten.
// As soon as a program could know it, updates leave what was found as it is.
func TestOverwritten(t *testing.T) {
	m, err := New(&Config{CPUs: 1, Epoch: mem.NewEpoch(1)}, catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: 8, MaxEntries: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := mem.Alloc(8)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free()
	mem.Store32(b.Addr(), 1)
	set := func(n uint64) {
		t.Helper()
		if err := m.Update(u32le(1), binary.NativeEndian.AppendUint64(nil, n), 0); err != nil {
			t.Fatal(err)
		}
	}
	set(1)
	at := m.ProgLookup(0, b.Addr())
	set(2)
	if now := m.ProgLookup(0, b.Addr()); now != at || mem.Load64(at) != 2 {
		t.Errorf("the value moved from %#x, %d, to %#x", at, mem.Load64(at), now)
	}
	m.Acquire()
	m.Close()
	set(3)
	if now := m.ProgLookup(0, b.Addr()); now == at || mem.Load64(at) != 2 || mem.Load64(now) != 3 {
		t.Errorf("what a program may hold became %d; the value is at %#x, it was at %#x", mem.Load64(at), now, at)
	}
}
