package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// slots is a table of addresses off-heap, for the types whose elements point
// at objects; HeaderBase says where it lies. An empty slot is 0.
type slots struct {
	block *mem.Block
	n     uint32
}

func (s *slots) open(c *core) errno.Errno {
	b, err := mem.Alloc(int(c.def.MaxEntries) * 8)
	if err != nil {
		return errno.ENOMEM
	}
	if e := c.newHeader(); e != 0 {
		b.Free()
		return e
	}
	s.block, s.n = b, c.def.MaxEntries
	mem.Store64(c.def.Ptr+HeaderBase, b.Addr())
	mem.Store32(c.def.Ptr+HeaderElemSize, 8)
	return 0
}

func (s *slots) at(i uint32) *uint64 { return (*uint64)(mem.Ptr(s.block.Addr() + uint64(i)*8)) }

// get returns slot i, or 0 beyond the last.
func (s *slots) get(i uint32) uint64 {
	if i >= s.n {
		return 0
	}
	return atomic.LoadUint64(s.at(i))
}

func (s *slots) set(i uint32, addr uint64) { atomic.StoreUint64(s.at(i), addr) }
