package hook_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/cgroupfs"
	"github.com/skep-bpf/skep/internal/testprog"
)

// pair is the same programs in groups of the kernel's and of ours, and sockets in the lowest.
type pair struct {
	t     *testing.T
	dirs  []int // the root's first
	ours  []*hook.Cgroup
	kmaps []*linux.Map
	kprog map[string]*linux.LoadedProg
	mach  *skep.Machine
	coll  *skep.Collection
}

// cgroupPair makes groups, one below the other, moves the process into the lowest, and loads programs on both sides.
func cgroupPair(t *testing.T, groups int, progs ...testprog.Prog) *pair {
	t.Helper()
	return cgroupPairWith(t, groups, cgroupMaps, progs...)
}

// cgroupPairWith is cgroupPair with maps, the first of which is for what programs write down.
func cgroupPairWith(t *testing.T, groups int, maps []*image.Map, progs ...testprog.Prog) *pair {
	t.Helper()
	oracle.Need(t, "bpf(2)", linux.Available())
	p := &pair{t: t, kprog: map[string]*linux.LoadedProg{}}
	dirs := cgroupfs.Nested(t, groups)
	for _, dir := range dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		p.dirs = append(p.dirs, fd)
	}
	cgroupfs.Join(t, dirs[groups-1])

	img := testprog.Image(t, maps, progs...)
	for _, m := range img.Maps {
		km, err := linux.NewMap(m.Def(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { km.Close() })
		p.kmaps = append(p.kmaps, km)
	}
	for _, ip := range img.Programs {
		kp, err := linux.Load(&linux.Prog{Name: ip.Name, Type: ip.Type, Attach: ip.Attach, License: "GPL", Insns: ip.Insns, Maps: p.kmaps})
		if err != nil {
			t.Fatalf("%s: %+v", ip.Name, err)
		}
		t.Cleanup(func() { kp.Close() })
		p.kprog[ip.Name] = kp
	}
	m, coll := setup(t, maps, progs...)
	p.mach, p.coll = m, coll
	var above *hook.Cgroup
	for range groups {
		above = hook.NewCgroup(m, above)
		p.ours = append(p.ours, above)
	}
	return p
}

func (p *pair) leaf() *hook.Cgroup { return p.ours[len(p.ours)-1] }

// attach attaches on both sides and compares how that ends.
func (p *pair) attach(group int, name string, at skep.AttachType, flags uint32) bool {
	p.t.Helper()
	kerr := linux.ProgAttach(p.kprog[name].FD(), p.dirs[group], at, flags)
	err := p.ours[group].Attach(p.coll.Programs[name], at, flags)
	if knumber(kerr) != number(err) {
		p.t.Fatalf("attach %s to group %d at %s, flags %#x: %v, kernel says %v", name, group, at, flags, err, kerr)
	}
	return err == nil
}

func (p *pair) detach(group int, name string, at skep.AttachType) {
	p.t.Helper()
	kerr := linux.ProgDetach(p.kprog[name].FD(), p.dirs[group], at)
	err := p.ours[group].Detach(p.coll.Programs[name], at)
	if knumber(kerr) != number(err) {
		p.t.Fatalf("detach %s from group %d at %s: %v, kernel says %v", name, group, at, err, kerr)
	}
}

// sameSeen compares what programs wrote down, and forgets it.
func (p *pair) sameSeen(what string) {
	p.t.Helper()
	zero := make([]byte, 4)
	kernel, we := make([]byte, seenSize), make([]byte, seenSize)
	if err := errors.Join(p.kmaps[0].Lookup(zero, kernel, 0), p.coll.Maps["seen"].Lookup(uint32(0), &we)); err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < seenSize; i += 4 {
		if !bytes.Equal(kernel[i:i+4], we[i:i+4]) {
			p.t.Errorf("%s: word %d of %d is %x, the kernel's programs saw %x", what, i/4, seenSize/4, we[i:i+4], kernel[i:i+4])
		}
	}
	none := make([]byte, seenSize)
	if err := errors.Join(p.kmaps[0].Update(zero, none, 0), p.coll.Maps["seen"].Put(uint32(0), none)); err != nil {
		p.t.Fatal(err)
	}
}

// knumber is number of an error of the kernel's.
func knumber(err error) int {
	var n unix.Errno
	if errors.As(err, &n) {
		return int(n)
	}
	return number(err)
}

// field is one that a program writes down.
type field struct{ off, size int }

// peeking is a program that writes fields of its context down from word on, then
// does more, with the context in r6 and its words behind r9, and returns r0.
func peeking(word int, fields []field, more, r0 string) string {
	b := &strings.Builder{}
	b.WriteString("r6 = r1\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map_idx[0] ll\ncall map_lookup_elem\nif r0 == 0 goto out\nr9 = r0\n")
	if word != 0 {
		fmt.Fprintf(b, "r9 += %d\n", 4*word)
	}
	for i, f := range fields {
		fmt.Fprintf(b, "r1 = *(u%d *)(r6 + %d)\n*(u32 *)(r9 + %d) = r1\n", 8*f.size, f.off, 4*i)
	}
	fmt.Fprintf(b, "%s\nout:\nr0 = %s\nexit", more, r0)
	return b.String()
}

// Words that programs of calls with addresses write: fields first, then what follows.
const wordsMore = 24

// ofSock writes down what the sock of a context shows, the cookie's presence and, where there is one, the retval.
func ofSock(retval bool) string {
	b := &strings.Builder{}
	b.WriteString("r7 = *(u64 *)(r6 + 64)\n")
	for i, f := range []field{{4, 4}, {8, 4}, {12, 4}, {44, 4}, {48, 2}, {72, 4}} {
		fmt.Fprintf(b, "r1 = *(u%d *)(r7 + %d)\n*(u32 *)(r9 + %d) = r1\n", 8*f.size, f.off, 4*(wordsMore+i))
	}
	fmt.Fprintf(b, "r1 = r6\ncall get_socket_cookie\nif r0 != 0 goto +1\n*(u32 *)(r9 + %d) = 77\n", 4*(wordsMore+7))
	if retval {
		fmt.Fprintf(b, "call get_retval\n*(u32 *)(r9 + %d) = r0\n", 4*(wordsMore+8))
	}
	return b.String()
}

func be(v uint16) string { return fmt.Sprint(v<<8 | v>>8) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// sockets makes one of the kernel's and one of ours; ok says whether programs let both be made.
func (p *pair) sockets(network string) (fd int, s *hook.CgroupSocket, ok bool) {
	p.t.Helper()
	family, typ := unix.AF_INET, unix.SOCK_STREAM
	if network[3] == '6' {
		family = unix.AF_INET6
	}
	if network[:3] == "udp" {
		typ = unix.SOCK_DGRAM
	}
	fd, kerr := unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	s, err := p.leaf().Socket(network)
	if knumber(kerr) != number(err) {
		p.t.Fatalf("socket %s: %v, kernel says %v", network, err, kerr)
	}
	return fd, s, err == nil
}

func TestCgroupConnectAndBindAgainstKernel(t *testing.T) {
	type at struct {
		network, listen string
		connect, bind   skep.AttachType
		fields          []field
		ip              string // sets the address to the loopback device's
	}
	for _, v := range []at{
		{"udp4", "127.0.0.1:0", skep.AttachCGroupInet4Connect, skep.AttachCGroupInet4Bind,
			[]field{{0, 4}, {4, 4}, {4, 2}, {5, 1}, {24, 4}, {24, 2}, {25, 1}, {28, 4}, {32, 4}, {36, 4}},
			"r1 = 0x0100007f\n*(u32 *)(r6 + 4) = r1\n"},
		{"udp6", "[::1]:0", skep.AttachCGroupInet6Connect, skep.AttachCGroupInet6Bind,
			[]field{{0, 4}, {8, 4}, {12, 4}, {16, 4}, {20, 4}, {20, 1}, {24, 4}, {24, 2}, {28, 4}, {32, 4}, {36, 4}},
			"r1 = 0\n*(u64 *)(r6 + 8) = r1\n*(u32 *)(r6 + 16) = r1\nr1 = 0x1000000\n*(u32 *)(r6 + 20) = r1\n"},
		{"tcp4", "127.0.0.1:0", skep.AttachCGroupInet4Connect, skep.AttachCGroupInet4Bind, []field{{0, 4}, {4, 4}, {24, 4}, {28, 4}, {32, 4}, {36, 4}},
			"r1 = 0x0100007f\n*(u32 *)(r6 + 4) = r1\n"},
	} {
		listen := netip.MustParseAddrPort(v.listen)
		typ := unix.SOCK_DGRAM
		if v.network[:3] == "tcp" {
			typ = unix.SOCK_STREAM
		}
		_, target := kernelSock(t, typ, listen)
		port := "r1 = " + be(target.Port()) + "\n*(u32 *)(r6 + 24) = r1\n"
		prog := func(name string, attach skep.AttachType, word int, more, r0 string) testprog.Prog {
			return testprog.Prog{Name: name, Type: catalog.ProgCGroupSockAddr, Attach: attach, Text: peeking(word, v.fields, ofSock(true)+more, r0)}
		}
		var progs []testprog.Prog
		for _, a := range []struct {
			prefix string
			attach skep.AttachType
		}{{"c_", v.connect}, {"b_", v.bind}} {
			progs = append(progs,
				prog(a.prefix+"look", a.attach, 0, "", "1"),
				prog(a.prefix+"look2", a.attach, 64, "", "1"),
				prog(a.prefix+"port", a.attach, 64, v.ip+port, "1"),
				prog(a.prefix+"wide", a.attach, 64, v.ip+"r1 = "+be(target.Port())+"\nr1 |= 0x7f0000\n*(u32 *)(r6 + 24) = r1\n", "1"),
				prog(a.prefix+"no", a.attach, 128, "", "0"),
				prog(a.prefix+"acces", a.attach, 128, "r1 = -13\ncall set_retval\n", "0"),
				prog(a.prefix+"nospc", a.attach, 128, "r1 = -28\ncall set_retval\n", "1"),
				prog(a.prefix+"forgive", a.attach, 192, "r1 = 0\ncall set_retval\n", "1"))
		}
		p := cgroupPair(t, 1, progs...)
		chains := [][]string{{}, {"look"}, {"port"}, {"wide", "look"}, {"port", "look"}, {"look", "port", "no"}, {"no", "look"}, {"no", "port", "look"},
			{"acces", "look"}, {"nospc", "look"}, {"nospc", "no", "look"}, {"no", "forgive"}, {"no", "forgive", "look"}, {"acces", "forgive", "look2"}, {"no", "acces"}}
		for _, chain := range chains {
			for _, a := range []struct {
				prefix string
				attach skep.AttachType
			}{{"c_", v.connect}, {"b_", v.bind}} {
				what := fmt.Sprint(v.network, " ", a.prefix, chain)
				for _, name := range chain {
					p.attach(0, a.prefix+name, a.attach, hook.CgroupAllowMulti)
				}
				fd, s, _ := p.sockets(v.network)
				var got, kgot netip.AddrPort
				var err, kerr error
				if a.prefix == "c_" {
					kerr = unix.Connect(fd, sockaddr(target))
					if errors.Is(kerr, unix.EINPROGRESS) {
						kerr = nil
					}
					got, err = s.Connect(target)
					if sa, perr := unix.Getpeername(fd); kerr == nil && perr == nil {
						kgot = addrPort(sa)
					}
				} else {
					to := netip.AddrPortFrom(target.Addr(), target.Port()+1) // may be another's, if no program says otherwise
					if v.network == "tcp4" {
						unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
					}
					unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
					kerr = unix.Bind(fd, sockaddr(to))
					got, _, err = s.Bind(to)
					if sa, perr := unix.Getsockname(fd); kerr == nil && perr == nil {
						kgot = addrPort(sa)
					}
				}
				if number(err) != knumber(kerr) || got != kgot {
					t.Errorf("%s: %v %v, kernel says %v %v", what, got, err, kgot, kerr)
				}
				p.sameSeen(what)
				unix.Close(fd)
				s.Close()
				for _, name := range chain {
					p.detach(0, a.prefix+name, a.attach)
				}
			}
		}
	}
}

func TestCgroupDatagramsAgainstKernel(t *testing.T) {
	for _, v := range []struct {
		network, at, other       string
		send, recv, peer, name   skep.AttachType
		fields                   []field
		source, userIP, mappedIP string
	}{
		{"udp4", "127.0.0.1:0", "127.0.0.9", skep.AttachCGroupUDP4Sendmsg, skep.AttachCGroupUDP4Recvmsg,
			skep.AttachCGroupInet4GetPeername, skep.AttachCGroupInet4GetSockname,
			[]field{{0, 4}, {4, 4}, {24, 4}, {28, 4}, {32, 4}, {36, 4}},
			"r1 = 0x0900007f\n*(u32 *)(r6 + 40) = r1\n", "r1 = 0x0a00007f\n*(u32 *)(r6 + 4) = r1\n", ""},
		{"udp6", "[::1]:0", "::1", skep.AttachCGroupUDP6Sendmsg, skep.AttachCGroupUDP6Recvmsg,
			skep.AttachCGroupInet6GetPeername, skep.AttachCGroupInet6GetSockname,
			[]field{{0, 4}, {8, 4}, {20, 4}, {24, 4}, {28, 4}, {32, 4}, {36, 4}},
			"r1 = 0\n*(u32 *)(r6 + 44) = r1\n*(u32 *)(r6 + 48) = r1\n*(u32 *)(r6 + 52) = r1\nr1 = 0x1000000\n*(u32 *)(r6 + 56) = r1\n",
			"r1 = 0x77\n*(u32 *)(r6 + 16) = r1\n", "r1 = 0xffff0000\n*(u32 *)(r6 + 16) = r1\n"},
	} {
		inbox, target := kernelSock(t, unix.SOCK_DGRAM, netip.MustParseAddrPort(v.at))
		unix.SetNonblock(inbox, true)
		port := "r1 = " + be(target.Port()) + "\n*(u32 *)(r6 + 24) = r1\n"
		prog := func(name string, attach skep.AttachType, retval bool, fields []field, more, r0 string) testprog.Prog {
			return testprog.Prog{Name: name, Type: catalog.ProgCGroupSockAddr, Attach: attach, Text: peeking(0, fields, ofSock(retval)+more, r0)}
		}
		source := []field{{40, 4}}
		if v.network == "udp6" {
			source = []field{{44, 4}, {48, 4}, {52, 4}, {56, 4}}
		}
		sends := append(append([]field{}, v.fields...), source...)
		progs := []testprog.Prog{
			prog("look", v.send, true, sends, "", "1"),
			prog("port", v.send, true, sends, port, "1"),
			prog("source", v.send, true, sends, port+v.source, "1"),
			prog("no", v.send, true, sends, port, "0"),
			prog("acces", v.send, true, sends, "r1 = -13\ncall set_retval\n", "0"),
			prog("zero", v.send, true, sends, "r1 = 0\n*(u32 *)(r6 + 24) = r1\n", "1"),
			prog("from", v.recv, false, v.fields, v.userIP, "1"),
			prog("peer", v.peer, false, v.fields, v.userIP+"r1 = 0x3412\n*(u32 *)(r6 + 24) = r1\n", "1"),
			prog("name", v.name, false, v.fields, v.userIP+"r1 = 0x3413\n*(u32 *)(r6 + 24) = r1\n", "1"),
		}
		chains := [][]string{{"look"}, {"port"}, {"source", "look"}, {"no"}, {"no", "look"}, {"acces"}, {"zero"}, {"zero", "port"}}
		if v.mappedIP != "" {
			progs = append(progs, prog("mapped", v.send, true, sends, v.mappedIP, "1"))
			chains = append(chains, []string{"mapped"})
		}
		p := cgroupPair(t, 1, progs...)
		for _, chain := range chains {
			what := fmt.Sprint(v.network, " ", chain)
			for _, name := range chain {
				p.attach(0, name, v.send, hook.CgroupAllowMulti)
			}
			fd, s, _ := p.sockets(v.network)
			any := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
			if target.Addr().Is6() {
				any = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
			}
			if err := unix.Bind(fd, sockaddr(any)); err != nil { // sending would choose a port, too
				t.Fatal(err)
			}
			bound, _ := unix.Getsockname(fd)
			if _, _, err := s.Bind(addrPort(bound)); err != nil {
				t.Fatal(err)
			}
			to := target
			if chain[0] == "port" {
				to = netip.AddrPortFrom(target.Addr(), 9)
			}
			kerr := unix.Sendto(fd, []byte("x"), 0, sockaddr(to))
			got, from, err := s.SendTo(to, netip.Addr{})
			if number(err) != knumber(kerr) {
				t.Errorf("%s: %v, kernel says %v", what, err, kerr)
			}
			if err == nil {
				_, sa, rerr := unix.Recvfrom(inbox, make([]byte, 8), 0)
				switch {
				case got != target, rerr != nil:
					t.Errorf("%s: sent to %v; the kernel's came: %v", what, got, rerr)
				case !from.IsUnspecified() && addrPort(sa).Addr() != from:
					t.Errorf("%s: from %v, the kernel's from %v", what, from, addrPort(sa))
				}
			}
			p.sameSeen(what)
			unix.Close(fd)
			s.Close()
			for _, name := range chain {
				p.detach(0, name, v.send)
			}
		}

		// Names: of who has sent, of the peer, of the socket itself.
		fd, s, _ := p.sockets(v.network)
		local := netip.AddrPortFrom(target.Addr(), 0)
		if err := unix.Bind(fd, sockaddr(local)); err != nil {
			t.Fatal(err)
		}
		sa, _ := unix.Getsockname(fd)
		if _, _, err := s.Bind(addrPort(sa)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendto(inbox, []byte("x"), 0, sa); err != nil {
			t.Fatal(err)
		}
		for _, at := range []struct {
			prog   string
			attach skep.AttachType
			kernel func() (unix.Sockaddr, error)
			ours   func() (netip.AddrPort, error)
		}{
			{"from", v.recv, func() (unix.Sockaddr, error) {
				_, sa, err := unix.Recvfrom(fd, make([]byte, 8), 0)
				return sa, err
			}, func() (netip.AddrPort, error) { return s.ReceivedFrom(target) }},
			{"peer", v.peer, func() (unix.Sockaddr, error) { return unix.Getpeername(fd) }, s.PeerName},
			{"name", v.name, func() (unix.Sockaddr, error) { return unix.Getsockname(fd) }, s.SockName},
			{"connect", 0, func() (unix.Sockaddr, error) { return nil, unix.Connect(fd, sockaddr(target)) }, func() (netip.AddrPort, error) {
				_, err := s.Connect(target)
				return netip.AddrPort{}, err
			}},
			{"peer", v.peer, func() (unix.Sockaddr, error) { return unix.Getpeername(fd) }, s.PeerName},
		} {
			if at.attach != 0 {
				p.attach(0, at.prog, at.attach, hook.CgroupAllowMulti)
			}
			ksa, kerr := at.kernel()
			got, err := at.ours()
			if number(err) != knumber(kerr) || got != addrPort(ksa) {
				t.Errorf("%s %s: %v %v, kernel says %v %v", v.network, at.prog, got, err, addrPort(ksa), kerr)
			}
			p.sameSeen(v.network + " " + at.prog)
			if at.attach != 0 {
				p.detach(0, at.prog, at.attach)
			}
		}
		unix.Close(fd)
		s.Close()
	}
}

func TestCgroupSockAgainstKernel(t *testing.T) {
	life := []field{{0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 4}, {20, 4}, {48, 2}, {52, 4}, {72, 4}}
	bound4, bound6 := []field{{4, 4}, {8, 4}, {12, 4}, {24, 4}, {44, 4}, {72, 4}}, []field{{4, 4}, {28, 4}, {40, 4}, {44, 4}}
	prog := func(name string, attach skep.AttachType, fields []field, more, r0 string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupSock, Attach: attach, Text: peeking(0, fields, more, r0)}
	}
	create, release := skep.AttachCGroupInetSockCreate, skep.AttachCGroupInetSockRelease
	p := cgroupPair(t, 1,
		prog("mark", create, life, "r1 = 77\n*(u32 *)(r6 + 16) = r1\nr1 = 5\n*(u32 *)(r6 + 20) = r1\nr1 = 1\n*(u32 *)(r6 + 0) = r1\n", "1"),
		prog("no", create, life, "", "0"),
		prog("acces", create, life, "r1 = -13\ncall set_retval\n", "0"),
		prog("release", release, life, "", "1"),
		prog("post4", skep.AttachCGroupInet4PostBind, bound4, "", "1"),
		prog("post4no", skep.AttachCGroupInet4PostBind, bound4, "", "0"),
		prog("post6", skep.AttachCGroupInet6PostBind, bound6, "", "1"),
		prog("post6no", skep.AttachCGroupInet6PostBind, bound6, "r1 = -16\ncall set_retval\n", "1"))
	for _, network := range []string{"tcp4", "udp4", "tcp6", "udp6"} {
		for _, chain := range [][]string{{"mark"}, {"no"}, {"mark", "no"}, {"acces", "mark"}} {
			what := fmt.Sprint(network, " ", chain)
			for _, name := range chain {
				p.attach(0, name, create, hook.CgroupAllowMulti)
			}
			fd, s, ok := p.sockets(network)
			p.sameSeen(what)
			for _, name := range chain {
				p.detach(0, name, create)
			}
			if !ok {
				continue
			}
			mark, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
			priority, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY)
			if s.Mark != uint32(mark) || s.Priority != uint32(priority) || mark != 77 {
				t.Errorf("%s: mark %d priority %d, kernel has %d and %d", what, s.Mark, s.Priority, mark, priority)
			}
			p.attach(0, "release", release, 0)
			unix.Close(fd)
			s.Close()
			p.sameSeen(what + " released")
			p.detach(0, "release", release)
		}
		at, post, to := skep.AttachCGroupInet4PostBind, "post4", "127.0.0.1"
		if network[3] == '6' {
			at, post, to = skep.AttachCGroupInet6PostBind, "post6", "::1"
		}
		typ := unix.SOCK_DGRAM
		if network[:3] == "tcp" {
			typ = unix.SOCK_STREAM
		}
		_, free := kernelSock(t, typ, netip.AddrPortFrom(netip.MustParseAddr(to), 0)) // a port to share
		for _, name := range []string{post, post + "no"} {
			p.attach(0, name, at, 0)
			fd, s, _ := p.sockets(network)
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			kerr := unix.Bind(fd, sockaddr(free))
			_, _, err := s.Bind(free)
			ksa, _ := unix.Getsockname(fd)
			own, _ := s.SockName()
			if number(err) != knumber(kerr) || own.Addr() != addrPort(ksa).Addr() {
				t.Errorf("%s %s: %v %v, kernel says %v %v", network, name, own, err, addrPort(ksa), kerr)
			}
			p.sameSeen(network + " " + name)
			unix.Close(fd)
			s.Close()
			p.detach(0, name, at)
		}
	}
}

func TestCgroupPacketsAgainstKernel(t *testing.T) {
	fields := []field{{0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 4}, {32, 4}, {36, 4}, {40, 4}, {48, 4}, {52, 4}}
	const bytesAt, bytesOf = 100, 34 // words at which the packet is, and its length
	prog := func(name string, attach skep.AttachType, word int, more, r0 string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupSKB, Attach: attach, Text: peeking(word, fields, more, r0)}
	}
	save := fmt.Sprintf("r1 = r6\nr2 = 0\nr3 = r9\nr3 += %d\nr4 = %d\ncall skb_load_bytes\n", 4*bytesAt, bytesOf)
	cb := "r1 = 9\n*(u32 *)(r6 + 48) = r1\n"
	in, out := skep.AttachCGroupInetIngress, skep.AttachCGroupInetEgress
	progs := []testprog.Prog{prog("in0", in, 64, cb, "0"), prog("in1", in, 0, save+cb, "1"), prog("in1b", in, 64, cb, "1")}
	for _, r0 := range []string{"0", "1", "2", "3"} {
		progs = append(progs, prog("out"+r0, out, 64, cb, r0))
	}
	progs = append(progs, prog("save", out, 0, save+"r1 = 44\n*(u32 *)(r6 + 8) = r1\n", "1"))
	p := cgroupPair(t, 1, progs...)
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, c := range []struct {
			attach skep.AttachType
			chain  []string
		}{
			{in, []string{"in1"}}, {in, []string{"in1", "in0"}}, {in, []string{"in1", "in1b"}}, {in, []string{"in1", "in0", "in1b"}},
			{out, []string{"save"}}, {out, []string{"save", "out1"}}, {out, []string{"save", "out0"}}, {out, []string{"save", "out2"}}, {out, []string{"save", "out3"}},
			{out, []string{"save", "out0", "out3"}}, {out, []string{"save", "out3", "out1"}}, {out, []string{"save", "out2", "out1"}},
		} {
			what := fmt.Sprint(at, " ", c.chain)
			for _, name := range c.chain {
				p.attach(0, name, c.attach, hook.CgroupAllowMulti)
			}
			inbox, target := kernelSock(t, unix.SOCK_DGRAM, netip.MustParseAddrPort(at))
			unix.SetNonblock(inbox, true)
			network, level, opt := "udp4", unix.IPPROTO_IP, unix.IP_RECVERR
			if target.Addr().Is6() {
				network, level, opt = "udp6", unix.IPPROTO_IPV6, unix.IPV6_RECVERR
			}
			fd, s, _ := p.sockets(network)
			unix.SetsockoptInt(fd, level, opt, 1) // a drop with congestion is told only then
			kerr := unix.Sendto(fd, []byte("hello!"), 0, sockaddr(target))
			_, _, rerr := unix.Recvfrom(inbox, make([]byte, 8), 0)

			kernel := make([]byte, seenSize)
			if err := p.kmaps[0].Lookup(make([]byte, 4), kernel, 0); err != nil {
				t.Fatal(err)
			}
			frame := make([]byte, 14)
			binary.BigEndian.PutUint16(frame[12:], map[string]uint16{"udp4": 0x0800, "udp6": 0x86dd}[network])
			n := int(binary.NativeEndian.Uint32(kernel)) // __sk_buff.len
			frame = append(frame, kernel[4*bytesAt:][:bytesOf]...)
			if n > bytesOf {
				frame = append(frame, make([]byte, n-bytesOf)...)
			}
			run := p.leaf().Egress
			if c.attach == in {
				run = p.leaf().Ingress
			}
			v, err := run(frame, hook.Meta{Ifindex: 1}, s.Socket)
			if err != nil {
				t.Fatal(err)
			}
			if v.Keep != (rerr == nil) {
				t.Errorf("%s: keep is %v, in the kernel it came: %v", what, v.Keep, rerr)
			}
			if c.attach == out {
				want := map[bool]unix.Errno{true: unix.ENOBUFS, false: unix.EPERM}[v.Congestion]
				if v.Keep {
					want = 0
				}
				if knumber(kerr) != int(want) {
					t.Errorf("%s: %+v, the kernel's sendto says %v", what, v, kerr)
				}
				if v.Meta.Mark != 44 || v.Meta.CB != [5]uint32{} {
					t.Errorf("%s: %+v afterwards", what, v.Meta)
				}
			}
			p.sameSeen(what)
			unix.Close(fd)
			s.Close()
			for _, name := range c.chain {
				p.detach(0, name, c.attach)
			}
		}
	}
}

func TestCgroupDeviceAgainstKernel(t *testing.T) {
	fields := []field{{0, 4}, {0, 2}, {2, 2}, {4, 4}, {8, 4}}
	prog := func(name, more, r0 string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupDevice, Attach: catalog.AttachCGroupDevice, Text: peeking(0, fields, more, r0)}
	}
	p := cgroupPair(t, 1, prog("yes", "", "1"), prog("no", "", "0"), prog("acces", "r1 = -13\ncall set_retval\n", "1"))
	for _, chain := range [][]string{{"yes"}, {"no"}, {"no", "yes"}, {"acces"}, {"acces", "no"}} {
		for _, name := range chain {
			p.attach(0, name, skep.AttachCGroupDevice, hook.CgroupAllowMulti)
		}
		for flags, access := range map[int]uint16{unix.O_RDONLY: hook.CgroupRead, unix.O_WRONLY: hook.CgroupWrite, unix.O_RDWR: hook.CgroupRead | hook.CgroupWrite} {
			fd, kerr := unix.Open("/dev/zero", flags|unix.O_CLOEXEC, 0)
			err := p.leaf().Device(hook.CgroupCharDevice, access, 1, 5)
			if knumber(kerr) != number(err) {
				t.Errorf("%v, access %d: %v, kernel says %v", chain, access, err, kerr)
			}
			if kerr == nil {
				unix.Close(fd)
			}
			p.sameSeen(fmt.Sprint(chain, access))
		}
		for _, name := range chain {
			p.detach(0, name, skep.AttachCGroupDevice)
		}
	}
}

// TestCgroupOrderAgainstKernel attaches and detaches by chance in three groups, one below
// the other: the same is refused, and the same programs run in the same order.
func TestCgroupOrderAgainstKernel(t *testing.T) {
	const names = "abcdef"
	var progs []testprog.Prog
	for i := range names {
		// Word 0 counts, and each writes its number at the word it counted.
		progs = append(progs, testprog.Prog{Name: names[i : i+1], Type: catalog.ProgCGroupSockAddr, Attach: catalog.AttachCGroupInet4Connect,
			Text: peeking(0, nil, fmt.Sprintf("r1 = *(u32 *)(r9 + 0)\nr1 += 1\n*(u32 *)(r9 + 0) = r1\nif r1 > 100 goto out\nr1 <<= 2\nr9 += r1\nr1 = %d\n*(u32 *)(r9 + 0) = r1\n", i+1), "1")})
	}
	p := cgroupPair(t, 3, progs...)
	random := rand.New(rand.NewPCG(1, 2))
	const at = skep.AttachCGroupInet4Connect
	to := netip.MustParseAddrPort("127.0.0.1:9")
	attached := 0
	modes := []uint32{0, hook.CgroupAllowOverride, hook.CgroupAllowMulti, hook.CgroupAllowMulti, hook.CgroupAllowMulti, hook.CgroupAllowMulti, hook.CgroupAllowMulti | hook.CgroupAllowOverride}
	const replace, relLink = 1 << 2, 1 << 13
	type pairedLink struct {
		fd   int
		ours *hook.CgroupLink
	}
	var links []pairedLink
	ids := map[uint32]string{}
	for name, kp := range p.kprog {
		info, err := kp.Info()
		if err != nil {
			t.Fatal(err)
		}
		ids[info.ID] = name
	}
	for step := range 1000 {
		group, i, j := random.IntN(3), random.IntN(len(names)), random.IntN(len(names))
		name, other := names[i:i+1], names[j:j+1]
		o := hook.CgroupOptions{Flags: modes[random.IntN(len(modes))]}
		var kreplace, krel int
		kflags := uint32(0)
		for _, f := range []uint32{hook.CgroupPreorder, hook.CgroupBefore, hook.CgroupAfter} {
			if random.IntN(4) == 0 {
				o.Flags |= f
			}
		}
		if random.IntN(8) == 0 {
			o.Revision = uint64(random.IntN(20))
		}
		l := random.IntN(len(links) + 1)
		var kerr, err error
		switch op := random.IntN(12); {
		case op < 3:
			kerr = linux.ProgDetach(p.kprog[name].FD(), p.dirs[group], at)
			err = p.ours[group].Detach(p.coll.Programs[name], at)
		case op < 8:
			link := op == 7 && len(links) < 6
			if link {
				o.Flags &^= hook.CgroupAllowMulti | hook.CgroupAllowOverride
			}
			switch random.IntN(4) {
			case 0:
				o.Program, krel = p.coll.Programs[other], p.kprog[other].FD()
			case 1:
				if l < len(links) {
					o.Link, krel, kflags = links[l].ours, links[l].fd, relLink
				}
			case 2:
				if !link {
					o.Flags |= replace
					if random.IntN(8) > 0 && o.Flags&hook.CgroupAllowMulti != 0 {
						o.Replace, kreplace = p.coll.Programs[other], p.kprog[other].FD()
					}
				}
			}
			if o.Flags&replace != 0 && kreplace == 0 {
				o.Flags &^= replace // Linux asks for a descriptor before anything else
			}
			attr := make([]byte, 48)
			put := func(off int, v int) { binary.NativeEndian.PutUint32(attr[off:], uint32(v)) }
			put(4, p.kprog[name].FD()) // target_fd, attach_bpf_fd
			put(0, p.dirs[group])
			put(8, int(at))
			put(12, int(o.Flags|kflags))
			if link {
				put(0, p.kprog[name].FD()) // prog_fd, target_fd
				put(4, p.dirs[group])
				put(8, int(at))
				put(16, krel)
				binary.NativeEndian.PutUint64(attr[24:], o.Revision)
				const linkCreate = 28
				fd, _, e := unix.Syscall(unix.SYS_BPF, linkCreate, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
				var made *hook.CgroupLink
				kerr = errnoOf(e)
				if made, err = p.ours[group].AttachLink(p.coll.Programs[name], at, o); err == nil && e == 0 {
					links = append(links, pairedLink{int(fd), made})
				}
			} else {
				put(16, kreplace)
				put(20, krel)
				binary.NativeEndian.PutUint64(attr[24:], o.Revision)
				const progAttach = 8
				_, _, e := unix.Syscall(unix.SYS_BPF, progAttach, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
				kerr = errnoOf(e)
				err = p.ours[group].AttachProgram(p.coll.Programs[name], at, o)
			}
			if err == nil {
				attached++
			}
		case op < 10 && l < len(links):
			kerr = unix.Close(links[l].fd)
			err = links[l].ours.Close()
			links = append(links[:l], links[l+1:]...)
		case l < len(links):
			attr := make([]byte, 16)
			binary.NativeEndian.PutUint32(attr, uint32(links[l].fd))
			binary.NativeEndian.PutUint32(attr[4:], uint32(p.kprog[name].FD()))
			const linkUpdate = 29
			_, _, e := unix.Syscall(unix.SYS_BPF, linkUpdate, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
			kerr = errnoOf(e)
			err = links[l].ours.Update(p.coll.Programs[name])
		}
		if number(err) != knumber(kerr) {
			t.Fatalf("step %d: group %d, program %s, %+v: %v, kernel says %v", step, group, name, o, err, kerr)
		}
		q := p.ours[group].Query(at)
		kq := make([]byte, 64)
		progs := make([]uint32, 64)
		binary.NativeEndian.PutUint32(kq, uint32(p.dirs[group]))
		binary.NativeEndian.PutUint32(kq[4:], uint32(at))
		binary.NativeEndian.PutUint64(kq[16:], uint64(uintptr(unsafe.Pointer(&progs[0]))))
		binary.NativeEndian.PutUint32(kq[24:], uint32(len(progs)))
		const progQuery = 16
		if _, _, e := unix.Syscall(unix.SYS_BPF, progQuery, uintptr(unsafe.Pointer(&kq[0])), uintptr(len(kq))); e != 0 {
			t.Fatal(e)
		}
		var in, kin []string
		for _, p := range q.Programs {
			in = append(in, p.Name())
		}
		for _, id := range progs[:binary.NativeEndian.Uint32(kq[24:])] {
			kin = append(kin, ids[id])
		}
		kflags, revision := binary.NativeEndian.Uint32(kq[12:]), binary.NativeEndian.Uint64(kq[56:])
		if !slices.Equal(in, kin) || q.Flags != kflags || q.Revision != revision {
			t.Fatalf("step %d: %v flags %#x revision %d; the kernel has %v %#x %d", step, in, q.Flags, q.Revision, kin, kflags, revision)
		}
		fd, s, _ := p.sockets("udp4")
		if _, err := s.Connect(to); err != nil || unix.Connect(fd, sockaddr(to)) != nil {
			t.Fatal(err)
		}
		p.sameSeen(fmt.Sprint("step ", step))
		unix.Close(fd)
		s.Close()
	}
	for _, l := range links {
		unix.Close(l.fd)
	}
	if attached < 100 {
		t.Errorf("only %d were attached", attached)
	}
}
