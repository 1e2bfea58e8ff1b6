package maps

import (
	"sync"

	"github.com/skep-bpf/skep/internal/mem"
)

// pool hands out the elements of a table. An element that is given back waits
// in a queue until every program that ran at the time is done:
//
//	put ──▶ young ──▶ old ──────────────▶ freed ──▶ get
//	             (stamped)   (stamp passed)
//
// young becomes old when old has passed, so one stamp serves a whole queue.
// get prefers freed elements, then memory that was never used, and takes a
// waiting one before its time only when nothing else is left.
type pool struct {
	t     *table
	epoch *mem.Epoch // nil: nothing waits

	mu         sync.Mutex
	size       uint32 // elements there is memory for
	fresh      uint32 // elements never used begin here
	freed      list
	old, young list
	oldStamp   uint64
	waiting    uint32 // length of old and young
}

// reclaimBatch is how many elements wait before get looks whether they have waited long enough.
const reclaimBatch = 64

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
	for _, l := range []*list{&p.old, &p.young} {
		if l.first != none {
			p.waiting--
			return p.pop(l)
		}
	}
	return none
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
			if p.epoch.Oldest() < p.oldStamp {
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

// list is a queue of elements, linked by ElemFree.
type list struct{ first, last uint32 }

func (p *pool) link(i uint32) *uint32 { return (*uint32)(mem.Ptr(p.t.addr(i) + ElemFree)) }

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
