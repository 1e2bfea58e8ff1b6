package classic

import "encoding/binary"

// Ethernet types the way to a payload leads over.
const (
	typeIPv4   = 0x0800
	typeARP    = 0x0806
	typeBatman = 0x4305
	typeTEB    = 0x6558 // Ethernet in GRE
	typeRARP   = 0x8035
	typeVLAN   = 0x8100
	typeIPv6   = 0x86dd
	typeMPLS   = 0x8847
	typeMPLSMC = 0x8848
	typePPPoE  = 0x8864 // session
	typeQinQ   = 0x88a8
	typeTIPC   = 0x88ca
	typePTP    = 0x88f7
	typePRP    = 0x88fb
	typeCFM    = 0x8902
	typeFCoE   = 0x8906
	typeHSR    = 0x892f
)

// IP protocols the way leads over or to.
const (
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
	protoGRE      = 47
	protoICMPv6   = 58
	protoDestOpts = 60
	protoSCTP     = 132
	protoUDPLite  = 136
	protoMPLS     = 137
)

// transportHeaders are the lengths of fixed transport headers, in bytes.
var transportHeaders = map[uint8]int{
	protoUDP: 8, protoUDPLite: 8, protoICMP: 8, protoICMPv6: 8, protoIGMP: 8, protoDCCP: 12, protoSCTP: 12,
}

// dissectLimit is how many headers are passed before the search ends where it is
// (MAX_FLOW_DISSECT_HDRS).
const dissectLimit = 15

// FindPayload returns the offset of what the transport protocol carries, or, of
// protocols it does not know, of their own header; 0 where the packet is cut
// short, damaged or of an Ethernet type it does not know. network is where the
// header of the Ethernet type typ begins.
//
// It follows the kernel's skb_get_poff: over VLAN tags, IPv4, IPv6 and its
// extension headers, IP in IP, PPPoE, GRE and PPTP, batman-adv, HSR and PRP, and
// up to MPLS, whose labels do not say what they carry.
func FindPayload(packet []byte, typ uint16, network int) int {
	if network < 0 || network > len(packet) {
		return 0
	}
	d := dissector{packet: packet, at: network, typ: typ}
	next := d.passType()
	for passed := 1; ; passed++ {
		switch {
		case next == bad:
			return 0
		case next == found || passed > dissectLimit:
			return d.passTransport()
		case next == byType:
			next = d.passType()
		default:
			next = d.passProto()
		}
	}
}

// outcome is what is known behind a header.
type outcome uint8

const (
	bad     outcome = iota // cut short, damaged or unknown
	found                  // this is as far as the search goes
	byType                 // goes on with an Ethernet type
	byProto                // goes on with an IP protocol
)

// dissector is a search on its way.
type dissector struct {
	packet []byte
	at     int    // the next header
	typ    uint16 // the Ethernet type passed last, or the next one
	proto  uint8  // the same of IP protocols
	later  bool   // the packet carries a later fragment, without a transport header
}

// header returns n bytes of the next header, or nil.
func (d *dissector) header(n int) []byte {
	if len(d.packet)-d.at < n {
		return nil
	}
	return d.packet[d.at : d.at+n]
}

// pass goes on by n bytes.
func (d *dissector) pass(n int, next outcome) outcome {
	d.at += n
	return next
}

// passType passes the header of an Ethernet type.
func (d *dissector) passType() outcome {
	switch d.typ {
	case typeIPv4:
		return d.passIPv4()
	case typeIPv6:
		h := d.header(40)
		if h == nil {
			return bad
		}
		d.proto = h[6]
		d.at += 40
		return d.passProto()
	case typeVLAN, typeQinQ:
		return d.passTag(4)
	case typeHSR, typePRP:
		return d.passTag(6)
	case typePPPoE:
		return d.passPPPoE()
	case typeMPLS, typeMPLSMC:
		return d.pass(4, found)
	case typeBatman:
		// A unicast packet of version 15, then an Ethernet header.
		h := d.header(10 + 14)
		if h == nil || h[0] != 0x40 || h[1] != 15 {
			return bad
		}
		d.typ = binary.BigEndian.Uint16(h[22:])
		return d.pass(len(h), byType)
	case typeFCoE:
		return d.passFixed(38, 38)
	case typePTP:
		return d.passFixed(34, 34)
	case typeTIPC:
		return d.passFixed(16, 0)
	case typeARP, typeRARP, typeCFM: // their own header is not passed
		return found
	}
	return bad
}

// passFixed wants a header of n bytes, and passes some of it.
func (d *dissector) passFixed(n, over int) outcome {
	if d.header(n) == nil {
		return bad
	}
	return d.pass(over, found)
}

// passTag passes a tag of n bytes, the last two of which are an Ethernet type.
func (d *dissector) passTag(n int) outcome {
	h := d.header(n)
	if h == nil {
		return bad
	}
	d.typ = binary.BigEndian.Uint16(h[n-2:])
	return d.pass(n, byType)
}

// passIPv4 passes an IPv4 header and what the protocol it names says.
func (d *dissector) passIPv4() outcome {
	h := d.header(20)
	if h == nil {
		return bad
	}
	length := int(h[0]&0xf) * 4
	if length < 20 {
		return bad
	}
	d.proto = h[9]
	d.at += length
	const offset, more = 0x1fff, 0x2000
	if field := binary.BigEndian.Uint16(h[6:]); field&(offset|more) != 0 {
		d.later = field&offset != 0
		return found
	}
	return d.passProto()
}

// Protocols of PPP (RFC 1661 and the registry).
const (
	pppIPv4   = 0x0021
	pppIPv6   = 0x0057
	pppMPLS   = 0x0281
	pppMPLSMC = 0x0283
)

// pppTypes are the Ethernet types of what PPP carries.
var pppTypes = map[uint16]uint16{pppIPv4: typeIPv4, pppIPv6: typeIPv6, pppMPLS: typeMPLS, pppMPLSMC: typeMPLSMC}

// passPPPoE passes the header of a PPPoE session (RFC 2516) and PPP's protocol of
// two bytes. PPPoE forbids the short form; older kernels passed it.
func (d *dissector) passPPPoE() outcome {
	h := d.header(8)
	if h == nil || h[0] != 0x11 || h[1] != 0 {
		return bad
	}
	proto := binary.BigEndian.Uint16(h[6:])
	if typ, ok := pppTypes[proto]; ok {
		d.typ = typ
		return d.pass(len(h), byType)
	}
	if proto&0x0101 != 1 { // RFC 1661: the first byte is even, the second odd
		return bad
	}
	return d.pass(len(h), found)
}

// passProto passes the header of an IP protocol.
func (d *dissector) passProto() outcome {
	switch d.proto {
	case protoIPIP:
		d.typ = typeIPv4
		return byType
	case protoIPv6:
		d.typ = typeIPv6
		return byType
	case protoMPLS:
		d.typ = typeMPLS
		return byType
	case protoGRE:
		return d.passGRE()
	}
	if d.typ != typeIPv6 {
		return found
	}
	switch d.proto {
	case protoHopByHop, protoRouting, protoDestOpts:
		h := d.header(2)
		if h == nil {
			return bad
		}
		d.proto = h[0]
		return d.pass((int(h[1])+1)*8, byProto)
	case protoFragment:
		// Behind this header the search ends, the only fragment or not.
		h := d.header(8)
		if h == nil {
			return bad
		}
		d.proto = h[0]
		d.later = binary.BigEndian.Uint16(h[2:])&0xfff8 != 0
		return d.pass(8, found)
	}
	return found
}

// Flags of GRE (RFC 2890, and RFC 2637 for version 1).
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSequence = 0x1000
	greAck      = 0x0080
	greVersion  = 0x0007

	grePPP = 0x880b // the protocol of version 1
)

// passGRE passes a GRE header, and in version 1 the PPP header behind it.
func (d *dissector) passGRE() outcome {
	h := d.header(4)
	if h == nil {
		return bad
	}
	flags, typ := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	version := flags & greVersion
	if flags&greRouting != 0 || version > 1 {
		return found
	}
	d.typ = typ
	if version == 1 && (typ != grePPP || flags&greKey == 0) {
		return found
	}
	n := 4
	if flags&greChecksum != 0 {
		n += 4
	}
	if flags&greKey != 0 {
		if n += 4; d.header(n) == nil {
			return bad
		}
	}
	if flags&greSequence != 0 {
		n += 4
	}
	switch {
	case version == 1:
		if flags&greAck != 0 {
			n += 4
		}
		const pppHeader = 4 // address, control, protocol
		h := d.header(n + pppHeader)
		if h == nil {
			return bad
		}
		switch proto := binary.BigEndian.Uint16(h[n+2:]); proto {
		case pppIPv4, pppIPv6:
			d.typ = pppTypes[proto]
		}
		n += pppHeader
	case typ == typeTEB:
		const ethernetHeader = 14
		h := d.header(n + ethernetHeader)
		if h == nil {
			return bad
		}
		n += ethernetHeader
		d.typ = binary.BigEndian.Uint16(h[n-2:])
	}
	return d.pass(n, byType)
}

// passTransport adds the length of the transport header to where the search ended.
func (d *dissector) passTransport() int {
	at := min(d.at, len(d.packet))
	switch {
	case d.later:
		return at
	case d.proto != protoTCP:
		return at + transportHeaders[d.proto]
	case at+13 > len(d.packet):
		return at
	}
	// The length of a TCP header is in the upper half of its byte 12.
	return at + max(int(d.packet[at+12]>>4)*4, 20)
}
