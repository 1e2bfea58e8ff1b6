package helpers

import (
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/packet"
)

// Packets the tests are about.
var (
	tcp4    = eth(packet.EtherIPv4, ip4(6, tcp(payload(40))))
	udp4    = eth(packet.EtherIPv4, ip4(17, udp(payload(32))))
	udp6    = eth(packet.EtherIPv6, ip6(17, udp(payload(32))))
	tcp6    = eth(packet.EtherIPv6, ip6(6, tcp(payload(40))))
	arp     = eth(0x0806, payload(46))
	vlan4   = eth(packet.EtherVLAN, vlan(0x2064, packet.EtherIPv4, ip4(17, udp(payload(20)))))
	qinq4   = eth(packet.EtherQinQ, vlan(0x0064, packet.EtherVLAN, vlan(0x0065, packet.EtherIPv4, ip4(17, udp(payload(20))))))
	llc     = eth(0x0026, payload(60))
	big4    = eth(packet.EtherIPv4, ip4(17, udp(payload(1400))))
	ecnECT0 = withByte(tcp4, 15, 2)
)

// payload is n bytes that tell where they are.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 3)
	}
	return b
}

// withByte returns a copy of a packet with one byte changed.
func withByte(pkt []byte, at int, v byte) []byte {
	out := append([]byte(nil), pkt...)
	out[at] = v
	return out
}

func eth(proto uint16, rest []byte) []byte {
	b := []byte{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9, byte(proto >> 8), byte(proto)}
	return append(b, rest...)
}

func vlan(tci, proto uint16, rest []byte) []byte {
	return append([]byte{byte(tci >> 8), byte(tci), byte(proto >> 8), byte(proto)}, rest...)
}

func ip4(proto byte, rest []byte) []byte {
	b := make([]byte, 20, 20+len(rest))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(rest)))
	binary.BigEndian.PutUint16(b[4:], 0x1234)
	b[6], b[8], b[9] = 0x40, 64, proto
	copy(b[12:], []byte{10, 0, 0, 1, 192, 168, 1, 2})
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[10:], packet.CsumFold(sum))
	return append(b, rest...)
}

func ip6(proto byte, rest []byte) []byte {
	b := make([]byte, 40, 40+len(rest))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(rest)))
	b[6], b[7] = proto, 64
	copy(b[8:], []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	copy(b[24:], []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2})
	return append(b, rest...)
}

func tcp(rest []byte) []byte {
	b := make([]byte, 20, 20+len(rest))
	binary.BigEndian.PutUint16(b[0:], 40000)
	binary.BigEndian.PutUint16(b[2:], 80)
	binary.BigEndian.PutUint32(b[4:], 0x01020304)
	b[12], b[13] = 5<<4, 0x18
	binary.BigEndian.PutUint16(b[14:], 1000)
	binary.BigEndian.PutUint16(b[16:], 0xbeef)
	return append(b, rest...)
}

func udp(rest []byte) []byte {
	b := make([]byte, 8, 8+len(rest))
	binary.BigEndian.PutUint16(b[0:], 5353)
	binary.BigEndian.PutUint16(b[2:], 53)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(rest)))
	binary.BigEndian.PutUint16(b[6:], 0xcafe)
	return append(b, rest...)
}
