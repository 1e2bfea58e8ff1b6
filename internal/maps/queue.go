package maps

import (
	"math"
	"sync"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	for _, t := range []catalog.MapType{catalog.MapQueue, catalog.MapStack} {
		bind(t, kind{check: checkQueue, make: newQueue, shared: &sharer{size: sharedQueueSize, make: newSharedQueue}})
	}
}

// Queue is BPF_MAP_TYPE_QUEUE and BPF_MAP_TYPE_STACK: a ring of max_entries + 1
// places, one of which is always empty. Both push at head; a queue pops at
// tail, a stack below head.
//
//	│   │ a │ b │ c │   │   │
//	      ▲           ▲
//	     tail        head
type Queue struct {
	*core
	block      *mem.Block
	stack      bool
	mu         sync.Mutex
	head, tail uint32
	size       uint32 // max_entries + 1
}

// checkQueue follows queue_stack_map_alloc_check.
func checkQueue(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	if def.ValueSize > kmallocMax {
		return errno.E2BIG
	}
	if def.MaxEntries == math.MaxUint32 || uint64(def.MaxEntries)*uint64(def.ValueSize) > maxMapBytes {
		return errno.ENOMEM
	}
	return 0
}

func newQueue(c *core) (Map, errno.Errno) {
	b, err := mem.Alloc(int(queueBytes(&c.def)))
	if err != nil {
		return nil, errno.ENOMEM
	}
	return queueOver(c, b)
}

// queueBytes is how long the places are.
func queueBytes(def *catalog.MapDef) uint64 {
	return (uint64(def.MaxEntries) + 1) * uint64(def.ValueSize)
}

// queueOver makes a queue or stack of its places, which become its own, even if it fails.
func queueOver(c *core, b *mem.Block) (Map, errno.Errno) {
	if e := c.newHeader(); e != 0 {
		b.Free()
		return nil, e
	}
	return &Queue{core: c, block: b, stack: c.def.Type == catalog.MapStack, size: c.def.MaxEntries + 1}, 0
}

func (m *Queue) free() { m.block.Free() }

func (m *Queue) at(i uint32) unsafe.Pointer {
	return mem.Ptr(m.block.Addr() + uint64(i)*uint64(m.def.ValueSize))
}

// after returns the place after i, before the one before it.
func (m *Queue) after(i uint32) uint32 {
	if i+1 == m.size {
		return 0
	}
	return i + 1
}

func (m *Queue) before(i uint32) uint32 {
	if i == 0 {
		return m.size - 1
	}
	return i - 1
}

// get copies the element that is next to leave, and removes it (__queue_map_get,
// __stack_map_get). An empty map leaves zeroes.
func (m *Queue) get(value unsafe.Pointer, remove bool) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shm != nil {
		if e := m.fetch(); e != 0 {
			return e
		}
		defer m.store()
	}
	if m.head == m.tail {
		clear(unsafe.Slice((*byte)(value), m.def.ValueSize))
		return errno.ENOENT
	}
	i := m.tail
	if m.stack {
		i = m.before(m.head)
	}
	copyWords(value, m.at(i), uintptr(m.def.ValueSize))
	switch {
	case remove && m.stack:
		m.head = i
	case remove:
		m.tail = m.after(i)
	}
	return 0
}

// push follows queue_stack_map_push_elem: BPF_EXIST makes room by dropping the
// oldest element, of a stack too.
func (m *Queue) push(value unsafe.Pointer, flags uint64) errno.Errno {
	if flags&catalog.UpdateNoExist != 0 || flags > catalog.UpdateExist {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shm != nil {
		if e := m.fetch(); e != 0 {
			return e
		}
		defer m.store()
	}
	if m.after(m.head) == m.tail {
		if flags&catalog.UpdateExist == 0 {
			return errno.E2BIG
		}
		m.tail = m.after(m.tail)
	}
	copyWords(m.at(m.head), value, uintptr(m.def.ValueSize))
	m.head = m.after(m.head)
	return 0
}

// ProgPush adds the value at an address.
func (m *Queue) ProgPush(value, flags uint64) uint64 { return ret(m.push(mem.Ptr(value), flags)) }

// ProgPop takes the next value out.
func (m *Queue) ProgPop(value uint64) uint64 { return ret(m.get(mem.Ptr(value), true)) }

// ProgPeek reads the next value.
func (m *Queue) ProgPeek(value uint64) uint64 { return ret(m.get(mem.Ptr(value), false)) }

// ProgLookup finds nothing: there are no keys.
func (m *Queue) ProgLookup(int, uint64) uint64 { return 0 }

// ProgUpdate is refused: programs push.
func (m *Queue) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EINVAL) }

// ProgDelete is refused: programs pop.
func (m *Queue) ProgDelete(int, uint64) uint64 { return ret(errno.EINVAL) }

func (m *Queue) lookup(_, value []byte, _ uint64) errno.Errno { return m.get(ptr(value), false) }

func (m *Queue) update(_, value []byte, flags uint64) errno.Errno { return m.push(ptr(value), flags) }

func (m *Queue) delete([]byte) errno.Errno { return errno.EINVAL }

func (m *Queue) nextKey(_, _ []byte) errno.Errno { return errno.EINVAL }

func (m *Queue) pop(_, value []byte, _ uint64) errno.Errno { return m.get(ptr(value), true) }
