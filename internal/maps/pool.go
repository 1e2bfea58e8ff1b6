package maps

import (
	"sync"

	"github.com/skep-bpf/skep/internal/mem"
)

// pool hands out the elements of a hash table or trie: a run of equal pieces of
// memory, known by their numbers. An element that is given back waits
// in a queue until every program that ran at the time is done:
//
//	put ──▶ young ──▶ old ──────────────▶ freed ──▶ get
//	             (stamped)   (stamp passed)
//
// young becomes old when old has passed, so one stamp serves a whole queue.
// get prefers freed elements, then memory that was never used, and takes a
// waiting one before its time only when nothing else is left, if readers bear that.
type pool struct {
	base, elemSize uint64
	linkOff        uint64     // where in an element the pool's links lie
	epoch          *mem.Epoch // nil: nothing waits
	// patient: no element is used before its time. get says none instead.
	patient bool

	mu         sync.Mutex
	size       uint32 // elements there is memory for
	fresh      uint32 // elements never used begin here
	freed      list
	old, young list
	oldStamp   uint64
	waiting    uint32 // length of old and young
}

// reclaimBatch is how many elements wait before get looks whether they have waited long enough.
const reclaimBatch = 256

// newPool makes a pool of n elements; all are fresh.
func newPool(base, elemSize, linkOff uint64, n uint32, epoch *mem.Epoch) pool {
	empty := list{none, none}
	return pool{base: base, elemSize: elemSize, linkOff: linkOff, epoch: epoch, size: n,
		freed: empty, old: empty, young: empty}
}

// get returns an element, or none.
func (p *pool) get() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed.first == none && (p.waiting >= reclaimBatch || p.fresh == p.size) {
		p.advance()
	}
	if p.freed.first != none {
		return p.pop(&p.freed)
	}
	if p.fresh < p.size {
		p.fresh++
		return p.fresh - 1
	}
	if p.patient || p.waiting == 0 {
		return none
	}
	p.waiting--
	if p.old.first != none {
		return p.pop(&p.old)
	}
	return p.pop(&p.young)
}

// put takes an unlinked element back.
func (p *pool) put(i uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == nil {
		p.push(&p.freed, i)
		return
	}
	p.push(&p.young, i)
	p.waiting++
}

// advance frees old if its stamp has passed, and lets young grow old.
func (p *pool) advance() {
	for range 2 {
		if p.old.first != none {
			if !p.epoch.Passed(p.oldStamp) {
				return
			}
			for p.old.first != none {
				p.push(&p.freed, p.pop(&p.old))
				p.waiting--
			}
		}
		if p.young.first != none {
			p.old, p.young = p.young, list{none, none}
			p.oldStamp = p.epoch.Stamp()
		}
	}
}

// list is a queue of elements.
type list struct{ first, last uint32 }

func (p *pool) link(i uint32) *uint32 {
	return (*uint32)(mem.Ptr(p.base + uint64(i)*p.elemSize + p.linkOff))
}

func (p *pool) push(l *list, i uint32) {
	*p.link(i) = none
	if l.first == none {
		l.first = i
	} else {
		*p.link(l.last) = i
	}
	l.last = i
}

func (p *pool) pop(l *list) uint32 {
	i := l.first
	if l.first = *p.link(i); l.first == none {
		l.last = none
	}
	return i
}
