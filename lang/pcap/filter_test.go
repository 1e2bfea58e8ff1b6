package pcap

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/skep-bpf/skep/classic"
)

// ether returns an Ethernet frame of 400 bytes whose payload begins as given.
func ether(typ uint16, payload ...byte) []byte {
	p := make([]byte, 400)
	copy(p, []byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 2, 0, 0, 0, 0, 1})
	binary.BigEndian.PutUint16(p[12:], typ)
	copy(p[14:], payload)
	return p
}

// ip4 returns the first bytes of an IPv4 packet from 10.0.0.1 to 10.0.0.2.
func ip4(proto byte, payload ...byte) []byte {
	h := []byte{0x45, 0, 1, 0x82, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	return append(h, payload...)
}

// ip6 returns the first bytes of an IPv6 packet from fe80::1 to ff02::1.
func ip6(next byte, payload ...byte) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, 64
	h[8], h[9], h[23] = 0xfe, 0x80, 1
	h[24], h[25], h[39] = 0xff, 0x02, 1
	return append(h, payload...)
}

func TestMatch(t *testing.T) {
	http := ether(0x800, ip4(6, 0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02)...)
	dns := ether(0x800, ip4(17, 0, 53, 0x9c, 0x40)...)
	dns6 := ether(0x86dd, ip6(17, 0x9c, 0x40, 0, 53)...)
	tagged := ether(0x8100, append([]byte{0, 5, 8, 0}, ip4(17, 0, 53, 0x9c, 0x40)...)...)
	arp := ether(0x806, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9)
	fragment := ether(0x800, ip4(17, 0, 53, 0, 53)...)
	fragment[14+7] = 1
	options := ether(0x800, append([]byte{0x46}, ip4(6)[1:]...)...)
	copy(options[14+24:], []byte{0, 80, 0x9c, 0x40})
	hopByHop := ether(0x86dd, ip6(0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 80)...)

	for _, tt := range []struct {
		name   string
		packet []byte
		yes    string // expressions, with ; between
		no     string
	}{
		{"http", http,
			"ip;tcp;port 80;tcp dst port 80;port http;host 10.0.0.1;src host 10.0.0.1;net 10.0.0.0/8;src and dst net 10;" +
				"tcp[tcpflags] & tcp-syn != 0;ip[8] = 64;portrange 70-90;ether src 2:0:0:0:0:1;ether host 00:11:22:33:44:55;" +
				"tcp port 443 or 80;host 10.0.0.9 or 10.0.0.2;not udp;greater 400;less 400;len = 400;ip proto 6;ip proto \\tcp;" +
				"tcp[0:2] > 0x9c3f;tcp port 80 and not (host 10.0.0.3 or port 22);(ip[0] & 0xf) << 2 = 20;-ip[8] + 64 = 0;",
			"ip6;udp;port 81;tcp src port 80;dst host 10.0.0.1;net 10.1.0.0/16;tcp[tcpflags] & tcp-rst != 0;portrange 81-90;" +
				"ether multicast;ether broadcast;vlan;mpls;arp;len > 400;llc;not tcp;icmp;sctp;ip multicast;ip proto 17;src and dst host 10.0.0.1"},
		{"dns", dns, "udp;udp port 53;port domain;src port 53;port 53 and host 10.0.0.2;tcp or udp", "tcp port 53;dst port 53;portrange 54-60"},
		{"dns over IPv6", dns6, "ip6;udp;udp port 53;dst port 53;host fe80::1;ip6 net fe80::/10;ip6 multicast;dst host ff02::1;ip6 proto 17",
			"ip;src port 53;host fe80::2;tcp;net 10;ip6 host ff02::2;icmp6"},
		{"dns in a VLAN", tagged, "vlan;vlan 5;vlan and udp port 53;vlan 5 and ip;udp port 53 or (vlan and udp port 53);ether proto 0x8100",
			"ip;udp port 53;vlan 6;vlan and vlan;vlan and tcp"},
		{"arp", arp, "arp;arp host 10.0.0.1;host 10.0.0.9;arp net 10;arp[6:2] = 1;ether proto \\arp", "ip;ip host 10.0.0.1;rarp;tcp;arp[6:2] = 2"},
		{"fragment", fragment, "udp;ip[6:2] & 0x1fff = 1", "udp port 53;port 53"},
		{"IPv4 options", options, "tcp port 80;ip[0] & 0xf > 5;src port 80", "dst port 80"},
		{"IPv6 extension header", hopByHop, "ip6 protochain 6;protochain \\tcp;ip6 proto 0", "ip6 proto 6;tcp;ip6 protochain 17"},
		{"too short", http[:30], "ip;tcp;", "port 80;dst host 10.0.0.2;tcp[13] = 2"},
		{"empty", nil, "less 1;len = 0", "ip;len > 0"},
	} {
		for _, opts := range []*Options{nil, {NoOptimize: true}} {
			check := func(exprs string, want bool) {
				for expr := range strings.SplitSeq(exprs, ";") {
					f, err := Compile(expr, Ethernet, 262144, opts)
					if err != nil {
						t.Errorf("%q: %v", expr, err)
					} else if got := f.Match(tt.packet); got != want {
						t.Errorf("%s: %q matches: %v, want %v (options %+v)", tt.name, expr, got, want, opts)
					}
				}
			}
			check(tt.yes, true)
			check(tt.no, false)
		}
	}
}

// TestOptimizerKeepsMeaning runs optimised and unoptimised code of random
// expressions on packets that are long enough for all loads.
func TestOptimizerKeepsMeaning(t *testing.T) {
	g := generator{Rand: rand.New(rand.NewPCG(7, 4))}
	packets := [][]byte{
		ether(0x800, ip4(6, 0, 80, 0, 22, 1, 2, 3)...), ether(0x800, ip4(17, 0, 53)...), ether(0x800, ip4(1, 8)...),
		ether(0x86dd, ip6(6, 0, 80, 1, 187)...), ether(0x86dd, ip6(58, 128)...), ether(0x806, 0, 1, 8, 0), ether(0x8100, 0, 5, 8, 0),
		ether(100, 0xaa, 0xaa, 3), ether(0x8847, 0, 0, 0x11, 64, 0x45),
	}
	for range 200 {
		p := make([]byte, 400)
		for i := range p {
			p[i] = byte(g.Uint32())
		}
		copy(p, packets[g.IntN(9)][:14+g.IntN(24)])
		packets = append(packets, p)
	}
	ran := 0
	for range 3000 {
		q := g.query([]LinkType{Ethernet})
		if strings.ContainsAny(q.expr, "[/%*<-") || q.link != Ethernet {
			continue // arithmetic can reach beyond any packet
		}
		raw := q.opts
		raw.NoOptimize = true
		a, err1 := Compile(q.expr, q.link, q.snaplen, &q.opts)
		b, err2 := Compile(q.expr, q.link, q.snaplen, &raw)
		if err1 != nil || err2 != nil {
			if errors.Is(err1, ErrRejectsAll) && err2 == nil {
				for _, p := range packets {
					if b.Match(p) {
						t.Errorf("%q: refused as matching nothing, but matches", q.expr)
					}
				}
			}
			continue
		}
		ran++
		for _, p := range packets {
			if a.Match(p) != b.Match(p) {
				t.Errorf("%q: optimised %v, not optimised %v on % x", q.expr, a.Match(p), b.Match(p), p[:60])
				break
			}
		}
	}
	if ran < 500 {
		t.Errorf("only %d expressions", ran)
	}
}

func TestFilterIsSafeForConcurrentUse(t *testing.T) {
	f, err := Compile("udp port 53 and host 10.0.0.1", Ethernet, 65535, nil)
	if err != nil {
		t.Fatal(err)
	}
	yes, no := ether(0x800, ip4(17, 0, 53)...), ether(0x800, ip4(6, 0, 53)...)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if !f.Match(yes) || f.Match(no) {
					t.Error("another answer")
				}
				if _, err := Compile("tcp port 80", Ethernet, 65535, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRunReturnsSnaplen(t *testing.T) {
	f, err := Compile("greater 1000", Ethernet, 96, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := ether(0x800)
	if got := f.Run(p, &classic.Aux{Length: 1500}); got != 96 {
		t.Errorf("%d bytes, want 96", got)
	}
	if got := f.Run(p, nil); got != 0 {
		t.Errorf("%d bytes of a packet of %d, want none", got, len(p))
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	f, err := Compile("tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", Ethernet, 65535, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := ether(0x800, ip4(6, 0, 80)...)
	if n := testing.AllocsPerRun(100, func() { f.Match(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestLiveVLAN runs filters for live interfaces on packets whose tag the kernel
// has taken off, and on packets that have it.
func TestLiveVLAN(t *testing.T) {
	off := ether(0x800, ip4(17, 0, 53, 0x9c, 0x40)...)
	in := ether(0x8100, append([]byte{0, 5, 8, 0}, ip4(17, 0, 53, 0x9c, 0x40)...)...)
	tag := func(id uint16) *classic.Aux { return &classic.Aux{VLANTag: id, VLANTPID: 0x8100} }
	for _, tt := range []struct {
		expr   string
		packet []byte
		aux    *classic.Aux
		want   bool
	}{
		{"vlan", off, tag(5), true},
		{"vlan", off, nil, false},
		{"vlan", in, nil, true},
		{"vlan 5", off, tag(5), true},
		{"vlan 5", off, tag(6), false},
		{"vlan 5", in, nil, true},
		{"vlan 6", in, nil, false},
		{"ip and vlan 5", off, tag(5), true},
		{"ip and vlan 5", off, tag(6), false},
		{"ip and vlan 5", off, nil, false},
		{"vlan 5 and udp port 53", off, tag(5), true},
		{"vlan 5 and udp port 53", in, nil, true},
		{"vlan 5 and udp port 54", in, nil, false},
		{"udp port 53 or (vlan and udp port 53)", off, nil, true},
	} {
		for _, raw := range []bool{false, true} {
			f, err := Compile(tt.expr, Ethernet, 65535, &Options{Source: Live, NoOptimize: raw})
			if err != nil {
				t.Errorf("%q: %v", tt.expr, err)
			} else if got := f.Run(tt.packet, tt.aux) != 0; got != tt.want {
				t.Errorf("%q on a packet with aux %+v (NoOptimize=%v): %v, want %v", tt.expr, tt.aux, raw, got, tt.want)
			}
		}
	}
}
