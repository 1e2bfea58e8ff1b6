package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// capture is one file of examples/captures.
type capture struct {
	name  string
	about string // for examples/captures/README.md
	scene func(*scene)
}

// captures are all files, in the order of the README.
var captures = []capture{
	{"web.pcap", "a few seconds of one client: ARP, DNS, HTTP over IPv4, TLS over IPv6, QUIC, pings, a telnet scan", web},
	{"dns.pcap", "queries and answers over UDP and TCP, A, AAAA, MX and NXDOMAIN", dns},
	{"vlan.pcap", "the same web request untagged, in VLAN 100 and in QinQ 200/300", vlan},
	{"ipv6.pcap", "neighbour discovery, TCP, UDP, hop-by-hop and destination options", ipv6},
	{"fragments.pcap", "a UDP datagram of 4,000 bytes in fragments, over IPv4 and IPv6, in and out of order", fragments},
	{"quic.pcap", "QUIC version 1 Initial packets that decrypt with RFC 9001's keys", quic},
	{"malformed.pcap", "headers cut short, lengths that lie, versions that contradict the frame's type", malformed},
	{"balancer.pcap", "clients of two virtual addresses: TCP over IPv4, UDP over IPv6, pings, a stray", balancer},
	{"mixed.pcapng", "two interfaces: Ethernet, and raw IP with nanosecond times", mixed},
}

var (
	gateway = newHost(0x01, "192.0.2.1")
	client  = newHost(0x10, "192.0.2.10")
	client6 = newHost(0x10, "2001:db8::10")
	server  = newHost(0x01, "198.51.100.20") // behind the gateway
	server6 = newHost(0x01, "2001:db8:80::20")
	name    = newHost(0x53, "192.0.2.53")
	scanner = newHost(0x01, "203.0.113.66")
	bad6    = newHost(0x01, "2001:db8:bad::66")
)

// snapLen is the snap length the files declare, in bytes.
const snapLen = 65535

// bytes is the file, in the format its name asks for.
func (c capture) bytes() []byte {
	s := newScene()
	c.scene(s)
	var out bytes.Buffer
	if strings.HasSuffix(c.name, ".pcapng") {
		s.writeNG(&out)
	} else {
		s.write(&out)
	}
	return out.Bytes()
}

func (s *scene) write(out *bytes.Buffer) {
	w := pcapgo.NewWriter(out)
	must(w.WriteFileHeader(snapLen, layers.LinkTypeEthernet))
	for _, p := range s.packets {
		must(w.WritePacket(gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(p.data), Length: p.wire}, p.data))
	}
}

func (s *scene) writeNG(out *bytes.Buffer) {
	w, err := pcapgo.NewNgWriterInterface(out, pcapgo.NgInterface{Name: "eth0", LinkType: layers.LinkTypeEthernet, SnapLength: snapLen},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "skep examples"}})
	must(err)
	_, err = w.AddInterface(pcapgo.NgInterface{Name: "tun0", LinkType: layers.LinkTypeRaw, SnapLength: snapLen})
	must(err)
	for _, p := range s.packets {
		must(w.WritePacket(gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(p.data), Length: p.wire, InterfaceIndex: p.iface}, p.data))
	}
	must(w.Flush())
}

func must(err error) {
	if err != nil {
		panic("BUG: " + err.Error()) // writes go to memory
	}
}

func web(s *scene) {
	s.arp(client, gateway)
	s.lookup(client, name, 0x2301, "www.example.org", layers.DNSTypeA, "198.51.100.20")
	s.lookup(client, name, 0x2302, "www.example.org", layers.DNSTypeAAAA, "2001:db8:80::20")

	page := s.tcp(client, server, 49152, 80)
	page.open()
	page.request([]byte("GET / HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: skep\r\nAccept: */*\r\n\r\n"))
	page.reply(httpReply(9000))
	s.wait(40 * time.Millisecond)
	page.request([]byte("GET /style.css HTTP/1.1\r\nHost: www.example.org\r\n\r\n"))
	page.reply(httpReply(2100))

	s.probe(scanner, client, 23, 2323)

	secure := s.tcp(client6, server6, 49153, 443)
	secure.open()
	secure.request(tlsRecord(clientHello("www.example.org")))
	secure.reply(pattern(3800))
	secure.request(pattern(64))
	secure.reply(pattern(1200))
	page.close()

	s.wait(300 * time.Millisecond)
	s.udp(client6, server6, 50001, 443, gopacket.Payload(quicInitial(
		[]byte{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08}, []byte("skepskep"), clientHello("www.example.org"))))
	for seq := uint16(1); seq <= 3; seq++ {
		s.ping(client, server, seq)
		s.ping(client6, server6, seq)
		s.wait(time.Second)
	}

	s.probe(bad6, client6, 22, 23)
	s.tags = []uint16{100}
	inVLAN := s.tcp(client, server, 49154, 80)
	inVLAN.open()
	inVLAN.request([]byte("GET /vlan HTTP/1.1\r\nHost: www.example.org\r\n\r\n"))
	inVLAN.reply(httpReply(500))
	inVLAN.close()
	s.tags = nil
	secure.close()
}

// probe is a port scan: a SYN to each port and the reset that answers it.
func (s *scene) probe(from, to host, ports ...uint16) {
	for i, port := range ports {
		s.wait(25 * time.Millisecond)
		s.tcp(from, to, 41000+uint16(i), port).refused()
	}
}

// httpReply is a response whose body has n bytes.
func httpReply(n int) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n", n)
	return append([]byte(head), pattern(n)...)
}

// pattern is n bytes of something that is neither constant nor random.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i>>3 ^ i)
	}
	return b
}

// lookup is a query over UDP and its answer; no addresses: the name does not exist.
func (s *scene) lookup(from, to host, id uint16, name string, typ layers.DNSType, addrs ...string) {
	port := 50000 + id&0xfff
	s.udp(from, to, port, 53, dnsMessage(id, name, typ, false))
	s.wait(9 * time.Millisecond)
	s.udp(to, from, 53, port, dnsMessage(id, name, typ, true, addrs...))
}

func dns(s *scene) {
	s.lookup(client, name, 1, "www.example.org", layers.DNSTypeA, "198.51.100.20", "198.51.100.21")
	s.lookup(client, name, 2, "www.example.org", layers.DNSTypeAAAA, "2001:db8:80::20")
	s.lookup(client, name, 3, "example.org", layers.DNSTypeMX)
	s.lookup(client, name, 4, "nothing.example", layers.DNSTypeA)
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("198.51.100.%d", i+1))
	}
	message := func(response bool, addrs ...string) []byte { // over TCP, with its length before it
		b := serialize(dnsMessage(5, "many.example.org", layers.DNSTypeA, response, addrs...))
		return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)
	}
	c := s.tcp(client, name, 49200, 53)
	c.open()
	c.request(message(false))
	c.reply(message(true, many...))
	c.close()
}

func vlan(s *scene) {
	for i, tags := range [][]uint16{nil, {100}, {200, 300}} {
		s.tags = tags
		c := s.tcp(client, server, 49300+uint16(i), 80)
		c.open()
		c.request([]byte("GET / HTTP/1.0\r\n\r\n"))
		c.reply(httpReply(100))
		c.close()
	}
}

func balancer(s *scene) {
	vip4, vip6 := newHost(0x01, "198.51.100.80"), newHost(0x01, "2001:db8:80::80")
	for i := range 24 {
		c4 := newHost(0x10, fmt.Sprintf("192.0.2.%d", 100+i))
		c := s.tcp(c4, vip4, 40000+uint16(i)*7, 80)
		c.open()
		c.request(fmt.Appendf(nil, "GET /%d HTTP/1.1\r\n\r\n", i))
		c6 := newHost(0x10, fmt.Sprintf("2001:db8::%d", 100+i))
		s.udp(c6, vip6, 50000+uint16(i)*3, 443, gopacket.Payload(pattern(200+i)))
	}
	s.ping(client, vip4, 1)
	s.udp(client, vip4, 40000, 9999, gopacket.Payload("no such service"))
	s.udp(client, server, 40000, 7777, gopacket.Payload("not for us"))
	s.arp(client, gateway)
}

func mixed(s *scene) {
	s.arp(client, gateway)
	s.lookup(client, name, 9, "www.example.org", layers.DNSTypeA, "198.51.100.20")
	// On tun0 the same kind of traffic, without a link layer.
	ethernet := len(s.packets)
	s.ping(client, server, 1)
	s.ping(client6, server6, 1)
	for i := ethernet; i < len(s.packets); i++ {
		p := &s.packets[i]
		p.data, p.iface = p.data[14:], 1
		p.at = p.at.Add(time.Duration(i) * time.Nanosecond)
		p.wire = len(p.data)
	}
}
