package maps

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// sharedRing is what a ring buffer has where several processes write and read it. Its memory is that of
// [RingBuf], but for the page in front, which each process has for itself: positions and records lie in the file. The second
// word of a record, which nobody else needs there, is the token of the process that reserved it: a record that
// a killed process left busy is discarded by who comes upon it. The lock, and all that the kernel keeps behind the
// map's header, are words of the file's first page.
type sharedRing struct {
	*shm
	m *RingBuf

	watching sync.Once
	closed   atomic.Bool
	done     chan struct{} // closed when watch has ended; nil: it never began
}

// Words of the first page.
const (
	ringWriting = shmType      // lock of who takes room
	ringReading = shmType + 4  // lock of who takes a record out
	ringWakes   = shmType + 8  // counts wake-ups; readers sleep on it
	ringWaiters = shmType + 12 // how many do
	ringPending = shmType + 16 // a position before which no record is busy
	ringDropped = shmType + 24 // records that found no room
)

// ringGlance is how often a sleeping reader looks by itself: for what a killed process left.
const ringGlance = 250 * time.Millisecond

func sharedRingSize(def *catalog.MapDef, _ int) (uint64, bool) {
	return 2*pageSize + uint64(def.MaxEntries), true
}

func newSharedRing(c *core) (Map, errno.Errno) {
	m := &RingBuf{core: c, wake: make(chan struct{}, 1)}
	s := c.shm
	e := m.ringMemory.open(c, func(_, size int) (*mem.Block, error) {
		return s.file.MapRing(int(pageSize), int64(pageSize), 2*int(pageSize), size)
	})
	if e != 0 {
		return nil, e
	}
	c.def.Doubtful = true
	m.shared = &sharedRing{shm: s, m: m}
	sharedRings.add(m.block, s)
	return m, 0
}

// span returns the positions; ok is false where they cannot be any.
func (r *sharedRing) span() (cons, prod uint64, ok bool) {
	cons, prod = atomic.LoadUint64(r.m.cons), atomic.LoadUint64(r.m.prod)
	return cons, prod, (cons|prod)&7 == 0 && prod-cons <= r.m.mask+1
}

// reserve is [RingBuf.Reserve]; size is one a record can have, length what it then takes.
func (r *sharedRing) reserve(size, length uint64) uint64 {
	lock := r.word32(ringWriting)
	if _, e := r.lock(lock); e != 0 { // what a holder left when it died nobody has seen
		atomic.AddUint64(r.word64(ringDropped), 1)
		return 0
	}
	defer r.unlock(lock)
	cons, prod, ok := r.span()
	next := prod + length
	if !ok || next-cons > r.m.mask || next-r.finished(cons, prod, next) > r.m.mask {
		atomic.AddUint64(r.word64(ringDropped), 1)
		return 0
	}
	at := r.m.header(prod)
	atomic.StoreUint32(r.holder(prod), r.token)
	atomic.StoreUint32(at, uint32(size)|ringBusy)
	atomic.StoreUint64(r.m.prod, next)
	return r.m.data + prod&r.m.mask + ringHdrSize
}

func (r *sharedRing) holder(pos uint64) *uint32 {
	return (*uint32)(mem.Ptr(r.m.data + pos&r.m.mask + 4))
}

// finished returns, and notes, a position up to prod before which no record is busy; the lock is held. Where
// it would leave no room before next, records of killed processes are discarded.
func (r *sharedRing) finished(cons, prod, next uint64) uint64 {
	at := r.word64(ringPending)
	pending := atomic.LoadUint64(at)
	if pending-cons > prod-cons || pending&7 != 0 {
		pending = cons
	}
	for pending != prod {
		h := atomic.LoadUint32(r.m.header(pending))
		if h&ringBusy != 0 && (next-pending <= r.m.mask || !r.reap(pending, h)) {
			break
		}
		n := recordSize(uint64(h &^ (ringBusy | ringDiscard)))
		if n > prod-pending {
			break // no record begins here
		}
		pending += n
	}
	atomic.StoreUint64(at, pending)
	return pending
}

// reap discards a busy record whose writer is no more.
func (r *sharedRing) reap(pos uint64, h uint32) bool {
	return r.dead(atomic.LoadUint32(r.holder(pos))) &&
		atomic.CompareAndSwapUint32(r.m.header(pos), h, h&^ringBusy|ringDiscard)
}

// consume is one step of [RingBuf.Consume]: it reports whether f saw a record, and whether there may be more.
func (r *sharedRing) consume(f func([]byte) bool) (seen, more bool) {
	lock := r.word32(ringReading)
	if _, e := r.lock(lock); e != 0 {
		return false, false
	}
	defer r.unlock(lock)
	cons, prod, ok := r.span()
	if !ok || cons == prod {
		return false, false
	}
	h := atomic.LoadUint32(r.m.header(cons))
	if h&ringBusy != 0 {
		return false, r.reap(cons, h)
	}
	size := uint64(h &^ ringDiscard)
	if recordSize(size) > prod-cons {
		atomic.StoreUint64(r.m.cons, prod) // somebody wrote over it: what there is cannot be read
		return false, false
	}
	more = true
	if seen = h&ringDiscard == 0; seen {
		more = f(mem.Bytes(r.m.data+cons&r.m.mask+ringHdrSize, int(size)))
	}
	atomic.StoreUint64(r.m.cons, cons+recordSize(size))
	return seen, more
}

// signal wakes readers of all processes.
func (r *sharedRing) signal() {
	wakes := r.word32(ringWakes)
	atomic.AddUint32(wakes, 1)
	if atomic.LoadUint32(r.word32(ringWaiters)) != 0 {
		mem.WakeWord(wakes)
	}
}

// watch passes on what wakes readers in other processes.
func (r *sharedRing) watch() {
	r.watching.Do(func() {
		r.done = make(chan struct{})
		go func() {
			defer close(r.done)
			wakes, waiters := r.word32(ringWakes), r.word32(ringWaiters)
			for last := atomic.LoadUint32(wakes); !r.closed.Load(); {
				atomic.AddUint32(waiters, 1)
				mem.WaitWord(wakes, last, ringGlance)
				atomic.AddUint32(waiters, ^uint32(0))
				now := atomic.LoadUint32(wakes)
				if cons, prod, _ := r.span(); now != last || cons != prod {
					r.m.signalHere()
				}
				last = now
			}
		}()
	})
}

// release ends watch.
func (r *sharedRing) release() {
	r.closed.Store(true)
	r.watching.Do(func() {})
	if r.done != nil {
		r.signal()
		<-r.done
	}
}
