package classic

import "encoding/binary"

// Ethernet types and IP protocols the way to a payload leads over.
const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeARP  = 0x0806
	typeRARP = 0x8035
	typeVLAN = 0x8100
	typeQinQ = 0x88a8

	protoHopByHop = 0
	protoICMP     = 1
	protoIGMP     = 2
	protoIPIP     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoDCCP     = 33
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoICMPv6   = 58
	protoDestOpts = 60
	protoSCTP     = 132
	protoUDPLite  = 136
)

// transportHeaders are the lengths of fixed transport headers, in bytes.
var transportHeaders = map[uint8]int{
	protoUDP: 8, protoUDPLite: 8, protoICMP: 8, protoICMPv6: 8, protoIGMP: 8, protoDCCP: 12, protoSCTP: 12,
}

// dissectLimit is how many headers are passed before the search is given up
// (MAX_FLOW_DISSECT_HDRS).
const dissectLimit = 15

// FindPayload returns the offset of what the transport protocol carries, or, of
// protocols it does not know, of their own header; 0 where the packet is cut
// short or damaged. network is where the header of the Ethernet type typ begins.
//
// It goes over VLAN tags, IPv4 and IPv6 with its extension headers, and IP in
// IP. The kernel's (skb_get_poff) also passes MPLS, PPPoE, GRE and tunnels of a
// few more kinds.
func FindPayload(packet []byte, typ uint16, network int) int {
	at := network
	for range dissectLimit {
		if at < 0 || at > len(packet) {
			return 0
		}
		var proto uint8
		var piece fragment
		var ok bool
		switch typ {
		case typeVLAN, typeQinQ:
			if len(packet)-at < 4 {
				return 0
			}
			typ = binary.BigEndian.Uint16(packet[at+2:])
			at += 4
			continue
		case typeARP, typeRARP: // their own header is not passed
			return at
		case typeIPv4:
			proto, at, piece, ok = passIPv4(packet, at)
		case typeIPv6:
			proto, at, piece, ok = passIPv6(packet, at)
		}
		if !ok {
			return 0
		}
		switch {
		case piece == laterFragment:
			return at
		case piece == firstFragment:
			return passTransport(packet, at, proto)
		case proto == protoIPIP:
			typ = typeIPv4
		case proto == protoIPv6:
			typ = typeIPv6
		default:
			return passTransport(packet, at, proto)
		}
	}
	return 0
}

// fragment says which part of an IP packet another one carries.
type fragment uint8

const (
	whole fragment = iota
	firstFragment
	laterFragment
)

// fragmentOf reads a header's fragment field: its bits of the offset, and those
// that say that more follows.
func fragmentOf(field, offset, more uint16) fragment {
	switch {
	case field&offset != 0:
		return laterFragment
	case field&more != 0:
		return firstFragment
	}
	return whole
}

// passIPv4 returns the protocol an IPv4 header names and where that begins.
func passIPv4(packet []byte, at int) (proto uint8, next int, piece fragment, ok bool) {
	if len(packet)-at < 20 {
		return 0, 0, whole, false
	}
	h := packet[at:]
	length := int(h[0]&0xf) * 4
	if length < 20 {
		return 0, 0, whole, false
	}
	return h[9], at + length, fragmentOf(binary.BigEndian.Uint16(h[6:]), 0x1fff, 0x2000), true
}

// passIPv6 returns the protocol behind an IPv6 header and its extensions.
func passIPv6(packet []byte, at int) (proto uint8, next int, piece fragment, ok bool) {
	if len(packet)-at < 40 {
		return 0, 0, whole, false
	}
	proto, at = packet[at+6], at+40
	for range dissectLimit {
		switch proto {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(packet)-at < 2 {
				return 0, 0, whole, false
			}
			proto, at = packet[at], at+(int(packet[at+1])+1)*8
		case protoFragment:
			if len(packet)-at < 8 {
				return 0, 0, whole, false
			}
			// Behind this header the search ends, the only fragment or not.
			piece = fragmentOf(binary.BigEndian.Uint16(packet[at+2:]), 0xfff8, 0xffff)
			return packet[at], at + 8, max(piece, firstFragment), true
		default:
			return proto, at, whole, true
		}
	}
	return 0, 0, whole, false
}

// passTransport adds the length of the transport header at at.
func passTransport(packet []byte, at int, proto uint8) int {
	if proto != protoTCP {
		return at + transportHeaders[proto]
	}
	// The length of a TCP header is in the upper half of its byte 12.
	if at+13 > len(packet) {
		return at
	}
	return at + max(int(packet[at+12]>>4)*4, 20)
}
