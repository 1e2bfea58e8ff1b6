package packet

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/socket"
)

// StaticNet is a [Net] held in memory. Fill it before the first run; from then
// on it is only read, but for devices and sockets, which may come and go. Routes are found as Linux finds them: the local table
// first, then those of matching rules, then main, then default, in each the
// longest prefix and of equal ones the lowest metric.
type StaticNet struct {
	changing   sync.Mutex // around exchanges of devices, their routes, and sockets
	devices    atomic.Pointer[map[uint32]*Device]
	routes     []*Route // best first within a table
	rules      []rule
	neighbours map[neighbour][6]byte
	cookie     uint64

	sockets    atomic.Pointer[[]*staticSocket] // replaced under changing
	lastCookie atomic.Uint64

	// OnTransmit, if set, sees every packet that Transmit takes.
	OnTransmit func(dev *Device, ingress bool, frame []byte)
}

// rule sends packets with a mark to a table of their own.
type rule struct{ mark, table uint32 }

type neighbour struct {
	ifindex uint32
	addr    netip.Addr
}

type staticSocket struct {
	proto         uint8
	local, remote netip.AddrPort
	sock          *socket.Socket
}

// NewStaticNet returns a network with nothing but a loopback device, index 1,
// as a fresh namespace has it.
func NewStaticNet() *StaticNet {
	n := &StaticNet{neighbours: map[neighbour][6]byte{}, cookie: 1}
	n.devices.Store(&map[uint32]*Device{})
	n.AddDevice(Device{Ifindex: 1, Name: "lo", MTU: 65536, HardHeader: ethLen, Up: true, RxQueues: 1, NoXDPXmit: true})
	return n
}

// SetNetnsCookie sets what NetnsCookie answers.
func (n *StaticNet) SetNetnsCookie(c uint64) { n.cookie = c }

// AddDevice adds a device, or replaces the one with its index. For each of its
// addresses the local table gets a route, as the kernel makes it.
func (n *StaticNet) AddDevice(d Device) {
	n.changing.Lock()
	all := maps.Clone(*n.devices.Load())
	all[d.Ifindex] = &d
	n.devices.Store(&all)
	n.changing.Unlock()
	local := func(r *Route) bool { return r.Table == TableLocal && r.Ifindex == d.Ifindex }
	if slices.ContainsFunc(n.routes, local) {
		n.routes = slices.DeleteFunc(n.routes, local)
	}
	for _, a := range d.Addrs {
		n.AddRoute(Route{
			Dst:  netip.PrefixFrom(a.Addr(), a.Addr().BitLen()),
			Type: RouteLocal, Table: TableLocal, Ifindex: d.Ifindex,
		})
	}
}

// RemoveDevice takes a device away. Its routes stay.
func (n *StaticNet) RemoveDevice(ifindex uint32) {
	n.changing.Lock()
	defer n.changing.Unlock()
	all := maps.Clone(*n.devices.Load())
	delete(all, ifindex)
	n.devices.Store(&all)
}

// AddRoute adds a route.
func (n *StaticNet) AddRoute(r Route) {
	if r.Type == 0 {
		r.Type = RouteUnicast
	}
	if r.Table == 0 {
		r.Table = TableMain
	}
	r.Dst = r.Dst.Masked()
	n.routes = append(n.routes, &r)
	slices.SortStableFunc(n.routes, func(a, b *Route) int {
		return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
}

// AddRule makes packets with a mark look into a table before main, as
// `ip rule add fwmark mark table table` does.
func (n *StaticNet) AddRule(mark, table uint32) { n.rules = append(n.rules, rule{mark, table}) }

// AddNeighbour adds a resolved neighbour.
func (n *StaticNet) AddNeighbour(ifindex uint32, addr netip.Addr, mac [6]byte) {
	n.neighbours[neighbour{ifindex, addr.Unmap()}] = mac
}

// AddSocket adds a socket and returns it, to be completed. A remote of the zero
// AddrPort makes it a listener or unconnected; a local address that is
// unspecified takes every address.
func (n *StaticNet) AddSocket(proto uint8, local, remote netip.AddrPort, state uint32) (*socket.Socket, error) {
	spec := socket.Spec{Protocol: proto, Local: local, Remote: remote, State: state}
	s, err := socket.New(spec, n.NextCookie())
	if err == nil {
		n.Attach(s, &spec)
	}
	return s, err
}

// NextCookie draws a cookie for a new socket.
func (n *StaticNet) NextCookie() uint64 { return n.lastCookie.Add(1) + 1 } // 1 is a test run's

// Attach lets packets find a socket until it is closed.
func (n *StaticNet) Attach(s *socket.Socket, spec *socket.Spec) {
	entry := &staticSocket{spec.Protocol, spec.Local, spec.Remote, s}
	n.changing.Lock()
	all := append(slices.Clip(n.all()), entry)
	n.sockets.Store(&all)
	n.changing.Unlock()
	s.Hold(entry, func() {
		n.changing.Lock()
		defer n.changing.Unlock()
		rest := slices.DeleteFunc(slices.Clone(n.all()), func(x *staticSocket) bool { return x == entry })
		n.sockets.Store(&rest)
	})
}

func (n *StaticNet) all() []*staticSocket {
	if p := n.sockets.Load(); p != nil {
		return *p
	}
	return nil
}

// Close closes the sockets. No run may be under way.
func (n *StaticNet) Close() {
	for _, s := range n.all() {
		s.sock.Close()
	}
}

// Device returns the device with an index, or nil.
func (n *StaticNet) Device(ifindex uint32) *Device { return (*n.devices.Load())[ifindex] }

// Route returns the best route for q, or nil.
func (n *StaticNet) Route(q *RouteQuery) *Route {
	if q.Table != 0 {
		return n.routeIn(q, q.Table)
	}
	if r := n.routeIn(q, TableLocal); r != nil {
		return r
	}
	for _, rule := range n.rules {
		if rule.mark == q.Mark {
			if r := n.routeIn(q, rule.table); r != nil {
				return r
			}
		}
	}
	for _, table := range [...]uint32{TableMain, TableDefault} {
		if r := n.routeIn(q, table); r != nil {
			return r
		}
	}
	return nil
}

// routeIn looks into one table. A throw route ends the search in it. OIF is a
// demand on IPv4 routes, on IPv6 ones it only decides between equals.
func (n *StaticNet) routeIn(q *RouteQuery, table uint32) *Route {
	var best *Route
	for _, r := range n.routes {
		if r.Table != table || !r.Dst.Contains(q.Dst) {
			continue
		}
		if best != nil && (r.Dst.Bits() != best.Dst.Bits() || r.Metric != best.Metric) {
			break // the rest is worse
		}
		through := q.OIF == 0 || r.Ifindex == q.OIF
		switch {
		case r.Type == RouteThrow:
			return nil
		case through || r.Type != RouteUnicast:
			return r
		case q.Dst.Is6() && best == nil:
			best = r
		}
	}
	return best
}

// Neighbour returns the link address of addr on a device's link.
func (n *StaticNet) Neighbour(ifindex uint32, addr netip.Addr) ([6]byte, bool) {
	mac, ok := n.neighbours[neighbour{ifindex, addr.Unmap()}]
	return mac, ok
}

// Socket returns the best match: a connected socket, then one bound to the
// packet's destination address, then one bound to its port alone.
func (n *StaticNet) Socket(q *SocketQuery) uint64 {
	if q.Netns >= 0 {
		return 0
	}
	best, score := uint64(0), 0
	for _, x := range n.all() {
		if s := x.match(q); s > score {
			best, score = x.sock.Addr(), s
		}
	}
	return best
}

// match scores how well a packet fits; 0: not at all.
func (s *staticSocket) match(q *SocketQuery) int {
	if s.proto != q.Proto || s.local.Port() != q.Dst.Port() {
		return 0
	}
	wild := s.local.Addr().IsUnspecified()
	switch {
	case s.remote.IsValid():
		if s.remote == q.Src && s.local.Addr() == q.Dst.Addr() {
			return 3
		}
		return 0
	case !wild && s.local.Addr() == q.Dst.Addr():
		return 2
	case wild && (s.local.Addr().Is6() || q.Dst.Addr().Is4()): // [::] takes IPv4 too
		return 1
	}
	return 0
}

// NetnsCookie is the cookie of the network namespace.
func (n *StaticNet) NetnsCookie() uint64 { return n.cookie }

// Transmit hands the packet to OnTransmit.
func (n *StaticNet) Transmit(dev *Device, ingress bool, frame []byte) uint64 {
	if n.OnTransmit != nil {
		n.OnTransmit(dev, ingress, frame)
	}
	return XmitSuccess
}
