package maps

import (
	"math"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapBloomFilter, kind{check: checkBloom, make: newBloom})
}

// BloomFilter is BPF_MAP_TYPE_BLOOM_FILTER: a set of bits, of which each value
// pushed sets one per hash function.
type BloomFilter struct {
	*core
	noDelete
	block  *mem.Block
	mask   uint32 // number of bits − 1
	seed   uint32
	hashes uint32
}

// checkBloom follows bloom_map_alloc_check and bloom_map_alloc.
func checkBloom(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if def.ValueSize > kmallocMax {
		return errno.E2BIG
	}
	if def.Extra&^0xf != 0 {
		return errno.EINVAL
	}
	return rowAllows(row, def)
}

// defaultHashes is the number of hash functions where map_extra names none.
const defaultHashes = 5

func newBloom(c *core) (Map, errno.Errno) {
	m := &BloomFilter{core: c, hashes: uint32(c.def.Extra), seed: hashSeed(c)}
	if m.hashes == 0 {
		m.hashes = defaultHashes
	}
	m.mask = bloomMask(c.def.MaxEntries, m.hashes)
	b, err := mem.Alloc(int((uint64(m.mask) + 1) / 8))
	if err != nil {
		return nil, errno.ENOMEM
	}
	if e := c.newHeader(); e != 0 {
		b.Free()
		return nil, e
	}
	m.block = b
	mem.Store64(c.def.Ptr+HeaderBase, b.Addr())
	mem.Store32(c.def.Ptr+HeaderMask, m.mask)
	mem.Store32(c.def.Ptr+HeaderSeed, m.seed)
	return m, 0
}

// bloomMask is the size of the set, less one: entries × hashes / ln 2, with 7/5
// for 1/ln 2, rounded up to a power of two between 64 and 2³².
func bloomMask(entries, hashes uint32) uint32 {
	n := uint64(entries) * uint64(hashes)
	if n > math.MaxUint32 {
		return math.MaxUint32
	}
	if n = n / 5 * 7; n > 1<<31 {
		return math.MaxUint32
	}
	if n <= 64 {
		return 63
	}
	return uint32(1)<<bits.Len32(uint32(n-1)) - 1
}

func (m *BloomFilter) free() { m.block.Free() }

// bit returns the word and the bit in it that hash function i gives a value.
func (m *BloomFilter) bit(value unsafe.Pointer, i uint32) (*uint64, uint64) {
	h := jhash(value, m.def.ValueSize, m.seed+i) & m.mask
	return (*uint64)(mem.Ptr(m.block.Addr() + uint64(h/64)*8)), 1 << (h % 64)
}

func (m *BloomFilter) push(value unsafe.Pointer, flags uint64) errno.Errno {
	if flags != catalog.UpdateAny {
		return errno.EINVAL
	}
	for i := range m.hashes {
		word, bit := m.bit(value, i)
		atomic.OrUint64(word, bit)
	}
	return 0
}

// has reports ENOENT for a value that was certainly never pushed.
func (m *BloomFilter) has(value unsafe.Pointer) errno.Errno {
	for i := range m.hashes {
		word, bit := m.bit(value, i)
		if atomic.LoadUint64(word)&bit == 0 {
			return errno.ENOENT
		}
	}
	return 0
}

// ProgPush adds the value at an address to the set.
func (m *BloomFilter) ProgPush(value, flags uint64) uint64 { return ret(m.push(mem.Ptr(value), flags)) }

// ProgPop is refused: nothing leaves the set.
func (m *BloomFilter) ProgPop(uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// ProgPeek asks whether the value at an address may be in the set.
func (m *BloomFilter) ProgPeek(value uint64) uint64 { return ret(m.has(mem.Ptr(value))) }

// ProgLookup finds nothing: programs peek.
func (m *BloomFilter) ProgLookup(int, uint64) uint64 { return 0 }

// ProgUpdate is refused: programs push.
func (m *BloomFilter) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EINVAL) }

// lookup reads value and says whether it may be in the set.
func (m *BloomFilter) lookup(_, value []byte, _ uint64) errno.Errno { return m.has(ptr(value)) }

func (m *BloomFilter) update(_, value []byte, flags uint64) errno.Errno {
	return m.push(ptr(value), flags)
}

func (m *BloomFilter) delete([]byte) errno.Errno { return errno.EOPNOTSUPP }

func (m *BloomFilter) nextKey(_, _ []byte) errno.Errno { return errno.EOPNOTSUPP }
