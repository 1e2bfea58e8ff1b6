package maps

import (
	"math/bits"
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	if mem.Lazy && bits.UintSize == 64 { // else 4 GiB of addresses would be 4 GiB of memory, or more than there are
		bind(catalog.MapArena, kind{check: checkArena, make: newArena})
	}
}

// Arena is BPF_MAP_TYPE_ARENA: max_entries pages that programs allocate, free
// and link with each other. A pointer into it has 32 significant bits, which
// are added to Def().ValueBase:
//
//	ValueBase, aligned to 4 GiB
//	     ▼
//	│guard│        │ page 0 │ page 1 │ … │ page max−1 │              │guard│
//	               ▲
//	               low 32 bits of the user address (map_extra)
//
// Where map_extra is 0, user addresses are the addresses themselves. A page
// that is not allocated reads as zeroes; what is written to it is lost at the latest when it is allocated.
type Arena struct {
	*core
	opaque
	block *mem.Block
	page0 uint64 // address of page 0

	mu   sync.Mutex
	used []uint64 // a bit per page
}

const (
	arenaSpan  = 1 << 32
	arenaGuard = 1 << 16 // offsets of loads and stores reach so far
)

// checkArena follows arena_map_alloc.
func checkArena(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	size := uint64(def.MaxEntries) * pageSize
	switch {
	case def.Extra%pageSize != 0:
		return errno.EINVAL
	case size > arenaSpan:
		return errno.E2BIG
	case def.Extra>>32 != (def.Extra+size-1)>>32:
		return errno.ERANGE
	}
	return 0
}

func newArena(c *core) (Map, errno.Errno) {
	size := uint64(2*arenaSpan + 2*arenaGuard)
	b, err := mem.AllocSparse(int(size))
	if err != nil {
		return nil, errno.ENOMEM
	}
	if e := c.newHeader(); e != 0 {
		b.Free()
		return nil, e
	}
	c.def.ValueBase = (b.Addr() + arenaGuard + arenaSpan - 1) &^ (arenaSpan - 1)
	m := &Arena{core: c, block: b, page0: c.def.ValueBase + uint64(uint32(c.def.Extra)),
		used: make([]uint64, (uint64(c.def.MaxEntries)+63)/64)}
	mem.Store64(c.def.Ptr+HeaderBase, c.def.ValueBase)
	return m, 0
}

func (m *Arena) free() { m.block.Free() }

// UserBase is the user address of page 0.
func (m *Arena) UserBase() uint64 {
	if m.def.Extra != 0 {
		return m.def.Extra
	}
	return m.page0
}

func (m *Arena) isUsed(page uint64) bool { return m.used[page/64]>>(page%64)&1 != 0 }

// mark sets or clears the bits of n pages.
func (m *Arena) mark(page, n uint64, used bool) {
	for i := page; i < page+n; i++ {
		if used {
			m.used[i/64] |= 1 << (i % 64)
		} else {
			m.used[i/64] &^= 1 << (i % 64)
		}
	}
}

// isFree reports whether n pages from page on are all unallocated.
func (m *Arena) isFree(page, n uint64) bool {
	for i := page; i < page+n; i++ {
		if m.isUsed(i) {
			return false
		}
	}
	return true
}

// AllocPages allocates n pages, at a user address or, if that is 0, anywhere,
// and returns the user address of the first, or 0 (bpf_arena_alloc_pages).
func (m *Arena) AllocPages(addr uint64, n uint32) uint64 {
	total, count := uint64(m.def.MaxEntries), uint64(n)
	if count == 0 || count > total || addr%pageSize != 0 {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var page uint64
	if addr != 0 {
		page = m.pageOf(addr)
		if page > total-count || !m.isFree(page, count) {
			return 0
		}
	} else {
		for !m.isFree(page, count) {
			if page++; page > total-count {
				return 0
			}
		}
	}
	m.mark(page, count, true)
	m.wipe(page, count)
	return m.UserBase() + page*pageSize
}

// pageOf is the page at a user address, of which only the low half counts; it
// is beyond the last for an address outside.
func (m *Arena) pageOf(addr uint64) uint64 {
	return uint64(uint32(addr)-uint32(m.UserBase())) / pageSize
}

func (m *Arena) wipe(page, n uint64) {
	m.block.Wipe(int(m.page0-m.block.Addr()+page*pageSize), int(n*pageSize))
}

// FreePages gives back those of n pages from a user address on that lie in the
// arena (bpf_arena_free_pages).
func (m *Arena) FreePages(addr uint64, n uint32) {
	page := m.pageOf(addr)
	if addr == 0 || page >= uint64(m.def.MaxEntries) {
		return
	}
	count := min(uint64(n), uint64(m.def.MaxEntries)-page)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark(page, count, false)
	if count != 0 {
		m.wipe(page, count)
	}
}

// Used returns how many pages are allocated.
func (m *Arena) Used() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, w := range m.used {
		n += bits.OnesCount64(w)
	}
	return n
}

// Pages returns n bytes from an offset on, as user space sees them after
// mmap(2); the pages they lie in count as allocated from now on, as if touched. It
// returns nil when they do not all lie in the arena.
func (m *Arena) Pages(off, n uint64) []byte {
	size := uint64(m.def.MaxEntries) * pageSize
	if off > size || n > size-off {
		return nil
	}
	if n == 0 {
		return []byte{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first, last := off/pageSize, (off+n-1)/pageSize
	for p := first; p <= last; p++ {
		if !m.isUsed(p) {
			m.mark(p, 1, true)
			m.wipe(p, 1)
		}
	}
	return mem.Bytes(m.page0+off, int(n))
}

func (m *Arena) lookup(_, _ []byte, _ uint64) errno.Errno { return errno.EINVAL }

func (m *Arena) update(_, _ []byte, _ uint64) errno.Errno { return errno.EOPNOTSUPP }

func (m *Arena) delete([]byte) errno.Errno { return errno.EOPNOTSUPP }

func (m *Arena) nextKey(_, _ []byte) errno.Errno { return errno.EOPNOTSUPP }
