package maps

import (
	"os"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapUserRingBuf, kind{check: checkRingBuf, make: newUserRingBuf})
}

// UserRingBuf is BPF_MAP_TYPE_USER_RINGBUF: a ring with the memory of
// [RingBuf] that user space writes and programs empty by bpf_user_ringbuf_drain.
// Since a foreign process could write it, programs trust nothing in it.
type UserRingBuf struct {
	*core
	ringMemory
	mu   sync.Mutex // writers
	busy atomic.Bool
	room chan struct{}

	onRoom, gone atomic.Pointer[func()]
}

func newUserRingBuf(c *core) (Map, errno.Errno) {
	m := &UserRingBuf{core: c, room: make(chan struct{}, 1)}
	alloc := mem.AllocMirrored
	if c.cfg.Share {
		alloc = func(head, size int) (*mem.Block, error) { return mem.AllocRing(int(pageSize), head, size) }
	}
	return m, m.ringMemory.open(c, alloc)
}

// File is what other processes map the ring by, or nil.
func (m *UserRingBuf) File() *os.File { return m.block.File() }

// toEcho shows what a record has beyond the end of the data to processes that
// map the ring's file, see [mem.Block.Echo].
func (m *UserRingBuf) toEcho(sample uint64, size uint32) {
	echo := m.block.Echo()
	if end := sample + uint64(size) - m.data; echo != nil && end > m.mask+1 {
		copy(echo[:min(end-m.mask-1, uint64(len(echo)))], mem.Bytes(m.data, int(m.mask+1)))
	}
}

// fromEcho is toEcho for what another process wrote.
func (m *UserRingBuf) fromEcho(sample, size uint64) {
	echo := m.block.Echo()
	if end := sample + size - m.data; echo != nil && end > m.mask+1 {
		copy(mem.Bytes(m.data, int(min(end-m.mask-1, m.mask+1))), echo)
	}
}

func (m *UserRingBuf) free() {
	m.block.Free()
	if f := m.gone.Load(); f != nil {
		(*f)()
	}
}

// OnRoom has f called whenever Room would receive, and gone when the map is no more. Neither may block.
func (m *UserRingBuf) OnRoom(f, gone func()) {
	m.onRoom.Store(&f)
	m.gone.Store(&gone)
}

// Reserve returns size bytes to fill, for user space, or nil when there is no
// room until programs have drained some, which Room tells. It ends in Submit or Discard.
func (m *UserRingBuf) Reserve(size int) []byte {
	if size < 0 || uint64(size) > ringMaxSize {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	prod, length := *m.prod, recordSize(uint64(size))
	if prod+length-atomic.LoadUint64(m.cons) > m.mask+1 {
		return nil
	}
	atomic.StoreUint32(m.header(prod), uint32(size)|ringBusy)
	atomic.StoreUint64(m.prod, prod+length)
	return mem.Bytes(m.data+prod&m.mask+ringHdrSize, size+1)[:size] // not nil for an empty record
}

// Submit hands a record to the programs, Discard gives it up. rec is what Reserve returned.
func (m *UserRingBuf) Submit(rec []byte) { m.commit(rec, 0) }

// Discard gives a record up; programs skip it.
func (m *UserRingBuf) Discard(rec []byte) { m.commit(rec, ringDiscard) }

func (m *UserRingBuf) commit(rec []byte, discard uint32) {
	at := uint64(uintptr(ptr(rec)))
	hdr := (*uint32)(mem.Ptr(at - ringHdrSize))
	m.toEcho(at, *hdr&^ringBusy)
	atomic.StoreUint32(hdr, *hdr&^ringBusy|discard)
}

// Room receives after programs have emptied the ring a little, when the kernel would wake a poll.
func (m *UserRingBuf) Room() <-chan struct{} { return m.room }

// maxDrain is how many records one call empties (BPF_MAX_USER_RINGBUF_SAMPLES).
const maxDrain = 128 << 10

// ProgDrain calls f with the address and size of each record until it returns
// something else than 0, and returns R0: how many records f saw, or a negative
// errno (bpf_user_ringbuf_drain). Only one program drains at a time.
func (m *UserRingBuf) ProgDrain(flags uint64, f func(sample, size uint64) uint64) uint64 {
	if flags&^(RingNoWakeup|RingForceWakeup) != 0 {
		return ret(errno.EINVAL)
	}
	if !m.busy.CompareAndSwap(false, true) {
		return ret(errno.EBUSY)
	}
	seen, looked, stop := uint64(0), 0, uint64(0)
	var e errno.Errno
	for ; looked < maxDrain && stop == 0; looked++ {
		var sample, size uint64
		sample, size, e = m.peek()
		if e == errno.EAGAIN {
			continue // discarded
		}
		if e != 0 {
			break
		}
		stop = f(sample, size)
		seen++
		atomic.AddUint64(m.cons, recordSize(size))
	}
	m.busy.Store(false)
	if flags&RingForceWakeup != 0 || flags&RingNoWakeup == 0 && looked > 0 {
		signal(m.room)
		if f := m.onRoom.Load(); f != nil {
			(*f)()
		}
	}
	if e != 0 && e != errno.ENODATA && e != errno.EAGAIN {
		return ret(e)
	}
	return seen
}

// peek finds the next record (__bpf_user_ringbuf_peek): ENODATA when there is
// none, EAGAIN when one was discarded, EINVAL and E2BIG when what is there is no record.
func (m *UserRingBuf) peek() (sample, size uint64, e errno.Errno) {
	prod := atomic.LoadUint64(m.prod)
	if prod%8 != 0 {
		return 0, 0, errno.EINVAL
	}
	cons := atomic.LoadUint64(m.cons) &^ 7 // which another process could have written, too
	if cons >= prod {
		return 0, 0, errno.ENODATA
	}
	h := atomic.LoadUint32(m.header(cons))
	size = uint64(h &^ (ringBusy | ringDiscard))
	length := recordSize(size)
	switch {
	case length > prod-cons:
		return 0, 0, errno.EINVAL
	case length > m.mask+1 || size > maxDynptr:
		return 0, 0, errno.E2BIG
	case h&ringDiscard != 0:
		atomic.StoreUint64(m.cons, cons+length)
		return 0, 0, errno.EAGAIN
	case h&ringBusy != 0:
		return 0, 0, errno.ENODATA
	}
	sample = m.data + cons&m.mask + ringHdrSize
	m.fromEcho(sample, size)
	return sample, size, 0
}

// maxDynptr is the largest memory a dynptr describes (DYNPTR_MAX_SIZE).
const maxDynptr = 1<<24 - 1
