package maps

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapRingBuf, kind{check: checkRingBuf, make: newRingBuf,
		shared: &sharer{size: sharedRingSize, make: newSharedRing}})
}

// RingBuf is BPF_MAP_TYPE_RINGBUF: one queue of records that all CPUs write and
// one reader empties. Its memory has the kernel's layout, so that it could be
// mapped by a foreign reader:
//
//	page 0       page 1         page 2           data pages        the same again
//	┌──────────┬──────────────┬────────────────┬─ ─ ─ ─ ─ ─ ─ ─ ─┬─ ─ ─ ─ ─ ─ ─ ─ ─┐
//	│ header   │ consumer pos │ producer pos   │ records          │ records          │
//	└──────────┴──────────────┴────────────────┴─ ─ ─ ─ ─ ─ ─ ─ ─┴─ ─ ─ ─ ─ ─ ─ ─ ─┘
//
// Positions count bytes since the beginning. A record is never torn at the
// end of the data: it goes on in the second copy. Each begins at a multiple of 8 with
//
//	  31      30        29        0   31                         0
//	┌──────┬─────────┬────────────┐ ┌─────────────────────────────┐
//	│ busy │ discard │ length     │ │ pages from page 0 to here   │
//	└──────┴─────────┴────────────┘ └─────────────────────────────┘
//
// A reserved record is busy until it is submitted or discarded; the reader
// stops at it. Where there is no room, the writer is told and the record is not written:
// nothing is overwritten (Linux 6.18 has no BPF_F_RB_OVERWRITE yet).
type RingBuf struct {
	*core
	ringMemory
	reading sync.Mutex
	wake    chan struct{}
	dropped atomic.Uint64
	onWake  atomic.Pointer[func()]
	gone    atomic.Pointer[func()]
	view    *ringView   // for processes that see what was written; nil: there are none
	shared  *sharedRing // where other processes write and read too; else nil
}

// ringMemory is the memory of a ring.
type ringMemory struct {
	block *mem.Block
	mask  uint64
	data  uint64 // address of the first record
	cons  *uint64
	prod  *uint64
}

// Where writers meet, native code among them: words behind the map's header.
const (
	RingLock    = 128 // 1 while a writer takes room
	RingPending = 136 // a position before which no record is busy
)

// Bits of a record's first word (uapi).
const (
	ringBusy    = 1 << 31 // BPF_RINGBUF_BUSY_BIT
	ringDiscard = 1 << 30 // BPF_RINGBUF_DISCARD_BIT
	ringHdrSize = 8       // BPF_RINGBUF_HDR_SZ
	ringMaxSize = 1<<30 - 1
)

// Flags of bpf_ringbuf_submit, _discard and _output, and what bpf_ringbuf_query asks for (uapi).
const (
	RingNoWakeup    uint64 = 1 // BPF_RB_NO_WAKEUP
	RingForceWakeup uint64 = 2 // BPF_RB_FORCE_WAKEUP

	RingAvailData uint64 = 0 // BPF_RB_AVAIL_DATA
	RingSize      uint64 = 1 // BPF_RB_RING_SIZE
	RingConsPos   uint64 = 2 // BPF_RB_CONS_POS
	RingProdPos   uint64 = 3 // BPF_RB_PROD_POS
)

// checkRingBuf follows ringbuf_map_alloc: the row's page is the smallest there is.
func checkRingBuf(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if uint64(def.MaxEntries)%pageSize != 0 {
		return errno.EINVAL
	}
	return rowAllows(row, def)
}

func newRingBuf(c *core) (Map, errno.Errno) {
	m := &RingBuf{core: c, wake: make(chan struct{}, 1)}
	if e := m.ringMemory.open(c, mem.AllocMirrored); e != 0 || !c.cfg.Share {
		return m, e
	}
	view, err := newRingView(m.mask + 1)
	if err != nil {
		m.block.Free()
		return nil, errno.ENOMEM
	}
	m.view = view
	return m, 0
}

// open allocates the memory; its first page is the map's header.
func (r *ringMemory) open(c *core, alloc func(head, size int) (*mem.Block, error)) errno.Errno {
	b, err := alloc(3*int(pageSize), int(c.def.MaxEntries))
	if err != nil {
		return errno.ENOMEM
	}
	base := b.Addr()
	*r = ringMemory{block: b, mask: uint64(c.def.MaxEntries) - 1, data: base + 3*pageSize,
		cons: (*uint64)(mem.Ptr(base + pageSize)), prod: (*uint64)(mem.Ptr(base + 2*pageSize))}
	c.def.Ptr = base
	mem.Store64(base+HeaderBase, r.data)
	mem.Store32(base+HeaderMask, uint32(r.mask))
	return 0
}

// header returns the first word of the record at a position.
func (r *ringMemory) header(pos uint64) *uint32 { return (*uint32)(mem.Ptr(r.data + pos&r.mask)) }

// File is what other processes map the ring by, or nil.
func (m *RingBuf) File() *os.File {
	if m.view == nil {
		return nil
	}
	return m.view.block.File()
}

// recordSize is what a record of n bytes takes in the ring.
func recordSize(n uint64) uint64 { return (n + ringHdrSize + 7) &^ 7 }

// signal wakes who waits on a channel of one place.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func (m *RingBuf) release() {
	if m.shared != nil {
		m.shared.release()
	}
}

func (m *RingBuf) free() {
	if m.shared != nil {
		sharedRings.remove(m.block)
	}
	m.block.Free()
	if m.view != nil {
		m.view.block.Free()
	}
	if f := m.gone.Load(); f != nil {
		(*f)()
	}
}

// lock takes the writers' lock. Native code never waits for it, nor holds it over an exit.
func (m *RingBuf) lock() {
	for !atomic.CompareAndSwapUint32(m.lockWord(), 0, 1) {
		runtime.Gosched()
	}
}

func (m *RingBuf) unlock() { atomic.StoreUint32(m.lockWord(), 0) }

func (m *RingBuf) lockWord() *uint32 { return (*uint32)(mem.Ptr(m.def.Ptr + RingLock)) }

func (m *RingBuf) pending() *uint64 { return (*uint64)(mem.Ptr(m.def.Ptr + RingPending)) }

// Reserve returns the address of size bytes to fill, or 0 when there is no room
// (__bpf_ringbuf_reserve; flags must be 0). It ends in Submit or Discard.
func (m *RingBuf) Reserve(size, flags uint64) uint64 {
	if flags != 0 || size > ringMaxSize {
		return 0
	}
	length := recordSize(size)
	if length > m.mask+1 {
		return 0
	}
	if m.shared != nil {
		return m.shared.reserve(size, length)
	}
	cons := m.taken()
	m.lock()
	defer m.unlock()
	prod, pending := *m.prod, m.pending()
	for *pending < prod {
		h := atomic.LoadUint32(m.header(*pending))
		if h&ringBusy != 0 {
			break
		}
		*pending += recordSize(uint64(h &^ ringDiscard))
	}
	next := prod + length
	if next-cons > m.mask || next-*pending > m.mask {
		m.dropped.Add(1)
		return 0
	}
	hdr := m.data + prod&m.mask
	mem.Store32(hdr+4, uint32((hdr-m.def.Ptr)/pageSize))
	atomic.StoreUint32((*uint32)(mem.Ptr(hdr)), uint32(size)|ringBusy)
	atomic.StoreUint64(m.prod, next)
	return hdr + ringHdrSize
}

// Submit hands a reserved record to the reader.
func (m *RingBuf) Submit(sample, flags uint64) { m.commit(sample, flags, 0) }

// Discard gives a reserved record up; the reader skips it.
func (m *RingBuf) Discard(sample, flags uint64) { m.commit(sample, flags, ringDiscard) }

// commit follows bpf_ringbuf_commit: the reader is woken if it waits for this very record.
func (m *RingBuf) commit(sample, flags uint64, discard uint32) {
	hdr := sample - ringHdrSize
	word := (*uint32)(mem.Ptr(hdr))
	atomic.StoreUint32(word, *word&^ringBusy|discard)
	m.show()
	switch {
	case flags&RingForceWakeup != 0:
	case flags&RingNoWakeup == 0 && m.taken()&m.mask == hdr-m.data:
	default:
		return
	}
	m.Signal()
}

// Signal wakes who waits for records.
func (m *RingBuf) Signal() {
	if m.shared != nil {
		m.shared.signal()
	}
	m.signalHere()
}

func (m *RingBuf) signalHere() {
	signal(m.wake)
	if f := m.onWake.Load(); f != nil {
		(*f)()
	}
}

// OnWake has f called whenever Wake would receive, and gone when the map is no more. Neither may block.
func (m *RingBuf) OnWake(f, gone func()) {
	m.onWake.Store(&f)
	m.gone.Store(&gone)
	if m.shared != nil {
		m.shared.watch()
	}
}

// Output copies size bytes at data into a record of their own and returns R0
// (bpf_ringbuf_output).
func (m *RingBuf) Output(data, size, flags uint64) uint64 {
	if flags&^(RingNoWakeup|RingForceWakeup) != 0 {
		return ret(errno.EINVAL)
	}
	at := m.Reserve(size, 0)
	if at == 0 {
		return ret(errno.EAGAIN)
	}
	copy(mem.Bytes(at, int(size)), mem.Bytes(data, int(size)))
	m.Submit(at, flags)
	return 0
}

// Query follows bpf_ringbuf_query.
func (m *RingBuf) Query(what uint64) uint64 {
	switch what {
	case RingAvailData:
		return m.Avail()
	case RingSize:
		return m.mask + 1
	case RingConsPos:
		return m.taken()
	case RingProdPos:
		return atomic.LoadUint64(m.prod)
	}
	return 0
}

// RingBufOf returns the header address of the ring buffer a reserved record
// belongs to, for helpers that are given nothing else.
func RingBufOf(sample uint64) uint64 {
	hdr := sample - ringHdrSize
	if ring, ok := sharedRings.of(hdr); ok {
		return ring.Addr()
	}
	return hdr&^(pageSize-1) - uint64(mem.Load32(hdr+4))*pageSize
}

// ProgLookup finds nothing: programs reserve or drain.
func (*ringMemory) ProgLookup(int, uint64) uint64 { return 0 }

// ProgUpdate is refused: there are no elements.
func (*ringMemory) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.ENOTSUPP) }

// ProgDelete is refused.
func (*ringMemory) ProgDelete(int, uint64) uint64 { return ret(errno.ENOTSUPP) }

func (*ringMemory) lookup(_, _ []byte, _ uint64) errno.Errno { return errno.ENOTSUPP }

func (*ringMemory) update(_, _ []byte, _ uint64) errno.Errno { return errno.ENOTSUPP }

func (*ringMemory) delete([]byte) errno.Errno { return errno.ENOTSUPP }

func (*ringMemory) nextKey(_, _ []byte) errno.Errno { return errno.ENOTSUPP }
