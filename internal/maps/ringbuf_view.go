package maps

import (
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/mem"
)

// ringView is what other processes map of a ring buffer: finished records are
// copied there, in the order they were reserved. They can write all of it, so nothing that is in it is
// believed: the ring itself lies where they cannot reach it, and how far they say they have
// read counts only where it can be true.
//
//	page 0         page 1         data pages        the same again
//	┌──────────────┬────────────────┬─ ─ ─ ─ ─ ─ ─ ─ ─┬─ ─ ─ ─ ─ ─ ─ ─ ─┐
//	│ consumer pos │ producer pos   │ records         │ records         │
//	└──────────────┴────────────────┴─ ─ ─ ─ ─ ─ ─ ─ ─┴─ ─ ─ ─ ─ ─ ─ ─ ─┘
type ringView struct {
	block      *mem.Block
	cons, prod *uint64
	data       []byte // of both copies
	mu         sync.Mutex
	shown      atomic.Uint64 // the producer position there, as it should be
}

func newRingView(size uint64) (*ringView, error) {
	b, err := mem.AllocShared(int(2*pageSize + 2*size))
	if err != nil {
		return nil, err
	}
	return &ringView{block: b, cons: (*uint64)(mem.Ptr(b.Addr())), prod: (*uint64)(mem.Ptr(b.Addr() + pageSize)),
		data: b.Bytes()[2*pageSize:]}, nil
}

// show copies what is finished to where other processes see it.
func (m *RingBuf) show() {
	v := m.view
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.shown.Load()
	for prod := atomic.LoadUint64(m.prod); at < prod; {
		h := atomic.LoadUint32(m.header(at))
		if h&ringBusy != 0 {
			break
		}
		n := recordSize(uint64(h &^ ringDiscard))
		rec, off := mem.Bytes(m.data+at&m.mask, int(n)), at&m.mask
		copy(v.data[off:], rec)
		if over := int(off + n - (m.mask + 1)); over > 0 { // the first copy's beginning
			copy(v.data, rec[int(n)-over:])
		}
		at += n
	}
	v.shown.Store(at)
	atomic.StoreUint64(v.prod, at)
}

// taken is how far readers are.
func (m *RingBuf) taken() uint64 {
	cons := atomic.LoadUint64(m.cons)
	if v := m.view; v != nil {
		if c := atomic.LoadUint64(v.cons); c > cons && c <= v.shown.Load() && c%8 == 0 && atomic.CompareAndSwapUint64(m.cons, cons, c) {
			return c
		}
	}
	return cons
}

// take says that a reader of this process has come to a position.
func (m *RingBuf) take(cons uint64) {
	atomic.StoreUint64(m.cons, cons)
	if m.view != nil {
		atomic.StoreUint64(m.view.cons, cons)
	}
}

// finished is a position before which readers find records, as far as they are not busy.
func (m *RingBuf) finished() uint64 {
	if m.view != nil {
		return m.view.shown.Load()
	}
	return atomic.LoadUint64(m.prod)
}
