package maps_test

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// prefix is a key of a trie over IPv4 addresses or over something longer.
type prefix struct {
	length uint32
	data   [16]byte
}

func (p *prefix) key(data int) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, p.length), p.data[:data]...)
}

// covers reports whether q begins with p.
func (p *prefix) covers(q *prefix) bool {
	for i := range p.length {
		if (p.data[i/8]^q.data[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return p.length <= q.length
}

// A trie that has grown an index answers as a list of prefixes does that is
// searched from end to end, whatever comes and goes.
func TestLPMIndex(t *testing.T) {
	for _, data := range []int{2, 4, 8, 16} {
		r := rand.New(rand.NewPCG(uint64(data), 1))
		m, err := maps.New(nil, def(catalog.MapLPMTrie, uint32(4+data), 8, 4096, catalog.FlagNoPrealloc))
		if err != nil {
			t.Fatal(err)
		}
		key, err := mem.Alloc(4 + data)
		if err != nil {
			t.Fatal(err)
		}
		draw := func() prefix { // crowded in a few corners, and every length
			p := prefix{length: r.Uint32N(uint32(8*data) + 1)}
			for i := range data {
				if p.data[i] = byte(r.Uint32()); r.IntN(3) != 0 {
					p.data[i] &= 0x81
				}
			}
			return p
		}
		model := map[prefix]uint64{}
		lookups := func() {
			for range 200 {
				q := draw()
				if r.IntN(4) != 0 {
					q.length = uint32(8 * data)
				}
				best, want := -1, uint64(0)
				for p, v := range model {
					if p.covers(&q) && int(p.length) > best {
						best, want = int(p.length), v
					}
				}
				copy(key.Bytes(), q.key(data))
				var got uint64
				if at := m.ProgLookup(0, key.Addr()); at != 0 {
					got = mem.Load64(at)
				}
				if got != want {
					t.Fatalf("%d bytes, %d prefixes: %v gives %d, want %d (of %d bits)", data, len(model), q, got, want, best)
				}
			}
		}
		var held []prefix
		for i := range 3000 {
			p := draw()
			for bit := p.length; bit < uint32(8*data); bit++ { // as a model's key it has one form
				p.data[bit/8] &^= 1 << (7 - bit%8)
			}
			if len(held) > 1200 || r.IntN(8) == 0 && len(held) > 0 {
				at := r.IntN(len(held))
				p = held[at]
				held[at] = held[len(held)-1]
				held = held[:len(held)-1]
				delete(model, p)
				if err := m.Delete(p.key(data)); err != nil {
					t.Fatal(err)
				}
			} else {
				if _, ok := model[p]; !ok {
					held = append(held, p)
				}
				model[p] = uint64(i + 1)
				if err := m.Update(p.key(data), binary.NativeEndian.AppendUint64(nil, uint64(i+1)), 0); err != nil {
					t.Fatal(err)
				}
			}
			if i%100 == 0 || len(held) > 250 && len(held) < 262 {
				lookups()
			}
		}
		lookups()
		key.Free()
		m.Close()
	}
}

// While prefixes of all lengths come and go around it, the longest one that stays is
// found, or one of those that come and go below it.
func TestLPMIndexUnderContention(t *testing.T) {
	const cpus = 3
	epoch := mem.NewEpoch(cpus)
	m, err := maps.New(&maps.Config{CPUs: cpus, Epoch: epoch}, def(catalog.MapLPMTrie, 8, 8, 4096, catalog.FlagNoPrealloc))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	put := func(length uint32, addr uint32) {
		p := prefix{length: length}
		binary.BigEndian.PutUint32(p.data[:], addr)
		if err := m.Update(p.key(4), binary.NativeEndian.AppendUint64(nil, uint64(length)), 0); err != nil {
			t.Error(err)
		}
	}
	drop := func(length uint32, addr uint32) {
		p := prefix{length: length}
		binary.BigEndian.PutUint32(p.data[:], addr)
		if err := m.Delete(p.key(4)); err != nil {
			t.Error(err)
		}
	}
	const stays = 0x0a010000 // 10.1.0.0/12, and others enough for an index
	for i := range uint32(400) {
		put(24, 0xc0000000+i<<8)
	}
	put(12, stays)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for cpu := range cpus {
		wg.Go(func() {
			key, err := mem.Alloc(8)
			if err != nil {
				t.Error(err)
				return
			}
			defer key.Free()
			p := prefix{length: 32}
			for i := uint32(0); !stop.Load(); i++ {
				binary.BigEndian.PutUint32(p.data[:], stays|i*2654435761>>14&0x3ffff)
				copy(key.Bytes(), p.key(4))
				epoch.Enter(cpu)
				at := m.ProgLookup(cpu, key.Addr())
				got := uint64(0)
				if at != 0 {
					got = mem.Load64(at)
				}
				epoch.Leave(cpu)
				if got < 12 || got > 32 {
					t.Errorf("%v gives %d", p, got)
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		length := []uint32{0, 8, 11, 13, 15, 16, 17, 20, 24, 32}[r.IntN(10)]
		addr := uint32(0x0a010000)
		if length > 12 {
			addr |= r.Uint32() & 0x3ffff &^ (1<<(32-length) - 1)
		} else {
			addr &^= 1<<(32-length) - 1
		}
		put(length, addr)
		drop(length, addr)
	}
	stop.Store(true)
	wg.Wait()
}
