package packet

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// skb is what an sk_buff holds beyond its [Frame]. Header positions are
// addresses; 0 means not set.
type skb struct {
	MACHeader, NetHeader, TransHeader uint64

	MACLen       uint32 // length of the link header, where someone noted it
	AtIngress    bool   // on its way in through tc (skb_at_tc_ingress)
	Encapsulated bool   // room was made for a tunnel header

	IPSummed  uint8 // CsumNone …
	CsumLevel uint8
	Csum      uint32 // of CsumComplete

	GSOType uint32 // GSO*
	HashL4  bool   // Hash covers ports, or a program set it
	HashSW  bool   // Hash was computed or set, not given by a device

	Realm uint32 // routing realm of its route
}

// Kinds of segmentation offload (SKB_GSO_*), as far as helpers look at them.
const (
	GSOTCPv4     = 1 << 0
	GSODodgy     = 1 << 1
	GSOTCPv6     = 1 << 4
	GSOGRE       = 1 << 6
	GSOIPXIP4    = 1 << 8
	GSOIPXIP6    = 1 << 9
	GSOUDPTunnel = 1 << 10
	GSOUDPL4     = 1 << 17
)

// skbHeadroom is what test runs leave in front of the link header (NET_SKB_PAD).
const skbHeadroom = 64

// SKBMaxLen is the longest packet a length-changing helper may make (SKB_MAX_ALLOC
// for pages of 4096 bytes).
const SKBMaxLen = 4*XDPFrameLen - xdpTailroom

// SKBOptions shape a socket buffer.
type SKBOptions struct {
	// L2 leaves the Ethernet header in sight of the program, as for tc; without
	// it the packet starts at the network header, as for a socket filter on an IP socket.
	L2 bool
	// Live lets a packet through whose network header is cut short, which a test run refuses.
	Live bool
	// AtIngress says that the packet came in through tc's ingress hook.
	AtIngress bool
	// Dev is the packet's device; the zero Device means the loopback device.
	Dev Device
	// Linear is how many bytes, link header included, are directly readable; 0: all.
	Linear int
	// OwnSock gives the packet the socket of a test run: closed, of the packet's
	// family, between the packet's addresses. Else Sock is its socket's address, or 0.
	OwnSock bool
	Sock    uint64
	// ChecksumComplete starts with the checksum over the packet, as a device gives it.
	ChecksumComplete bool

	Mark, Priority, IngressIfindex uint32
	QueueMapping, TCClassID        uint32
	CB                             [5]uint32
	Tstamp, HWTstamp               uint64
	WireLen                        uint32 // OwnLen: the packet's own length
	GSOSegs, GSOSize               uint32
	GSOType                        uint32
	Hash                           uint32 // as a device computed it over ports; 0: none
	// Realm is what bpf_get_route_realm answers.
	Realm uint32
	// VLANProto (host order) and VLANTCI are the tag a device took off the packet; 0: none.
	VLANProto, VLANTCI uint16
}

// OwnLen as SKBOptions.WireLen stands for the length the packet has, as hooks note
// it. A test run without a context notes none.
const OwnLen = ^uint32(0)

// SKBBuffer is [Packet.XDPBuffer] for SetSKB.
func (p *Packet) SKBBuffer(n int) ([]byte, error) {
	return p.buffer(skbHeadroom, uint64(n), xdpTailroom)
}

// SetSKB makes p a socket buffer of a copy of data, which starts with an
// Ethernet header (bpf_prog_test_run_skb).
func (p *Packet) SetSKB(data []byte, o SKBOptions) error { return FillSKB(p, data, &o) }

// FillSKB is [Packet.SetSKB] for who runs many packets: options are long to copy.
func FillSKB(p *Packet, data []byte, o *SKBOptions) error {
	if len(data) < ethLen {
		return &SizeError{"packet shorter than its Ethernet header", len(data), ethLen}
	}
	linear := len(data)
	if o.Linear != 0 {
		linear = o.Linear
	}
	if linear < ethLen || linear > len(data) {
		return &SizeError{"linear part", linear, len(data)}
	}
	if err := p.reset(KindSKB, skbHeadroom, uint64(len(data)), xdpTailroom); err != nil {
		return err
	}
	fillFrom(p.Data, data)
	p.MACHeader = p.Data
	p.NetHeader = p.Data + ethLen
	p.AtIngress = o.AtIngress
	if o.AtIngress { // __netif_receive_skb_core
		p.MACLen = ethLen
		p.TransHeader = p.NetHeader
	}
	p.PktType = TypeOf(data, o.Dev.MAC)
	p.setProtocol(etherType(p.Data, p.Data+uint64(linear)))
	if need := p.netHeaderLen(); need != ^uint32(0) && linear-ethLen < int(need) && !o.Live {
		return &SizeError{"linear part shorter than its network header", linear - ethLen, int(need)}
	}
	if !o.L2 {
		p.Data += ethLen
	}
	p.DataEnd = p.MACHeader + uint64(linear)
	p.compute()

	p.Ifindex = max(o.Dev.Ifindex, 1)
	p.IngressIfindex = o.IngressIfindex
	p.Mark, p.Priority = o.Mark, o.Priority
	p.QueueMapping, p.TCClassID = o.QueueMapping, o.TCClassID
	p.CB = o.CB
	p.Tstamp, p.HWTstamp = o.Tstamp, o.HWTstamp
	p.WireLen = o.WireLen
	if o.WireLen == OwnLen {
		p.WireLen = p.Len
	} else if o.WireLen != 0 && o.WireLen < p.Len {
		return &SizeError{"wire length shorter than the packet", int(o.WireLen), int(p.Len)}
	}
	p.GSOSegs, p.GSOSize, p.GSOType = o.GSOSegs, o.GSOSize, o.GSOType
	p.Hash, p.HashL4 = o.Hash, o.Hash != 0
	p.Realm = o.Realm
	if o.VLANProto != 0 {
		p.putTag(uint32(Htons(o.VLANProto)), uint32(o.VLANTCI))
	}
	p.Sock = o.Sock
	if o.OwnSock {
		p.setOwnSock()
	}
	if o.ChecksumComplete {
		p.CsumComplete32()
	}
	return nil
}

// SetLocal makes p a socket buffer of a copy of data that begins here, with the network header of an EtherType in host
// order: without a link header, and at no device yet. linear is how many bytes are directly readable; 0: all.
func (p *Packet) SetLocal(data []byte, proto uint16, linear int) error {
	if linear == 0 {
		linear = len(data)
	}
	if linear < 0 || linear > len(data) {
		return &SizeError{"linear part", linear, len(data)}
	}
	if err := p.reset(KindSKB, skbHeadroom, uint64(len(data)), xdpTailroom); err != nil {
		return err
	}
	fillFrom(p.Data, data)
	p.NetHeader = p.Data
	p.setProtocol(proto)
	p.DataEnd = p.Data + uint64(linear)
	p.compute()
	return nil
}

// Finish puts the Ethernet header's place back in front of a packet that was
// run without it; its bytes are zero, as a test run hands them out.
func (p *Packet) Finish() {
	if p.kind == KindSKB && p.Data > p.MACHeader && p.Data == p.NetHeader {
		p.Data -= ethLen
		fill(p.Data, ethLen)
		p.compute()
	}
}

// compute brings the frame's fields up to date with the packet's edges
// (bpf_compute_data_pointers). An skb has no metadata of its own.
func (p *Packet) compute() {
	p.DataMeta = p.Data
	p.Len = uint32(p.Size())
	p.DataEnd = min(max(p.DataEnd, p.Data), p.End)
}

// Assign hands the packet, on its way in, to the socket at an address
// (bpf_sk_assign of tc programs).
func (p *Packet) Assign(sk, flags uint64) errno.Errno {
	switch {
	case sk == 0, flags != 0:
		return errno.EINVAL
	case !p.AtIngress, socket.At(sk).Flags&socket.Hashed == 0:
		return errno.EOPNOTSUPP
	}
	p.Sock = sk
	return 0
}

// setOwnSock gives the packet a closed socket between its addresses.
func (p *Packet) setOwnSock() {
	*p.own = socket.Sock{State: socket.TCPClose, RxQueue: -1, Cookie: 1}
	switch p.Protocol {
	case uint32(Htons(EtherIPv4)):
		p.own.Family = socket.AFInet
		p.own.SrcIP4, p.own.DstIP4 = mem.Load32(p.NetHeader+12), mem.Load32(p.NetHeader+16)
	case uint32(Htons(EtherIPv6)):
		p.own.Family = socket.AFInet6
		for i := range p.own.SrcIP6 {
			p.own.SrcIP6[i] = mem.Load32(p.NetHeader + 8 + uint64(4*i))
			p.own.DstIP6[i] = mem.Load32(p.NetHeader + 24 + uint64(4*i))
		}
	}
	p.Sock = p.Addr() + uint64(FrameSize)
}

// Headlen returns how many bytes are directly readable (skb_headlen).
func (p *Packet) Headlen() uint64 { return p.DataEnd - p.Data }

// MayPull makes the first n bytes directly readable; false when the packet is
// shorter (pskb_may_pull).
func (p *Packet) MayPull(n uint64) bool {
	if n <= p.Headlen() {
		return true
	}
	if n > p.Size() {
		return false
	}
	p.DataEnd = p.Data + n
	return true
}

// EnsureWritable makes the first n bytes readable and writable (skb_ensure_writable).
func (p *Packet) EnsureWritable(n uint64) errno.Errno {
	if !p.MayPull(n) {
		return errno.ENOMEM
	}
	return 0
}

// StoreBytes copies n bytes from the address src to off, with the packet's sum
// kept right if csum (bpf_skb_store_bytes).
func (p *Packet) StoreBytes(off, n, src uint64, csum bool) errno.Errno {
	if p.EnsureWritable(off+n) != 0 {
		return errno.EFAULT
	}
	dst := p.Data + off
	if csum {
		p.postPull(dst, n, off)
	}
	move(dst, src, n)
	if csum {
		p.postPush(dst, n, off)
	}
	return 0
}

// setProtocol notes the network protocol, given in host order.
func (p *Packet) setProtocol(proto uint16) { p.Protocol = uint32(Htons(proto)) }

// IsProtocol reports whether the network protocol is proto, given in host order.
func (p *Packet) IsProtocol(proto uint16) bool { return p.Protocol == uint32(Htons(proto)) }

// netHeaderLen returns the length of the IP header without options, or all
// ones for another protocol (bpf_skb_net_base_len).
func (p *Packet) netHeaderLen() uint32 {
	switch {
	case p.IsProtocol(EtherIPv4):
		return ipLen
	case p.IsProtocol(EtherIPv6):
		return ip6Len
	}
	return ^uint32(0)
}

// macHeaderLen returns the distance from link to network header (skb_mac_header_len).
func (p *Packet) macHeaderLen() uint32 { return uint32(p.NetHeader - p.MACHeader) }

// IsGSO reports whether the packet is to be segmented (skb_is_gso).
func (p *Packet) IsGSO() bool { return p.GSOSize != 0 }

// isGSOTCP reports whether it is to be segmented as TCP (skb_is_gso_tcp).
func (p *Packet) isGSOTCP() bool { return p.GSOType&(GSOTCPv4|GSOTCPv6) != 0 }

// TypeOf says whom a frame is for (Pkt*), seen from a device (eth_type_trans). The
// loopback device has no broadcast address.
func TypeOf(frame []byte, dev [6]byte) uint32 {
	dst := [6]byte(frame)
	switch {
	case dst == dev:
		return PktHost
	case dst == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} && dev != [6]byte{}:
		return PktBroadcast
	case dst[0]&1 != 0:
		return PktMulticast
	}
	return PktOtherHost
}

// etherType returns the protocol of the frame at addr in host order, with the
// kernel's numbers for frames that carry a length instead (eth_type_trans).
func etherType(addr, end uint64) uint16 {
	proto := be16(addr + 12)
	return typeOrLength(proto, addr+ethLen, end)
}

// typeOrLength resolves a type field that may be a length; what follows it is at next.
func typeOrLength(proto uint16, next, end uint64) uint16 {
	if proto >= etherMinII {
		return proto
	}
	if next+2 <= end && mem.Load16(next) == 0xffff {
		return ether8023
	}
	return ether8022
}
