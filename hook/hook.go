// Package hook attaches programs where packets pass: one file per hook. A hook
// builds the context a program sees, runs it, and carries out what it decided
// as the kernel does at that place: drops, truncation, redirects through maps, second programs at a redirect's target.
//
// Hooks are fed by hand, packet by packet, from a capture, a test or a socket;
// where a packet goes is told, not done, by [Delivery] values.
//
//	xdp, err := hook.NewXDP(m, coll.Programs["firewall"], nil)
//	action, deliveries, err := xdp.Run(frame, hook.Meta{Ifindex: 2})
//
// Package device has devices that carry it out.
package hook

import (
	"fmt"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/packet"
)

// Place is where a delivery goes.
type Place uint8

// Places.
const (
	ToStack   Place = iota // up the network stack: the packet goes on as if no program were there
	ToDevice               // out of a device
	ToIngress              // into a device's receive side
	ToCPU                  // up the stack on another CPU (cpumap)
	ToSocket               // to an AF_XDP socket
)

func (p Place) String() string {
	return [...]string{"stack", "device", "ingress", "cpu", "socket"}[p]
}

// Delivery is a packet's arrival at one place.
type Delivery struct {
	To      Place
	Ifindex uint32 // of ToDevice and ToIngress
	Peer    bool   // of ToIngress: into the other end of the device, not into itself
	CPU     uint32 // of ToCPU
	// Socket is, of ToSocket, what the xskmap holds; of ToStack, the *[skep.Socket] that a tc program
	// gave the packet to (bpf_sk_assign), for the stack not to look for one, or nil.
	Socket any
	// Packet starts with the link header, Meta of ToSocket is what metadata a program
	// has put before it. Both are valid until the hook's next run.
	Packet, Meta []byte
}

// Meta is what is known of a packet besides its bytes.
type Meta struct {
	Ifindex uint32 // the device it came from; 0: the loopback device
	RxQueue uint32
	// InPlace, if not 0, has XDP change the packet where it lies: off-heap, with so many bytes
	// free before it, and those of its capacity behind it.
	InPlace int
	// Metadata is how many of the first bytes XDP is given are metadata, in front of the packet.
	Metadata int
	Mark     uint32
	// Priority and the rest concern programs over socket buffers.
	Priority  uint32
	TCClassID uint32 // class set before, as tc programs read it
	Tstamp    uint64 // nanoseconds
	TCIndex   uint32
	Queue     uint32    // queue_mapping: of the way out, or what redirects have left of it
	CB        [5]uint32 // the control block, which programs write for those after them
	// Tunnel is the metadata of a tunnel: that the packet came out of, or that a
	// program wants it to enter; nil: none.
	Tunnel *skep.Tunnel
	// VLANProto and VLANTCI are a tag the device took off the packet; 0: none.
	VLANProto, VLANTCI uint16
	// Type is whom the packet is for.
	Type PacketType
}

// PacketType says whom a packet is for, as the device it came in by sees it (skb->pkt_type).
type PacketType uint8

// Types of packets.
const (
	ByHeader    PacketType = iota // as a device without an address reads it off the link header
	ToHost                        // PACKET_HOST: this machine
	ToBroadcast                   // PACKET_BROADCAST
	ToMulticast                   // PACKET_MULTICAST
	ToOtherHost                   // PACKET_OTHERHOST
	Outgoing                      // PACKET_OUTGOING: it is sent; packet sockets see it
)

// Number is the kernel's number of a type that is told.
func (t PacketType) Number() uint32 { return uint32(t) - 1 }

// TypeOf is the type of a frame that a device with a link address has received (eth_type_trans).
func TypeOf(frame []byte, mac [6]byte) PacketType {
	return PacketType(packet.TypeOf(frame, mac)) + 1
}

// hold returns a CPU the caller holds, or takes the one with that number.
func hold(m *skep.Machine, id int, held *skep.CPU) (*skep.CPU, error) {
	if held != nil {
		return held, nil
	}
	return m.HoldCPU(id)
}

func unknown(what string, v uint32) string { return fmt.Sprintf("%s(%d)", what, int32(v)) }
