package afxdp

import (
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// Netdev is the device a [Socket] is bound to.
type Netdev interface {
	// Queues is how many queues the device has, in and out.
	Queues() int
	// Up reports whether it sends.
	Up() bool
	// PlacesFrames reports whether it writes what it receives where the pool of
	// the queue says, as a driver with zero-copy support does.
	PlacesFrames() bool
	// Transmit sends frames, which are the caller's again afterwards. What is left
	// of them is to be tried once more if busy, else it was dropped.
	Transmit(frames [][]byte) (sent int, busy bool)
	// Pools are the pools of the device's queues.
	Pools() *Pools
}

// Pools are the pools bound to the queues of a device.
type Pools struct{ queues []atomic.Pointer[Pool] }

// NewPools makes the place for the pools of so many queues.
func NewPools(queues int) *Pools { return &Pools{make([]atomic.Pointer[Pool], queues)} }

// Get returns the pool of a queue with a hold on it, which Release gives up; nil
// if there is none.
func (p *Pools) Get(queue int) *Pool {
	for {
		at := p.queues[queue].Load()
		if at == nil || at.hold() {
			return at
		}
	}
}

// Any reports whether a queue has a pool.
func (p *Pools) Any(queue int) bool { return p.queues[queue].Load() != nil }

// queue is the kernel's side of a ring, and what it counts there.
type queue struct {
	*Ring
	kind           RingKind
	memory         []byte
	release        func()
	invalid, empty atomic.Uint64
}

// maxRing is the largest ring there is memory for, in descriptors.
const maxRing = 1 << 22

// RingMemory returns zeroed memory of so many bytes for a ring, page aligned, and what gives it back.
type RingMemory func(k RingKind, size int) (memory []byte, release func(), err error)

// ownMemory is that of rings that nobody else maps.
func ownMemory(_ RingKind, size int) ([]byte, func(), error) {
	b, err := mem.Alloc(size)
	if err != nil {
		return nil, nil, err
	}
	return b.Bytes(), b.Free, nil
}

// newQueue follows xsk_init_queue.
func newQueue(k RingKind, entries uint32, from RingMemory) (*queue, errno.Errno) {
	if entries == 0 || entries&(entries-1) != 0 {
		return nil, errno.EINVAL
	}
	if entries > maxRing {
		return nil, errno.ENOMEM
	}
	b, release, err := from(k, ringSize(offsets, k, entries))
	if err != nil {
		return nil, errno.ENOMEM
	}
	return &queue{Ring: newRing(b, offsets, entries), kind: k, memory: b, release: release}, 0
}

// pending looks at the positions that both sides see.
func (q *queue) pending() bool {
	return q != nil && atomic.LoadUint32(q.producer) != atomic.LoadUint32(q.consumer)
}

func (q *queue) free() {
	if q != nil {
		q.release()
	}
}

// Pool is a UMEM bound to a queue of a device (struct xsk_buff_pool): its fill and
// completion rings, and the chunks that were taken from the former and not used.
type Pool struct {
	umem     *umem
	dev      Netdev
	queue    uint32
	zeroCopy bool
	refs     atomic.Int32 // of sockets and of receive loops
	sockets  int          // under binding

	rx    sync.Mutex // what receives: the fill ring, spare, the rx rings of the sockets
	fill  *queue
	spare []uint64 // the one last given back is used first, as the kernel's free list

	tx       sync.Mutex // the completion ring
	comp     *queue
	reserved uint32 // descriptors that were taken and are not completed
}

func (p *Pool) hold() bool {
	for n := p.refs.Load(); n > 0; n = p.refs.Load() {
		if p.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// Release gives a hold up.
func (p *Pool) Release() {
	if p.refs.Add(-1) == 0 {
		p.fill.free()
		p.comp.free()
		p.umem.release()
	}
}

// ZeroCopy reports whether the queue receives into chunks.
func (p *Pool) ZeroCopy() bool { return p.zeroCopy }

// take returns a free chunk (xp_alloc).
func (p *Pool) take() (uint64, bool) {
	if n := len(p.spare); n > 0 {
		addr := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return addr, true
	}
	for range p.fill.Size() + 1 { // whatever the user says how many there are
		if p.fill.Waiting(1) == 0 {
			break
		}
		addr, ok := p.umem.chunk(p.fill.Addr())
		p.fill.Skip()
		if ok {
			return addr, true
		}
		p.fill.invalid.Add(1)
	}
	p.fill.empty.Add(1)
	return 0, false
}

// can reports whether n chunks can be taken, if none in the fill ring is invalid
// (xp_can_alloc).
func (p *Pool) can(n uint32) bool {
	if have := uint32(len(p.spare)); have < n {
		if n -= have; p.fill.Waiting(n) < n {
			p.fill.empty.Add(1)
			return false
		}
	}
	return true
}

// give takes back a chunk that was taken and not used (xp_free).
func (p *Pool) give(addr uint64) { p.spare = append(p.spare, addr) }

// desc returns the descriptor of n bytes received into a chunk, skip bytes further
// on than packets begin.
func (p *Pool) desc(addr uint64, skip int, n, options uint32) Desc {
	off := uint64(int64(p.umem.Headroom+Headroom) + int64(skip))
	if p.umem.unaligned() {
		return Desc{addr | off<<offsetShift, n, options}
	}
	return Desc{addr + off, n, options}
}
