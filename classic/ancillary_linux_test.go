package classic_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// wire is an Ethernet device of our own, in a network namespace of our own, with
// a packet socket on it.
type wire struct {
	t     *testing.T
	tap   int // frames written come in by the device
	sock  int // a packet socket that sees them
	out   int // a packet socket that sends
	index int
	mac   [6]byte
}

// newWire makes the device on the calling thread, which must never serve
// anything else.
func newWire(t *testing.T) *wire {
	netns.Enter(t)
	w := &wire{t: t}
	w.tap, w.index = netns.TAP(t, "skep0", 0)
	w.sock = w.socket()
	w.out = w.socket()
	t.Cleanup(func() {
		unix.Close(w.sock)
		unix.Close(w.out)
	})
	w.mac = [6]byte{2, 0, 0, 0, 0, 1}
	w.setMAC()
	// All protocols, in network byte order.
	w.must(unix.Bind(w.sock, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: w.index}))
	w.must(unix.Bind(w.out, &unix.SockaddrLinklayer{Ifindex: w.index}))
	return w
}

func (w *wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) socket() int {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	oracle.Need(w.t, "a packet socket", err)
	return fd
}

// setMAC gives the device its address (SIOCSIFHWADDR).
func (w *wire) setMAC() {
	ifr, _ := unix.NewIfreq("skep0")
	var addr [24]byte // struct sockaddr
	binary.NativeEndian.PutUint16(addr[:], unix.ARPHRD_ETHER)
	copy(addr[2:], w.mac[:])
	w.must(setHardwareAddress(w.sock, ifr, addr))
}

// frame is an Ethernet frame of 400 bytes that begins with head.
func frame(dst, src [6]byte, head ...byte) []byte {
	f := append(append(append([]byte{}, dst[:]...), src[:]...), head...)
	return append(f, make([]byte, 400-len(f))...)
}

// observe returns what the program returns on a frame, by the lengths of the
// packets that its four variants let through; ok is false where they drop it.
func (w *wire) observe(attach func(variant uint32) error, send func() error) (v uint32, ok bool) {
	w.t.Helper()
	buf := make([]byte, 2048)
	for n := range uint32(4) {
		w.must(attach(n))
		for { // what came before
			if _, err := unix.Read(w.sock, buf); err != nil {
				break
			}
		}
		w.must(send())
		got, err := unix.Read(w.sock, buf)
		if errors.Is(err, unix.EAGAIN) {
			return 0, false
		}
		w.must(err)
		v |= uint32(got-1) << (8 * n)
	}
	return v, true
}

func TestAncillaryLoadsOfTheKernel(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ancillaryLoads(t)
	}()
	<-done
}

// ancillaryLoads sends frames in and out and compares what a program learns of
// them: in the kernel, translated in the kernel, and in the VM that is told
// what was sent.
func ancillaryLoads(t *testing.T) {
	w := newWire(t)
	var cpus unix.CPUSet
	cpus.Set(0)
	w.must(unix.SchedSetaffinity(0, &cpus))

	peer := [6]byte{2, 0, 0, 0, 0, 9}
	ip := func(proto byte, rest ...byte) []byte {
		h := []byte{8, 0, 0x45, 0, 1, 0, 0, 1, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
		return append(h, rest...)
	}
	in := func(f []byte) func() error {
		return func() error { _, err := unix.Write(w.tap, f); return err }
	}
	outgoing := func(f []byte) func() error {
		return func() error { _, err := unix.Write(w.out, f); return err }
	}
	base := classic.Aux{IfIndex: uint32(w.index), HardwareType: unix.ARPHRD_ETHER, Network: 14, Protocol: 0x800, Queue: 1}
	with := func(change func(*classic.Aux)) *classic.Aux { a := base; change(&a); return &a }
	w.must(unix.SetsockoptInt(w.out, unix.SOL_SOCKET, unix.SO_MARK, 0x12345678))

	tagged := frame(w.mac, peer, append([]byte{0x81, 0, 0x60, 100}, ip(17, 0, 53, 0, 53)...)...)
	tcp := frame(w.mac, peer, ip(6, 0, 1, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 2)...)
	cases := []struct {
		name string
		send func() error
		seen []byte // by the filter
		aux  *classic.Aux
	}{
		{"tcp", in(tcp), tcp, &base},
		{"tcp out", outgoing(tcp), tcp, with(func(a *classic.Aux) { a.PacketType, a.Mark, a.Queue = 4, 0x12345678, 0 })},
		{"vlan", in(tagged), append(append([]byte{}, tagged[:12]...), tagged[16:]...), with(func(a *classic.Aux) { a.VLANTag, a.VLANTPID = 0x6064, 0x8100 })},
	}
	plain := func(name string, aux *classic.Aux, dst [6]byte, head ...byte) {
		f := frame(dst, peer, head...)
		cases = append(cases, struct {
			name string
			send func() error
			seen []byte
			aux  *classic.Aux
		}{name, in(f), f, aux})
	}
	plain("broadcast", with(func(a *classic.Aux) { a.PacketType = 1 }), [6]byte{255, 255, 255, 255, 255, 255}, ip(17)...)
	plain("multicast", with(func(a *classic.Aux) { a.PacketType = 2 }), [6]byte{1, 0, 94, 0, 0, 1}, ip(2)...)
	plain("for another", with(func(a *classic.Aux) { a.PacketType = 3 }), peer, ip(1, 8, 0)...)
	plain("arp", with(func(a *classic.Aux) { a.Protocol = 0x806 }), w.mac, 8, 6, 0, 1)
	plain("bad tcp offset", &base, w.mac, ip(6, 0, 1, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 2)...)
	plain("sctp", &base, w.mac, ip(132)...)
	plain("dccp", &base, w.mac, ip(33)...)
	plain("esp", &base, w.mac, ip(50)...)
	options := ip(17)
	options[2] = 0x47
	plain("options", &base, w.mac, options...)
	short := ip(17)
	short[2] = 0x44
	plain("short header", &base, w.mac, short...)
	first, later := ip(17), ip(17)
	first[8], later[9] = 0x20, 0x10
	plain("first fragment", &base, w.mac, first...)
	plain("later fragment", &base, w.mac, later...)
	plain("ip in ip", &base, w.mac, append(ip(4), ip(6, 0, 1, 0, 80)[2:]...)...)
	ip6 := func(next byte, rest ...byte) []byte {
		h := append([]byte{0x86, 0xdd, 0x60, 0, 0, 0, 1, 0, next, 64}, make([]byte, 32)...)
		return append(h, rest...)
	}
	v6 := with(func(a *classic.Aux) { a.Protocol = 0x86dd })
	plain("udp over ip6", v6, w.mac, ip6(17)...)
	plain("icmp6 behind options", v6, w.mac, ip6(0, 60, 0, 0, 0, 0, 0, 0, 0, 58, 1)...)
	plain("first fragment of ip6", v6, w.mac, ip6(44, 17, 0, 0, 1)...)
	plain("later fragment of ip6", v6, w.mac, ip6(44, 17, 0, 1, 0)...)
	plain("ip6 in ip", &base, w.mac, append(ip(41), ip6(17)[2:]...)...)

	compared := 0
	for _, c := range cases {
		for _, row := range classic.AncillaryRows {
			prog, err := classic.Assemble("t", "ldx #0x5a5a5a5a\nld #0x12345\nld "+row.Name+"\nret a", nil)
			w.must(err)
			name := c.name + ", " + row.Name
			kernel, ok := w.observe(func(n uint32) error { return attach(w.sock, byteOf(prog, n)) }, c.send)
			if !ok {
				t.Errorf("%s: the kernel drops it", name)
				return
			}
			vm, err := classic.NewVM(prog, classic.Socket)
			w.must(err)
			// The hash has a secret, chance has none; translated they must still agree.
			if row.ID != classic.RXHash && row.ID != classic.Random {
				if ours := vm.Run(c.seen, c.aux); ours != kernel {
					t.Errorf("%s: %#x, the kernel has %#x", name, ours, kernel)
				}
			}
			compared++
			if row.ID == classic.Random || !translatable(prog) {
				continue
			}
			loaded := map[uint32]*linux.LoadedProg{}
			ebpf, _ := w.observe(func(n uint32) error {
				insns, err := classic.Translate(byteOf(prog, n), classic.Socket)
				w.must(err)
				p, err := linux.Load(&linux.Prog{Type: catalog.ProgSocketFilter, Insns: insns, License: "GPL"})
				oracle.Need(t, "bpf(2)", err)
				loaded[n] = p
				return unix.SetsockoptInt(w.sock, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.FD())
			}, c.send)
			for _, p := range loaded {
				p.Close()
			}
			if ebpf != kernel {
				t.Errorf("%s: translated %#x, the kernel has %#x", name, ebpf, kernel)
			}
		}
		// Loads that count from headers.
		for _, load := range []string{"ld [-1048576]", "ldh [-1048570]", "ldb [-2097152]", "ld [-2097142]", "ldx #20\nldh [x + -1048576]"} {
			prog, err := classic.Assemble("t", load+"\nret a", nil)
			w.must(err)
			kernel, _ := w.observe(func(n uint32) error { return attach(w.sock, byteOf(prog, n)) }, c.send)
			vm, err := classic.NewVM(prog, classic.Socket)
			w.must(err)
			if ours := vm.Run(c.seen, c.aux); ours != kernel {
				t.Errorf("%s, %s: %#x, the kernel has %#x", c.name, load, ours, kernel)
			}
			compared++
		}
	}
	if compared < 400 {
		t.Errorf("only %d loads compared", compared)
	}
	values := map[uint32]bool{}
	chance, err := classic.Assemble("t", "ld rand\nret a", nil)
	w.must(err)
	for range 4 {
		v, _ := w.observe(func(n uint32) error { return attach(w.sock, byteOf(chance, n)) }, in(tcp))
		values[v] = true
	}
	if len(values) < 2 {
		t.Errorf("chance gives always %v", values)
	}
}
