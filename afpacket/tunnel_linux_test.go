package afpacket_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/device"
)

// key is what a program asks of a tunnel.
type key struct {
	id       uint32
	remote   string
	local    string
	tos, ttl uint8
	label    uint32
	flags    uint64 // of bpf_skb_set_tunnel_key
	opt      []byte
}

// Flags of bpf_skb_set_tunnel_key (uapi).
const (
	keyIPv6     = 1 << 0
	keyZeroCsum = 1 << 1
	keyDontFrag = 1 << 2
)

// sets is a program for egress that sets a key, on all but marks.
func (k *key) sets() string {
	var b [44]byte // struct bpf_tunnel_key
	le := binary.LittleEndian
	put := func(off int, text string) {
		if text == "" {
			return
		}
		a := netip.MustParseAddr(text)
		if a.Is4() {
			a4 := a.As4()
			le.PutUint32(b[off:], binary.BigEndian.Uint32(a4[:]))
			return
		}
		copy(b[off:], a.AsSlice())
	}
	le.PutUint32(b[:], k.id)
	put(4, k.remote)
	b[20], b[21] = k.tos, k.ttl
	le.PutUint32(b[24:], k.label)
	put(28, k.local)
	text := "r6 = r1\n"
	store := func(at int, b []byte) {
		for i := 0; i < len(b); i += 4 {
			text += fmt.Sprintf("r0 = %d\n*(u32 *)(r10 - %d) = r0\n", int32(le.Uint32(b[i:])), at-i)
		}
	}
	store(48, b[:])
	text += fmt.Sprintf("r2 = r10\nr2 += -48\nr3 = 44\nr4 = %d\ncall 21\n", k.flags)
	if len(k.opt) > 0 {
		store(96, k.opt)
		text += fmt.Sprintf("r1 = r6\nr2 = r10\nr2 += -96\nr3 = %d\ncall 30\n", len(k.opt))
	}
	return text + "r0 = 0\nexit"
}

// tells is a program for ingress that writes the key, what the helpers returned, and the options into the packet.
func tells(flags int) string {
	return fmt.Sprintf(`r6 = r1
r0 = 0
`+zeros(112)+`
r2 = r10
r2 += -112
r3 = 44
r4 = %d
call 20
*(u32 *)(r10 - 64) = r0
r1 = r6
r2 = r10
r2 += -56
r3 = 16
call 29
*(u32 *)(r10 - 60) = r0
r1 = r6
r2 = 14
r3 = r10
r3 += -112
r4 = 72
r5 = 0
call 9
r0 = 0
exit`, flags)
}

// zeros clears so much of the stack.
func zeros(n int) string {
	var b strings.Builder
	for at := n; at > 0; at -= 8 {
		fmt.Fprintf(&b, "*(u64 *)(r10 - %d) = r0\n", at)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// tunnels is a world with a tunnel device vx over a.
type tunnels interface {
	world
	tunnel(gbp bool)
}

// Addresses of a, and of who is behind b.
const (
	local4, remote4 = "10.9.0.1", "10.9.0.2"
	local6, remote6 = "fd09::1", "fd09::2"
)

func (w *kernelWorld) tunnel(gbp bool) {
	line := "link add vx address 02:00:00:00:00:0c type vxlan external dstport 4789"
	if gbp {
		line += " gbp"
	}
	if out, err := exec.Command("ip", "link", "set", "dev", "a", "addrgenmode", "none").CombinedOutput(); err != nil {
		w.t.Fatalf("%v %s", err, out)
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/a/disable_ipv6", []byte("0"), 0); err != nil {
		w.t.Error(err)
	}
	for _, l := range []string{
		"addr add " + local4 + "/24 dev a", "addr add " + local6 + "/64 dev a nodad",
		"neigh add " + remote4 + " lladdr " + macB + " dev a", "neigh add " + remote6 + " lladdr " + macB + " dev a",
		line, "link set vx up",
	} {
		if out, err := exec.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			w.t.Fatalf("ip %s: %v %s", l, err, out)
		}
	}
	ifr, _ := unix.NewIfreq("vx")
	if err := unix.IoctlIfreq(w.sender, unix.SIOCGIFINDEX, ifr); err != nil {
		w.t.Fatal(err)
	}
	w.index["vx"] = int(ifr.Uint32())
}

func (w *skepWorld) tunnel(gbp bool) {
	// The kernel finds its source address by a route: of the family that is asked for. Two devices here.
	d, err := w.net.AddTunnel(device.Attributes{Name: "vx", MAC: [6]byte(mac("02:00:00:00:00:0c"))},
		device.TunnelConfig{Kind: device.VXLAN, Port: 4789, GBP: gbp, Under: w.dev["a"]})
	if err != nil {
		w.t.Fatal(err)
	}
	w.dev["vx"], w.index["vx"] = d, int(d.Index())
}

// masked leaves out of an outer frame what is drawn: the IP id and its checksum, the source port; and the
// checksum of UDP, which a device would complete.
func masked(s *seen) string {
	f := bytes.Clone(s.Data)
	udp := 14 + 40
	if s.Protocol == 0x0800 {
		udp = 14 + 20
		clear(f[18:20])
		clear(f[24:26])
	}
	clear(f[udp : udp+2])
	summed := f[udp+6]|f[udp+7] != 0
	clear(f[udp+6 : udp+8])
	return fmt.Sprintf("%s type %d proto %04x summed %v: %x", s.Device, s.Type, s.Protocol, summed, f)
}

// TestTunnelAsTheKernel sends frames into a tunnel device with keys that a program sets, and what comes out of the
// device below back into it.
func TestTunnelAsTheKernel(t *testing.T) {
	for _, gbp := range []bool{false, true} {
		scene := func(w tunnels) []string { return play(t, w, func(s *script) { playTunnel(s, w, gbp) }) }
		var want []string
		inNamespace(t, func(w *kernelWorld) { want = scene(w) })
		if t.Failed() || want == nil {
			return
		}
		got := scene(newSkepWorld(t))
		for i := range max(len(want), len(got)) {
			k, s := "(nothing)", "(nothing)"
			if i < len(want) {
				k = want[i]
			}
			if i < len(got) {
				s = got[i]
			}
			if k != s {
				t.Errorf("gbp %v, line %d\n kernel %s\n skep   %s", gbp, i, k, s)
			}
		}
	}
}

func playTunnel(s *script, w tunnels, gbp bool) {
	w.tunnel(gbp)
	const other = "02:00:00:00:00:01"
	marked := func(tos byte) []byte {
		p := udp(1, 2, 1000, 80, 20)
		p[1] = tos
		check := ^sum16(p[:20])
		p[10], p[11] = byte(check>>8), byte(check)
		return frameOf("02:00:00:00:00:0c", other, 0x0800, p)
	}
	local := frameOf("02:00:00:00:00:0c", other, 0x88b5, make([]byte, 100))
	v6 := frameOf("02:00:00:00:00:0c", other, 0x86dd, append([]byte{0x60, 0x30, 0, 0}, make([]byte, 60)...))
	out, _ := s.w.socket("b", afpacket.Raw, afpacket.All, 0)
	s.w.settle("a")
	var outers [][]byte
	keys := []key{
		{id: 7, remote: remote4, local: local4, ttl: 9},
		{id: 0xffffff, remote: remote4, local: local4, tos: 0x1c, flags: keyDontFrag},
		{id: 0x12345678, remote: remote4, local: local4, tos: 3, ttl: 255, flags: keyZeroCsum},
		{id: 1, remote: remote4, local: local4, ttl: 1, opt: []byte{0x34, 0x12, 0x48, 0}},
		{id: 1, remote: remote6, local: local6, ttl: 5, label: 0xabcde, tos: 0x28, flags: keyIPv6},
		{id: 1, remote: remote6, local: local6, flags: keyIPv6 | keyZeroCsum},
	}
	for i, k := range keys {
		if gbp && k.opt == nil {
			k.opt = make([]byte, 4) // without options Linux 6.18 sends the group policy its stack happens to hold
		}
		s.w.attach("vx", "egress", k.sets())
		for j, f := range [][]byte{local, marked(0), marked(2), marked(3), v6} {
			s.note("key %d, frame %d", i, j)
			s.tried("send", s.w.send("vx", f))
			s.w.settle("a")
			for {
				got, err := out.receive()
				if err != nil {
					s.t.Fatal(err)
				}
				if got == nil {
					break
				}
				if got.Type != 0 { // the kernel's own
					continue
				}
				s.note("  %s", masked(got))
				outers = append(outers, got.Data)
			}
		}
		s.w.detach("vx", "egress")
	}
	s.note("without a key")
	s.tried("send", s.w.send("vx", local))
	s.w.settle("a")
	s.look()

	s.note("back")
	in := s.open("in", "vx", afpacket.Raw, afpacket.All)
	s.tried("ignore", in.ignoreOutgoing())
	s.open("local", "vx", afpacket.Raw, 0x88b5)
	for i, b := range outers {
		flags := 1 << 4 // BPF_F_TUNINFO_FLAGS
		f := turned(b)
		if f[12] == 0x86 {
			flags |= keyIPv6
		}
		s.w.attach("vx", "ingress", tells(flags))
		s.note("outer %d", i)
		s.send("b", f)
		if i == 0 {
			for what, spoil := range map[string]func([]byte){
				"no identifier": func(f []byte) { f[42] = 0 }, "other port": func(f []byte) { f[37]++ },
			} {
				g := bytes.Clone(f)
				spoil(g)
				g[40], g[41] = 0, 0
				s.note("spoilt") // in any order
				_ = what
				s.send("b", g)
			}
		}
		for _, tos := range []byte{1, 2, 3} { // congestion on the way
			if f[12] != 0x08 || i > 5 {
				continue
			}
			g := bytes.Clone(f)
			g[15] = g[15]&^3 | tos
			g[24], g[25] = 0, 0
			check := ^sum16(g[14:34])
			g[24], g[25] = byte(check>>8), byte(check)
			s.note("outer %d, tos %d", i, tos)
			s.send("b", g)
		}
		s.w.detach("vx", "ingress")
	}
}

// turned is an outer frame from the other side: addresses exchanged, and without a checksum over the
// datagram, which may not be complete.
func turned(b []byte) []byte {
	f := bytes.Clone(b)
	copy(f, mac(macA))
	copy(f[6:], mac(macB))
	ip, n := f[14+12:14+20], 4
	udp := 14 + 20
	if f[12] == 0x86 {
		ip, n, udp = f[14+8:14+40], 16, 14+40
	}
	a := bytes.Clone(ip[:n])
	copy(ip, ip[n:2*n])
	copy(ip[n:], a)
	f[udp+6], f[udp+7] = 0, 0
	if n == 16 { // which IPv6 does not do without
		check := ^pseudo16(f)
		f[udp+6], f[udp+7] = byte(check>>8), byte(check)
	}
	return f
}

func sum16(b []byte) uint16 {
	s := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pseudo16 is the sum of a UDP datagram over IPv6 and its pseudo header.
func pseudo16(f []byte) uint16 {
	n := len(f) - 54
	return sum16(append(append(bytes.Clone(f[22:54]), byte(n>>8), byte(n), 0, 17), f[54:]...))
}
