package packet

import "github.com/skep-bpf/skep/internal/errno"

// Modes of bpf_skb_adjust_room (enum bpf_adj_room_mode).
const (
	AdjRoomNet = 0 // after the network header
	AdjRoomMAC = 1 // after the link header
)

// Flags of bpf_skb_adjust_room.
const (
	adjFixedGSO    = 1 << 0
	adjEncapIPv4   = 1 << 1
	adjEncapIPv6   = 1 << 2
	adjEncapGRE    = 1 << 3
	adjEncapUDP    = 1 << 4
	adjNoCsumReset = 1 << 5
	adjEncapEth    = 1 << 6
	adjDecapIPv4   = 1 << 7
	adjDecapIPv6   = 1 << 8

	adjL2Shift = 56 // the inner link header's length lies in the top byte
	adjL2Mask  = 0xff << adjL2Shift
	adjEncapL3 = adjEncapIPv4 | adjEncapIPv6
	adjDecapL3 = adjDecapIPv4 | adjDecapIPv6
	adjAll     = adjFixedGSO | adjEncapL3 | adjEncapGRE | adjEncapUDP | adjNoCsumReset | adjEncapEth | adjDecapL3 | adjL2Mask
)

// maxAdjRoom bounds how much one call may add or take, in bytes.
const maxAdjRoom = 0xfff

// AdjustRoom opens (diff > 0) or closes (diff < 0) bytes behind the link or
// network header, for encapsulation and its reverse (bpf_skb_adjust_room).
func (p *Packet) AdjustRoom(diff int32, mode uint32, flags uint64) errno.Errno {
	if flags&^uint64(adjAll) != 0 {
		return errno.EINVAL
	}
	shrink := diff < 0
	n := uint32(diff)
	if shrink {
		n = -n
	}
	if n > maxAdjRoom {
		return errno.EFAULT
	}
	minLen := p.netHeaderLen()
	if minLen == ^uint32(0) {
		return errno.ENOTSUPP
	}
	off := uint64(p.macHeaderLen())
	switch mode {
	case AdjRoomNet:
		off += uint64(minLen)
	case AdjRoomMAC:
	default:
		return errno.ENOTSUPP
	}
	if decap := flags & adjDecapL3; decap != 0 {
		switch {
		case !shrink || decap == adjDecapL3:
			return errno.EINVAL
		case decap == adjDecapIPv4:
			minLen = ipLen
		default:
			minLen = ip6Len
		}
	}
	// The network header may lie before the packet's start: the difference is
	// then negative and cur longer than the packet, as in the kernel.
	cur := p.Len - uint32(p.NetHeader-p.Data)
	if shrink && (n >= cur || cur-n < minLen) || !shrink && p.Len+n > SKBMaxLen && !p.IsGSO() {
		return errno.ENOTSUPP
	}
	var e errno.Errno
	if shrink {
		e = p.shrinkRoom(off, n, flags)
	} else {
		e = p.growRoom(off, n, flags)
	}
	if e == 0 && flags&adjNoCsumReset == 0 {
		p.CsumReset()
	}
	return e
}

// adjGSOAllowed refuses to move the payload of datagrams that gso_size
// delimits, unless it stays as it is.
func (p *Packet) adjGSOAllowed(flags uint64) bool {
	return !p.IsGSO() || p.isGSOTCP() || p.GSOType&GSOUDPL4 != 0 && flags&adjFixedGSO != 0
}

// growRoom is AdjustRoom for more room (bpf_skb_net_grow).
func (p *Packet) growRoom(off uint64, n uint32, flags uint64) errno.Errno {
	if !p.adjGSOAllowed(flags) {
		return errno.ENOTSUPP
	}
	encap := flags&adjEncapL3 != 0
	if encap {
		innerMAC := uint32(flags >> adjL2Shift)
		switch {
		case flags&adjEncapL3 == adjEncapL3,
			flags&adjEncapGRE != 0 && flags&adjEncapUDP != 0,
			flags&adjEncapEth != 0 && innerMAC < ethLen:
			return errno.EINVAL
		case p.Encapsulated:
			return errno.EALREADY
		case innerMAC > n:
			return errno.EINVAL
		}
	}
	macLen := uint64(p.macHeaderLen())
	if e := p.pushAt(off, uint64(n)); e != 0 {
		return e
	}
	gso := uint32(GSODodgy)
	if encap {
		p.Encapsulated = true
		p.NetHeader = p.Data + macLen
		gso |= p.outerHeaders(macLen, flags)
	}
	if p.IsGSO() {
		p.GSOType |= gso
		p.GSOSegs = 0
		if flags&adjFixedGSO == 0 {
			p.GSOSize -= n
		}
	}
	return 0
}

// outerHeaders notes where the new outer headers are and of which protocol,
// and returns the segmentation kind they ask for.
func (p *Packet) outerHeaders(macLen, flags uint64) uint32 {
	if flags&(adjEncapGRE|adjEncapUDP) != 0 {
		hdr := uint64(ipLen)
		if flags&adjEncapIPv6 != 0 {
			hdr = ip6Len
		}
		p.TransHeader = p.Data + macLen + hdr
	}
	outer := uint16(EtherIPv4)
	if flags&adjEncapIPv6 != 0 {
		outer = EtherIPv6
	}
	p.setProtocol(outer)
	switch {
	case flags&adjEncapUDP != 0:
		return GSOUDPTunnel
	case flags&adjEncapGRE != 0:
		return GSOGRE
	case flags&adjEncapIPv6 != 0:
		return GSOIPXIP6
	}
	return GSOIPXIP4
}

// shrinkRoom is AdjustRoom for less room (bpf_skb_net_shrink).
func (p *Packet) shrinkRoom(off uint64, n uint32, flags uint64) errno.Errno {
	if flags&^uint64(adjFixedGSO|adjDecapL3|adjNoCsumReset) != 0 {
		return errno.EINVAL
	}
	if !p.adjGSOAllowed(flags) {
		return errno.ENOTSUPP
	}
	if e := p.popAt(off, uint64(n)); e != 0 {
		return e
	}
	switch {
	case flags&adjDecapIPv6 != 0:
		p.setProtocol(EtherIPv6)
	case flags&adjDecapIPv4 != 0:
		p.setProtocol(EtherIPv4)
	}
	if p.IsGSO() {
		if flags&adjFixedGSO == 0 {
			p.GSOSize += n
		}
		p.GSOType |= GSODodgy
		p.GSOSegs = 0
	}
	return 0
}
