package filter

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// printer prints packets one a line, in tcpdump's short form:
//
//	12:00:01.000002 IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S], seq 1, win 64240, length 0
type printer struct {
	w       *bufio.Writer
	numbers bool
}

func newPrinter(w io.Writer, numbers bool) *printer {
	return &printer{bufio.NewWriterSize(w, 64<<10), numbers}
}

func (p *printer) flush() error { return p.w.Flush() }

func (p *printer) print(sec, nsec int64, r *record, number uint64) error {
	if p.numbers {
		fmt.Fprintf(p.w, "%5d  ", number)
	}
	p.w.WriteString(time.Unix(sec, nsec).Format("15:04:05.000000 "))
	packet := gopacket.NewPacket(r.data, layers.LinkType(r.link), gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	p.w.WriteString(summary(packet, r))
	return p.w.WriteByte('\n')
}

// summary is what a packet is about.
func summary(packet gopacket.Packet, r *record) string {
	all := packet.Layers()
	prefix := ""
	for i, l := range all {
		switch l := l.(type) {
		case *layers.Dot1Q:
			prefix += fmt.Sprintf("vlan %d, p %d, ", l.VLANIdentifier, l.Priority)
		case *layers.MPLS:
			prefix += fmt.Sprintf("MPLS (label %d, tc %d, ttl %d) ", l.Label, l.TrafficClass, l.TTL)
		case *layers.ARP:
			return prefix + arp(l, r)
		case *layers.IPv4:
			length := int(l.Length) - int(l.IHL)*4
			if l.FragOffset != 0 {
				return prefix + fmt.Sprintf("IP %v > %v: %s", l.SrcIP, l.DstIP, protocol(l.Protocol.String()))
			}
			return prefix + over("IP", l.SrcIP, l.DstIP, all[i+1:], length, l.Protocol.String())
		case *layers.IPv6:
			return prefix + over("IP6", l.SrcIP, l.DstIP, all[i+1:], int(l.Length), l.NextHeader.String())
		case *layers.LLC:
			return prefix + fmt.Sprintf("LLC, dsap 0x%02x, ssap 0x%02x, length %d", l.DSAP, l.SSAP, r.wire)
		}
	}
	for _, l := range all {
		if e, ok := l.(*layers.Ethernet); ok {
			return prefix + fmt.Sprintf("%v > %v, ethertype 0x%04x, length %d", e.SrcMAC, e.DstMAC, uint16(e.EthernetType), r.wire)
		}
	}
	if len(all) == 0 || all[0].LayerType() == gopacket.LayerTypeDecodeFailure {
		return fmt.Sprintf("[|%v], length %d", layers.LinkType(r.link), r.wire)
	}
	return prefix + fmt.Sprintf("%v, length %d", all[len(all)-1].LayerType(), r.wire)
}

// protocol is what tcpdump calls a protocol it shows nothing of.
func protocol(name string) string { return strings.ToLower(name) }

// words parts a name like EchoRequest.
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && unicode.IsLower(rune(name[i-1])) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func arp(a *layers.ARP, r *record) string {
	sender, target := net.IP(a.SourceProtAddress), net.IP(a.DstProtAddress)
	switch a.Operation {
	case layers.ARPRequest:
		return fmt.Sprintf("ARP, Request who-has %v tell %v, length %d", target, sender, r.wire-14)
	case layers.ARPReply:
		return fmt.Sprintf("ARP, Reply %v is-at %v, length %d", sender, net.HardwareAddr(a.SourceHwAddress), r.wire-14)
	}
	return fmt.Sprintf("ARP, operation %d, length %d", a.Operation, r.wire-14)
}

// over is what IP carries; length is that of its payload.
func over(family string, src, dst net.IP, rest []gopacket.Layer, length int, proto string) string {
	ends := fmt.Sprintf("%s %v > %v: ", family, src, dst)
	ports := func(s, d uint16) string { return fmt.Sprintf("%s %v.%d > %v.%d: ", family, src, s, dst, d) }
	for _, l := range rest {
		switch l := l.(type) {
		case *layers.TCP:
			return ports(uint16(l.SrcPort), uint16(l.DstPort)) + tcp(l, length-int(l.DataOffset)*4)
		case *layers.UDP:
			return ports(uint16(l.SrcPort), uint16(l.DstPort)) + fmt.Sprintf("UDP, length %d", length-8)
		case *layers.SCTP:
			return ports(uint16(l.SrcPort), uint16(l.DstPort)) + fmt.Sprintf("sctp, length %d", length)
		case *layers.ICMPv4:
			return ends + icmp4(l, length)
		case *layers.ICMPv6:
			return ends + fmt.Sprintf("ICMP6, %s, length %d", words(l.TypeCode.String()), length)
		case *layers.IPv4:
			return ends + over("IP", l.SrcIP, l.DstIP, rest[1:], int(l.Length)-int(l.IHL)*4, l.Protocol.String())
		case *layers.IPv6:
			return ends + over("IP6", l.SrcIP, l.DstIP, rest[1:], int(l.Length), l.NextHeader.String())
		case *layers.IPv6HopByHop, *layers.IPv6Routing, *layers.IPv6Destination, *layers.IPv6Fragment:
			length -= len(l.LayerContents())
			continue
		}
		break
	}
	return ends + fmt.Sprintf("%s, length %d", protocol(proto), length)
}

// tcpFlags are the letters of tcpdump, in its order.
func tcpFlags(t *layers.TCP) string {
	var b strings.Builder
	for _, f := range [...]struct {
		set    bool
		letter string
	}{{t.FIN, "F"}, {t.SYN, "S"}, {t.RST, "R"}, {t.PSH, "P"}, {t.ACK, "."}, {t.URG, "U"}, {t.ECE, "E"}, {t.CWR, "W"}} {
		if f.set {
			b.WriteString(f.letter)
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// tcp shows a segment; sequence numbers are absolute, as with tcpdump -S.
func tcp(t *layers.TCP, length int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Flags [%s], ", tcpFlags(t))
	if length > 0 {
		fmt.Fprintf(&b, "seq %d:%d, ", t.Seq, t.Seq+uint32(length))
	} else if t.SYN || t.FIN || t.RST {
		fmt.Fprintf(&b, "seq %d, ", t.Seq)
	}
	if t.ACK {
		fmt.Fprintf(&b, "ack %d, ", t.Ack)
	}
	fmt.Fprintf(&b, "win %d, ", t.Window)
	if t.URG {
		fmt.Fprintf(&b, "urg %d, ", t.Urgent)
	}
	if len(t.Options) > 0 {
		fmt.Fprintf(&b, "options [%s], ", tcpOptions(t.Options))
	}
	fmt.Fprintf(&b, "length %d", max(length, 0))
	return b.String()
}

func tcpOptions(options []layers.TCPOption) string {
	var texts []string
	for _, o := range options {
		v := o.OptionData
		text := fmt.Sprintf("unknown-%d", o.OptionType)
		switch {
		case o.OptionType == layers.TCPOptionKindEndList:
			text = "eol"
		case o.OptionType == layers.TCPOptionKindNop:
			text = "nop"
		case o.OptionType == layers.TCPOptionKindMSS && len(v) == 2:
			text = fmt.Sprintf("mss %d", binary.BigEndian.Uint16(v))
		case o.OptionType == layers.TCPOptionKindWindowScale && len(v) == 1:
			text = "wscale " + strconv.Itoa(int(v[0]))
		case o.OptionType == layers.TCPOptionKindSACKPermitted:
			text = "sackOK"
		case o.OptionType == layers.TCPOptionKindTimestamps && len(v) == 8:
			text = fmt.Sprintf("TS val %d ecr %d", binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]))
		case o.OptionType == layers.TCPOptionKindSACK:
			text = fmt.Sprintf("sack %d ", len(v)/8)
			for ; len(v) >= 8; v = v[8:] {
				text += fmt.Sprintf("{%d:%d}", binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]))
			}
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ",")
}

func icmp4(i *layers.ICMPv4, length int) string {
	switch i.TypeCode.Type() {
	case layers.ICMPv4TypeEchoRequest:
		return fmt.Sprintf("ICMP echo request, id %d, seq %d, length %d", i.Id, i.Seq, length)
	case layers.ICMPv4TypeEchoReply:
		return fmt.Sprintf("ICMP echo reply, id %d, seq %d, length %d", i.Id, i.Seq, length)
	}
	return fmt.Sprintf("ICMP %s, length %d", words(i.TypeCode.String()), length)
}
