// Package xsk has AF_XDP sockets: what an XDP program redirects to one through an
// xskmap is read from memory shared with it, past the network stack, and what is
// written there is sent.
//
// [Open] binds a socket to a queue of a device of skep, [OpenInterface] to one of
// an interface of the running kernel; both are used in the same way.
//
//	sock, err := xsk.Open(dev, 0, nil)          // or xsk.OpenInterface("eth0", 0, nil)
//	xsks.Put(uint32(0), sock)                   // a *skep.Map, or a *ebpf.Map
//	frames := make([]xsk.Frame, 64)
//	for {
//		n, err := sock.Receive(frames)      // waits for one at least
//		…                                   // frames[i].Data lies in the UMEM
//		sent, err := sock.Transmit(frames[:n])
//		sock.Free(frames[sent:n]...)
//	}
//
// On this way nothing is allocated, and nothing copied but what the device copies. Fill and completion ring
// are looked after by Receive and Transmit.
package xsk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/unwrap"
)

// ErrClosed is the error of a socket that was closed. A deadline that has passed
// gives [os.ErrDeadlineExceeded].
var ErrClosed = os.ErrClosed

// Flags say how a socket is bound; the kernel's, beside which it has
// XDP_SHARED_UMEM: that comes from sharing a [UMEM].
type Flags uint16

// Flags of [Options].
const (
	Copy          Flags = afxdp.Copy          // XDP_COPY: not in zero-copy mode, though it could
	ZeroCopy      Flags = afxdp.ZeroCopy      // XDP_ZEROCOPY: fail where there is no zero-copy mode
	UseNeedWakeup Flags = afxdp.UseNeedWakeup // XDP_USE_NEED_WAKEUP
	UseSG         Flags = afxdp.UseSG         // XDP_USE_SG: packets may lie in several frames
)

// Options shape a [Socket]. The zero value has a UMEM of its own and four rings of
// 2048 descriptors.
type Options struct {
	// UMEM is where packets lie; nil: one of the socket's own, closed with it. The
	// sockets that share one lie on devices of one network, or of the kernel.
	UMEM *UMEM
	// RxSize and TxSize are the sizes of the socket's rings in descriptors, powers
	// of two; 0: 2048, negative: no such ring.
	RxSize, TxSize int
	// FillSize and CompletionSize are those of the rings of its queue, which the
	// first socket there has made; 0: 2048, or half of the UMEM's chunks.
	FillSize, CompletionSize int
	Flags                    Flags
}

// Statistics are the counters of a socket (struct xdp_statistics).
type Statistics struct {
	RxDropped            uint64 // no room for other reasons than the next three
	RxInvalidDescs       uint64 // always 0, in the kernel too
	TxInvalidDescs       uint64 // descriptors that were not sent as they are not valid
	RxRingFull           uint64 // dropped: the rx ring was full
	RxFillRingEmptyDescs uint64 // of the queue: dropped, there was no free chunk
	TxRingEmptyDescs     uint64 // looked for something to send in vain
}

// Socket is an AF_XDP socket. It is safe for concurrent use; one goroutine
// receives at a time, and one transmits.
type Socket struct {
	sys   afxdp.Sys
	umem  *UMEM
	own   bool // the UMEM is the socket's
	pool  *pool
	name  string // of the device
	queue uint32

	closed bool // under both locks

	rxMu  sync.Mutex
	rx    *afxdp.Ring
	ready func() bool

	txMu sync.Mutex
	tx   *afxdp.Ring
}

// poolKey names a queue of a device.
type poolKey struct {
	device any
	queue  uint32
}

// pool is a UMEM's fill and completion ring on a queue.
type pool struct {
	mu         sync.Mutex
	fill, comp *afxdp.Ring
	sockets    int // under the UMEM's mu
	key        poolKey
}

// Open binds a socket to a queue of a device. Programs there reach it when an
// xskmap holds it.
func Open(dev *device.Device, queue int, opts *Options) (*Socket, error) {
	nd, sockets := unwrap.Netdev(dev)
	return open(func() (afxdp.Sys, error) { return afxdp.NewSocket(sockets), nil }, nd, dev.Name(), queue, opts)
}

// OpenInterface binds a socket of the running kernel to a queue of one of its
// interfaces. It needs CAP_NET_RAW. The program and the xskmap are the kernel's, as
// github.com/cilium/ebpf loads them.
func OpenInterface(name string, queue int, opts *Options) (*Socket, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("xsk: interface %s: %w", name, err)
	}
	return open(func() (afxdp.Sys, error) { return afxdp.NewLinux() }, iface.Index, name, queue, opts)
}

func open(engine func() (afxdp.Sys, error), dev any, name string, queue int, opts *Options) (*Socket, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	fail := func(err error) (*Socket, error) {
		return nil, fmt.Errorf("xsk: queue %d of %s: %w", queue, name, err)
	}
	if queue < 0 {
		return fail(errors.New("there is no such queue"))
	}
	s := &Socket{umem: o.UMEM, own: o.UMEM == nil, name: name, queue: uint32(queue)}
	if s.own {
		var err error
		if s.umem, err = NewUMEM(nil); err != nil {
			return nil, err
		}
	}
	s.ready = s.waiting
	s.umem.mu.Lock()
	defer s.umem.mu.Unlock()
	if s.umem.closed {
		return fail(fmt.Errorf("its UMEM: %w", ErrClosed))
	}
	sys, err := engine()
	if err != nil {
		s.undo()
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w: AF_XDP needs CAP_NET_RAW", err)
		}
		return fail(err)
	}
	s.sys = sys
	if err := s.setUp(dev, o); err != nil {
		s.undo()
		return fail(err)
	}
	s.umem.sockets = append(s.umem.sockets, s)
	s.pool.sockets++
	return s, nil
}

// size is that of a ring: what was asked for, or a default that is not more than limit.
func size(asked, limit int) uint32 {
	if asked != 0 {
		return uint32(min(int64(asked), 1<<31))
	}
	n := 2048
	for n > 1 && n > limit {
		n /= 2
	}
	return uint32(n)
}

// setUp makes the system calls of a socket's setup; the UMEM is locked.
func (s *Socket) setUp(dev any, o Options) error {
	u := s.umem
	key := poolKey{dev, s.queue}
	s.pool = u.pools[key]
	to := afxdp.Addr{Flags: uint16(o.Flags), Device: dev, Queue: s.queue}
	if len(u.sockets) == 0 {
		if err := s.sys.Register(u.area, u.reg); err != nil {
			return fmt.Errorf("UMEM of chunks of %d bytes with %d of headroom: %w", u.reg.ChunkSize, u.reg.Headroom, err)
		}
	} else {
		to.Shared = u.sockets[0].sys
		if s.pool != nil { // any socket of the queue will do, the UMEM's first may be on another
			for _, other := range u.sockets {
				if other.pool == s.pool {
					to.Shared = other.sys
				}
			}
		}
		to.Flags = afxdp.SharedUMEM // in the mode of the others
	}
	type want struct {
		kind afxdp.RingKind
		size uint32
		at   **afxdp.Ring
	}
	var rings []want
	if o.RxSize >= 0 {
		rings = append(rings, want{afxdp.RX, size(o.RxSize, 2048), &s.rx})
	}
	if o.TxSize >= 0 {
		rings = append(rings, want{afxdp.TX, size(o.TxSize, 2048), &s.tx})
	}
	fresh := s.pool == nil
	if fresh {
		s.pool = &pool{}
		rings = append(rings, want{afxdp.Fill, size(o.FillSize, len(u.owner)/2), &s.pool.fill},
			want{afxdp.Completion, size(o.CompletionSize, 2048), &s.pool.comp})
	}
	for _, r := range rings {
		err := s.sys.MakeRing(r.kind, r.size)
		if err == nil {
			*r.at, err = s.sys.MapRing(r.kind)
		}
		if err != nil {
			return fmt.Errorf("%s ring of %d descriptors, of which a ring has a power of two: %w", r.kind, r.size, err)
		}
	}
	switch err := s.sys.Bind(to); {
	case errors.Is(err, errno.EBUSY):
		return fmt.Errorf("%w: it is bound to another UMEM: share that (Options.UMEM), or take another queue", err)
	case errors.Is(err, errno.EOPNOTSUPP) && o.Flags&ZeroCopy != 0:
		return fmt.Errorf("%w: no zero-copy mode here: leave ZeroCopy out", err)
	case err != nil:
		return fmt.Errorf("bind: %w", err)
	}
	if fresh {
		u.pools[key] = s.pool
		s.pool.key = key
	}
	if s.rx != nil {
		s.pool.refill(u)
	}
	return nil
}

// undo gives up what a socket had that could not be set up; the UMEM is locked.
func (s *Socket) undo() {
	for _, r := range []*afxdp.Ring{s.rx, s.tx} {
		r.Unmap()
	}
	if p := s.pool; p != nil && p.sockets == 0 {
		p.fill.Unmap()
		p.comp.Unmap()
	}
	if s.sys != nil {
		s.sys.Close()
	}
	if s.own {
		s.umem.area.Close()
	}
}

// refill puts free chunks into the fill ring; the UMEM is locked.
func (p *pool) refill(u *UMEM) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(int(p.fill.Free(p.fill.Size())), len(u.free))
	if n == 0 {
		return
	}
	for range n {
		p.fill.PutAddr(u.pop(p))
	}
	p.fill.Submit()
}

// reap takes back the chunks of what was sent; the UMEM is locked.
func (p *pool) reap(u *UMEM) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.comp.Waiting(p.comp.Size())
	if n == 0 {
		return
	}
	for range n {
		if c := u.chunkOf(p.comp.Addr()); c/u.stride < uint64(len(u.owner)) && u.owner[c/u.stride] == p {
			u.push(c)
		}
		p.comp.Skip()
	}
	p.comp.Release()
}

// Device and Queue say where the socket is bound.
func (s *Socket) Device() string { return s.name }

// Queue is described with Device.
func (s *Socket) Queue() int { return int(s.queue) }

// UMEM is where its packets lie.
func (s *Socket) UMEM() *UMEM { return s.umem }

// FD is the number an xskmap knows the socket by: a descriptor of the process, or
// on a device of skep a number of its machine.
func (s *Socket) FD() int { return int(s.sys.FD()) }

// MarshalBinary makes a socket the value of an xskmap.
func (s *Socket) MarshalBinary() ([]byte, error) {
	return binary.NativeEndian.AppendUint32(nil, s.sys.FD()), nil
}

// SetDeadline makes Receive give up at t with [os.ErrDeadlineExceeded], after it
// has looked once; the zero time means never.
func (s *Socket) SetDeadline(t time.Time) error {
	if err := s.sys.SetDeadline(t); err != nil {
		return ErrClosed
	}
	return nil
}

// Statistics returns what was counted so far.
func (s *Socket) Statistics() (Statistics, error) {
	s.txMu.Lock()
	defer s.txMu.Unlock()
	if s.closed {
		return Statistics{}, s.wrap("statistics", ErrClosed)
	}
	st, err := s.sys.Statistics()
	return Statistics(st), s.wrap("statistics", err)
}

// ZeroCopy reports whether packets come into the UMEM without a copy.
func (s *Socket) ZeroCopy() (bool, error) {
	s.txMu.Lock()
	defer s.txMu.Unlock()
	if s.closed {
		return false, s.wrap("options", ErrClosed)
	}
	o, err := s.sys.Options()
	return o&afxdp.OptionZeroCopy != 0, s.wrap("options", err)
}

func (s *Socket) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("xsk: %s on queue %d of %s: %w", what, s.queue, s.name, err)
}

func (s *Socket) waiting() bool { return s.rx.Waiting(1) > 0 }

// Receive waits for packets and makes frames of them, which are the caller's. It
// returns how many.
func (s *Socket) Receive(frames []Frame) (int, error) {
	s.rxMu.Lock()
	defer s.rxMu.Unlock()
	if err := s.has(s.rx); err != nil {
		return 0, s.wrap("receive", err)
	}
	if len(frames) == 0 {
		return 0, nil
	}
	u := s.umem
	if !s.waiting() {
		u.mu.Lock()
		s.pool.reap(u)
		s.pool.refill(u)
		u.mu.Unlock()
		if s.pool.fill.NeedsWakeup() {
			s.sys.Recv()
		}
		if err := s.sys.Wait(s.ready); err != nil {
			return 0, s.wrap("receive", err)
		}
	}
	n := int(min(s.rx.Waiting(uint32(min(len(frames), int(s.rx.Size())))), uint32(len(frames))))
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range frames[:n] {
		frames[i] = u.received(s.rx.Desc())
		u.owner[frames[i].chunk/u.stride] = userOwned
		s.rx.Skip()
	}
	s.rx.Release()
	s.pool.reap(u)
	s.pool.refill(u)
	return n, nil
}

// has says why a socket does not have a ring.
func (s *Socket) has(r *afxdp.Ring) error {
	switch {
	case s.closed:
		return ErrClosed
	case r == nil:
		return errors.New("the socket has no such ring")
	}
	return nil
}

// Alloc makes frames to be sent, see [UMEM.Alloc]; chunks of what was sent are among them.
func (s *Socket) Alloc(frames []Frame) int {
	s.txMu.Lock()
	if s.tx != nil {
		s.umem.mu.Lock()
		s.pool.reap(s.umem)
		s.umem.mu.Unlock()
	}
	s.txMu.Unlock()
	return s.umem.Alloc(frames)
}

// Free is [UMEM.Free] of the socket's UMEM.
func (s *Socket) Free(frames ...Frame) { s.umem.Free(frames...) }

// Transmit sends frames, whose chunks come back to the UMEM when the device has
// done with them. It returns how many it took: fewer than there are when the tx ring is full, or with an
// error when one is not fit to be sent. It does not wait.
func (s *Socket) Transmit(frames []Frame) (int, error) {
	s.txMu.Lock()
	defer s.txMu.Unlock()
	if err := s.has(s.tx); err != nil {
		return 0, s.wrap("transmit", err)
	}
	n, err := s.queueUp(frames)
	if e := s.kick(); e != nil && err == nil {
		err = e
	}
	return n, s.wrap("transmit", err)
}

// queueUp puts frames into the tx ring.
func (s *Socket) queueUp(frames []Frame) (int, error) {
	u := s.umem
	u.mu.Lock()
	defer u.mu.Unlock()
	s.pool.reap(u)
	n := int(min(s.tx.Free(uint32(min(len(frames), int(s.tx.Size())))), uint32(len(frames))))
	for i, f := range frames[:n] {
		d, err := u.desc(f)
		if err != nil {
			s.tx.Submit()
			return i, fmt.Errorf("frame %d: %w", i, err)
		}
		u.owner[f.chunk/u.stride] = s.pool
		s.tx.PutDesc(d)
	}
	s.tx.Submit()
	return n, nil
}

// kick has the device send what is in the tx ring, as long as it does.
func (s *Socket) kick() error {
	for s.tx.NeedsWakeup() {
		waiting := s.tx.Size() - s.tx.Free(s.tx.Size())
		if waiting == 0 {
			return nil
		}
		switch err := s.sys.Send(); {
		case err == nil, errors.Is(err, errno.EAGAIN), errors.Is(err, errno.EBUSY), errors.Is(err, errno.ENOBUFS):
		default:
			return err
		}
		if s.tx.Size()-s.tx.Free(s.tx.Size()) == waiting {
			return nil // the device is busy
		}
		s.umem.mu.Lock()
		s.pool.reap(s.umem)
		s.umem.mu.Unlock()
	}
	return nil
}

// Close unbinds the socket and takes it out of the maps that hold it. What is in
// its rings is dropped; frames of its users stay theirs.
func (s *Socket) Close() error {
	s.sys.Stop()
	s.rxMu.Lock()
	defer s.rxMu.Unlock()
	s.txMu.Lock()
	defer s.txMu.Unlock()
	u := s.umem
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.sys.Close()
	u.leave(s)
	s.rx.Unmap()
	s.tx.Unmap()
	s.rx, s.tx = nil, nil
	if s.own {
		u.closed, u.free = true, nil
		u.area.Close()
	}
	return s.wrap("close", err)
}

// leave takes back the chunks that are in the rings of a socket that closes, as
// far as no other socket has those rings; the UMEM is locked.
func (u *UMEM) leave(s *Socket) {
	for i, other := range u.sockets {
		if other == s {
			u.sockets = append(u.sockets[:i], u.sockets[i+1:]...)
			break
		}
	}
	p := s.pool
	if p.sockets--; p.sockets > 0 {
		return
	}
	delete(u.pools, p.key)
	p.fill.Unmap()
	p.comp.Unmap()
	for i, o := range u.owner {
		if o == p {
			u.push(uint64(i) * u.stride)
		}
	}
}
