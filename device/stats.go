package device

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/mem"
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

// counters are a device's Stats as one CPU counts them. Who holds the CPU is the only one to write
// there, and needs no exchange with others for it; those without a CPU share the last ones, by Add.
type counters struct {
	rxPackets, rxBytes, txPackets, txBytes, txDropped, rxDropped, rxSockets, rxInPlace atomic.Uint64
	xdp                                                                                [hook.XDPRedirect + 1]atomic.Uint64
	ingress, egress                                                                    [hook.TCTrap + 2]atomic.Uint64
	tcBytes                                                                            atomic.Uint64
	_                                                                                  [48]byte // whole cache lines
}

// counted returns the device's counters on the worker's CPU.
func (w *worker) counted(d *Device) *counters { return &d.stats[w.id] }

// others returns the counters of those who hold no CPU.
func (d *Device) others() *counters { return &d.stats[len(d.stats)-1] }

// count adds to a counter of the CPU that the caller holds.
func count(c *atomic.Uint64, n int) { mem.StoreRelease(c, c.Load()+uint64(n)) }

// tcVerdict counts a packet of some bytes in one of ingress and egress.
func (c *counters) tcVerdict(at *[hook.TCTrap + 2]atomic.Uint64, a hook.TCAction, bytes int) {
	count(&c.tcBytes, bytes)
	if i := int(a) + 1; i >= 0 && i < len(at) {
		count(&at[i], 1)
	}
}

func (c *counters) verdict(a hook.XDPAction) {
	if uint64(a) >= uint64(len(c.xdp)) {
		a = hook.XDPAborted
	}
	count(&c.xdp[a], 1)
}

// Stats returns what the device has counted so far.
func (d *Device) Stats() Stats {
	var s Stats
	for i := range d.stats {
		c := &d.stats[i]
		for _, f := range []struct {
			to   *uint64
			from *atomic.Uint64
		}{
			{&s.RxPackets, &c.rxPackets}, {&s.RxBytes, &c.rxBytes}, {&s.TxPackets, &c.txPackets}, {&s.TxBytes, &c.txBytes},
			{&s.TxDropped, &c.txDropped}, {&s.RxDropped, &c.rxDropped}, {&s.RxSockets, &c.rxSockets}, {&s.RxInPlace, &c.rxInPlace},
			{&s.TCBytes, &c.tcBytes},
		} {
			*f.to += f.from.Load()
		}
		for i := range c.xdp {
			s.XDP[i] += c.xdp[i].Load()
		}
		for i := range c.ingress {
			s.Ingress[i] += c.ingress[i].Load()
			s.Egress[i] += c.egress[i].Load()
		}
	}
	return s
}
