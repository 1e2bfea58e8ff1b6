package helpers

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// tuple is a struct bpf_sock_tuple.
func tuple(src, dst netip.AddrPort) []byte {
	b := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	return append(b, byte(src.Port()>>8), byte(src.Port()), byte(dst.Port()>>8), byte(dst.Port()))
}

func TestSocketLookup(t *testing.T) {
	needKernel(t)
	listen, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	wild, err := net.Listen("tcp", "[::]:0") // takes IPv4 too
	if err != nil {
		t.Fatal(err)
	}
	defer wild.Close()
	dgram, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dgram.Close()
	client, err := net.Dial("tcp4", listen.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	served, err := listen.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()

	at := func(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }
	n := packet.NewStaticNet()
	defer n.Close()
	const tcpNumber, udpNumber, established, closed = 6, 17, 1, socket.TCPClose
	none := netip.AddrPort{}
	for _, s := range []struct {
		proto         uint8
		local, remote netip.AddrPort
		state         uint32
	}{
		{tcpNumber, at(listen.Addr()), none, socket.TCPListen},
		{tcpNumber, at(wild.Addr()), none, socket.TCPListen},
		{udpNumber, at(dgram.LocalAddr()), none, closed},
		{tcpNumber, at(client.LocalAddr()), at(client.RemoteAddr()), established},
		{tcpNumber, at(served.LocalAddr()), at(served.RemoteAddr()), established},
	} {
		if _, err := n.AddSocket(s.proto, s.local, s.remote, s.state); err != nil {
			t.Fatal(err)
		}
	}

	stranger, localhost6 := netip.MustParseAddrPort("127.0.0.9:9"), netip.MustParseAddr("::1")
	questions := map[string][]byte{
		"listener":          tuple(stranger, at(listen.Addr())),
		"other port":        tuple(stranger, netip.AddrPortFrom(at(listen.Addr()).Addr(), 1)),
		"other address":     tuple(stranger, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at(listen.Addr()).Port())),
		"wildcard":          tuple(netip.AddrPortFrom(localhost6, 9), netip.AddrPortFrom(localhost6, at(wild.Addr()).Port())),
		"wildcard for IPv4": tuple(stranger, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at(wild.Addr()).Port())),
		"client":            tuple(at(client.RemoteAddr()), at(client.LocalAddr())),
		"served":            tuple(at(served.RemoteAddr()), at(served.LocalAddr())),
		"datagram":          tuple(stranger, at(dgram.LocalAddr())),
	}
	for name, q := range questions {
		for _, fn := range []catalog.HelperID{catalog.FnSkLookupTcp, catalog.FnSkLookupUdp, catalog.FnSkcLookupTcp} {
			for _, prog := range []catalog.ProgType{tc, xdp} {
				find := func(flags, netns uint64) step {
					return call(fn, ctx, data(0), imm(uint64(len(q))), imm(netns), imm(flags))
				}
				look := func(off int) step { s := find(0, ^uint64(0)); s.field, s.off = true, off; return s }
				then := func(fn catalog.HelperID) step { s := find(0, ^uint64(0)); s.field, s.then = true, fn; return s }
				s := script{name: fmt.Sprintf("%s %s prog %d", name, catalog.HelperByID(fn).Name, prog), prog: prog, pkt: tcp4, data: q, net: n,
					steps: []step{look(4), look(24), look(44), look(52), look(72)}}
				if name == "wildcard" { // of an IPv4 socket these are the kernel's own affair
					s.steps = append(s.steps, look(28), look(40), look(56), look(68))
				}
				if fn != catalog.FnSkcLookupTcp {
					s.steps = append(s.steps, look(8), look(12))
				}
				if fn != catalog.FnSkcLookupTcp && prog == tc {
					s.steps = append(s.steps, then(catalog.FnGetListenerSock), then(catalog.FnTcpSock))
				}
				bad := find(1, ^uint64(0))
				bad.field, bad.off = true, 4
				s.steps = append(s.steps, bad)
				s.compare(t)
			}
		}
	}
	short := call(catalog.FnSkLookupTcp, ctx, data(0), imm(11), imm(^uint64(0)), imm(0))
	short.field, short.off = true, 4
	s := script{name: "short tuple", prog: tc, pkt: tcp4, data: questions["listener"], net: n, steps: []step{short}}
	s.compare(t)
}
