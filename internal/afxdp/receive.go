package afxdp

import "github.com/skep-bpf/skep/internal/errno"

// Receive takes a packet that came in on a queue of a device, and what metadata
// a program has put before it (xsk_rcv). The user sees it after Flush.
func (s *Socket) Receive(dev Netdev, queue uint32, meta, packet []byte) errno.Errno {
	p := s.pool.Load()
	if p == nil {
		return errno.ENXIO
	}
	p.rx.Lock()
	defer p.rx.Unlock()
	if e := s.receives(p, dev, queue); e != 0 {
		return e
	}
	size := p.umem.frameSize()
	n := uint32(len(packet))
	switch {
	case n > size && !p.umem.sg:
		s.rxDropped.Add(1)
		return errno.ENOSPC
	case n > size:
		return s.scatter(p, meta, packet)
	}
	addr, ok := p.take()
	if !ok {
		s.rxDropped.Add(1)
		return errno.ENOMEM
	}
	if s.rx.Free(1) == 0 {
		p.give(addr)
		s.rxFull.Add(1)
		return errno.ENOBUFS
	}
	p.fillIn(addr, meta, packet)
	s.rx.PutDesc(p.desc(addr, 0, n, 0))
	return 0
}

// receives checks that the socket receives from a queue (xsk_rcv_check).
func (s *Socket) receives(p *Pool, dev Netdev, queue uint32) errno.Errno {
	switch {
	case s.state.Load() != bound, s.rx == nil:
		return errno.ENXIO
	case p.dev != dev || p.queue != queue:
		return errno.EINVAL
	}
	return 0
}

// fillIn copies a packet into a chunk, metadata before it. Metadata without room
// in the chunk is left out.
func (p *Pool) fillIn(addr uint64, meta, packet []byte) {
	at := addr + uint64(p.umem.Headroom+Headroom)
	p.umem.put(at, packet)
	if len(meta) <= Headroom {
		p.umem.put(at-uint64(len(meta)), meta)
	}
}

// scatter puts a packet into as many chunks as it takes.
func (s *Socket) scatter(p *Pool, meta, packet []byte) errno.Errno {
	size := int(p.umem.frameSize())
	n := uint32((len(packet)-1)/size + 1)
	if !p.can(n) {
		s.rxDropped.Add(1)
		return errno.ENOMEM
	}
	if s.rx.Free(n) < n {
		s.rxFull.Add(1)
		return errno.ENOBUFS
	}
	from := s.rx.prod
	for len(packet) > 0 {
		addr, ok := p.take()
		if !ok { // there were invalid ones among them
			s.rx.prod = from
			s.rxDropped.Add(1)
			return errno.ENOMEM
		}
		part := packet[:min(size, len(packet))]
		packet = packet[len(part):]
		var options uint32
		if len(packet) > 0 {
			options = Continued
		}
		p.fillIn(addr, meta, part)
		s.rx.PutDesc(p.desc(addr, 0, uint32(len(part)), options))
		meta = nil
	}
	return 0
}

// Flush shows the user what was received, and wakes who waits for it (xsk_flush).
func (s *Socket) Flush() {
	p := s.pool.Load()
	p.rx.Lock()
	if s.state.Load() == bound {
		s.rx.Submit()
		p.fill.Release()
	}
	p.rx.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	if s.Told != nil {
		s.Told()
	}
}
