package helpers

import (
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/packet"
)

// shape is what a program sees of a packet's shape.
var shape = []step{load(skLen), load(skProtocol), load(skVLANPresent), load(skVLANTCI), load(skVLANProto), load(skPktType), load(skGSOSize), load(skGSOSegs)}

func reshape(name string, pkt []byte, steps ...step) script {
	return script{name: name, prog: tc, pkt: pkt, ctx: skb(nil), data: payload(256), steps: append(steps, shape...)}
}

// gso is the script with a packet that is to be segmented.
func gso(s script) script {
	s.name += ", gso"
	s.ctx = skb(map[int]uint32{skGSOSize: 500, skGSOSegs: 3})
	return s
}

func TestSKBVLAN(t *testing.T) {
	push := func(proto uint16, tci uint64) step { return call(catalog.FnSKBVlanPush, ctx, be(proto), imm(tci)) }
	pop := call(catalog.FnSKBVlanPop, ctx)
	runScripts(t, []script{
		reshape("push", tcp4, push(packet.EtherVLAN, 5)),
		reshape("push ad", tcp4, push(packet.EtherQinQ, 0xe005)),
		reshape("push of another protocol", tcp4, push(0x1234, 5)),
		reshape("push zero", tcp4, push(packet.EtherVLAN, 0)),
		reshape("push wide", tcp4, push(packet.EtherVLAN, 0x12345678)),
		reshape("push twice", tcp4, push(packet.EtherVLAN, 5), push(packet.EtherQinQ, 6)),
		reshape("push thrice", tcp4, push(packet.EtherVLAN, 5), push(packet.EtherQinQ, 6), push(packet.EtherVLAN, 7)),
		reshape("push and pop", tcp4, push(packet.EtherVLAN, 5), pop),
		reshape("push twice, pop thrice", tcp4, push(packet.EtherVLAN, 5), push(packet.EtherQinQ, 6), pop, pop, pop),
		reshape("pop nothing", tcp4, pop),
		reshape("pop one", vlan4, pop),
		reshape("pop one, push", vlan4, pop, push(packet.EtherVLAN, 9)),
		reshape("pop two", qinq4, pop),
		reshape("pop two twice", qinq4, pop, pop),
		reshape("push on one", vlan4, push(packet.EtherQinQ, 9), push(packet.EtherQinQ, 10)),
		reshape("pop llc", eth(packet.EtherVLAN, vlan(5, 0x0020, payload(50))), pop),
		reshape("pop raw ipx", eth(packet.EtherVLAN, vlan(5, 0x0020, append([]byte{0xff, 0xff}, payload(50)...))), pop),
		reshape("pop of a runt", eth(packet.EtherVLAN, []byte{0, 1}), pop),
		{name: "pop keeps sum", prog: tc, pkt: vlan4, csum: true, steps: []step{pop, call(catalog.FnCsumUpdate, ctx, imm(0))}, noPacket: true},
	})
}

func TestSKBHeadAndTail(t *testing.T) {
	head := func(n, flags uint64) step { return call(catalog.FnSKBChangeHead, ctx, imm(n), imm(flags)) }
	tail := func(n, flags uint64) step { return call(catalog.FnSKBChangeTail, ctx, imm(n), imm(flags)) }
	rel := call(catalog.FnSKBLoadBytesRelative, ctx, imm(0), data(0), imm(8), imm(0))
	var scripts []script
	for _, n := range []uint64{0, 1, 14, 64, 65, 300, 4000, packet.SKBMaxLen - uint64(len(tcp4)), packet.SKBMaxLen - uint64(len(tcp4)) + 1, 1 << 31, 0xffffffff, 1 << 32} {
		s := reshape(fmt.Sprintf("head %d", n), tcp4, head(n, 0), rel)
		s.noPacket = n > 3000 && n < 1<<20 // longer than the kernel's answer holds
		scripts = append(scripts, s)
	}
	for _, n := range []uint64{0, 13, 14, 15, 34, 93, 94, 95, 200, 3000, packet.SKBMaxLen, packet.SKBMaxLen + 1, 0xffffffff} {
		s := reshape(fmt.Sprintf("tail %d", n), tcp4, tail(n, 0))
		s.noPacket = n > 3000
		scripts = append(scripts, s, gso(s))
	}
	scripts = append(scripts,
		reshape("head flags", tcp4, head(4, 1)), reshape("tail flags", tcp4, tail(40, 1)),
		reshape("head twice", tcp4, head(14, 0), head(20, 0), rel),
		reshape("head and tail", tcp4, head(14, 0), tail(60, 0), tail(200, 0)),
		reshape("tail and store", tcp4, tail(200, 0), call(catalog.FnSKBStoreBytes, ctx, imm(150), data(0), imm(50), imm(0))),
		script{name: "tail of a sum", prog: tc, pkt: tcp4, csum: true, steps: []step{tail(120, 0), call(catalog.FnCsumUpdate, ctx, imm(0))}},
	)
	runScripts(t, scripts)
}

func TestSKBProtoAndType(t *testing.T) {
	proto := func(p uint16, flags uint64) step { return call(catalog.FnSKBChangeProto, ctx, be(p), imm(flags)) }
	var scripts []script
	for name, pkt := range map[string][]byte{"4": tcp4, "6": udp6, "arp": arp, "vlan": vlan4, "short 4": tcp4[:34], "short 6": udp6[:54]} {
		for _, p := range []uint16{packet.EtherIPv4, packet.EtherIPv6, 0x0806} {
			s := reshape(fmt.Sprintf("%s to %#x", name, p), pkt, proto(p, 0))
			scripts = append(scripts, s, gso(s))
		}
	}
	scripts = append(scripts, reshape("proto flags", tcp4, proto(packet.EtherIPv6, 1)),
		reshape("there and back", tcp4, proto(packet.EtherIPv6, 0), proto(packet.EtherIPv4, 0)))
	for _, typ := range []uint64{0, 1, 2, 3, 4, 5, 7, 1 << 32} {
		scripts = append(scripts, reshape(fmt.Sprintf("type %d", typ), tcp4, call(catalog.FnSKBChangeType, ctx, imm(typ))))
	}
	runScripts(t, scripts)
}

func TestSKBAdjustRoom(t *testing.T) {
	room := func(diff int64, mode, flags uint64) step {
		return call(catalog.FnSKBAdjustRoom, ctx, neg(diff), imm(mode), imm(flags))
	}
	var scripts []script
	add := func(name string, pkt []byte, steps ...step) {
		s := reshape(name, pkt, steps...)
		scripts = append(scripts, s, gso(s))
	}
	packets := map[string][]byte{"4": tcp4, "6": udp6, "vlan": vlan4}
	for name, pkt := range packets {
		for _, diff := range []int64{0, 8, 20, 40, 0xfff, 0x1000, -8, -20, -40, -60, -80, -0xfff, -0x1000, -1 << 31} {
			for mode := range uint64(3) {
				add(fmt.Sprintf("%s by %d mode %d", name, diff, mode), pkt, room(diff, mode, 0))
			}
		}
	}
	for _, flags := range []uint64{
		adjFixedGSO, adjEncapIPv4, adjEncapIPv6, adjEncapIPv4 | adjEncapIPv6, adjEncapGRE, adjEncapUDP,
		adjEncapIPv4 | adjEncapGRE, adjEncapIPv4 | adjEncapUDP, adjEncapIPv6 | adjEncapUDP, adjEncapIPv6 | adjEncapGRE,
		adjEncapIPv4 | adjEncapGRE | adjEncapUDP, adjNoCsumReset, adjEncapEth, adjEncapIPv4 | adjEncapEth,
		adjEncapIPv4 | adjEncapEth | 14<<56, adjEncapIPv4 | 14<<56, adjEncapIPv4 | 100<<56, adjDecapIPv4, adjDecapIPv6,
		adjDecapIPv4 | adjDecapIPv6, 1 << 9, 1 << 40, adjEncapIPv4 | adjFixedGSO, 14 << 56,
	} {
		for name, pkt := range map[string][]byte{"4": tcp4, "6": tcp6} {
			for _, diff := range []int64{28, 64, -20, -8} {
				for mode := range uint64(2) {
					add(fmt.Sprintf("%s by %d mode %d flags %#x", name, diff, mode, flags), pkt, room(diff, mode, flags))
				}
			}
		}
	}
	outer := eth(packet.EtherIPv4, ip4(4, ip4(6, tcp(payload(30)))))
	outer6 := eth(packet.EtherIPv6, ip6(4, ip4(6, tcp(payload(30)))))
	add("decap", outer, room(-20, packet.AdjRoomMAC, 0))
	add("decap 6 to 4", outer6, room(-40, packet.AdjRoomMAC, adjDecapIPv4))
	add("decap 4 to 6", eth(packet.EtherIPv4, ip4(41, ip6(17, udp(payload(20))))), room(-20, packet.AdjRoomMAC, adjDecapIPv6))
	add("encap twice", tcp4, room(20, packet.AdjRoomMAC, adjEncapIPv4), room(20, packet.AdjRoomMAC, adjEncapIPv4))
	add("encap then tail", tcp4, room(20, packet.AdjRoomMAC, adjEncapIPv4), call(catalog.FnSKBChangeTail, ctx, imm(60), imm(0)))
	add("grow and shrink", tcp4, room(20, packet.AdjRoomMAC, 0), room(-20, packet.AdjRoomMAC, 0))
	add("arp", arp, room(20, packet.AdjRoomMAC, 0))
	scripts = append(scripts,
		script{name: "vouched", prog: tc, pkt: tcp4, steps: []step{
			call(catalog.FnCsumLevel, ctx, imm(1)), room(8, packet.AdjRoomMAC, adjNoCsumReset), call(catalog.FnCsumLevel, ctx, imm(0)),
			room(8, packet.AdjRoomMAC, 0), call(catalog.FnCsumLevel, ctx, imm(0)),
		}},
		script{name: "shrink keeps sum", prog: tc, pkt: tcp4, csum: true, steps: []step{room(-8, packet.AdjRoomNet, 0), call(catalog.FnCsumUpdate, ctx, imm(0))}},
		script{name: "grow keeps sum", prog: tc, pkt: tcp4, csum: true, steps: []step{room(8, packet.AdjRoomNet, 0), call(catalog.FnCsumUpdate, ctx, imm(0))}},
	)
	runScripts(t, scripts)
}

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
)
