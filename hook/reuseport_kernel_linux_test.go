package hook_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/testprog"
)

// reusePeek writes down what it sees in map 0, chooses from map 1 by byte 0 of the
// payload with the flags of byte 2, and returns byte 1.
const reusePeek = `
r6 = r1
r7 = *(u64 *)(r6 + 0)
r8 = *(u64 *)(r6 + 8)
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto pass
r9 = r0
r1 = *(u32 *)(r6 + 16)
*(u32 *)(r9 + 0) = r1
r1 = *(u32 *)(r6 + 20)
*(u32 *)(r9 + 4) = r1
r1 = *(u32 *)(r6 + 24)
*(u32 *)(r9 + 8) = r1
r1 = *(u32 *)(r6 + 28)
*(u32 *)(r9 + 12) = r1
r2 = *(u64 *)(r6 + 40)
r1 = *(u32 *)(r2 + 4)
*(u32 *)(r9 + 16) = r1
r1 = *(u32 *)(r2 + 8)
*(u32 *)(r9 + 20) = r1
r1 = *(u32 *)(r2 + 12)
*(u32 *)(r9 + 24) = r1
r1 = *(u32 *)(r2 + 24)
*(u32 *)(r9 + 28) = r1
r1 = *(u32 *)(r2 + 44)
*(u32 *)(r9 + 32) = r1
r1 = *(u32 *)(r2 + 72)
*(u32 *)(r9 + 36) = r1
r1 = r6
r2 = 0
r3 = r9
r3 += 40
r4 = 20
r5 = 1
call skb_load_bytes_relative
*(u32 *)(r9 + 96) = r0
r1 = r6
r2 = 0
r3 = r9
r3 += 60
r4 = 12
call skb_load_bytes
*(u32 *)(r9 + 100) = r0
r1 = r6
r2 = 5000
r3 = r9
r3 += 72
r4 = 4
call skb_load_bytes
*(u32 *)(r9 + 104) = r0
r1 = 0
r2 = *(u64 *)(r6 + 48)
if r2 == 0 goto still
r1 = 1
still:
*(u32 *)(r9 + 112) = r1
r1 = r7
r1 += 11
if r1 > r8 goto pass
r1 = *(u8 *)(r7 + 8)
*(u32 *)(r10 - 4) = r1
r4 = *(u8 *)(r7 + 10)
r7 = *(u8 *)(r7 + 9)
r1 = r6
r2 = map_idx[1] ll
r3 = r10
r3 += -4
call sk_select_reuseport
*(u32 *)(r9 + 108) = r0
r0 = r7
exit
pass:
r0 = 1
exit`

const reuseSeen = 120 // bytes of map 0

func reuseMaps(array catalog.MapType) []*image.Map {
	return []*image.Map{
		{Name: "seen", Type: catalog.MapArray, KeySize: 4, ValueSize: reuseSeen, MaxEntries: 1},
		{Name: "socks", Type: array, KeySize: 4, ValueSize: 8, MaxEntries: 8},
	}
}

// kernelProg loads program and maps of an image into the kernel.
func kernelProg(t *testing.T, img *image.Image, name string) (*linux.LoadedProg, []*linux.Map) {
	t.Helper()
	var maps []*linux.Map
	for _, im := range img.Maps {
		m, err := linux.NewMap(im.Def(1), nil)
		if err != nil {
			t.Fatalf("map %s: %v", im.Name, err)
		}
		t.Cleanup(func() { m.Close() })
		maps = append(maps, m)
	}
	ip := img.Program(name)
	p, err := linux.Load(&linux.Prog{Name: name, Type: ip.Type, Attach: ip.Attach, License: "GPL", Insns: ip.Insns, Maps: maps})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p, maps
}

// kernelSock is a socket of the kernel's that shares its address.
func kernelSock(t *testing.T, typ int, addr netip.AddrPort) (fd int, local netip.AddrPort) {
	t.Helper()
	family := unix.AF_INET
	var sa unix.Sockaddr
	if addr.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}
	} else {
		sa = &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1), unix.Bind(fd, sa)); err != nil {
		t.Fatal(err)
	}
	if typ == unix.SOCK_STREAM {
		if err := unix.Listen(fd, 16); err != nil {
			t.Fatal(err)
		}
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch a := got.(type) {
	case *unix.SockaddrInet4:
		addr = netip.AddrPortFrom(addr.Addr(), uint16(a.Port))
	case *unix.SockaddrInet6:
		addr = netip.AddrPortFrom(addr.Addr(), uint16(a.Port))
	}
	return fd, addr
}

// arrived returns which of the sockets has a datagram, −1 for none, and takes
// it. Over the loopback device a datagram is there, or lost, when it has been sent.
func arrived(t *testing.T, fds []int) int {
	t.Helper()
	for i, fd := range fds {
		var b [2048]byte
		if _, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT); err == nil {
			return i
		} else if !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
	}
	return -1
}

// TestReuseportAgainstKernel sends the same datagrams to a group of the kernel's
// and to one of ours: both choose the same member, and show programs the same.
func TestReuseportAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	for _, c := range []struct {
		array catalog.MapType
		local string
	}{
		{catalog.MapReuseportSockarray, "127.0.0.1:0"}, {catalog.MapReuseportSockarray, "[::1]:0"},
		{catalog.MapReuseportSockarray, "0.0.0.0:0"}, {catalog.MapSockMap, "127.0.0.1:0"},
	} {
		t.Run(fmt.Sprint(c.array, " ", c.local), func(t *testing.T) {
			maps := reuseMaps(c.array)
			p := testprog.Prog{Name: "p", Type: catalog.ProgSkReuseport, Attach: catalog.AttachSkReuseportSelect, Text: reusePeek}
			kprog, kmaps := kernelProg(t, testprog.Image(t, maps, p), "p")
			m, coll := setup(t, maps, p)
			socks := coll.Maps["socks"]

			// Three members; strangers of another address, family and protocol; place 6 and on is empty.
			local := netip.MustParseAddrPort(c.local)
			var fds []int
			for range 3 {
				fd, at := kernelSock(t, unix.SOCK_DGRAM, local)
				fds, local = append(fds, fd), at
			}
			g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Network: "udp", Local: local, Program: coll.Programs["p"]})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			var workers []*hook.ReuseportConn
			put := func(i int, fd int, s *skep.Socket) {
				t.Helper()
				key := binary.NativeEndian.AppendUint32(nil, uint32(i))
				if err := kmaps[1].Update(key, binary.NativeEndian.AppendUint64(nil, uint64(fd)), 0); err != nil {
					t.Fatal(err)
				}
				if err := socks.Put(uint32(i), s); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 3 {
				w, err := g.ListenPacket()
				if err != nil {
					t.Fatal(err)
				}
				workers = append(workers, w)
				put(i, fds[i], w.Socket())
			}
			other := netip.MustParseAddrPort("[::1]:0")
			if local.Addr().Is6() {
				other = netip.MustParseAddrPort("127.0.0.1:0")
			}
			for i, stranger := range []struct {
				typ   int
				proto uint8
				at    netip.AddrPort
			}{
				{unix.SOCK_DGRAM, skep.ProtoUDP, netip.AddrPortFrom(local.Addr(), 0)},
				{unix.SOCK_DGRAM, skep.ProtoUDP, other},
				{unix.SOCK_STREAM, skep.ProtoTCP, netip.AddrPortFrom(local.Addr(), 0)},
			} {
				fd, at := kernelSock(t, stranger.typ, stranger.at)
				s, err := m.NewSocket(skep.SocketSpec{Protocol: stranger.proto, Local: at, Reuseport: true})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				new(skep.ReuseportGroup).Add(s)
				put(3+i, fd, s)
			}
			if c.array == catalog.MapSockMap { // a listener's connection is in no group
				client, err := net.Dial("tcp4", mustLocal(t, "127.0.0.1:0"))
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				raw, err := client.(*net.TCPConn).SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				spec, _ := skep.SocketSpecOf(client)
				s, err := m.NewSocket(spec)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				raw.Control(func(fd uintptr) { put(6, int(fd), s) })
			}

			if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, kprog.FD()); err != nil {
				t.Fatal(err)
			}
			to := local
			if to.Addr().IsUnspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), local.Port())
			}
			client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			from := client.LocalAddr().(*net.UDPAddr).AddrPort()

			zero := make([]byte, 4)
			var payloads [][]byte
			for i := range byte(9) {
				payloads = append(payloads, []byte{i, 1, 0}, append([]byte{i, 1, 0}, bytes.Repeat([]byte{7}, 1200)...), []byte{i, 0, 0}, []byte{i, 1, 1}, []byte{i, 3, 0})
			}
			for _, data := range append(payloads, nil, []byte{1}) {
				if _, err := client.Write(data); err != nil {
					client.Write(data) // the first write after a drop reports it
				}
				theirs := arrived(t, fds)
				for arrived(t, fds) >= 0 {
				}
				kernelSaw, weSaw := make([]byte, reuseSeen), make([]byte, reuseSeen)
				if err := kmaps[0].Lookup(zero, kernelSaw, 0); err != nil {
					t.Fatal(err)
				}
				before := g.Stats()
				if _, err := g.Deliver(from, data); err != nil {
					t.Fatal(err)
				}
				after := g.Stats()
				ours := -1
				for i, w := range workers {
					if w.Pending() > 0 {
						var b [2048]byte
						n, at, err := w.ReadFromUDPAddrPort(b[:])
						if err != nil || !bytes.Equal(b[:n], data) || at != from {
							t.Fatalf("%x from %s, want %x from %s: %v", b[:n], at, data, from, err)
						}
						ours = i
					}
				}
				byHash := after.ByHash > before.ByHash // members are then drawn by another hash
				if (ours < 0) != (theirs < 0) || !byHash && ours != theirs {
					t.Errorf("%x: worker %d, the kernel's is %d", data[:min(len(data), 3)], ours, theirs)
				}
				if err := coll.Maps["seen"].Lookup(uint32(0), &weSaw); err != nil {
					t.Fatal(err)
				}
				for _, b := range [][]byte{kernelSaw, weSaw} {
					clear(b[40+4 : 40+9])   // identification, fragment, time to live
					clear(b[40+10 : 40+12]) // checksums
					clear(b[60+6 : 60+8])
					if local.Addr().Is6() {
						clear(b[40 : 40+4]) // flow label
						clear(b[28 : 28+4]) // the IPv4 address of an IPv6 socket is the kernel's own affair
					}
					if local.Addr().IsUnspecified() {
						clear(b[40+12 : 40+20]) // where it was sent is not known
					}
				}
				if !bytes.Equal(kernelSaw, weSaw) {
					t.Errorf("%x:\nours   %x\nkernel %x", data[:min(len(data), 3)], weSaw, kernelSaw)
				}
			}
		})
	}
}

// mustLocal is the address of a TCP listener that lives as long as the test.
func mustLocal(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// TestReuseportFilterAgainstKernel deals out by a socket filter, which sees what
// lies behind the transport header and returns a member's place.
func TestReuseportFilterAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	p := testprog.Prog{Name: "p", Type: catalog.ProgSocketFilter, Text: "r6 = r1\nr0 = *(u8 *)skb[0]\nexit"}
	kprog, _ := kernelProg(t, testprog.Image(t, nil, p), "p")
	m, coll := setup(t, nil, p)
	local := netip.MustParseAddrPort("127.0.0.1:0")
	var fds []int
	for range 4 {
		fd, at := kernelSock(t, unix.SOCK_DGRAM, local)
		fds, local = append(fds, fd), at
	}
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, kprog.FD()); err != nil {
		t.Fatal(err)
	}
	g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Network: "udp", Local: local, Program: coll.Programs["p"]})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var workers []*hook.ReuseportConn
	for range 4 {
		w, err := g.ListenPacket()
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
	}
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(local))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, gone := range []int{-1, 1, 0} { // the last member takes the place of one that leaves
		if gone >= 0 {
			unix.Close(fds[gone])
			workers[gone].Close()
			last := len(fds) - 1
			fds[gone], workers[gone] = fds[last], workers[last]
			fds, workers = fds[:last], workers[:last]
		}
		for i := range byte(5) {
			if _, err := client.Write([]byte{i}); err != nil {
				t.Fatal(err)
			}
			theirs := arrived(t, fds)
			to, err := g.Deliver(client.LocalAddr().(*net.UDPAddr).AddrPort(), []byte{i})
			if err != nil {
				t.Fatal(err)
			}
			ours := -1
			for j, w := range workers {
				if w.Socket() == to {
					ours = j
				}
			}
			if theirs < 0 || int(i) < len(fds) && (ours != theirs || ours != int(i)) || ours < 0 {
				t.Errorf("%d of %d members: %d, the kernel's is %d", i, len(fds), ours, theirs)
			}
		}
	}
}
