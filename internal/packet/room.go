package packet

import "github.com/skep-bpf/skep/internal/errno"

// push opens n bytes in front of the packet, moving it if its headroom is
// short (skb_cow, skb_push).
func (p *Packet) push(n uint64) errno.Errno {
	if e := p.reserve(n, 0); e != 0 {
		return e
	}
	p.Data -= n
	p.compute()
	return 0
}

// pushAt opens n zero bytes at off; the bytes before off move to the front,
// and with them link and network header (bpf_skb_net_hdr_push).
//
//	│ off bytes │ rest      →   │ off bytes │ n zeros │ rest
func (p *Packet) pushAt(off, n uint64) errno.Errno {
	if e := p.push(n); e != 0 {
		return e
	}
	move(p.Data, p.Data+n, off)
	fill(p.Data+off, n)
	p.shiftHeaders(-n)
	return 0
}

// popAt closes n bytes at off; the reverse of pushAt (bpf_skb_net_hdr_pop).
func (p *Packet) popAt(off, n uint64) errno.Errno {
	if !p.MayPull(off + n) {
		return errno.ENOMEM
	}
	old := p.Data
	p.postPull(old+off, n, 0)
	p.Data += n
	move(p.Data, old, off)
	p.compute()
	p.shiftHeaders(n)
	return 0
}

// shiftHeaders moves link and network header by delta (modulo 2⁶⁴), and the
// transport header where it is the network header still.
func (p *Packet) shiftHeaders(delta uint64) {
	same := p.TransHeader == p.NetHeader
	p.MACHeader += delta
	p.NetHeader += delta
	if same {
		p.TransHeader = p.NetHeader
	}
}

// ChangeHead opens n zero bytes in front of the packet and makes them its link
// header (__bpf_skb_change_head).
func (p *Packet) ChangeHead(n uint32) errno.Errno {
	size := p.Len + n
	if !p.IsGSO() && size > SKBMaxLen || size < p.Len {
		return errno.EINVAL
	}
	if e := p.push(uint64(n)); e != 0 {
		return e
	}
	fill(p.Data, uint64(n))
	p.MACHeader = p.Data
	p.MACLen = uint32(p.NetHeader - p.MACHeader)
	return 0
}

// ChangeTail makes the packet size bytes long; what it gains is zero, and
// offloads are given up (__bpf_skb_change_tail).
func (p *Packet) ChangeTail(size uint32) errno.Errno {
	if size > SKBMaxLen || size < p.minLen() {
		return errno.EINVAL
	}
	if p.Encapsulated {
		return errno.ENOTSUPP
	}
	p.MayPull(p.Size())
	if size == p.Len {
		p.resetGSO()
		return 0
	}
	if grow := int64(size) - int64(p.Len); grow > 0 {
		if e := p.reserve(0, uint64(grow)); e != 0 {
			return e
		}
		fill(p.End, uint64(grow))
	}
	if p.IPSummed == CsumComplete {
		p.IPSummed = CsumNone
	}
	p.End = p.Data + uint64(size)
	p.DataEnd = p.End
	p.compute()
	p.resetGSO()
	return 0
}

// minLen is what no helper may cut: everything before the transport header,
// or the network header while that is not known (__bpf_skb_min_len).
func (p *Packet) minLen() uint32 {
	n := uint32(0)
	if p.NetHeader > p.Data {
		n = uint32(p.NetHeader - p.Data)
	}
	if p.TransHeader > p.Data {
		n = uint32(p.TransHeader - p.Data)
	}
	return n
}

// resetGSO makes the packet one that is not segmented (skb_gso_reset).
func (p *Packet) resetGSO() {
	if p.IsGSO() {
		p.GSOSize, p.GSOSegs, p.GSOType = 0, 0, 0
	}
}

// ChangeProto turns the IPv4 packet into an IPv6 one or back, as far as room
// and protocol go; the program writes the headers. proto is in network order
// (bpf_skb_proto_xlat).
func (p *Packet) ChangeProto(proto uint16) errno.Errno {
	const diff = ip6Len - ipLen
	off := uint64(p.macHeaderLen())
	switch {
	case p.IsProtocol(EtherIPv4) && proto == Htons(EtherIPv6):
		if e := p.pushAt(off, diff); e != 0 {
			return e
		}
		p.swapGSO(GSOTCPv4, GSOTCPv6)
		p.setProtocol(EtherIPv6)
	case p.IsProtocol(EtherIPv6) && proto == Htons(EtherIPv4):
		if e := p.popAt(off, diff); e != 0 {
			return e
		}
		p.swapGSO(GSOTCPv6, GSOTCPv4)
		p.setProtocol(EtherIPv4)
	default:
		return errno.ENOTSUPP
	}
	p.ClearHash()
	return 0
}

// swapGSO replaces one segmentation kind by another, to be checked again.
func (p *Packet) swapGSO(from, to uint32) {
	if !p.IsGSO() {
		return
	}
	if p.GSOType&from != 0 {
		p.GSOType = p.GSOType&^from | to
	}
	p.GSOType |= GSODodgy
}
