package maps

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapStackTrace, kind{check: checkStackTrace, make: newStackTrace})
}

// StackTrace is BPF_MAP_TYPE_STACK_TRACE: call chains, found by the id
// bpf_get_stackid made of their hash. There are 2^k ≥ max_entries ids and memory
// for max_entries chains.
//
// A value is the chain as 64-bit addresses, or, with BPF_F_STACK_BUILD_ID, as
//
//	┌────────┬──────────────┬──────────────┐
//	│ status │ build id     │ offset or ip │  struct bpf_stack_build_id
//	└────────┴──────────────┴──────────────┘
//	 0        4              24           32
//
// of which here the status is always "ip": there are no files behind addresses.
type StackTrace struct {
	*core
	block    *mem.Block
	mask     uint32
	maxDepth uint32

	mu     sync.Mutex
	chains []stackChain // by id
	spare  []uint32     // unused pieces of block
}

// stackChain is what one id stands for.
type stackChain struct {
	used  bool
	hash  uint32
	nr    uint32
	piece uint32
}

const (
	maxStackDepth    = 127 // sysctl_perf_event_max_stack
	stackBuildIDSize = 32
	stackBuildIDIP   = 2 // BPF_STACK_BUILD_ID_IP
)

// Flags of bpf_get_stackid (uapi).
const (
	StackSkipMask uint64 = 0xff    // BPF_F_SKIP_FIELD_MASK
	StackUser     uint64 = 1 << 8  // BPF_F_USER_STACK
	StackFastCmp  uint64 = 1 << 9  // BPF_F_FAST_STACK_CMP
	StackReuse    uint64 = 1 << 10 // BPF_F_REUSE_STACKID
	stackFlagsAll        = StackSkipMask | StackUser | StackFastCmp | StackReuse
)

// checkStackTrace follows stack_map_alloc.
func checkStackTrace(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	size := stackEntrySize(def)
	if def.ValueSize%size != 0 || def.ValueSize/size > maxStackDepth {
		return errno.EINVAL
	}
	if def.MaxEntries > 1<<31 {
		return errno.E2BIG
	}
	return 0
}

// stackEntrySize is the size of one address in a value.
func stackEntrySize(def *catalog.MapDef) uint32 {
	if def.Flags&catalog.FlagStackBuildID != 0 {
		return stackBuildIDSize
	}
	return 8
}

func newStackTrace(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxEagerLen {
		return nil, errno.ENOMEM
	}
	m := &StackTrace{core: c, mask: roundPow2(c.def.MaxEntries) - 1, maxDepth: c.def.ValueSize / stackEntrySize(&c.def)}
	b, err := mem.Alloc(int(uint64(c.def.MaxEntries) * uint64(m.maxDepth) * 8))
	if err != nil {
		return nil, errno.ENOMEM
	}
	if e := c.newHeader(); e != 0 {
		b.Free()
		return nil, e
	}
	m.block = b
	m.chains = make([]stackChain, uint64(m.mask)+1)
	m.spare = make([]uint32, c.def.MaxEntries)
	for i := range m.spare {
		m.spare[i] = uint32(i)
	}
	return m, 0
}

func (m *StackTrace) free() { m.block.Free() }

// piece returns the memory of a chain.
func (m *StackTrace) piece(i uint32) []uint64 {
	at := m.block.Addr() + uint64(i)*uint64(m.maxDepth)*8
	return unsafe.Slice((*uint64)(mem.Ptr(at)), m.maxDepth)
}

// ProgStackID stores a call chain, innermost frame first, and returns its id or
// a negative errno as R0 (bpf_get_stackid).
func (m *StackTrace) ProgStackID(ips []uint64, flags uint64) uint64 {
	if flags&^stackFlagsAll != 0 {
		return ret(errno.EINVAL)
	}
	skip := flags & StackSkipMask
	if uint64(len(ips)) <= skip {
		return ret(errno.EFAULT)
	}
	ips = ips[skip:]
	ips = ips[:min(len(ips), int(m.maxDepth))]
	h := jhash(unsafe.Pointer(&ips[0]), uint32(len(ips))*8, 0)
	id := h & m.mask
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.chains[id]
	if c.used && c.hash == h {
		if flags&StackFastCmp != 0 || slices.Equal(m.piece(c.piece)[:c.nr], ips) {
			return uint64(id)
		}
	}
	if c.used && flags&StackReuse == 0 {
		return ret(errno.EEXIST)
	}
	if len(m.spare) == 0 { // the kernel needs a spare piece even to replace a chain
		return ret(errno.ENOMEM)
	}
	if !c.used {
		c.piece = m.spare[len(m.spare)-1]
		m.spare = m.spare[:len(m.spare)-1]
	}
	copy(m.piece(c.piece), ips)
	c.used, c.hash, c.nr = true, h, uint32(len(ips))
	return uint64(id)
}

// ProgLookup finds nothing: only user space reads chains.
func (m *StackTrace) ProgLookup(int, uint64) uint64 { return 0 }

// ProgUpdate is refused: programs call bpf_get_stackid.
func (m *StackTrace) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EINVAL) }

// ProgDelete follows stack_map_delete_elem.
func (m *StackTrace) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Load32(key))) }

func (m *StackTrace) lookup(key, value []byte, _ uint64) errno.Errno {
	return m.extract(index(key), value, false)
}

func (m *StackTrace) pop(key, value []byte, _ uint64) errno.Errno {
	return m.extract(index(key), value, true)
}

// extract copies a chain, fills the rest of the value with zeroes, and removes
// the chain if it shall (bpf_stackmap_extract).
func (m *StackTrace) extract(id uint32, value []byte, remove bool) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id > m.mask || !m.chains[id].used {
		return errno.ENOENT
	}
	c := &m.chains[id]
	clear(value)
	size := int(stackEntrySize(&m.def))
	for i, ip := range m.piece(c.piece)[:c.nr] {
		e := value[i*size:][:size]
		*(*uint64)(ptr(e[size-8:])) = ip
		if size == stackBuildIDSize {
			*(*uint32)(ptr(e)) = stackBuildIDIP
		}
	}
	if remove {
		m.drop(c)
	}
	return 0
}

// drop empties an entry and keeps its memory for another.
func (m *StackTrace) drop(c *stackChain) {
	c.used = false
	m.spare = append(m.spare, c.piece)
}

func (m *StackTrace) update(_, _ []byte, _ uint64) errno.Errno { return errno.EINVAL }

func (m *StackTrace) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *StackTrace) remove(id uint32) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id > m.mask {
		return errno.E2BIG
	}
	c := &m.chains[id]
	if !c.used {
		return errno.ENOENT
	}
	m.drop(c)
	return 0
}

// nextKey follows stack_map_get_next_key: ids in order, an unknown one starts over.
func (m *StackTrace) nextKey(key, next []byte) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := uint64(0)
	if key != nil {
		if at := index(key); at <= m.mask && m.chains[at].used {
			id = uint64(at) + 1
		}
	}
	for ; id <= uint64(m.mask); id++ {
		if m.chains[id].used {
			*(*uint32)(ptr(next)) = uint32(id)
			return 0
		}
	}
	return errno.ENOENT
}
