package packet

import "net/netip"

// Net is the network around a packet, as far as helpers ask about it. A host
// without some thing answers that it is not there. Methods are called by
// several vCPUs at once; they do not allocate.
type Net interface {
	// Device returns the device with an index, or nil.
	Device(ifindex uint32) *Device
	// Route returns the best route for a packet; nil: there is none.
	Route(q *RouteQuery) *Route
	// Neighbour returns the link address of addr on a device's link.
	Neighbour(ifindex uint32, addr netip.Addr) (mac [6]byte, ok bool)
	// Socket returns the address of the [Sock] a packet would be delivered to, or 0.
	Socket(q *SocketQuery) uint64
	// NetnsCookie is the cookie of the network namespace.
	NetnsCookie() uint64
	// Transmit takes a copy of a packet, starting with its Ethernet header, that a
	// program sends out of a device, or with ingress into it. frame is valid
	// during the call only. The result is that of dev_queue_xmit or netif_rx: 0,
	// a NET_XMIT_* code, or a negative errno through Ret.
	Transmit(dev *Device, ingress bool, frame []byte) uint64
}

// Device is one network device.
type Device struct {
	Ifindex    uint32
	Name       string
	MAC        [6]byte
	MTU        uint32 // bytes, without the link header
	HardHeader uint32 // length of the link header, in bytes
	Up         bool
	// L3 devices carry packets without a link header (ARPHRD_NONE, tunnels).
	L3 bool
	// Forward4 and Forward6 allow forwarding of what comes in here.
	Forward4, Forward6 bool
	// Addrs are the device's addresses with their networks; the first of a
	// family is its preferred source.
	Addrs []netip.Prefix
	// Peer is the index of the other end (veth, netkit), or 0.
	Peer uint32
	// RxQueues is the number of receive queues.
	RxQueues uint32
	// NoXDPXmit devices cannot send frames of native XDP: their drivers have no ndo_xdp_xmit, or have it off.
	NoXDPXmit bool
}

// RouteType is what a route does with a packet, with the numbers of RTN_*.
type RouteType uint8

// Route types.
const (
	RouteUnicast     RouteType = 1
	RouteLocal       RouteType = 2
	RouteBroadcast   RouteType = 3
	RouteAnycast     RouteType = 4
	RouteMulticast   RouteType = 5
	RouteBlackhole   RouteType = 6
	RouteUnreachable RouteType = 7
	RouteProhibit    RouteType = 8
	RouteThrow       RouteType = 9
)

// Numbers of the tables every Linux has.
const (
	TableDefault = 253
	TableMain    = 254
	TableLocal   = 255
)

// RouteQuery is a packet to be routed.
type RouteQuery struct {
	Dst, Src netip.Addr
	// IIF is where it came in; 0: it starts here. OIF, if not 0, is where it must go out.
	IIF, OIF uint32
	// Table, if not 0, is the only one to look into; else rules decide.
	Table uint32
	// TOS is the IPv4 type of service without its ECN bits.
	TOS          uint8
	Mark         uint32
	Proto        uint8
	Sport, Dport uint16 // network order
}

// Route is one route.
type Route struct {
	Dst     netip.Prefix
	Type    RouteType // 0: unicast
	Table   uint32    // 0: main
	Metric  uint32
	Ifindex uint32
	Gateway netip.Addr // invalid: the destination is on the link; IPv6 may serve IPv4
	PrefSrc netip.Addr
	// MTU, if not 0, is a locked path MTU.
	MTU uint32
	// Encap: the route encapsulates (lwtunnel).
	Encap bool
}

// SocketQuery is a packet looking for its socket.
type SocketQuery struct {
	Proto    uint8          // IPPROTO_TCP or IPPROTO_UDP
	Src, Dst netip.AddrPort // of the packet: Src is the remote end
	Ifindex  uint32
	// Netns is the id of another namespace, or negative for the packet's own.
	Netns int32
}

// XmitSuccess is what Transmit returns for a packet that was taken (NET_XMIT_SUCCESS).
const XmitSuccess = 0
