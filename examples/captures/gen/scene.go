package main

import (
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// host is one end of a conversation.
type host struct {
	mac net.HardwareAddr
	ip  netip.Addr
}

func newHost(n byte, ip string) host {
	return host{net.HardwareAddr{0x02, 0, 0, 0, 0, n}, netip.MustParseAddr(ip)}
}

// packet is one captured frame. wire is its length before capturing cut it.
type packet struct {
	at    time.Time
	data  []byte
	wire  int
	iface int
}

// scene collects packets on one clock. Tags, when set, are the VLAN ids put
// before every packet that follows, outermost first: one is 802.1Q, two are QinQ.
type scene struct {
	now     time.Time
	packets []packet
	tags    []uint16
	iface   int
	ipID    uint16
}

func newScene() *scene {
	return &scene{now: time.Date(2026, time.March, 1, 9, 0, 0, 0, time.UTC), ipID: 0x1000}
}

// wait lets time pass before the next packet.
func (s *scene) wait(d time.Duration) { s.now = s.now.Add(d) }

// put appends raw bytes as one frame, 137 µs after the last.
func (s *scene) put(data []byte) {
	s.wait(137 * time.Microsecond)
	s.packets = append(s.packets, packet{at: s.now, data: data, wire: len(data), iface: s.iface})
}

// serialize joins layers into bytes, with lengths and checksums computed.
func serialize(parts ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, parts...); err != nil {
		panic("BUG: " + err.Error()) // the layers are all ours
	}
	return append([]byte(nil), buf.Bytes()...)
}

// ethernet puts a frame of the given type on the wire, behind the scene's tags,
// padded to Ethernet's 60 bytes as a network card would.
func (s *scene) ethernet(src, dst net.HardwareAddr, typ layers.EthernetType, parts ...gopacket.SerializableLayer) {
	s.put(s.frame(src, dst, typ, parts...))
}

func (s *scene) frame(src, dst net.HardwareAddr, typ layers.EthernetType, parts ...gopacket.SerializableLayer) []byte {
	eth := &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: typ}
	all := []gopacket.SerializableLayer{eth}
	for i, id := range s.tags {
		tag := &layers.Dot1Q{VLANIdentifier: id, Type: typ}
		if i == 0 {
			eth.EthernetType = layers.EthernetTypeDot1Q
			if len(s.tags) > 1 {
				eth.EthernetType = layers.EthernetTypeQinQ
			}
		}
		if i+1 < len(s.tags) {
			tag.Type = layers.EthernetTypeDot1Q
		}
		all = append(all, tag)
	}
	data := serialize(append(all, parts...)...)
	for len(data) < 60 {
		data = append(data, 0)
	}
	return data
}

// netLayer is an IP header that transport checksums can be computed over.
type netLayer interface {
	gopacket.SerializableLayer
	gopacket.NetworkLayer
}

// ip makes the header from src to dst in the hosts' address family.
func (s *scene) ip(src, dst host, proto layers.IPProtocol) (netLayer, layers.EthernetType) {
	if src.ip.Is4() {
		s.ipID++
		return &layers.IPv4{
			Version: 4, TTL: 64, Id: s.ipID, Protocol: proto, Flags: layers.IPv4DontFragment,
			SrcIP: src.ip.AsSlice(), DstIP: dst.ip.AsSlice(),
		}, layers.EthernetTypeIPv4
	}
	return &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: proto,
		SrcIP: src.ip.AsSlice(), DstIP: dst.ip.AsSlice(),
	}, layers.EthernetTypeIPv6
}

// udp sends one datagram.
func (s *scene) udp(src, dst host, sport, dport uint16, payload gopacket.SerializableLayer) {
	ip, typ := s.ip(src, dst, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	udp.SetNetworkLayerForChecksum(ip)
	s.ethernet(src.mac, dst.mac, typ, ip, udp, payload)
}

// arp asks for dst's address and has it answer.
func (s *scene) arp(src, dst host) {
	request := layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: src.mac, SourceProtAddress: src.ip.AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: dst.ip.AsSlice(),
	}
	s.ethernet(src.mac, layers.EthernetBroadcast, layers.EthernetTypeARP, &request)
	reply := request
	reply.Operation = layers.ARPReply
	reply.SourceHwAddress, reply.DstHwAddress = dst.mac, src.mac
	reply.SourceProtAddress, reply.DstProtAddress = dst.ip.AsSlice(), src.ip.AsSlice()
	s.ethernet(dst.mac, src.mac, layers.EthernetTypeARP, &reply)
}

// ping is one echo request and its answer.
func (s *scene) ping(src, dst host, seq uint16) {
	s.echo(src, dst, seq, false)
	s.wait(8 * time.Millisecond)
	s.echo(dst, src, seq, true)
}

func (s *scene) echo(src, dst host, seq uint16, reply bool) {
	payload := gopacket.Payload("0123456789abcdef0123456789abcdef")
	if src.ip.Is4() {
		ip, typ := s.ip(src, dst, layers.IPProtocolICMPv4)
		kind := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)
		if reply {
			kind = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)
		}
		s.ethernet(src.mac, dst.mac, typ, ip, &layers.ICMPv4{TypeCode: kind, Id: 0x5c3b, Seq: seq}, payload)
		return
	}
	ip, typ := s.ip(src, dst, layers.IPProtocolICMPv6)
	kind := layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)
	if reply {
		kind = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0)
	}
	icmp := &layers.ICMPv6{TypeCode: kind}
	icmp.SetNetworkLayerForChecksum(ip)
	s.ethernet(src.mac, dst.mac, typ, ip, icmp, &layers.ICMPv6Echo{Identifier: 0x5c3b, SeqNumber: seq}, payload)
}
