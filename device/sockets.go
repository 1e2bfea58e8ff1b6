package device

import (
	"slices"

	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/unwrap"
)

// netdev is a device as AF_XDP sockets know it.
type netdev struct{ *Device }

func init() {
	unwrap.Netdev = func(d any) (afxdp.Netdev, *afxdp.Sockets) {
		dev := d.(*Device)
		return netdev{dev}, unwrap.XSKs(dev.net.mach)
	}
}

func (n netdev) Queues() int         { return n.port.Queues() }
func (n netdev) PlacesFrames() bool  { _, ok := n.port.(*pair); return ok }
func (n netdev) Pools() *afxdp.Pools { return n.pools }

// Transmit sends frames past the egress hook, as sockets of AF_XDP do.
func (n netdev) Transmit(frames [][]byte) (int, bool) {
	if !n.Running() {
		n.others().txDropped.Add(uint64(len(frames)))
		n.sayDown()
		return 0, false
	}
	sent, err := n.port.Transmit(frames)
	bytes := 0
	for _, f := range frames[:sent] {
		bytes += len(f)
	}
	n.others().txPackets.Add(uint64(sent))
	n.others().txBytes.Add(uint64(bytes))
	_, cable := n.port.(*pair)
	if busy := cable && err == nil; busy { // it has room when the other end has taken something
		return sent, true
	}
	n.others().txDropped.Add(uint64(len(frames) - sent))
	return sent, false
}

// place is where a frame lies in a UMEM; the zero value is one that lies in none.
type place struct {
	pool  *afxdp.Pool // with a hold on it
	chunk uint64
	head  int // bytes before the frame
	lost  bool
}

// place finds the chunk that a frame of n bytes is received into, where a UMEM is
// bound to the queue in zero-copy mode. nil and not lost: in none.
func (d *Device) place(queue, n int) ([]byte, place) {
	if !d.pools.Any(queue) {
		return nil, place{}
	}
	pool := d.pools.Get(queue)
	if pool == nil {
		return nil, place{}
	}
	if pool.ZeroCopy() {
		buf, head, chunk, ok := pool.Place(n)
		if ok {
			return buf, place{pool, chunk, head, false}
		}
		pool.Release()
		return nil, place{lost: true}
	}
	pool.Release()
	return nil, place{}
}

// placed receives a frame that lies where at says. In a chunk it goes to a socket as it is, or is copied on
// its way and the chunk used again.
func (w *worker) placed(d *Device, queue int, f []byte, meta *hook.Meta, at place) {
	switch {
	case at.lost:
		count(&w.counted(d).rxDropped, 1)
		return
	case at.pool == nil:
		w.frame(d, queue, f, meta)
		return
	}
	w.in = at
	w.frame(d, queue, f, meta)
	if w.in.pool != nil {
		at.pool.Recycle(at.chunk)
		w.in = place{}
	}
	at.pool.Release()
}

// socket gives a packet to an AF_XDP socket. Whoever reads there sees it after tellSockets.
func (w *worker) socket(d *Device, queue int, del *hook.Delivery) {
	s, ok := del.Socket.(*afxdp.Socket)
	if !ok || !w.receivedBy(s, d, uint32(queue), del) {
		count(&w.counted(d).rxDropped, 1)
		return
	}
	count(&w.counted(d).rxSockets, 1)
	if !slices.Contains(w.sockets, s) {
		w.sockets = append(w.sockets, s)
	}
}

func (w *worker) receivedBy(s *afxdp.Socket, d *Device, queue uint32, del *hook.Delivery) bool {
	if w.in.pool != nil {
		taken, e := s.ReceivePlaced(w.in.pool, w.in.chunk, netdev{d}, queue, del.Packet)
		if taken {
			w.in = place{} // the chunk is the socket's
			count(&w.counted(d).rxInPlace, 1)
		}
		if taken || e != 0 {
			return e == 0
		}
	}
	return s.Receive(netdev{d}, queue, del.Meta, del.Packet) == 0
}

// tellSockets shows sockets' users what was received.
func (w *worker) tellSockets() {
	for i, s := range w.sockets {
		s.Flush()
		w.sockets[i] = nil
	}
	w.sockets = w.sockets[:0]
}
