package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// dnsMessage is a query, or the response to it: NXDOMAIN when it is about an
// address and there is none.
func dnsMessage(id uint16, name string, typ layers.DNSType, response bool, addrs ...string) *layers.DNS {
	m := &layers.DNS{
		ID: id, QR: response, RD: true, RA: response,
		Questions: []layers.DNSQuestion{{Name: []byte(name), Type: typ, Class: layers.DNSClassIN}},
	}
	if !response {
		return m
	}
	answer := layers.DNSResourceRecord{Name: []byte(name), Type: typ, Class: layers.DNSClassIN, TTL: 300}
	if typ == layers.DNSTypeMX {
		answer.MX = layers.DNSMX{Preference: 10, Name: []byte("mail." + name)}
		m.Answers = append(m.Answers, answer)
	} else if len(addrs) == 0 {
		m.ResponseCode = layers.DNSResponseCodeNXDomain
	}
	for _, a := range addrs {
		answer.IP = netip.MustParseAddr(a).AsSlice()
		m.Answers = append(m.Answers, answer)
	}
	return m
}

func ipv6(s *scene) {
	router := newHost(0x01, "fe80::1")
	neighbour(s, client6, router)
	c := s.tcp(client6, server6, 49400, 80)
	c.open()
	c.request([]byte("GET / HTTP/1.0\r\n\r\n"))
	c.reply(httpReply(2000))
	c.close()
	s.udp(client6, server6, 50100, 53, dnsMessage(7, "v6.example.org", layers.DNSTypeAAAA, false))
	s.ping(client6, server6, 1)

	// Extension headers: a program that takes NextHeader for the transport's protocol is wrong here.
	udp := serialize(gopacket.Payload(datagram(client6, server6, 50101, 9000, 24)))
	base := layers.IPv6{Version: 6, HopLimit: 64, SrcIP: client6.ip.AsSlice(), DstIP: server6.ip.AsSlice()}
	pad := []byte{1, 4, 0, 0, 0, 0} // PadN of four
	for _, chain := range [][]layers.IPProtocol{
		{layers.IPProtocolIPv6HopByHop},
		{layers.IPProtocolIPv6Destination},
		{layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Destination},
	} {
		header := base
		header.NextHeader = chain[0]
		var ext []byte
		for i := range chain {
			next := layers.IPProtocolUDP
			if i+1 < len(chain) {
				next = chain[i+1]
			}
			ext = append(append(ext, byte(next), 0), pad...)
		}
		// The library would turn a typed hop-by-hop header into the IPv6 layer's own: the bytes go in as payload.
		s.ethernet(client6.mac, server6.mac, layers.EthernetTypeIPv6, rawIPv6(header, append(ext, udp...)))
	}
}

// rawIPv6 is a header of ours before bytes the library need not understand.
func rawIPv6(h layers.IPv6, rest []byte) gopacket.Payload {
	b := make([]byte, 40, 40+len(rest))
	b[0] = 0x60
	b[4], b[5] = byte(len(rest)>>8), byte(len(rest))
	b[6], b[7] = byte(h.NextHeader), h.HopLimit
	copy(b[8:], h.SrcIP)
	copy(b[24:], h.DstIP)
	return append(b, rest...)
}

// neighbour is a neighbour solicitation and the advertisement that answers it (RFC 4861).
func neighbour(s *scene, from, to host) {
	all := host{[]byte{0x33, 0x33, 0xff, 0, 0, 1}, netip.MustParseAddr("ff02::1:ff00:1")}
	send := func(src, dst host, typ uint8, body gopacket.SerializableLayer) {
		ip, eth := s.ip(src, dst, layers.IPProtocolICMPv6)
		ip.(*layers.IPv6).HopLimit = 255
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
		icmp.SetNetworkLayerForChecksum(ip)
		s.ethernet(src.mac, dst.mac, eth, ip, icmp, body)
	}
	send(from, all, layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{
		TargetAddress: to.ip.AsSlice(),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: from.mac}},
	})
	send(to, from, layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
		Flags: 0x60, TargetAddress: to.ip.AsSlice(),
		Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: to.mac}},
	})
}

// datagram is a UDP header and n bytes, checksummed for src and dst.
func datagram(src, dst host, sport, dport uint16, n int) []byte {
	ip, _ := newScene().ip(src, dst, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	udp.SetNetworkLayerForChecksum(ip)
	return serialize(udp, gopacket.Payload(pattern(n)))
}

// fragmentSize is how much of a datagram one fragment carries: a multiple of eight.
const fragmentSize = 1480

func fragments(s *scene) {
	for round, shuffle := range []bool{false, true} {
		var frames [][]byte
		id := uint16(0x7700 + round)
		d4 := datagram(client, server, 50200, 9000, 4000)
		for at := 0; at < len(d4); at += fragmentSize {
			end := min(at+fragmentSize, len(d4))
			ip := &layers.IPv4{
				Version: 4, TTL: 64, Id: id, Protocol: layers.IPProtocolUDP, FragOffset: uint16(at / 8),
				SrcIP: client.ip.AsSlice(), DstIP: server.ip.AsSlice(),
			}
			if end < len(d4) {
				ip.Flags = layers.IPv4MoreFragments
			}
			frames = append(frames, s.frame(client.mac, server.mac, layers.EthernetTypeIPv4, ip, gopacket.Payload(d4[at:end])))
		}
		d6 := datagram(client6, server6, 50201, 9000, 4000)
		for at := 0; at < len(d6); at += fragmentSize - 40 {
			end := min(at+fragmentSize-40, len(d6))
			ip := &layers.IPv6{
				Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolIPv6Fragment,
				SrcIP: client6.ip.AsSlice(), DstIP: server6.ip.AsSlice(),
			}
			frag := &layers.IPv6Fragment{
				NextHeader: layers.IPProtocolUDP, FragmentOffset: uint16(at / 8),
				MoreFragments: end < len(d6), Identification: uint32(id),
			}
			frames = append(frames, s.frame(client6.mac, server6.mac, layers.EthernetTypeIPv6, ip, frag, gopacket.Payload(d6[at:end])))
		}
		if shuffle {
			slices.Reverse(frames)
		}
		for _, f := range frames {
			s.put(f)
		}
		s.wait(time.Second)
	}
}

func quic(s *scene) {
	hello := clientHello("quic.example.org")
	for i := range 3 {
		dcid := []byte{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, byte(8 + i)}
		s.udp(client, server, 50300+uint16(i), 443, gopacket.Payload(quicInitial(dcid, []byte("skepskep"), hello)))
		s.udp(client6, server6, 50300+uint16(i), 443, gopacket.Payload(quicInitial(dcid, []byte("skepskep"), hello)))
	}
}

// malformed is what a parser must survive: each frame is a good one with one thing wrong.
func malformed(s *scene) {
	good := func(from, to host) []byte {
		ip, typ := s.ip(from, to, layers.IPProtocolTCP)
		tcp := &layers.TCP{SrcPort: 49500, DstPort: 80, Seq: 1, SYN: true, Window: 1024}
		tcp.SetNetworkLayerForChecksum(ip)
		return s.frame(from.mac, to.mac, typ, ip, tcp, gopacket.Payload(pattern(40)))
	}
	change := func(b []byte, at int, v ...byte) { copy(b[at:], v); s.put(b) }
	const eth, ip4 = 14, 20

	s.put(good(client, server))
	for _, n := range []int{14, 15, 17, 33, 34, 35, 53} { // cut inside Ethernet, IPv4 and TCP
		s.put(good(client, server)[:n])
	}
	for _, n := range []int{15, 53, 54, 60} { // and inside IPv6 and TCP
		s.put(good(client6, server6)[:n])
	}
	change(good(client, server), eth, 0x65)                // IPv6's version behind IPv4's frame type
	change(good(client6, server6), eth, 0x40)              // and the other way round
	change(good(client, server), eth, 0x40)                // a header of no words
	change(good(client, server), eth, 0x44)                // of fewer than five
	change(good(client, server), eth, 0x4f)                // options that run into TCP
	change(good(client, server), eth+2, 0, 10)             // total length below the header's
	change(good(client, server), eth+2, 0xff, 0xff)        // and beyond the frame
	change(good(client, server), eth+10, 0xde, 0xad)       // wrong header checksum
	change(good(client6, server6), eth+4, 0xff, 0xff)      // payload length beyond the frame
	change(good(client, server), eth+ip4+12, 0xf0)         // TCP header longer than the segment
	change(good(client, server), eth+ip4+12, 0x10)         // and shorter than itself
	change(good(client, server), 12, 0x81, 0x00)           // a VLAN tag that is none
	change(good(client, server), 12, 0x00, 0x40)           // a length where the type should be
	change(good(server, server), eth+12, 198, 51, 100, 20) // from itself to itself
	s.put(good(client, server))

	// Cut by the capture, not by the sender.
	cut := good(client, server)
	s.put(cut[:40])
	s.packets[len(s.packets)-1].wire = len(cut)
}
