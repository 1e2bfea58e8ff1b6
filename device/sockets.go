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
func (n netdev) PlacesFrames() bool  { return false }
func (n netdev) Pools() *afxdp.Pools { return n.pools }

// Transmit sends frames past the egress hook, as sockets of AF_XDP do.
func (n netdev) Transmit(frames [][]byte) (int, bool) {
	if !n.Running() {
		n.stats.txDropped.Add(uint64(len(frames)))
		return 0, false
	}
	sent, err := n.port.Transmit(frames)
	bytes := 0
	for _, f := range frames[:sent] {
		bytes += len(f)
	}
	n.stats.txPackets.Add(uint64(sent))
	n.stats.txBytes.Add(uint64(bytes))
	_, cable := n.port.(*pair)
	if busy := cable && err == nil; busy { // it has room when the other end has taken something
		return sent, true
	}
	n.stats.txDropped.Add(uint64(len(frames) - sent))
	return sent, false
}

// socket gives a packet to an AF_XDP socket. Whoever reads there sees it after tellSockets.
func (w *worker) socket(d *Device, queue uint32, del hook.Delivery) {
	s, ok := del.Socket.(*afxdp.Socket)
	if !ok || s.Receive(netdev{d}, queue, del.Meta, del.Packet) != 0 {
		d.stats.rxDropped.Add(1)
		return
	}
	d.stats.rxSockets.Add(1)
	if !slices.Contains(w.sockets, s) {
		w.sockets = append(w.sockets, s)
	}
}

// tellSockets shows sockets' users what was received.
func (w *worker) tellSockets() {
	for i, s := range w.sockets {
		s.Flush()
		w.sockets[i] = nil
	}
	w.sockets = w.sockets[:0]
}
