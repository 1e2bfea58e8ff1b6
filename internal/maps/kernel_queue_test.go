package maps_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
)

// TestQueueAgainstKernel pushes, peeks and pops at random, over full and empty.
func TestQueueAgainstKernel(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapQueue, catalog.MapStack} {
		for _, size := range []uint32{1, 4, 12, 24} {
			t.Run(fmt.Sprintf("%d/%d", typ, size), func(t *testing.T) {
				p := newPair(t, def(typ, 0, size, 3, 0))
				r := rand.New(rand.NewPCG(1, uint64(size)))
				flags := []uint64{0, 0, 2, 2, 1, 3, 4, 6, 8}
				for range 300 {
					v := make([]byte, size)
					for i := range v {
						v[i] = byte(r.Uint32())
					}
					switch r.IntN(5) {
					case 0, 1:
						p.update(nil, v, flags[r.IntN(len(flags))])
					case 2:
						p.lookup(nil, flags[r.IntN(len(flags))])
					case 3:
						p.pop(nil, 0)
					case 4:
						p.pop(nil, flags[r.IntN(len(flags))])
					}
				}
				p.delete(nil)
				p.same("next key", p.ours.NextKey(nil, nil), p.kern.NextKey(nil, nil))
				p.lookup(u32(1), 0)
				p.update(u32(1), make([]byte, size), 0)
				p.pop(u32(1), 0)
				p.batch(batchLookup, maps.Batch{Count: 1})
				p.batch(batchUpdate, maps.Batch{Count: 1})
				p.batch(batchDelete, maps.Batch{Count: 1})
				p.batch(batchLookupDelete, maps.Batch{Count: 1})
				p.freeze()
				p.update(nil, make([]byte, size), 0)
				p.pop(nil, 0)
				p.lookup(nil, 0)
			})
		}
	}
}

// TestBloomAgainstKernel compares members and false positives, which with the
// kernel's hash and no seed must be the same.
func TestBloomAgainstKernel(t *testing.T) {
	for _, size := range []uint32{1, 4, 6, 16} {
		for _, hashes := range []uint64{0, 1, 3, 15} {
			for _, entries := range []uint32{1, 13, 100, 5000} {
				d := def(catalog.MapBloomFilter, 0, size, entries, catalog.FlagZeroSeed)
				d.Extra = hashes
				p := newPair(t, d)
				r := rand.New(rand.NewPCG(2, hashes))
				value := func() []byte {
					v := make([]byte, size)
					for i := range v {
						v[i] = byte(r.Uint32())
					}
					return v
				}
				for range 40 {
					p.update(nil, value(), 0)
				}
				p.update(nil, value(), 1)
				p.update(nil, value(), 4)
				for range 100 {
					v := value()
					p.same(fmt.Sprintf("is %x in it", v), p.ours.Lookup(nil, v, 0), p.kern.Lookup(nil, v, 0))
				}
				p.pop(nil, 0)
				p.delete(nil)
				p.same("next key", p.ours.NextKey(nil, nil), p.kern.NextKey(nil, nil))
				p.batch(batchLookup, maps.Batch{Count: 1})
			}
		}
	}
}
