package device

import (
	"encoding/binary"
	"net/netip"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/packet"
)

// TunnelKind is what a tunnel device puts around frames, over UDP.
type TunnelKind uint8

// Kinds of tunnels.
const (
	VXLAN  TunnelKind = iota // RFC 7348, and with GBP the group policy extension
	Geneve                   // RFC 8926
)

func (k TunnelKind) String() string { return [...]string{"vxlan", "geneve"}[k] }

// Ports the kinds have by themselves. That of VXLAN is Linux's, from before IANA gave 4789.
const (
	vxlanPort  = 8472
	genevePort = 6081
)

// Lengths of headers, in bytes.
const (
	ip4Header   = 20
	ip6Header   = 40
	udpHeader   = 8
	vxlanHeader = 8
	geneveFixed = 8
)

const (
	protoUDP     = 17
	defaultHops  = 64     // net.ipv4.ip_default_ttl
	etherTEB     = 0x6558 // an Ethernet frame within
	vxlanVNI     = 0x08   // flags of the first byte: there is a network identifier,
	vxlanGBP     = 0x80   // and a group policy
	gbpBits      = 0x48   // of the second byte: do not learn, policy applied
	ecnMask      = 3
	ecnCE        = 3
	ecnECT0      = 2
	ecnECT1      = 1
	ipDontFrag   = 0x4000
	ipFragment   = 0x3fff // offset, and that more come
	flowPortLow  = 32768  // net.ipv4.ip_local_port_range
	flowPortHigh = 60999
)

// header appends what goes between the UDP header and the frame:
//
//	VXLAN   │ 08 0 0 0 │ VNI, 3 │ 0 │          GBP: 88 bits policy, 2
//	Geneve  │ options/4 │ 0 │ 6558 │ VNI, 3 │ 0 │ options
func (c *TunnelConfig) header(b []byte, t *skep.Tunnel) []byte {
	vni := []byte{byte(t.ID >> 16), byte(t.ID >> 8), byte(t.ID), 0}
	opt := t.Opt[:t.OptLen]
	if t.Flags&packet.TunnelOptions == 0 {
		opt = nil
	}
	if c.Kind == Geneve {
		b = append(b, byte(len(opt)/4), 0, etherTEB>>8, etherTEB&0xff)
		return append(append(b, vni...), opt...)
	}
	head := [4]byte{vxlanVNI}
	if c.GBP && len(opt) >= 4 { // struct vxlan_metadata
		if gbp := binary.NativeEndian.Uint32(opt); gbp != 0 {
			head[0] |= vxlanGBP
			head[1] = byte(gbp>>16) & gbpBits
			binary.BigEndian.PutUint16(head[2:], uint16(gbp))
		}
	}
	return append(append(b, head[:]...), vni...)
}

// parse reads it back: the frame behind it, and what it says.
func (c *TunnelConfig) parse(b []byte, t *skep.Tunnel) (frame []byte, ok bool) {
	if len(b) < vxlanHeader {
		return nil, false
	}
	t.ID = uint64(b[4])<<16 | uint64(b[5])<<8 | uint64(b[6])
	if c.Kind == Geneve {
		n := int(b[0]&0x3f) * 4
		if b[0]>>6 != 0 || binary.BigEndian.Uint16(b[2:]) != etherTEB || len(b) < geneveFixed+n {
			return nil, false
		}
		if t.OptLen = uint8(n); n > 0 {
			copy(t.Opt[:], b[geneveFixed:geneveFixed+n])
			t.Flags |= packet.TunnelGeneveOpt
		}
		return b[geneveFixed+n:], true
	}
	if b[0]&vxlanVNI == 0 {
		return nil, false
	}
	if c.GBP && b[0]&vxlanGBP != 0 {
		binary.NativeEndian.PutUint32(t.Opt[:], uint32(b[1]&gbpBits)<<16|uint32(binary.BigEndian.Uint16(b[2:])))
		t.OptLen = 4
		t.Flags |= packet.TunnelVXLANOpt
	}
	return b[vxlanHeader:], true
}

// words is an address as a tunnel key has it.
func words(a netip.Addr) (w [4]uint32) {
	b := a.AsSlice()
	for i := range len(b) / 4 {
		w[i] = binary.LittleEndian.Uint32(b[4*i:]) // the bytes stay in their order
	}
	return w
}

func addressOf(w [4]uint32, v6 bool) netip.Addr {
	var b [16]byte
	for i, v := range w {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	if v6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

// encapsulate appends the outer frame, from its Ethernet header on, of an inner one.
func (c *TunnelConfig) encapsulate(b, inner []byte, t *skep.Tunnel, from, to [6]byte, src netip.Addr, hash uint32, id uint16) []byte {
	dst := addressOf(t.Dst, t.IPv6)
	b = append(append(b, to[:]...), from[:]...)
	tos := t.TOS&^ecnMask | carriedECN(inner)
	at := len(b) + 2
	if t.IPv6 {
		b = binary.BigEndian.AppendUint16(b, packet.EtherIPv6)
		b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(tos)<<20|t.Label)
		b = append(b, 0, 0, protoUDP, c.hops(t))
	} else {
		b = binary.BigEndian.AppendUint16(b, packet.EtherIPv4)
		frag := uint16(0)
		if t.Flags&packet.TunnelDontFrag != 0 {
			frag = ipDontFrag
		}
		b = append(b, 0x45, tos, 0, 0)
		b = binary.BigEndian.AppendUint16(b, id)
		b = binary.BigEndian.AppendUint16(b, frag)
		b = append(b, c.hops(t), protoUDP, 0, 0)
	}
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	udp := len(b)
	port := flowPortLow + uint16(uint64(hash)*(flowPortHigh-flowPortLow)>>32)
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, c.Port)
	b = append(b, 0, 0, 0, 0)
	b = append(c.header(b, t), inner...)
	n := uint16(len(b) - udp)
	binary.BigEndian.PutUint16(b[udp+4:], n)
	if t.IPv6 {
		binary.BigEndian.PutUint16(b[at+4:], n)
	} else {
		binary.BigEndian.PutUint16(b[at+2:], ip4Header+n)
		binary.BigEndian.PutUint16(b[at+10:], ^sum(0, b[at:udp]))
	}
	if t.Flags&packet.TunnelCsum != 0 {
		check := ^udpSum(src, dst, b[udp:])
		if check == 0 {
			check = 0xffff
		}
		binary.BigEndian.PutUint16(b[udp+6:], check)
	}
	return b
}

// hops is the outer header's. What the key leaves open is VXLAN's to choose; Geneve sends what it says.
func (c *TunnelConfig) hops(t *skep.Tunnel) uint8 {
	if t.TTL == 0 && c.Kind == VXLAN {
		return defaultHops
	}
	return t.TTL
}

// sum adds 16-bit words in one's complement to a sum.
func sum(s uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// udpSum is the sum over a datagram and its pseudo header.
func udpSum(src, dst netip.Addr, udp []byte) uint16 {
	s := uint32(protoUDP) + uint32(len(udp))
	s = uint32(sum(s, src.AsSlice()))
	s = uint32(sum(s, dst.AsSlice()))
	return sum(s, udp)
}

// trafficClass is where an IP packet's type of service is, and what it is; ok is false for anything else.
func trafficClass(frame []byte) (tos uint8, ok bool) {
	if len(frame) < ethernetHeader+2 {
		return 0, false
	}
	ip := frame[ethernetHeader:]
	switch EtherType(frame) {
	case packet.EtherIPv4:
		return ip[1], true
	case packet.EtherIPv6:
		return uint8(binary.BigEndian.Uint16(ip) >> 4), true
	}
	return 0, false
}

// carriedECN is what the outer header says of congestion (ip_tunnel_ecn_encap).
func carriedECN(inner []byte) uint8 {
	tos, _ := trafficClass(inner)
	if tos&ecnMask == ecnCE {
		return ecnECT0
	}
	return tos & ecnMask
}

// uncarryECN tells the inner packet of congestion on the way (RFC 6040); it reports false for a packet that is to
// be dropped for it.
func uncarryECN(inner []byte, outer uint8) bool {
	tos, ok := trafficClass(inner)
	if !ok {
		return true
	}
	now := tos
	switch outer & ecnMask {
	case ecnCE:
		if tos&ecnMask == 0 {
			return false
		}
		now |= ecnCE
	case ecnECT1:
		if tos&ecnMask == ecnECT0 {
			now = tos&^ecnMask | ecnECT1
		}
	}
	if now == tos {
		return true
	}
	ip := inner[ethernetHeader:]
	if EtherType(inner) == packet.EtherIPv6 {
		ip[1] = ip[1]&0xf | now<<4
		return true
	}
	if len(ip) < ip4Header {
		return true
	}
	// The checksum loses what the word gains.
	ip[1] = now
	check := uint32(^binary.BigEndian.Uint16(ip[10:])) + uint32(now-tos)
	if now < tos {
		check = uint32(^binary.BigEndian.Uint16(ip[10:])) + 0xffff - uint32(tos-now)
	}
	binary.BigEndian.PutUint16(ip[10:], ^sum(check, nil))
	return true
}

// outer is what an outer frame says: who sent it to whom, and what it carries.
type outer struct {
	src, dst netip.Addr
	tos, ttl uint8
	label    uint32
	port     uint16
	summed   bool
	whole    bool // not to be fragmented
	payload  []byte
}

// parseOuter reads the headers of a datagram, whole and unfragmented; ok is false for anything else.
func parseOuter(f []byte) (o outer, ok bool) {
	if len(f) < ethernetHeader {
		return o, false
	}
	ip := f[ethernetHeader:]
	var udp []byte
	switch EtherType(f) {
	case packet.EtherIPv4:
		if len(ip) < ip4Header || ip[0]>>4 != 4 || ip[9] != protoUDP {
			return o, false
		}
		head, n := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if head < ip4Header || n < head || n > len(ip) || binary.BigEndian.Uint16(ip[6:])&ipFragment != 0 || sum(0, ip[:head]) != 0xffff {
			return o, false
		}
		o.src, o.dst = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		o.tos, o.ttl, o.whole = ip[1], ip[8], ip[6]&(ipDontFrag>>8) != 0
		udp = ip[head:n]
	case packet.EtherIPv6:
		if len(ip) < ip6Header || ip[0]>>4 != 6 || ip[6] != protoUDP {
			return o, false
		}
		n := int(binary.BigEndian.Uint16(ip[4:]))
		if ip6Header+n > len(ip) {
			return o, false
		}
		o.src, o.dst = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		o.tos, o.ttl = uint8(binary.BigEndian.Uint16(ip)>>4), ip[7]
		o.label = binary.BigEndian.Uint32(ip) & 0xfffff
		udp = ip[ip6Header : ip6Header+n]
	default:
		return o, false
	}
	if len(udp) < udpHeader {
		return o, false
	}
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpHeader || n > len(udp) {
		return o, false
	}
	udp = udp[:n]
	o.port = binary.BigEndian.Uint16(udp[2:])
	if o.summed = udp[6]|udp[7] != 0; o.summed && udpSum(o.src, o.dst, udp) != 0xffff {
		return o, false
	}
	o.payload = udp[udpHeader:]
	return o, true
}
