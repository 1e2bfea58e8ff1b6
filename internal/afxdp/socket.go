package afxdp

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/observe"
)

// states of a socket.
const (
	ready int32 = iota // set up, not bound
	bound
	unbound // closed
)

// binding is held while sockets are bound and closed, as the kernel holds RTNL.
var binding sync.Mutex

// Socket is an AF_XDP socket in user space (struct xdp_sock). It is safe for
// concurrent use.
type Socket struct {
	fd      uint32
	forget  func() // the owner's table of sockets
	mu      sync.Mutex
	state   atomic.Int32
	umem    *umem
	rx, tx  *queue
	fillTmp *queue // until they are the pool's
	compTmp *queue
	dev     Netdev
	queue   atomic.Uint32
	pool    atomic.Pointer[Pool]
	batch   batch // of what is sent

	rxDropped, rxFull atomic.Uint64

	rings RingMemory
	// Told, if set before the socket is bound, is called whenever the user has been shown what was received.
	Told func()

	entries map[entry]struct{} // of maps that hold it, under mapMu
	mapMu   sync.Mutex
	closed  bool // under mapMu

	wake chan struct{}
	wait *observe.Waiter
}

// Sockets are a machine's, by their numbers.
type Sockets = maps.Sockets

type entry struct {
	m   *maps.XSKMap
	key uint32
}

// NewSocket is socket(AF_XDP). The table gives it the descriptor that maps know it by.
func NewSocket(table *Sockets) *Socket {
	s := &Socket{rings: ownMemory, entries: map[entry]struct{}{}, wake: make(chan struct{}, 1), wait: observe.NewWaiter()}
	s.fd = table.Add(s)
	s.forget = func() { table.Remove(s.fd) }
	return s
}

// FD is the socket's number in its table.
func (s *Socket) FD() uint32 { return s.fd }

// QueueID is the queue the socket is bound to.
func (s *Socket) QueueID() uint32 { return s.queue.Load() }

// Enter and Leave keep the list of map entries that hold the socket; closed
// sockets enter none.
func (s *Socket) Enter(m *maps.XSKMap, key uint32) bool {
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	if !s.closed {
		s.entries[entry{m, key}] = struct{}{}
	}
	return !s.closed
}

// Leave is described with Enter.
func (s *Socket) Leave(m *maps.XSKMap, key uint32) {
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	delete(s.entries, entry{m, key})
}

// held returns the map entries that hold the socket; with last it enters no more.
func (s *Socket) held(last bool) []entry {
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	s.closed = s.closed || last
	var all []entry
	for e := range s.entries {
		all = append(all, e)
	}
	return all
}

// ret turns an Errno into an error.
func ret(e errno.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// Register gives the socket a UMEM of its own.
func (s *Socket) Register(area *Area, r Reg) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() != ready || s.umem != nil {
		return errno.EBUSY
	}
	u, e := newUMEM(uint64(len(area.Bytes())), r)
	if e != 0 {
		return e
	}
	area.hold()
	u.area, u.bytes = area, area.Bytes()
	s.umem = u
	return nil
}

// RegisterMemory is Register of memory that another process holds: open opens it, once everything else about it is right, and it is
// closed with what the UMEM is part of. There is no zero-copy mode with it.
func (s *Socket) RegisterMemory(size uint64, r Reg, open func() (Memory, errno.Errno)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() != ready || s.umem != nil {
		return errno.EBUSY
	}
	u, e := newUMEM(size, r)
	if e != 0 {
		return e
	}
	if u.remote, e = open(); e != 0 {
		return e
	}
	s.umem = u
	return nil
}

// HasUMEM reports whether the socket takes no UMEM any more.
func (s *Socket) HasUMEM() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Load() != ready || s.umem != nil
}

// KeepRingsIn has rings that are made from now on lie in memory of the caller's.
func (s *Socket) KeepRingsIn(m RingMemory) { s.rings = m }

// MakeRing makes one of the socket's rings, before it is bound.
func (s *Socket) MakeRing(k RingKind, entries uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() != ready {
		return errno.EBUSY
	}
	at := s.ring(k)
	if *at != nil {
		return errno.EINVAL
	}
	q, e := newQueue(k, entries, s.rings)
	if e != 0 {
		return e
	}
	if k == TX {
		q.setFlags(NeedWakeup) // whoever sends has to say so
	}
	*at = q
	return nil
}

func (s *Socket) ring(k RingKind) **queue {
	return [...]**queue{RX: &s.rx, TX: &s.tx, Fill: &s.fillTmp, Completion: &s.compTmp}[k]
}

// MapRing returns a view of one of the socket's rings; those of its pool, once it is bound.
func (s *Socket) MapRing(k RingKind) (*Ring, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := *s.ring(k)
	switch p := s.pool.Load(); {
	case s.state.Load() == unbound:
		return nil, errno.EBUSY
	case p != nil && k == Fill:
		q = p.fill
	case p != nil && k == Completion:
		q = p.comp
	}
	if q == nil {
		return nil, errno.EINVAL
	}
	return newRing(q.memory, offsets, q.Size()), nil
}

// Offsets says where the parts of rings lie.
func (s *Socket) Offsets() ([ringKinds]RingOffsets, error) {
	return [ringKinds]RingOffsets{offsets, offsets, offsets, offsets}, nil
}

// Bind binds the socket to a queue of a device (xsk_bind).
func (s *Socket) Bind(to Addr) error {
	if to.Flags&^bindFlags != 0 {
		return errno.EINVAL
	}
	binding.Lock()
	defer binding.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	dev, _ := to.Device.(Netdev)
	switch {
	case s.state.Load() != ready:
		return errno.EBUSY
	case dev == nil:
		return errno.ENODEV
	case s.rx == nil && s.tx == nil:
		return errno.EINVAL
	}
	var p *Pool
	var e errno.Errno
	switch {
	case to.Flags&SharedUMEM != 0:
		p, e = s.share(to, dev)
	case s.umem == nil || s.fillTmp == nil || s.compTmp == nil:
		e = errno.EINVAL
	default:
		p, e = s.newPool(dev, to.Queue, to.Flags)
	}
	if e != 0 {
		return e
	}
	p.sockets++
	s.fillTmp, s.compTmp = nil, nil // the pool's now
	s.umem, s.dev = p.umem, dev
	s.queue.Store(to.Queue)
	s.pool.Store(p)
	s.state.Store(bound)
	for _, e := range s.held(false) {
		e.m.Rebound(e.key, s)
	}
	return nil
}

// share binds to the UMEM of another socket, and to its pool too where that is
// one of the same queue.
func (s *Socket) share(to Addr, dev Netdev) (*Pool, errno.Errno) {
	if to.Flags&(Copy|ZeroCopy|UseNeedWakeup|UseSG) != 0 || s.umem != nil {
		return nil, errno.EINVAL
	}
	other, ok := to.Shared.(*Socket)
	if !ok || other == nil {
		return nil, errno.ENOTSOCK
	}
	if other.state.Load() != bound {
		return nil, errno.EBADF
	}
	p := other.pool.Load()
	if p.dev == dev && p.queue == to.Queue {
		if s.fillTmp != nil || s.compTmp != nil {
			return nil, errno.EINVAL
		}
		p.refs.Add(1) // it has the other's hold
		p.umem.refs.Add(1)
		return p, 0
	}
	if s.fillTmp == nil || s.compTmp == nil {
		return nil, errno.EINVAL
	}
	flags := uint16(Copy)
	if p.umem.zeroCopy {
		flags = ZeroCopy
	}
	if p.umem.sg {
		flags |= UseSG
	}
	s.umem = p.umem
	p, e := s.newPool(dev, to.Queue, flags)
	if s.umem = nil; e == 0 {
		p.umem.refs.Add(1) // the socket's
	}
	return p, e
}

// newPool binds the socket's UMEM to a queue (xp_assign_dev).
func (s *Socket) newPool(dev Netdev, queue uint32, flags uint16) (*Pool, errno.Errno) {
	if flags&ZeroCopy != 0 && flags&Copy != 0 {
		return nil, errno.EINVAL
	}
	if queue >= uint32(dev.Queues()) {
		return nil, errno.EINVAL
	}
	at := &dev.Pools().queues[queue]
	if at.Load() != nil {
		return nil, errno.EBUSY
	}
	zeroCopy := false
	if flags&Copy == 0 {
		if zeroCopy = dev.PlacesFrames() && flags&UseSG == 0 && s.umem.remote == nil; !zeroCopy && flags&ZeroCopy != 0 {
			return nil, errno.EOPNOTSUPP
		}
	}
	if flags&UseSG != 0 {
		s.umem.sg = true
	}
	s.umem.zeroCopy = s.umem.zeroCopy || zeroCopy
	s.umem.refs.Add(1)
	p := &Pool{umem: s.umem, dev: dev, queue: queue, zeroCopy: zeroCopy, fill: s.fillTmp, comp: s.compTmp}
	p.refs.Store(1)
	at.Store(p)
	return p, 0
}

// Statistics returns what was counted so far.
func (s *Socket) Statistics() (Statistics, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Statistics{RxDropped: s.rxDropped.Load(), RxRingFull: s.rxFull.Load()}
	if p := s.pool.Load(); p != nil {
		st.RxFillRingEmptyDescs = p.fill.empty.Load()
	}
	if s.rx != nil {
		st.RxInvalidDescs = s.rx.invalid.Load()
	}
	if s.tx != nil {
		st.TxInvalidDescs, st.TxRingEmptyDescs = s.tx.invalid.Load(), s.tx.empty.Load()
	}
	return st, nil
}

// Options says in which mode the socket is.
func (s *Socket) Options() (uint32, error) {
	if p := s.pool.Load(); p != nil && p.zeroCopy {
		return OptionZeroCopy, nil
	}
	return 0, nil
}

// RingEnd is how much memory there is to map of a ring, in bytes from its start; EINVAL if there is no such ring
// (xsk_mmap).
func (s *Socket) RingEnd(k RingKind) (int, errno.Errno) {
	r, err := s.MapRing(k)
	if e, ok := err.(errno.Errno); ok {
		return 0, e
	}
	return (ringSize(offsets, k, r.Size()) + pageSize - 1) &^ (pageSize - 1), 0
}

// Pending reports whether something is in the rx ring, and in the tx ring, that has not been taken out.
func (s *Socket) Pending() (rx, tx bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Load() == bound && s.rx.pending(), s.state.Load() == bound && s.tx.pending()
}

// Wait waits for packets.
func (s *Socket) Wait(ready func() bool) error { return s.wait.Wait(ready, s.wake) }

// SetDeadline is until when Wait waits.
func (s *Socket) SetDeadline(t time.Time) error {
	s.wait.SetDeadline(t)
	return nil
}

// Stop ends all waiting.
func (s *Socket) Stop() { s.wait.Close() }

// Close unbinds the socket and takes it out of all maps (xsk_release). Views of
// its rings are of no use any more.
func (s *Socket) Close() error {
	s.Stop()
	s.forget()
	for _, e := range s.held(true) {
		e.m.Drop(e.key, s)
	}
	binding.Lock()
	defer binding.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() == unbound {
		return nil
	}
	p := s.pool.Load()
	if p != nil {
		p.rx.Lock() // nothing is received into the rx ring any more
	}
	s.state.Store(unbound)
	if p != nil {
		p.rx.Unlock()
		p.tx.Lock()
		p.reserved -= uint32(len(s.batch.addrs))
		p.tx.Unlock()
		if p.sockets--; p.sockets == 0 {
			p.dev.Pools().queues[p.queue].Store(nil)
		}
		p.Release()
	}
	for _, q := range []*queue{s.rx, s.tx, s.fillTmp, s.compTmp} {
		q.free()
	}
	if s.umem != nil {
		s.umem.release()
	}
	s.umem, s.rx, s.tx, s.fillTmp, s.compTmp = nil, nil, nil, nil, nil
	return nil
}
