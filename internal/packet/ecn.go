package packet

import "github.com/skep-bpf/skep/internal/mem"

// ecnCE is the congestion-experienced code point, both ECN bits.
const ecnCE = 3

// SetCE marks the IP packet as having met congestion if its sender can take
// that, and reports whether it is marked now (bpf_skb_ecn_set_ce).
func (p *Packet) SetCE() bool {
	switch p.innerProtocol() {
	case EtherIPv4:
		if p.Headlen() < ipLen || p.NetHeader+ipLen > p.DataEnd {
			return false
		}
		tos := mem.Load8(p.NetHeader + 1)
		ecn := tos & ecnCE
		if ecn == 0 || ecn == ecnCE {
			return ecn == ecnCE
		}
		// The type of service is the low byte of the header's first word; what it
		// gains, its checksum loses.
		gain := Htons(uint16(ecnCE - ecn))
		check := mem.Load16(p.NetHeader + 10)
		mem.Store16(p.NetHeader+10, csumAdd16(check, ^gain))
		mem.Store8(p.NetHeader+1, tos|ecnCE)
		return true
	case EtherIPv6:
		if p.Headlen() < ip6Len || p.NetHeader+ip6Len > p.DataEnd {
			return false
		}
		from := mem.Load32(p.NetHeader)
		if be16(p.NetHeader)>>4&ecnCE == 0 {
			return false
		}
		mem.Store8(p.NetHeader+1, mem.Load8(p.NetHeader+1)|ecnCE<<4)
		if p.IPSummed == CsumComplete {
			p.Csum = CsumAdd(CsumSub(p.Csum, from), mem.Load32(p.NetHeader))
		}
		return true
	}
	return false
}

// maxVLANDepth is how many tags innerProtocol looks behind.
const maxVLANDepth = 8

// innerProtocol returns the protocol behind all VLAN tags, in host order; 0 if
// the packet ends before it (vlan_get_protocol).
func (p *Packet) innerProtocol() uint16 {
	proto := uint32(p.Protocol)
	off := uint64(ethLen)
	if p.MACLen != 0 {
		off = uint64(p.MACLen) - vlanLen
	}
	for depth := 1; isVLAN(proto); depth++ {
		if depth == maxVLANDepth || p.MACHeader+off+vlanLen > p.End {
			return 0
		}
		proto = uint32(mem.Load16(p.MACHeader + off + 2))
		off += vlanLen
	}
	return Htons(uint16(proto))
}

// GSONetworkLen returns the length of one segment from its network header on
// (skb_gso_network_seglen).
func (p *Packet) GSONetworkLen() uint32 {
	n := uint32(p.TransHeader-p.NetHeader) + p.GSOSize
	switch {
	case p.isGSOTCP() && p.TransHeader+20 <= p.End:
		n += uint32(mem.Load8(p.TransHeader+12)>>4) * 4
	case p.GSOType&GSOUDPL4 != 0:
		n += 8
	}
	return n
}
