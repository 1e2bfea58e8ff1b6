//go:build linux

package helpers

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// A network of two pairs of virtual cables, and one that does not forward:
//
//	va 10.0.0.1/24, 2001:db8::1/64     vb 172.16.0.1/24, 2001:db8:1::1/64, MTU 1400     vc 10.9.0.1/24
const network = `
link set lo up
link add va address 02:00:00:00:00:0a type veth peer name pa
link add vb address 02:00:00:00:00:0b mtu 1400 type veth peer name pb mtu 1400
link add vc address 02:00:00:00:00:0c type veth peer name pc
link set va up
link set pa up
link set vb up
link set pb up
link set vc up
link set pc up
addr add 10.0.0.1/24 dev va
addr add 172.16.0.1/24 dev vb
addr add 10.9.0.1/24 dev vc
addr add 2001:db8::1/64 dev va nodad
addr add 2001:db8:1::1/64 dev vb nodad
route add 192.168.0.0/16 via 10.0.0.254 dev va
route add 192.168.5.0/24 via 172.16.0.254 dev vb metric 50
route add 192.168.6.0/24 via 172.16.0.253 dev vb metric 60 src 172.16.0.1
route add 192.168.7.0/24 via 10.0.0.254 dev va metric 20
route add 192.168.7.0/24 via 172.16.0.253 dev vb metric 10
route add 192.168.9.0/24 via inet6 2001:db8::fe dev va
route add 198.51.100.0/24 via 10.0.0.254 dev va mtu lock 1300
route add 198.51.101.0/24 via 10.0.0.254 dev va mtu 1300
route add blackhole 10.66.0.0/16
route add unreachable 10.67.0.0/16
route add prohibit 10.68.0.0/16
route add throw 10.69.0.0/16
route add 203.0.113.0/24 via 10.0.0.253 dev va table 100
route add 192.168.0.0/16 via 10.0.0.253 dev va table 100
rule add fwmark 7 table 100
-6 route add 2001:db8:5::/48 via 2001:db8::fe dev va
-6 route add 2001:db8:6::/48 via 2001:db8:1::fe dev vb metric 77
-6 route add 2001:db8:7::/48 via 2001:db8::fe dev va mtu lock 1300
-6 route add blackhole 2001:db8:66::/48
-6 route add unreachable 2001:db8:67::/48
-6 route add prohibit 2001:db8:68::/48
-6 route add 2001:db8:100::/48 via 2001:db8::fd dev va table 100
-6 rule add fwmark 7 table 100
neigh add 10.0.0.254 lladdr 02:aa:00:00:00:fe dev va
neigh add 10.0.0.253 lladdr 02:aa:00:00:00:fd dev va
neigh add 10.0.0.9 lladdr 02:aa:00:00:00:09 dev va
neigh add 172.16.0.253 lladdr 02:bb:00:00:00:fd dev vb
neigh add 2001:db8::fe lladdr 02:aa:00:00:06:fe dev va
neigh add 2001:db8::fd lladdr 02:aa:00:00:06:fd dev va
neigh add 2001:db8::9 lladdr 02:aa:00:00:06:09 dev va
`

// buildNetwork makes the network with ip(8).
func buildNetwork(t *testing.T) {
	t.Helper()
	netns.Enter(t)
	netns.IP(t, strings.Split(strings.TrimSpace(network), "\n")...)
	for _, f := range []string{"ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+f, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"ipv4/conf/vc/forwarding", "ipv6/conf/vc/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+f, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// sameNetwork is the network as a StaticNet.
func sameNetwork(t *testing.T) (n *packet.StaticNet, index map[string]uint32) {
	t.Helper()
	n, index = packet.NewStaticNet(), map[string]uint32{"lo": 1}
	pfx, adr := netip.MustParsePrefix, netip.MustParseAddr
	device := func(name string, addrs ...netip.Prefix) {
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		index[name] = uint32(i.Index)
		n.AddDevice(packet.Device{
			Ifindex: uint32(i.Index), Name: name, MAC: [6]byte(i.HardwareAddr), MTU: uint32(i.MTU), HardHeader: 14, Up: true,
			Forward4: name != "vc", Forward6: name != "vc", Addrs: addrs,
		})
		for _, a := range addrs {
			metric := uint32(0)
			if a.Addr().Is6() {
				metric = 256
			}
			n.AddRoute(packet.Route{Dst: a, Ifindex: uint32(i.Index), Metric: metric, PrefSrc: map[bool]netip.Addr{true: a.Addr()}[a.Addr().Is4()]})
		}
	}
	device("va", pfx("10.0.0.1/24"), pfx("2001:db8::1/64"))
	device("vb", pfx("172.16.0.1/24"), pfx("2001:db8:1::1/64"))
	device("vc", pfx("10.9.0.1/24"))
	n.AddDevice(packet.Device{Ifindex: 1, Name: "lo", MTU: 65536, HardHeader: 14, Up: true, Forward4: true, Forward6: true,
		Addrs: []netip.Prefix{pfx("127.0.0.1/8"), pfx("::1/128")}})
	via := func(dst, gw, dev string, r packet.Route) {
		r.Dst = pfx(dst)
		if gw != "" {
			r.Gateway = adr(gw)
		}
		r.Ifindex = index[dev]
		if r.Dst.Addr().Is6() && r.Metric == 0 {
			r.Metric = 1024
		}
		n.AddRoute(r)
	}
	via("192.168.0.0/16", "10.0.0.254", "va", packet.Route{})
	via("192.168.5.0/24", "172.16.0.254", "vb", packet.Route{Metric: 50})
	via("192.168.6.0/24", "172.16.0.253", "vb", packet.Route{Metric: 60, PrefSrc: adr("172.16.0.1")})
	via("192.168.7.0/24", "10.0.0.254", "va", packet.Route{Metric: 20})
	via("192.168.7.0/24", "172.16.0.253", "vb", packet.Route{Metric: 10})
	via("192.168.9.0/24", "2001:db8::fe", "va", packet.Route{})
	via("198.51.100.0/24", "10.0.0.254", "va", packet.Route{MTU: 1300})
	via("198.51.101.0/24", "10.0.0.254", "va", packet.Route{})
	via("10.66.0.0/16", "", "", packet.Route{Type: packet.RouteBlackhole})
	via("10.67.0.0/16", "", "", packet.Route{Type: packet.RouteUnreachable})
	via("10.68.0.0/16", "", "", packet.Route{Type: packet.RouteProhibit})
	via("10.69.0.0/16", "", "", packet.Route{Type: packet.RouteThrow})
	via("203.0.113.0/24", "10.0.0.253", "va", packet.Route{Table: 100})
	via("192.168.0.0/16", "10.0.0.253", "va", packet.Route{Table: 100})
	n.AddRule(7, 100)
	via("2001:db8:5::/48", "2001:db8::fe", "va", packet.Route{})
	via("2001:db8:6::/48", "2001:db8:1::fe", "vb", packet.Route{Metric: 77})
	via("2001:db8:7::/48", "2001:db8::fe", "va", packet.Route{MTU: 1300})
	via("2001:db8:66::/48", "", "lo", packet.Route{Type: packet.RouteBlackhole})
	via("2001:db8:67::/48", "", "lo", packet.Route{Type: packet.RouteUnreachable})
	via("2001:db8:68::/48", "", "lo", packet.Route{Type: packet.RouteProhibit})
	via("2001:db8:100::/48", "2001:db8::fd", "va", packet.Route{Table: 100})
	for addr, mac := range map[string][6]byte{
		"10.0.0.254": {2, 0xaa, 0, 0, 0, 0xfe}, "10.0.0.253": {2, 0xaa, 0, 0, 0, 0xfd}, "10.0.0.9": {2, 0xaa, 0, 0, 0, 9},
		"2001:db8::fe": {2, 0xaa, 0, 0, 6, 0xfe}, "2001:db8::fd": {2, 0xaa, 0, 0, 6, 0xfd}, "2001:db8::9": {2, 0xaa, 0, 0, 6, 9},
	} {
		n.AddNeighbour(index["va"], adr(addr), mac)
	}
	n.AddNeighbour(index["vb"], adr("172.16.0.253"), [6]byte{2, 0xbb, 0, 0, 0, 0xfd})
	return n, index
}

// fibQuestion is a struct bpf_fib_lookup to be answered.
func fibQuestion(ifindex uint32, src, dst netip.Addr, words func(b []byte)) []byte {
	b := make([]byte, fibSize)
	b[fibFamily] = socket.AFInet
	if dst.Is6() {
		b[fibFamily] = socket.AFInet6
	}
	copy(b[fibSrc:], src.AsSlice())
	copy(b[fibDst:], dst.AsSlice())
	binary.NativeEndian.PutUint32(b[fibIfindex:], ifindex)
	if words != nil {
		words(b)
	}
	return b
}

func TestFibLookup(t *testing.T) {
	needKernel(t)
	buildNetwork(t)
	n, index := sameNetwork(t)
	cases := 0
	ask := func(prog catalog.ProgType, pkt []byte, question []byte, flags uint64, size uint64) {
		cases++
		s := script{
			name: fmt.Sprintf("prog %d %x flags %#x", prog, question, flags), prog: prog, pkt: pkt, data: question, net: n,
			steps: []step{call(catalog.FnFibLookup, ctx, data(0), imm(size), imm(flags))},
		}
		s.compare(t)
	}
	src4, src6 := netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("2001:db8::77")
	destinations := []string{
		"192.168.1.1", "192.168.5.1", "192.168.6.1", "192.168.7.1", "192.168.9.1", "198.51.100.7", "198.51.101.7", "10.66.1.1", "10.67.1.1",
		"10.68.1.1", "10.69.1.1", "203.0.113.5", "8.8.8.8", "10.0.0.9", "10.0.0.10", "10.0.0.1", "127.0.0.1", "172.16.0.253",
		"2001:db8:5::1", "2001:db8:6::1", "2001:db8:7::1", "2001:db8:66::1", "2001:db8:67::1", "2001:db8:68::1",
		"2001:db8:100::1", "2001:db8::9", "2001:db8::a", "2001:db8::1", "fe80::1", "ff02::1", "::1", "2a00::1",
	}
	for _, d := range destinations {
		dst := netip.MustParseAddr(d)
		src := src4
		if dst.Is6() {
			src = src6
		}
		for _, flags := range []uint64{0, fibDirect, fibOutput, fibSkipNeigh, fibGetSrc, fibGetSrc | fibSkipNeigh, fibDirect | fibOutput, fibUseMark, fibDirect | fibTbid, fibTbid} {
			q := fibQuestion(index["va"], src, dst, func(b []byte) {
				switch {
				case flags&fibTbid != 0:
					binary.NativeEndian.PutUint32(b[fibTable:], 100)
				case flags&fibUseMark != 0:
					binary.NativeEndian.PutUint32(b[fibMark:], 7)
				}
			})
			ask(xdp, tcp4, q, flags, fibSize)
			ask(tc, tcp4, q, flags, fibSize)
		}
		for _, size := range []uint16{1, 1280, 1300, 1301, 1400, 1401, 1500, 1501, 65535} {
			q := fibQuestion(index["va"], src, dst, func(b []byte) { binary.NativeEndian.PutUint16(b[fibLen:], size) })
			ask(xdp, tcp4, q, 0, fibSize)
			ask(tc, tcp4, q, 0, fibSize)
		}
	}
	to := netip.MustParseAddr("192.168.1.1")
	for _, name := range []string{"lo", "vb", "vc", "none"} {
		for _, flags := range []uint64{0, fibOutput} {
			ask(xdp, tcp4, fibQuestion(index[name], src4, to, nil), flags, fibSize)
			ask(tc, tcp4, fibQuestion(index[name], src6, netip.MustParseAddr("2001:db8:5::1"), nil), flags, fibSize)
		}
	}
	for _, dst := range []string{"10.0.0.9", "192.168.6.1"} { // longer than the MTU without a length given
		ask(tc, big4, fibQuestion(index["va"], src4, netip.MustParseAddr(dst), nil), 0, fibSize)
	}
	good := fibQuestion(index["va"], src4, to, nil)
	for _, flags := range []uint64{1 << 6, 1 << 31, 1 << 32} {
		ask(xdp, tcp4, good, flags, fibSize)
	}
	ask(xdp, tcp4, append(good, 0, 0, 0, 0), 0, fibSize+4)
	ask(xdp, tcp4, good, 0, fibSize-4)
	ask(tc, tcp4, withByte(good, fibFamily, 17), 0, fibSize)
	noTable := fibQuestion(index["va"], src4, to, func(b []byte) { binary.NativeEndian.PutUint32(b[fibTable:], 4242) })
	ask(tc, tcp4, noTable, fibDirect|fibTbid, fibSize)
	t.Logf("%d lookups", cases)
}
