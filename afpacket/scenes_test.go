package afpacket_test

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/classic"
)

// variety is frames of every shape.
func variety() [][]byte {
	const other = "02:00:00:00:00:01"
	vlan := func(proto, tci, inner uint16, payload []byte) []byte {
		return frameOf(macB, other, proto, append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tci), inner), payload...))
	}
	return [][]byte{
		frameOf(macB, other, 0x0800, udp(1, 2, 1000, 80, 20)),
		frameOf("ff:ff:ff:ff:ff:ff", other, 0x0806, make([]byte, 28)),
		frameOf("01:00:5e:00:00:01", other, 0x0800, udp(1, 2, 1000, 53, 4)),
		frameOf("02:00:00:00:00:77", other, 0x0800, udp(3, 4, 1000, 53, 4)),
		frameOf(macB, other, 0x86dd, make([]byte, 40)),
		vlan(0x8100, 0x6005, 0x0800, udp(1, 2, 7, 80, 8)),
		vlan(0x88a8, 7, 0x8100, append([]byte{0, 9, 8, 0}, udp(1, 2, 7, 80, 8)...)),
		vlan(0x8100, 0, 0x86dd, make([]byte, 40)),
		frameOf(macB, other, 0x8100, []byte{0, 5}),
		frameOf(macB, other, 0x8100, []byte{0, 5, 8, 0}),
		frameOf(macB, other, 100, append([]byte{0xff, 0xff}, make([]byte, 40)...)),
		frameOf(macB, other, 100, append([]byte{0xaa, 0xaa}, make([]byte, 40)...)),
		frameOf(macB, other, 0x88b5, nil),
		frameOf(macB, other, 0x88b5, []byte{1}),
		frameOf(macB, other, 0x0800, make([]byte, 1500)),
	}
}

// scenes are played on both.
var scenes = []struct {
	name string
	play func(s *script)
}{
	{"form", func(s *script) {
		s.open("all", "", afpacket.Raw, afpacket.All)
		s.open("a", "a", afpacket.Raw, afpacket.All)
		s.open("b", "b", afpacket.Raw, afpacket.All)
		s.open("b dgram", "b", afpacket.Datagram, afpacket.All)
		s.open("a dgram", "a", afpacket.Datagram, afpacket.All)
		s.open("b ip", "b", afpacket.Raw, 0x0800)
		s.open("all ip dgram", "", afpacket.Datagram, 0x0800)
		s.open("all vlan", "", afpacket.Raw, 0x8100)
		s.open("802.3", "", afpacket.Raw, 1)
		s.open("802.2", "", afpacket.Raw, 4)
		in := s.open("in", "", afpacket.Raw, afpacket.All)
		s.tried("ignore", in.ignoreOutgoing())
		for i, f := range variety() {
			s.note("frame %d", i)
			s.send("a", f)
			s.note("back %d", i)
			s.send("b", f)
		}
	}},
	{"sender", func(s *script) {
		a := s.open("a", "a", afpacket.Raw, afpacket.All)
		d := s.open("a dgram", "a", afpacket.Datagram, afpacket.All)
		s.open("b", "b", afpacket.Raw, afpacket.All)
		f := variety()[0]
		s.tried("send", a.send(f))
		s.w.settle("a")
		s.look()
		s.tried("send dgram", d.sendTo(f[14:], "a", 0x0800, [6]byte(mac(macB))))
		s.w.settle("a")
		s.look()
		s.tried("short", a.send(f[:13]))
		s.tried("just", a.send(f[:14]))
		s.tried("long", a.send(append(f[:14:14], make([]byte, 1501)...)))
		s.tried("long tagged", a.send(append(variety()[5][:18:18], make([]byte, 1500)...)))
		s.tried("too long tagged", a.send(append(variety()[5][:18:18], make([]byte, 1501)...)))
		s.tried("long dgram", d.sendTo(make([]byte, 1501), "a", 0x0800, [6]byte(mac(macB))))
		s.w.settle("a")
		s.look()
		s.w.up("a", false)
		s.look()
		s.tried("down", a.send(f))
		s.look()
		s.w.up("a", true)
		s.tried("up", a.send(f))
		s.w.settle("a")
		s.look()
		s.w.up("b", false)
		s.look()
	}},
	{"places", func(s *script) {
		s.open("a", "a", afpacket.Raw, afpacket.All)
		s.open("b", "b", afpacket.Raw, afpacket.All)
		s.open("b ip", "b", afpacket.Raw, 0x0800)
		f := variety()[0]
		s.w.attach("a", "xdp", "r0 = 2\nexit") // or the kernel's device takes nothing that XDP sends
		for _, at := range []struct{ dev, hook, text string }{
			{"b", "ingress", "r0 = 2\nexit"},                             // shot
			{"b", "ingress", "r0 = 0\nexit"},                             // ok
			{"a", "egress", "r0 = 2\nexit"},                              // shot
			{"b", "xdp", "r0 = 2\nexit"},                                 // pass
			{"b", "xdp", "r0 = 1\nexit"},                                 // drop
			{"b", "xdp", "r0 = 3\nexit"},                                 // tx
			{"b", "ingress", "r1 = $b\nr2 = 0\ncall 23\nexit"},           // out again
			{"a", "egress", "r1 = $a\nr2 = 1\ncall 23\nexit"},            // in again
			{"b", "ingress", "r6 = r1\nr1 = $a\nr2 = 1\ncall 23\nexit"},  // into the other
			{"a", "egress", "r2 = 0x81\nr3 = 9\ncall 18\nr0 = 0\nexit"},  // a tag on the way out
			{"b", "ingress", "r2 = 0x81\nr3 = 9\ncall 18\nr0 = 0\nexit"}, // a tag on the way in
			{"b", "ingress", "call 19\nr0 = 0\nexit"},                    // a tag off
			{"b", "ingress", "r2 = $a\nr3 = 1\ncall 13\nr0 = 0\nexit"},   // a copy
			{"b", "ingress", "r2 = 3\ncall 32\nr0 = 0\nexit"},            // another type
			{"b", "ingress", "r2 = 100\nr3 = 0\ncall 38\nr0 = 0\nexit"},  // longer
		} {
			s.note("%s %s %q", at.dev, at.hook, at.text)
			s.w.attach(at.dev, at.hook, ipOnly(at.hook, at.text))
			s.send("a", f)
			s.send("a", variety()[3])
			s.w.detach(at.dev, at.hook)
		}
	}},
	{"filters", func(s *script) {
		k := s.open("b", "b", afpacket.Raw, afpacket.All)
		d := s.open("b dgram", "b", afpacket.Datagram, afpacket.All)
		s.tried("detach none", k.detach())
		s.tried("bad", k.filter([]classic.Instruction{{Code: 0x28, K: 12}}))
		s.tried("empty", k.filter(nil))
		for _, expr := range []string{"ip", "udp port 80", "vlan 5", "vlan", "outbound", "inbound", "broadcast", "len > 100", "not ip"} {
			s.note("%s", expr)
			s.tried("attach", k.filter(compiled(s.t, expr)))
			for i, f := range variety() {
				s.note("frame %d", i)
				s.send("a", f)
				s.send("b", f)
			}
		}
		for _, text := range []string{
			"ret #20", "ret #0", "ret #5000", "ld #len\nret a", "ldb [0]\nret a", "ldh #proto\nret a", "ld #type\nadd #16\nret a", "ld #ifidx\nret #40",
			"ld #hatype\nadd #20\nret a", "ldb [0xfff00009]\nret a", "ld #poff\nret a", "ld #vlan_tci\nadd #30\nret a", "ld #vlan_avail\nadd #30\nret a",
			"ldh [0xffe0000c]\nadd #10\nret a",
		} {
			prog, err := classic.Assemble("filter", text, classic.DefaultSymbols())
			if err != nil {
				s.t.Fatal(err)
			}
			s.note("%s", text)
			s.tried("attach", errors.Join(k.filter(prog), d.filter(prog)))
			for _, i := range []int{0, 3, 5, 10, 13} {
				s.send("a", variety()[i])
			}
		}
		for _, text := range []string{
			"r0 = *(u32 *)(r1 + 0)\nexit",                 // len
			"r0 = *(u32 *)(r1 + 4)\nr0 += 20\nexit",       // pkt_type
			"r0 = *(u32 *)(r1 + 16)\nr0 &= 0xff\nexit",    // protocol
			"r0 = *(u32 *)(r1 + 20)\nr0 += 20\nexit",      // vlan_present
			"r6 = r1\nr0 = *(u8 *)skb[12]\nr0 += 1\nexit", // what the packet begins with
		} {
			s.note("%s", text)
			s.tried("attach", errors.Join(k.program(text), d.program(text)))
			for _, i := range []int{0, 3, 5, 13} {
				s.send("a", variety()[i])
				s.send("b", variety()[i])
			}
		}
		k.lock()
		s.tried("locked attach", k.filter(compiled(s.t, "ip")))
		s.tried("locked program", k.program("r0 = 0\nexit"))
		s.tried("locked detach", k.detach())
		s.tried("detach", d.detach())
		s.tried("detach again", d.detach())
		d.lock()
		s.tried("locked detach of none", d.detach())
		s.send("a", variety()[0])
	}},
	{"full", func(s *script) {
		k := s.openBuffer("b", "b", afpacket.Raw, afpacket.All, 4608)
		s.tried("filter", k.filter(compiled(s.t, "ether proto 0x88b5"))) // marks are not
		for _, n := range []int{46, 200, 226, 227, 280, 600, 674, 675, 1400} {
			for range 12 {
				if err := s.w.send("a", frameOf(macB, "02:00:00:00:00:01", 0x88b5, make([]byte, n))); err != nil {
					s.t.Error(err)
				}
			}
			s.note("%d bytes", n)
			s.w.settle("a")
			s.note("%+v", k.stats())
			s.look()
			s.note("%+v", k.stats())
		}
	}},
	{"rollover", func(s *script) {
		for _, how := range []struct {
			typ   afpacket.FanoutType
			flags afpacket.FanoutFlags
		}{{afpacket.FanoutRollover, 0}, {afpacket.FanoutCPU, afpacket.Rollover}, {afpacket.FanoutLB, afpacket.Rollover}} {
			s.note("%v %d", how.typ, how.flags)
			var g []socket
			for i := range 3 {
				k := s.openBuffer(fmt.Sprint(i), "b", afpacket.Raw, 0x88b5, 4608)
				s.tried("join", k.fanout(7, how.typ, how.flags))
				g = append(g, k)
			}
			for round := range 3 {
				for n := range 6*round + 2 {
					if err := s.w.send("a", frameOf(macB, "02:00:00:00:00:01", 0x88b5, []byte{byte(n)})); err != nil {
						s.t.Error(err)
					}
				}
				s.w.settle("a")
				s.look()
			}
			for _, k := range g {
				s.note("%+v", k.stats())
				k.close()
			}
			s.all = nil
		}
	}},
	{"fanout", func(s *script) {
		members := func(n int, typ afpacket.FanoutType, flags afpacket.FanoutFlags, id uint16) (all []socket) {
			for i := range n {
				k := s.open(fmt.Sprintf("%v %d", typ, i), "b", afpacket.Raw, afpacket.All)
				s.tried("join", k.fanout(id, typ, flags))
				all = append(all, k)
			}
			return all
		}
		some := func(n int) {
			for i := range n {
				s.note("packet %d", i)
				s.send("a", frameOf(macB, "02:00:00:00:00:01", 0x0800, udp(byte(i), 2, uint16(i), 80, i)))
				s.send("b", frameOf(macA, "02:00:00:00:00:02", 0x0800, udp(byte(i), 2, uint16(i), 80, i)))
			}
		}
		for i, typ := range []afpacket.FanoutType{afpacket.FanoutLB, afpacket.FanoutCPU, afpacket.FanoutQueue, afpacket.FanoutRollover} {
			s.note("%v", typ)
			g := members(3, typ, 0, uint16(10+i))
			some(4)
			g[0].close()
			s.all = s.all[1:]
			some(4)
			for _, k := range g[1:] {
				k.close()
			}
			s.all = nil
		}
		s.note("programs")
		g := members(3, afpacket.FanoutCBPF, 0, 20)
		some(2) // nobody chooses
		s.tried("other kind", g[0].fanoutProgram("r0 = 1\nexit"))
		for _, text := range []string{"ld #len\nret a", "ldb [0]\nret a", "ldb [15]\nret a", "ld #type\nret a"} {
			prog, err := classic.Assemble("filter", text, classic.DefaultSymbols())
			if err != nil {
				s.t.Fatal(err)
			}
			s.note("%s", text)
			s.tried("program", g[1].fanoutFilter(prog))
			some(5)
		}
		for _, k := range g {
			k.close()
		}
		s.all = nil
		g = members(3, afpacket.FanoutEBPF, afpacket.IgnoreOutgoing, 21)
		s.tried("program", g[0].fanoutProgram("r0 = *(u32 *)(r1 + 0)\nexit"))
		some(5)
		s.tried("filter", g[1].filter(compiled(s.t, "udp[8] = 2")))
		some(5)
		for _, k := range g {
			k.close()
		}
		s.all = nil
	}},
	{"fanout rules", func(s *script) {
		one := s.open("one", "b", afpacket.Raw, afpacket.All)
		s.tried("rollover twice", one.fanout(1, afpacket.FanoutRollover, afpacket.Rollover))
		s.tried("type", one.fanout(1, afpacket.FanoutType(9), 0))
		s.tried("join", one.fanout(1, afpacket.FanoutLB, 0))
		s.tried("again", one.fanout(1, afpacket.FanoutLB, 0))
		s.tried("bind", one.bind("a", 0))
		two := s.open("two", "b", afpacket.Raw, afpacket.All)
		s.tried("other type", two.fanout(1, afpacket.FanoutHash, 0))
		s.tried("other flags", two.fanout(1, afpacket.FanoutLB, afpacket.Rollover))
		s.tried("program", two.fanoutProgram("r0 = 0\nexit"))
		three := s.open("three", "a", afpacket.Raw, afpacket.All)
		s.tried("other device", three.fanout(1, afpacket.FanoutLB, 0))
		four := s.open("four", "b", afpacket.Raw, 0x0800)
		s.tried("other protocol", four.fanout(1, afpacket.FanoutLB, 0))
		five := s.open("five", "b", afpacket.Raw, 0)
		s.tried("no protocol", five.fanout(1, afpacket.FanoutLB, 0))
		s.tried("join", two.fanout(1, afpacket.FanoutLB, 0))
		s.tried("unique", four.fanout(0, afpacket.FanoutLB, afpacket.UniqueID))
		s.tried("unique and said", three.fanout(5, afpacket.FanoutLB, afpacket.UniqueID))
	}},
}

// ipOnly has a program look at IP alone, and let marks and others pass.
func ipOnly(hook, text string) string {
	pass := "r0 = 0\nexit\n"
	head := "r2 = *(u32 *)(r1 + 16)\nif r2 == 8 goto +2\n" + pass
	if hook == "xdp" {
		head = "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 14\nif r4 > r3 goto +2\n" +
			"r4 = *(u16 *)(r2 + 12)\nif r4 == 8 goto +2\nr0 = 2\nexit\n"
	}
	return head + text
}
