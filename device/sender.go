package device

import (
	"errors"

	"github.com/skep-bpf/skep/hook"
)

// ErrNotRunning is the error of what is sent in a network that does not move packets.
var ErrNotRunning = errors.New("device: the network does not run")

// Sender sends frames out of devices as sockets do: through tc and what follows, in the caller's goroutine,
// which is the queue of the devices that the packets come into by cables. It is used by one goroutine at a time.
type Sender struct {
	net *Network
	w   *worker
	who any
}

// NewSender makes a sender on a virtual CPU, counted round. who is the one that watchers know it by.
func (n *Network) NewSender(cpu int, who any) *Sender {
	return &Sender{n, newWorker(n, cpu%n.mach.CPUs()), who}
}

// begin has Stop wait until active is done with. It fails in a network that does not run.
func (n *Network) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running {
		n.active.Add(1)
	}
	return n.running
}

// ending reports whether Stop waits.
func (n *Network) ending() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.running
}

// Send sends a frame, past the egress hook and those who watch if bypass (PACKET_QDISC_BYPASS). It reports
// whether the device took it.
func (s *Sender) Send(d *Device, frame []byte, meta hook.Meta, bypass bool) (bool, error) {
	n, w := s.net, s.w
	if !n.begin() {
		return false, ErrNotRunning
	}
	defer n.finished()
	if err := w.enter(); err != nil {
		return false, err
	}
	w.sender = s.who
	before := w.counted(d).txDropped.Load()
	if bypass {
		w.put(d, frame, &meta)
	} else {
		w.xmit(d, frame, &meta, 0)
	}
	w.sender = nil // of what comes of it nobody is
	err := w.leave()
	w.err = nil
	return d.tunnel != nil || w.counted(d).txDropped.Load() == before, err // a tunnel does not tell
}
