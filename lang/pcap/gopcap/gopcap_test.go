package gopcap

import (
	"errors"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/skep-bpf/skep/lang/pcap"
)

// frame returns an Ethernet frame of a UDP datagram.
func frame(t *testing.T, src, dst layers.UDPPort, payload int) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
	udp := &layers.UDP{SrcPort: src, DstPort: dst}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4},
		ip, udp, gopacket.Payload(make([]byte, payload)))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMatches(t *testing.T) {
	dns := frame(t, 4000, 53, 20)
	for _, tt := range []struct {
		expr string
		link layers.LinkType
		data []byte
		wire int
		want bool
	}{
		{"udp port 53", layers.LinkTypeEthernet, dns, len(dns), true},
		{"udp port 54", layers.LinkTypeEthernet, dns, len(dns), false},
		{"tcp", layers.LinkTypeEthernet, dns, len(dns), false},
		{"ip host 10.0.0.2", layers.LinkTypeRaw, dns[14:], len(dns) - 14, true},
		{"udp port 53", layers.LinkTypeEthernet, dns[:20], len(dns), false}, // the ports were not captured
		{"greater 1000", layers.LinkTypeEthernet, dns, len(dns), false},
		{"greater 1000", layers.LinkTypeEthernet, dns, 1400, true}, // on the wire it was
		{"", layers.LinkTypeEthernet, nil, 0, true},
	} {
		b, err := NewBPF(tt.link, 65535, tt.expr)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		if b.String() != tt.expr {
			t.Errorf("%q: String() = %q", tt.expr, b.String())
		}
		if got := b.Matches(gopacket.CaptureInfo{CaptureLength: len(tt.data), Length: tt.wire}, tt.data); got != tt.want {
			t.Errorf("%q on %d of %d bytes: %v, want %v", tt.expr, len(tt.data), tt.wire, got, tt.want)
		}
	}
}

func TestInstructions(t *testing.T) {
	code, err := CompileBPFFilter(layers.LinkTypeEthernet, 65535, "udp dst port 53")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBPFInstructionFilter(code)
	if err != nil {
		t.Fatal(err)
	}
	dns := frame(t, 4000, 53, 0)
	if ci := (gopacket.CaptureInfo{Length: len(dns)}); !b.Matches(ci, dns) {
		t.Error("a DNS query does not match")
	}
	for _, bad := range [][]BPFInstruction{nil, make([]BPFInstruction, MaxBpfInstructions+1), {{Code: 0xffff}}} {
		if _, err := NewBPFInstructionFilter(bad); err == nil {
			t.Errorf("a filter of %d bad instructions is taken", len(bad))
		}
	}
	if _, err := NewBPF(layers.LinkTypeEthernet, 65535, "udp port"); !errors.Is(err, pcap.ErrSyntax) {
		t.Errorf("half an expression: %v", err)
	}
}
