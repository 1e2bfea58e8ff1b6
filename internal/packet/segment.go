package packet

import (
	"encoding/binary"
	"net/netip"

	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// Lengths of transport headers without options, in bytes.
const (
	udpLen = 8
	tcpLen = 20
)

// Segment is what a transport protocol gets: a UDP datagram, or the first
// segment of a TCP connection.
type Segment struct {
	Proto    uint8 // socket.UDP or socket.TCP
	Src, Dst netip.AddrPort
	Ifindex  uint32 // where it came in; 0: the loopback device
	Payload  []byte
}

// SetSegment makes p a socket buffer as a protocol's receive function has it: the
// packet begins with the UDP or TCP header, in front of which lie an IP header without
// options and an Ethernet header without addresses. Checksums of transport headers are 0.
func (p *Packet) SetSegment(s *Segment) error {
	n, trans := ipLen, udpLen
	if !s.Dst.Addr().Is4() {
		n = ip6Len
	}
	if s.Proto == socket.TCP {
		trans = tcpLen
	}
	head := ethLen + n + trans
	if size := n + trans + len(s.Payload); size > 0xffff+n {
		return &SizeError{"segment", size, 0xffff}
	}
	if err := p.reset(KindSKB, skbHeadroom, uint64(head+len(s.Payload)), xdpTailroom); err != nil {
		return err
	}
	b := p.Bytes()
	clear(b[:head])
	ip, seg := b[ethLen:], b[ethLen+n:]
	if n == ipLen {
		binary.BigEndian.PutUint16(b[12:], EtherIPv4)
		ip[0], ip[8], ip[9] = 0x45, 64, s.Proto
		binary.BigEndian.PutUint16(ip[2:], uint16(n+len(seg)))
		src, dst := s.Src.Addr().Unmap().As4(), s.Dst.Addr().As4()
		copy(ip[12:], src[:])
		copy(ip[16:], dst[:])
		sum := uint32(0)
		for i := 0; i < ipLen; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(ip[i:]))
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	} else {
		binary.BigEndian.PutUint16(b[12:], EtherIPv6)
		ip[0], ip[6], ip[7] = 0x60, s.Proto, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(seg)))
		src, dst := s.Src.Addr().As16(), s.Dst.Addr().As16()
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
	}
	binary.BigEndian.PutUint16(seg, s.Src.Port())
	binary.BigEndian.PutUint16(seg[2:], s.Dst.Port())
	if s.Proto == socket.UDP {
		binary.BigEndian.PutUint16(seg[4:], uint16(len(seg)))
	} else {
		seg[12], seg[13] = tcpLen/4<<4, 1<<1 // SYN
	}
	copy(seg[trans:], s.Payload)
	p.setProtocol(binary.BigEndian.Uint16(b[12:]))
	p.Ifindex = max(s.Ifindex, 1)
	p.IngressIfindex = p.Ifindex
	p.atTransport(uint64(ethLen), uint64(ethLen+n), uint64(len(seg)))
	return nil
}

// atTransport puts the packet's edges around its transport header and what follows it.
func (p *Packet) atTransport(net, trans, size uint64) {
	p.MACHeader = p.Data
	p.NetHeader, p.TransHeader = p.Data+net, p.Data+trans
	p.Data += trans
	p.End = p.Data + size
	p.DataEnd = p.End
	p.compute()
}

// SetFrame makes p what SetSegment does, of an Ethernet frame that has a UDP or TCP
// packet in it, and says what that is. It is false for any other frame: one cut
// short, a fragment, one with another protocol.
func (p *Packet) SetFrame(frame []byte, ifindex uint32) (s Segment, ok bool) {
	if len(frame) < ethLen+ipLen {
		return s, false
	}
	ip, size := frame[ethLen:], 0
	s.Ifindex = ifindex
	switch binary.BigEndian.Uint16(frame[12:]) {
	case EtherIPv4:
		size = int(ip[0]&15) * 4
		total := int(binary.BigEndian.Uint16(ip[2:]))
		if ip[0]>>4 != 4 || size < ipLen || total < size || total > len(ip) || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return s, false
		}
		ip = ip[:total]
		s.Proto = ip[9]
		s.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:])), 0)
		s.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:])), 0)
	case EtherIPv6:
		size = ip6Len
		if len(ip) < ip6Len || ip[0]>>4 != 6 || int(binary.BigEndian.Uint16(ip[4:]))+ip6Len > len(ip) {
			return s, false
		}
		ip = ip[:int(binary.BigEndian.Uint16(ip[4:]))+ip6Len]
		s.Proto = ip[6]
		s.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[8:])), 0)
		s.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[24:])), 0)
	default:
		return s, false
	}
	seg := ip[size:]
	head := udpLen
	switch s.Proto {
	case socket.UDP:
		if len(seg) < udpLen {
			return s, false
		}
		n := int(binary.BigEndian.Uint16(seg[4:]))
		if n < udpLen || n > len(seg) {
			return s, false
		}
		seg = seg[:n]
	case socket.TCP:
		if len(seg) < tcpLen {
			return s, false
		}
		if head = int(seg[12]>>4) * 4; head < tcpLen || head > len(seg) {
			return s, false
		}
	default:
		return s, false
	}
	s.Src = netip.AddrPortFrom(s.Src.Addr(), binary.BigEndian.Uint16(seg))
	s.Dst = netip.AddrPortFrom(s.Dst.Addr(), binary.BigEndian.Uint16(seg[2:]))
	s.Payload = seg[head:]
	if p.reset(KindSKB, skbHeadroom, uint64(len(frame)), xdpTailroom) != nil {
		return s, false
	}
	fillFrom(p.Data, frame)
	p.setProtocol(binary.BigEndian.Uint16(frame[12:]))
	p.Ifindex = max(ifindex, 1)
	p.IngressIfindex = p.Ifindex
	p.atTransport(ethLen, uint64(ethLen+size), uint64(len(seg)))
	return s, true
}

// SetEmpty makes p a socket buffer of no bytes.
func (p *Packet) SetEmpty() error {
	if err := p.reset(KindSKB, skbHeadroom, 0, xdpTailroom); err != nil {
		return err
	}
	p.compute()
	return nil
}

// Pull moves the start of the packet n bytes on, over a header, or with a
// negative n back. It is false if there are not so many bytes.
func (p *Packet) Pull(n int) bool {
	if n > 0 && uint64(n) > p.Size() {
		return false
	}
	p.Data += uint64(int64(n))
	p.compute()
	return true
}

// TransportLen is the length of the packet's UDP or TCP header, in bytes.
func (p *Packet) TransportLen(proto uint8) int {
	if proto != socket.TCP {
		return udpLen
	}
	return int(mem.Load8(p.TransHeader+12)>>4) * 4
}
