package afpacket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/lang/pcap"
)

// engine is what the tests run programs on.
var engine skep.MachineOptions

func TestMain(m *testing.M) { os.Exit(testprog.EachEngine(m, &engine)) }

// Addresses of the pair's ends.
const (
	macA = "02:00:00:00:00:0a"
	macB = "02:00:00:00:00:0b"
)

// marker is the protocol of frames that tell when all before them are through.
const marker = 0x88b6

func mac(text string) net.HardwareAddr {
	hw, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return hw
}

func frameOf(dst, src string, protocol uint16, payload []byte) []byte {
	f := append(append([]byte(nil), mac(dst)...), mac(src)...)
	return append(binary.BigEndian.AppendUint16(f, protocol), payload...)
}

// udp is a packet of IPv4 with a datagram of some bytes.
func udp(src, dst byte, sport, dport uint16, n int) []byte {
	b := []byte{0x45, 0, 0, byte(28 + n), 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, src, 10, 0, 0, dst}
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+n))
	b = append(b, 0, 0)
	for i := range n {
		b = append(b, byte(i))
	}
	return b
}

// seen is a packet as a socket saw it.
type seen struct {
	Data                     []byte
	Length, Snaplen, Network int
	VLANProto, VLANTCI       uint16
	Device                   string
	Protocol                 uint16
	Type                     uint32
	Addr                     [6]byte
}

func (s *seen) String() string {
	return fmt.Sprintf("%s type %d proto %04x from %x len %d/%d net %d vlan %x/%x: %x",
		s.Device, s.Type, s.Protocol, s.Addr, s.Snaplen, s.Length, s.Network, s.VLANProto, s.VLANTCI, s.Data)
}

// socket and world are what scenes are played with: skep's or the kernel's.
type socket interface {
	bind(dev string, protocol uint16) error
	ignoreOutgoing() error
	receive() (*seen, error) // nil: nothing is there
	filter(prog []classic.Instruction) error
	program(text string) error
	detach() error
	lock()
	fanout(id uint16, typ afpacket.FanoutType, flags afpacket.FanoutFlags) error
	fanoutFilter(prog []classic.Instruction) error
	fanoutProgram(text string) error
	stats() afpacket.Stats
	send(f []byte) error
	sendTo(p []byte, dev string, protocol uint16, to [6]byte) error
	close()
}

type world interface {
	socket(dev string, typ afpacket.Type, protocol uint16, buffer int) (socket, error)
	send(dev string, f []byte) error // by somebody else
	settle(from string)              // what was sent is through
	attach(dev, at, text string)     // at: xdp, ingress, egress
	detach(dev, at string)
	up(dev string, up bool)
}

// withIndexes puts devices' indexes into a program's text.
func withIndexes(text string, index map[string]int) string {
	for name, i := range index {
		text = strings.ReplaceAll(text, "$"+name, fmt.Sprint(i))
	}
	return text
}

// script plays a scene and writes down what comes of it.
type script struct {
	t   *testing.T
	w   world
	log []string
	all []named
}

type named struct {
	name string
	socket
}

func play(t *testing.T, w world, f func(s *script)) []string {
	s := &script{t: t, w: w}
	f(s)
	return s.log
}

func (s *script) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// open opens a socket that look looks at.
func (s *script) open(name, dev string, typ afpacket.Type, protocol uint16) socket {
	return s.openBuffer(name, dev, typ, protocol, 0)
}

func (s *script) openBuffer(name, dev string, typ afpacket.Type, protocol uint16, buffer int) socket {
	k, err := s.w.socket(dev, typ, protocol, buffer)
	if err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
	s.all = append(s.all, named{name, k})
	return k
}

// look notes what all sockets have received.
func (s *script) look() {
	for _, k := range s.all {
		for {
			got, err := k.receive()
			if err != nil {
				s.note("  %s: %s", k.name, number(err))
				continue
			}
			if got == nil {
				break
			}
			s.note("  %s: %v", k.name, got)
		}
	}
}

// send sends a frame by somebody else and looks.
func (s *script) send(dev string, f []byte) {
	if err := s.w.send(dev, f); err != nil {
		s.note("send: %s", number(err))
		return
	}
	s.w.settle(dev)
	s.look()
}

// tried notes what a call came to.
func (s *script) tried(what string, err error) { s.note("%s: %s", what, number(err)) }

// kernelErrno names the kernel's errors; set where there is one.
var kernelErrno = func(error) (string, bool) { return "", false }

func number(err error) string {
	if err == nil {
		return "ok"
	}
	var e errno.Errno
	if errors.As(err, &e) {
		return e.Name()
	}
	if name, ok := kernelErrno(err); ok {
		return name
	}
	return err.Error()
}

func compiled(t *testing.T, expr string) []classic.Instruction {
	prog, err := pcap.CompileProgram(expr, pcap.Ethernet, 262144, &pcap.Options{Source: pcap.Live})
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

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

// skepWorld is a pair of devices of skep's.
type skepWorld struct {
	t     *testing.T
	mach  *skep.Machine
	net   *device.Network
	dev   map[string]*device.Device
	index map[string]int
	sock  *afpacket.Socket
	progs []*skep.Collection
}

func newSkepWorld(t *testing.T) *skepWorld {
	t.Helper()
	static := skep.NewStaticNet()
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, Checked: engine.Checked, JIT: engine.JIT, Net: static})
	if err != nil {
		t.Fatal(err)
	}
	n := device.New(m, &device.Options{Net: static})
	a, b, err := n.AddDevices(device.Attributes{Name: "a", MAC: [6]byte(mac(macA))}, device.Attributes{Name: "b", MAC: [6]byte(mac(macB))})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	w := &skepWorld{t: t, mach: m, net: n, dev: map[string]*device.Device{"a": a, "b": b}, index: map[string]int{"a": int(a.Index()), "b": int(b.Index())}}
	if w.sock, err = afpacket.OpenAll(n, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		for _, c := range w.progs {
			c.Close()
		}
		m.Close()
	})
	return w
}

func (w *skepWorld) load(typ skep.ProgramType, text string) *skep.Program {
	coll, err := w.mach.LoadCollection(testprog.Image(w.t, nil, testprog.Prog{Name: "p", Type: typ, Text: text}))
	if err != nil {
		w.t.Fatalf("%+v", err)
	}
	w.progs = append(w.progs, coll)
	return coll.Programs["p"]
}

// settle sends a mark, as groups count them; what was sent is through when Send returns.
func (w *skepWorld) settle(from string) {
	if err := w.send(from, frameOf("02:00:00:00:00:99", "02:00:00:00:00:99", marker, make([]byte, 8))); err != nil {
		w.t.Error(err)
	}
}

func (w *skepWorld) send(dev string, f []byte) error {
	return w.sock.SendTo(bytes.Clone(f), w.dev[dev], 0, [6]byte{})
}

func (w *skepWorld) attach(dev, at, text string) {
	d, text := w.dev[dev], withIndexes(text, w.index)
	var err error
	switch at {
	case "xdp":
		err = d.SetXDP(w.load(skep.XDP, text), device.Native)
	case "ingress":
		err = d.Ingress().AttachTCX(w.load(skep.SchedCLS, text), 0)
	case "egress":
		err = d.Egress().AttachTCX(w.load(skep.SchedCLS, text), 0)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *skepWorld) detach(dev, at string) {
	d := w.dev[dev]
	var err error
	switch at {
	case "xdp":
		err = d.SetXDP(nil, 0)
	case "ingress":
		err = d.Ingress().DetachTCX(0)
	case "egress":
		err = d.Egress().DetachTCX(0)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *skepWorld) up(dev string, up bool) { w.dev[dev].SetUp(up) }

type skepSocket struct {
	*afpacket.Socket
	w    *skepWorld
	opts *afpacket.Options
}

func (w *skepWorld) socket(dev string, typ afpacket.Type, protocol uint16, buffer int) (socket, error) {
	s, err := afpacket.OpenAll(w.net, &afpacket.Options{Type: typ, Buffer: buffer})
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { s.Close() })
	k := &skepSocket{Socket: s, w: w}
	return k, k.bind(dev, protocol)
}

func (s *skepSocket) bind(dev string, protocol uint16) error {
	return s.Bind(s.w.dev[dev], protocol)
}
func (s *skepSocket) ignoreOutgoing() error { s.SetIgnoreOutgoing(true); return nil }

func (s *skepSocket) receive() (*seen, error) {
	buf := make([]byte, 4096)
	s.SetReadDeadline(time.Unix(1, 0))
	n, i, err := s.Receive(buf)
	for err == nil && (i.Protocol == marker || i.Addr == [6]byte(mac("02:00:00:00:00:99"))) {
		n, i, err = s.Receive(buf)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &seen{Data: buf[:n], Length: i.Length, Snaplen: i.Snaplen, Network: i.Network, VLANProto: i.VLANProto, VLANTCI: i.VLANTCI,
		Device: i.Device.Name(), Protocol: i.Protocol, Type: i.Type.Number(), Addr: i.Addr}, nil
}

func (s *skepSocket) filter(prog []classic.Instruction) error { return s.AttachFilter(prog) }
func (s *skepSocket) program(text string) error {
	return s.AttachProgram(s.w.load(skep.SocketFilter, text))
}
func (s *skepSocket) detach() error { return s.DetachFilter() }
func (s *skepSocket) lock()         { s.LockFilter() }
func (s *skepSocket) fanout(id uint16, typ afpacket.FanoutType, flags afpacket.FanoutFlags) error {
	_, err := s.JoinFanout(id, typ, flags)
	return err
}
func (s *skepSocket) fanoutFilter(prog []classic.Instruction) error { return s.SetFanoutFilter(prog) }
func (s *skepSocket) fanoutProgram(text string) error {
	return s.SetFanoutProgram(s.w.load(skep.SocketFilter, text))
}
func (s *skepSocket) stats() afpacket.Stats { return s.Stats() }
func (s *skepSocket) send(f []byte) error   { return s.Send(bytes.Clone(f)) }
func (s *skepSocket) sendTo(p []byte, dev string, protocol uint16, to [6]byte) error {
	return s.SendTo(bytes.Clone(p), s.w.dev[dev], protocol, to)
}
func (s *skepSocket) close() { s.Close() }

// TestFlows: both directions of a flow meet one socket, and flows are spread.
func TestFlows(t *testing.T) {
	w := newSkepWorld(t)
	var g []*skepSocket
	for range 4 {
		k, err := w.socket("b", afpacket.Raw, afpacket.All, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.fanout(1, afpacket.FanoutHash, 0); err != nil {
			t.Fatal(err)
		}
		g = append(g, k.(*skepSocket))
	}
	used := map[int]bool{}
	for port := range uint16(32) {
		there := map[int]int{}
		for _, p := range [][]byte{udp(1, 2, 1000+port, 80, 4), udp(2, 1, 80, 1000+port, 4)} {
			if err := w.send("a", frameOf(macB, macA, 0x0800, p)); err != nil {
				t.Fatal(err)
			}
			for i, k := range g {
				for got, err := k.receive(); got != nil || err != nil; got, err = k.receive() {
					there[i]++
					used[i] = true
				}
			}
		}
		if len(there) != 1 {
			t.Errorf("port %d: both directions go to %v", 1000+port, there)
		}
	}
	if len(used) < 3 {
		t.Errorf("32 flows meet %d of 4 sockets", len(used))
	}
}

// TestWaiting: who waits is woken by a packet, a deadline and the end.
func TestWaiting(t *testing.T) {
	w := newSkepWorld(t)
	s, err := afpacket.Open(w.dev["b"], &afpacket.Options{Protocol: afpacket.All, Filter: compiled(t, "udp")})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		n   int
		err error
	}
	got := make(chan result)
	receive := func() { n, _, err := s.Receive(make([]byte, 100)); got <- result{n, err} }
	go receive()
	f := variety()[0]
	if err := w.send("a", f); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.n != len(f) || r.err != nil {
		t.Errorf("received %d bytes, %v", r.n, r.err)
	}
	s.SetReadDeadline(time.Now().Add(time.Millisecond))
	go receive()
	if r := <-got; !errors.Is(r.err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", r.err)
	}
	s.SetReadDeadline(time.Time{})
	go receive()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-got; !errors.Is(r.err, os.ErrClosed) {
		t.Errorf("at the end: %v", r.err)
	}
	for what, err := range map[string]error{
		"close": s.Close(), "send": s.Send(f), "attach": s.AttachFilter(compiled(t, "ip")), "bind": s.Bind(nil, 0),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after the end: %v", what, err)
		}
	}
	if err := w.send("a", f); err != nil { // nobody is left
		t.Error(err)
	}
	d, err := afpacket.Open(w.dev["b"], &afpacket.Options{Type: afpacket.Datagram, Program: w.load(skep.XDP, "r0 = 2\nexit")})
	if err == nil || d != nil {
		t.Errorf("an XDP program for a filter: %v", err)
	}
}

// TestRemoved: a socket learns that its device is gone.
func TestRemoved(t *testing.T) {
	w := newSkepWorld(t)
	s, err := afpacket.Open(w.dev["b"], &afpacket.Options{Protocol: afpacket.All})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := w.net.Remove(w.dev["a"]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Receive(nil); !errors.Is(err, errno.ENETDOWN) {
		t.Errorf("Receive: %v", err)
	}
	if err := s.Send(variety()[0]); err == nil {
		t.Error("a device that is gone takes packets")
	}
}

// TestStopped: nothing is sent in a network that does not run.
func TestStopped(t *testing.T) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n := device.New(m, nil)
	a, _, err := n.AddPair("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	s, err := afpacket.Open(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(variety()[0]); !errors.Is(err, errno.ENOBUFS) {
		t.Errorf("send: %v", err)
	}
}

// TestNothingAllocated: the way of a packet through a filter to its reader.
func TestNothingAllocated(t *testing.T) {
	w := newSkepWorld(t)
	s, err := afpacket.Open(w.dev["b"], &afpacket.Options{Protocol: afpacket.All, Filter: compiled(t, "udp port 80")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, buf := variety()[0], make([]byte, 2048)
	if n := testing.AllocsPerRun(200, func() {
		if err := w.sock.SendTo(f, w.dev["a"], 0, [6]byte{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Receive(buf); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
