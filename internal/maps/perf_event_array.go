package maps

import (
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapPerfEventArray, kind{make: newPerfEventArray})
}

// Parts of the flags of bpf_perf_event_output and its kin (uapi).
const (
	PerfIndexMask  uint64 = 0xffffffff    // BPF_F_INDEX_MASK
	PerfCurrentCPU uint64 = 0xffffffff    // BPF_F_CURRENT_CPU, under the mask
	PerfCtxLenMask uint64 = 0xfffff << 32 // BPF_F_CTXLEN_MASK: how much of the packet follows
)

// PerfEventArray is BPF_MAP_TYPE_PERF_EVENT_ARRAY: the buffers programs write
// samples to, usually one per CPU.
type PerfEventArray struct {
	*core
	opaque
	bufs []atomic.Pointer[PerfBuffer]

	mu     sync.Mutex
	owners map[uint32]PerfOwner
}

// PerfOwner is who put a buffer into a map.
type PerfOwner struct {
	By      any    // the open file of the map that it was put in through
	Release func() // gives the buffer's event back; nil: nobody asks
}

func newPerfEventArray(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &PerfEventArray{core: c, bufs: make([]atomic.Pointer[PerfBuffer], c.def.MaxEntries)}
	return m, c.newHeader()
}

// Set puts a buffer at index, nil takes it away. The map holds no reference: who made the buffer closes it.
func (m *PerfEventArray) Set(index uint32, b *PerfBuffer) error {
	return m.Put(index, b, PerfOwner{})
}

// Put puts a buffer at index, with what is to be told when it no longer is there.
func (m *PerfEventArray) Put(index uint32, b *PerfBuffer, o PerfOwner) error {
	if index >= m.def.MaxEntries {
		return errno.E2BIG
	}
	m.swap(index, b, o)
	return nil
}

// swap puts a buffer in and lets the one that was there go. It reports whether there was one.
func (m *PerfEventArray) swap(index uint32, b *PerfBuffer, o PerfOwner) bool {
	m.mu.Lock()
	old, had := m.owners[index], m.bufs[index].Swap(b)
	delete(m.owners, index)
	if o.Release != nil {
		if m.owners == nil {
			m.owners = map[uint32]PerfOwner{}
		}
		m.owners[index] = o
	}
	m.mu.Unlock()
	if old.Release != nil {
		old.Release()
	}
	return had != nil
}

// Leave takes away what was put in through an open file that is closed, but from maps that keep their
// elements (perf_event_fd_array_release).
func (m *PerfEventArray) Leave(by any) {
	if m.def.Flags&catalog.FlagPreserveElems == 0 {
		m.leave(func(o PerfOwner) bool { return o.By == by })
	}
}

func (m *PerfEventArray) leave(which func(PerfOwner) bool) {
	m.mu.Lock()
	var gone []PerfOwner
	for i, o := range m.owners {
		if which(o) {
			gone = append(gone, o)
			m.bufs[i].Store(nil)
			delete(m.owners, i)
		}
	}
	m.mu.Unlock()
	for _, o := range gone {
		o.Release()
	}
}

// Buffer returns the buffer at index, or nil.
func (m *PerfEventArray) Buffer(index uint32) *PerfBuffer {
	if index >= m.def.MaxEntries {
		return nil
	}
	return m.bufs[index].Load()
}

// ProgOutput writes one sample of size bytes at data, followed by extra (the
// part of the packet that the flags ask for, already read), to the buffer the
// flags name (__bpf_perf_event_output). The caller has checked the other bits of the flags.
func (m *PerfEventArray) ProgOutput(cpu int, flags, data, size uint64, extra []byte) uint64 {
	i := flags & PerfIndexMask
	if i == PerfCurrentCPU {
		i = uint64(cpu)
	}
	if i >= uint64(m.def.MaxEntries) {
		return ret(errno.E2BIG)
	}
	b := m.bufs[i].Load()
	if b == nil {
		return ret(errno.ENOENT)
	}
	if b.cpu != cpu {
		return ret(errno.EOPNOTSUPP)
	}
	return ret(b.write(mem.Bytes(data, int(size)), extra))
}

func (m *PerfEventArray) free() { m.leave(func(PerfOwner) bool { return true }) }

// lookup is not offered: there is no number to give for an event.
func (m *PerfEventArray) lookup(_, _ []byte, _ uint64) errno.Errno { return errno.ENOTSUPP }

// update follows bpf_fd_array_map_update_elem.
func (m *PerfEventArray) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.place(key, flags, catalog.UpdateAny)
	if e != 0 {
		return e
	}
	if m.cfg.PerfBuffer == nil {
		return errno.EBADF
	}
	b, err := m.cfg.PerfBuffer(index(value))
	if err != nil {
		return asErrno(err)
	}
	m.swap(i, b, PerfOwner{})
	return 0
}

func (m *PerfEventArray) delete(key []byte) errno.Errno {
	return m.empty(key, func(i uint32) bool { return m.swap(i, nil, PerfOwner{}) })
}

func (m *PerfEventArray) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}
