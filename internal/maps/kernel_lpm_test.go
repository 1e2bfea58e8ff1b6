package maps_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
)

// TestLPMAgainstKernel adds, removes and looks up prefixes at random, few
// enough that they nest and collide.
func TestLPMAgainstKernel(t *testing.T) {
	for _, data := range []uint32{1, 2, 3, 4, 7, 8, 12, 16, 20, 31} {
		t.Run(fmt.Sprint(data), func(t *testing.T) {
			p := newPair(t, def(catalog.MapLPMTrie, 4+data, 5, 40, catalog.FlagNoPrealloc))
			r := rand.New(rand.NewPCG(3, uint64(data)))
			key := func() []byte {
				k := binary.NativeEndian.AppendUint32(nil, r.Uint32N(data*8+1))
				if r.IntN(20) == 0 {
					k = u32(data*8 + 1)
				}
				for range data {
					k = append(k, []byte{0, 0, 0x80, 0xff, 0xf0, byte(r.Uint32())}[r.IntN(6)])
				}
				return k
			}
			flags := []uint64{0, 0, 0, 1, 2, 3, 4, 5, 8}
			var keys [][]byte
			old := func() []byte {
				if len(keys) == 0 || r.IntN(4) == 0 {
					return key()
				}
				return keys[r.IntN(len(keys))]
			}
			for range 1500 {
				switch r.IntN(9) {
				case 0, 1, 2:
					k := key()
					keys = append(keys, k)
					p.update(k, []byte{byte(r.Uint32()), 1, 2, 3, 4}, flags[r.IntN(len(flags))])
				case 3, 4:
					p.delete(old())
				case 5:
					p.lookup(key(), 0)
				case 6:
					p.nextKey(old())
				case 7:
					p.update(old(), []byte{byte(r.Uint32()), 9, 9, 9, 9}, flags[r.IntN(len(flags))])
				case 8:
					if r.IntN(10) == 0 {
						p.walk()
						b, _, e := p.batch(batchLookup, maps.Batch{Count: 5})
						if e == 0 {
							p.batch(batchLookup, maps.Batch{In: b.Out, Count: 9})
						}
						p.batch(batchLookupDelete, maps.Batch{Count: 5})
						p.batch(batchDelete, maps.Batch{Keys: append(old(), old()...), Count: 2})
						p.pop(old(), 0)
					}
				}
			}
			p.walk()
		})
	}
}
