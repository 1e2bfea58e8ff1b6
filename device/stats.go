package device

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/hook"
)

// Stats count what a device has done.
type Stats struct {
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
	// TxDropped did not find room at the port, RxDropped were dropped on their way in
	// by a program or for want of a place to go.
	TxDropped, RxDropped uint64
	// RxSockets were taken by AF_XDP sockets, RxInPlace of these without a copy.
	RxSockets, RxInPlace uint64
	// XDP counts verdicts; those that are no action stand under XDPAborted.
	XDP [hook.XDPRedirect + 1]uint64
	// Ingress and Egress count what the clsact hooks came to, by hook.TCAction + 1.
	Ingress, Egress [hook.TCTrap + 2]uint64
	// TCBytes passed them, on the way in without the link header.
	TCBytes uint64
}

// counters are a device's Stats while queues count.
type counters struct {
	rxPackets, rxBytes, txPackets, txBytes, txDropped, rxDropped, rxSockets, rxInPlace atomic.Uint64
	xdp                                                                                [hook.XDPRedirect + 1]atomic.Uint64
	ingress, egress                                                                    [hook.TCTrap + 2]atomic.Uint64
	tcBytes                                                                            atomic.Uint64
}

// tcVerdict counts a packet of some bytes in one of ingress and egress.
func (c *counters) tcVerdict(at *[hook.TCTrap + 2]atomic.Uint64, a hook.TCAction, bytes int) {
	c.tcBytes.Add(uint64(bytes))
	if i := int(a) + 1; i >= 0 && i < len(at) {
		at[i].Add(1)
	}
}

func (c *counters) verdict(a hook.XDPAction) {
	if int(a) >= len(c.xdp) {
		a = hook.XDPAborted
	}
	c.xdp[a].Add(1)
}

// Stats returns what the device has counted so far.
func (d *Device) Stats() Stats {
	c := &d.stats
	s := Stats{
		RxPackets: c.rxPackets.Load(), RxBytes: c.rxBytes.Load(), TxPackets: c.txPackets.Load(), TxBytes: c.txBytes.Load(),
		TxDropped: c.txDropped.Load(), RxDropped: c.rxDropped.Load(), RxSockets: c.rxSockets.Load(), RxInPlace: c.rxInPlace.Load(),
	}
	for i := range c.xdp {
		s.XDP[i] = c.xdp[i].Load()
	}
	s.TCBytes = c.tcBytes.Load()
	for i := range c.ingress {
		s.Ingress[i], s.Egress[i] = c.ingress[i].Load(), c.egress[i].Load()
	}
	return s
}
