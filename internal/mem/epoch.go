package mem

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Epoch delays the reuse of memory until no run can still hold its address: the
// part RCU plays in the kernel.
//
// Whoever may hold addresses announces it: a vCPU by Enter and Leave around each
// run, other code by Pin and Unpin. Whoever unlinks an element hands it to
// Retire; it is reclaimed once every holder that was inside at that moment has left.
//
//	run on vCPU 0   ├──────────────┤        ├───────
//	run on vCPU 1       ├───────────────┤
//	unlink, Retire          ×
//	reclaim                             ↑ the last run that could know it is over
//
// Holders only store to a word of their own; nobody waits for a lock on the
// path of a run. The store must be seen before anything is read, or else memory
// could be reclaimed under a reader. Where the system can make all threads pass a
// barrier (membarrier(2)), those who reclaim ask for that, as they are rare, and a
// run's entry is a plain store; elsewhere it is an exchange, which waits some 10 ns.
type Epoch struct {
	fence bool          // reclaiming makes everyone pass a barrier, see fenceAll
	now   atomic.Uint64 // counts retirements; starts at 1, so that 0 can mean "outside"
	slots []epochSlot   // one per vCPU, then those of Pin
	cpus  int
	pins  atomic.Int32 // holders by Pin: mostly none, then nobody looks at their slots

	pending atomic.Int64 // len(queue), for a look without the lock
	mu      sync.Mutex
	queue   []retired // by epoch
}

// epochSlot is a cache line of its own, so that vCPUs do not slow each other.
type epochSlot struct {
	since atomic.Uint64 // value of now when its holder came in, 0: nobody
	_     [56]byte
}

type retired struct {
	epoch uint64
	to    Reclaimer
	addr  uint64
}

// Reclaimer takes memory back. Reclaim is called at some later point by any
// goroutine; it must not use the Epoch again, nor take a lock that is held around Retire.
type Reclaimer interface{ Reclaim(addr uint64) }

type reclaimFunc func()

func (f reclaimFunc) Reclaim(uint64) { f() }

// Number of holders besides vCPUs, and of retired elements that make Retire look for some to reclaim.
const (
	pinSlots      = 64
	retireBacklog = 32
)

// NewEpoch makes an epoch for vCPUs 0 to cpus-1.
func NewEpoch(cpus int) *Epoch {
	e := &Epoch{fence: canFence(), slots: make([]epochSlot, cpus+pinSlots), cpus: cpus}
	e.now.Store(1)
	return e
}

// Enter says that vCPU cpu may hold addresses from now on. It does not nest.
func (e *Epoch) Enter(cpu int) { h := e.Holder(cpu); h.Enter() }

// Leave says that vCPU cpu holds no address any more.
func (e *Epoch) Leave(cpu int) { h := e.Holder(cpu); h.Leave() }

// Holder is vCPU cpu's part of the epoch, for who enters and leaves all the time.
func (e *Epoch) Holder(cpu int) Holder {
	return Holder{&e.slots[cpu].since, &e.now, &e.pending, e.fence, e}
}

// Holder is described with [Epoch.Holder].
type Holder struct {
	since   *atomic.Uint64
	now     *atomic.Uint64
	pending *atomic.Int64
	fence   bool
	e       *Epoch
}

// Enter is [Epoch.Enter].
//
// A retirement between the load of now and the store is harmless: its element
// was unlinked before, so this run, which looks only after the store, cannot find it.
func (h *Holder) Enter() {
	if now := h.now.Load(); h.fence {
		StoreRelease(h.since, now)
	} else {
		h.since.Store(now)
	}
}

// Leave is [Epoch.Leave].
//
// A retirement at this very moment may miss it, and it the retirement; then the
// next one to leave or retire reclaims.
func (h *Holder) Leave() {
	StoreRelease(h.since, 0)
	if h.pending.Load() != 0 {
		h.e.reclaim()
	}
}

// Pin is Enter for code that runs on no vCPU. The result goes to Unpin.
func (e *Epoch) Pin() int {
	e.pins.Add(1)
	for {
		for i := e.cpus; i < len(e.slots); i++ {
			if e.slots[i].since.CompareAndSwap(0, e.now.Load()) {
				return i
			}
		}
		runtime.Gosched()
	}
}

// Unpin ends what Pin began.
func (e *Epoch) Unpin(pin int) {
	e.Leave(pin)
	e.pins.Add(-1)
}

// Retire calls f when everyone inside now has left.
func (e *Epoch) Retire(f func()) { e.RetireAddr(reclaimFunc(f), 0) }

// RetireAddr gives addr to r when everyone inside now has left. The caller has
// already made it unreachable for those who come later. Nothing is allocated
// but the queue's growth.
func (e *Epoch) RetireAddr(r Reclaimer, addr uint64) {
	e.mu.Lock()
	e.queue = append(e.queue, retired{e.now.Add(1), r, addr})
	backlog := len(e.queue)
	e.pending.Store(int64(backlog))
	e.mu.Unlock()
	if backlog >= retireBacklog {
		e.reclaim()
	}
}

// Stamp marks this moment, for users who keep a queue of their own instead of
// calling RetireAddr: what they unlinked before it may be used again once it has Passed.
func (e *Epoch) Stamp() uint64 { return e.now.Add(1) }

// Passed reports whether everyone inside now came in after the stamp.
func (e *Epoch) Passed(stamp uint64) bool {
	if e.oldest(true) < stamp { // mostly so where it is: no need to disturb others
		return false
	}
	if e.fence {
		fenceAll()
	}
	return e.oldest(true) >= stamp
}

// oldest returns the latest stamp that everyone seen inside came in after. Who
// enters at this moment may not be seen, unless fenceAll comes first.
func (e *Epoch) oldest(pinned bool) uint64 {
	oldest := e.now.Load()
	slots := e.slots
	if !pinned {
		slots = slots[:e.cpus]
	}
	for i := range slots {
		if s := slots[i].since.Load(); s != 0 && s < oldest {
			oldest = s
		}
	}
	return oldest
}

// Reclaim hands back what nobody can hold any more and reports how many
// elements still wait.
func (e *Epoch) Reclaim() int {
	e.reclaim()
	return int(e.pending.Load())
}

// Wait returns when everything retired before the call has been reclaimed. The
// caller must not be inside.
func (e *Epoch) Wait() {
	done := make(chan struct{})
	e.Retire(func() { close(done) })
	for {
		e.reclaim()
		select {
		case <-done:
			return
		default:
			runtime.Gosched()
		}
	}
}

// reclaim hands back what was retired before the oldest holder came in. Only
// one caller at a time does so; a second one leaves it to the first.
func (e *Epoch) reclaim() {
	if !e.mu.TryLock() {
		return
	}
	pinned := e.pins.Load() != 0 // who pins from now on finds nothing that was retired
	if len(e.queue) == 0 || e.oldest(pinned) < e.queue[0].epoch {
		e.mu.Unlock()
		return
	}
	if e.fence {
		fenceAll()
	}
	oldest := e.oldest(e.pins.Load() != 0)
	n := 0
	for n < len(e.queue) && e.queue[n].epoch <= oldest {
		n++
	}
	ready := e.queue[:n:n]
	e.queue = e.queue[n:]
	if len(e.queue) == 0 {
		e.queue = nil
	}
	e.pending.Store(int64(len(e.queue)))
	e.mu.Unlock()
	for _, r := range ready {
		r.to.Reclaim(r.addr)
	}
}
