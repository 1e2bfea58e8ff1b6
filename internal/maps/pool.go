package maps

import (
	"math/bits"
	"sync"

	"github.com/skep-bpf/skep/internal/mem"
)

// pool hands out the elements of a hash table or trie: pieces of memory, known by
// their numbers. An element that is given back waits until every program that
// ran at the time is done. They wait in a ring, off-heap, whose parts follow each other:
//
//	    got ────▶ old ────▶ young ────▶ put
//	┌─ ─ ─┬─────────┬─────────┬─────────┬─ ─ ─┐
//	│     │  freed  │  old    │  young  │     │
//	└─ ─ ─┴─────────┴─────────┴─────────┴─ ─ ─┘
//	         may be    had a     not yet
//	         used      stamp     stamped
//
// young becomes old when old has passed, so one stamp serves them all.
// get prefers freed elements, then memory that was never used, and takes a
// waiting one before its time only when nothing else is left, if readers bear that.
type pool struct {
	epoch *mem.Epoch // nil: nothing waits
	// patient: no element is used before its time. get says none instead.
	patient bool

	mu                   sync.Mutex
	size                 uint32 // elements there is memory for
	mask                 uint64 // of positions in the ring, whose length is a power of two
	fresh                uint32 // elements never used begin here
	ring                 uint64 // address of its numbers
	got, old, young, put uint64 // positions, ever growing
	stamp                uint64 // of what is old
}

// reclaimBatch is how many elements wait before get looks whether they have waited long enough.
const reclaimBatch = 256

// ringBytes is the memory that a pool of n elements keeps beside them.
func ringBytes(n uint64) uint64 { return 4 << bits.Len64(n-1) }

// newPool makes a pool of n elements, all of them fresh, with ringBytes of memory.
func newPool(ring uint64, n uint32, epoch *mem.Epoch) pool {
	return pool{ring: ring, epoch: epoch, size: n, mask: ringBytes(uint64(n))/4 - 1}
}

func (p *pool) at(pos uint64) *uint32 { return (*uint32)(mem.Ptr(p.ring + pos&p.mask*4)) }

// get returns an element, or none.
func (p *pool) get() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next(true)
}

// next is get with the lock held; early lets it take a waiting element before its time.
func (p *pool) next(early bool) uint32 {
	if p.got == p.old && (p.put-p.old >= reclaimBatch || p.fresh == p.size) {
		p.advance()
	}
	if p.got == p.old {
		if p.fresh < p.size {
			p.fresh++
			return p.fresh - 1
		}
		if p.patient || p.got == p.put || !early {
			return none
		}
		p.old++
		p.young = max(p.young, p.old)
	}
	p.got++
	return *p.at(p.got - 1)
}

// giveBack takes an unlinked element back.
func (p *pool) giveBack(i uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retire(i)
}

// retire is giveBack with the lock held.
func (p *pool) retire(i uint32) {
	*p.at(p.put) = i
	p.put++
	if p.epoch == nil {
		p.old, p.young = p.put, p.put
	}
}

// exchange takes unlinked elements back and fills room with others. It returns
// how many there were: more than one only if nobody's time is cut short.
func (p *pool) exchange(dead, room []uint32) (n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range dead {
		p.retire(i)
	}
	if p.old-p.got >= uint64(len(room)) {
		for n = range uint32(len(room)) {
			room[n] = *p.at(p.got + uint64(n))
		}
		p.got += uint64(len(room))
		return uint32(len(room))
	}
	for ; n < uint32(len(room)); n++ {
		if room[n] = p.next(n == 0); room[n] == none {
			break
		}
	}
	return n
}

// advance frees what is old if its stamp has passed, and lets young grow old.
func (p *pool) advance() {
	for range 2 {
		if p.old != p.young {
			if !p.epoch.Passed(p.stamp) {
				return
			}
			p.old = p.young
		}
		if p.young != p.put {
			p.young = p.put
			p.stamp = p.epoch.Stamp()
		}
	}
}
