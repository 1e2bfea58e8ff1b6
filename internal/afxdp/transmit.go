package afxdp

import "github.com/skep-bpf/skep/internal/errno"

// Sizes of transmission: descriptors taken in one call (TX_BATCH_SIZE), and those of
// one packet at most (1 + MAX_SKB_FRAGS).
const (
	txBatch  = 32
	maxParts = 18
)

// batch is what one call sends.
//
//	addrs │ packet 0 │ packet 1 │ … │ a packet that is not complete │
//	                 ▲ ends[0]      ▲ ends[n-1]
type batch struct {
	n      int
	frames [txBatch][]byte
	upTo   [txBatch]uint32 // position in the tx ring behind each packet
	ends   [txBatch]int
	joined [txBatch][]byte // where packets of several descriptors are put together
	copied [txBatch][]byte // and those of another process's memory
	addrs  []uint64        // of all descriptors taken
	whole  int             // of addrs: those of packets that are sent or dropped

	// What there is of a packet that is not complete, which may have come over several
	// calls; its addresses are then the first ones. Of a packet that is too long the rest is drained.
	part     []byte
	saved    []byte // part as it was before the call
	draining bool
}

// Send sends what waits in the tx ring, at most 32 descriptors; EAGAIN says that
// there are more, that the completion ring is full or the device is busy
// (xsk_generic_xmit). A descriptor that is not valid ends it, and takes the packet it would belong to with it.
func (s *Socket) Send() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.check(); e != 0 {
		return e
	}
	switch {
	case s.tx == nil:
		return errno.ENOBUFS
	case s.queue.Load() >= uint32(s.dev.Queues()):
		return nil
	}
	p := s.pool.Load()
	p.tx.Lock()
	defer p.tx.Unlock()
	b, first := &s.batch, s.tx.cons
	draining := b.draining
	oldAddrs, invalid := len(b.addrs), s.tx.invalid.Load()
	b.saved = append(b.saved[:0], b.part...)
	e := s.collect(p)
	sent, busy := 0, false
	if b.n > 0 {
		sent, busy = s.dev.Transmit(b.frames[:b.n])
	}
	if sent < b.n && busy { // as if the rest had not been taken
		e, b.draining = errno.EAGAIN, draining && sent == 0
		s.tx.invalid.Store(invalid) // they will be counted again
		p.reserved -= s.tx.cons - first
		if s.tx.cons, b.whole = first, 0; sent > 0 {
			s.tx.cons, b.whole = b.upTo[sent-1], b.ends[sent-1]
			p.reserved += uint32(b.whole - oldAddrs)
			b.part, b.addrs = b.part[:0], b.addrs[:b.whole]
		} else {
			b.part = append(b.part[:0], b.saved...)
			b.addrs = b.addrs[:oldAddrs]
		}
	}
	if sent < b.n && !busy {
		e = errno.EBUSY
	}
	for _, a := range b.addrs[:b.whole] {
		p.comp.PutAddr(a)
	}
	p.reserved -= uint32(b.whole)
	b.addrs = b.addrs[:copy(b.addrs, b.addrs[b.whole:])]
	p.comp.Submit()
	s.tx.Release()
	return ret(e)
}

// collect takes packets from the tx ring into the batch, and says why not more.
func (s *Socket) collect(p *Pool) errno.Errno {
	b := &s.batch
	b.n, b.whole = 0, 0
	for taken := 0; ; taken++ {
		if s.tx.Waiting(1) == 0 {
			s.tx.empty.Add(1)
			return 0
		}
		d := s.tx.Desc()
		valid := p.umem.valid(d)
		if !valid {
			s.tx.invalid.Add(1)
		} else if taken == txBatch {
			return errno.EAGAIN
		}
		if !p.reserve() {
			return errno.EAGAIN
		}
		s.tx.Skip()
		b.addrs = append(b.addrs, d.Addr)
		parts, more := len(b.addrs)-b.whole, d.Options&Continued != 0
		switch {
		case !valid:
			s.drop(parts - 1)
			return 0
		case b.draining:
			s.drop(parts)
			b.draining = more
		case parts == maxParts && more:
			s.drop(parts)
			b.draining = true
		case more:
			b.part = append(b.part, p.umem.at(d, b.copied[b.n][:0])...)
		default:
			packet := p.umem.at(d, b.copied[b.n][:0])
			if p.umem.remote != nil {
				b.copied[b.n] = packet
			}
			if len(b.part) > 0 {
				b.joined[b.n] = append(append(b.joined[b.n][:0], b.part...), packet...)
				packet, b.part = b.joined[b.n], b.part[:0]
			}
			b.whole = len(b.addrs)
			b.frames[b.n], b.upTo[b.n], b.ends[b.n] = packet, s.tx.cons, b.whole
			b.n++
		}
	}
}

// drop gives the packet up that is put together, and counts so many of its descriptors.
func (s *Socket) drop(parts int) {
	b := &s.batch
	s.tx.invalid.Add(uint64(parts))
	b.part, b.whole = b.part[:0], len(b.addrs)
}

// reserve makes sure that a chunk can be completed later.
func (p *Pool) reserve() bool {
	ok := p.comp.Free(p.reserved+1) > p.reserved
	if ok {
		p.reserved++
	}
	return ok
}

// Sends is why nothing can be sent or received (xsk_check_common).
func (s *Socket) Sends() errno.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.check()
}

func (s *Socket) check() errno.Errno {
	switch {
	case s.state.Load() != bound:
		return errno.ENXIO
	case !s.dev.Up():
		return errno.ENETDOWN
	}
	return 0
}

// Recv tells the device that the fill ring is no longer empty, which devices here notice by themselves.
func (s *Socket) Recv() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.check(); e != 0 {
		return e
	}
	if s.rx == nil {
		return errno.ENOBUFS
	}
	return nil
}
