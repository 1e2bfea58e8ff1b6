package hook_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// TestSetsockoptAgainstKernel has programs set and read options of a socket that is about to connect: the same
// is refused, and the same is kept.
func TestSetsockoptAgainstKernel(t *testing.T) {
	// A program takes level, name and a value from the map, and leaves behind what came of it.
	prog := func(at skep.AttachType, name string, n int) testprog.Prog {
		call := func(helper string, word int) string {
			return fmt.Sprintf("r1 = r6\nr2 = *(u32 *)(r9 + 0)\nr3 = *(u32 *)(r9 + 4)\nr4 = r9\nr4 += %d\nr5 = %d\ncall %s\n*(u32 *)(r9 + %d) = r0\n", 4*(word+1), n, helper, 4*word)
		}
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupSockAddr, Attach: at,
			Text: peeking(0, nil, call("getsockopt", 10)+call("setsockopt", 20)+call("getsockopt", 30), "0")}
	}
	sizes := []int{1, 2, 3, 4, 8, 16, 20}
	var progs []testprog.Prog
	for _, n := range sizes {
		progs = append(progs, prog(skep.AttachCGroupInet4Connect, fmt.Sprint("four", n), n), prog(skep.AttachCGroupInet6Connect, fmt.Sprint("six", n), n))
	}
	p := cgroupPair(t, 1, progs...)
	values := []int32{0, 1, 2, 6, 7, 87, 88, 127, 128, 255, 256, 1000, 32767, 32768, 199999, 200001, -1, -2}
	one := func(network, name string, at skep.AttachType, level, opt int32, value []byte, n int) {
		t.Helper()
		what := fmt.Sprintf("%s, level %d, option %d, %q in %d bytes", network, level, opt, value, n)
		b := make([]byte, seenSize)
		binary.NativeEndian.PutUint32(b, uint32(level))
		binary.NativeEndian.PutUint32(b[4:], uint32(opt))
		copy(b[4*21:], value)
		if err := p.kmaps[0].Update(make([]byte, 4), b, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.coll.Maps["seen"].Put(uint32(0), b); err != nil {
			t.Fatal(err)
		}
		p.attach(0, name, at, 0)
		fd, s, _ := p.sockets(network)
		to := netip.MustParseAddrPort("127.0.0.1:9")
		if network[3] == '6' {
			to = netip.MustParseAddrPort("[::1]:9")
		}
		kerr := unix.Connect(fd, sockaddr(to))
		_, err := s.Connect(to)
		if number(err) != knumber(kerr) {
			t.Errorf("%s: %v, kernel says %v", what, err, kerr)
		}
		kernel, ours := make([]byte, seenSize), make([]byte, seenSize)
		if err := p.kmaps[0].Lookup(make([]byte, 4), kernel, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.coll.Maps["seen"].Lookup(uint32(0), &ours); err != nil {
			t.Fatal(err)
		}
		// What a system has been set to begin with is not compared.
		if opt == unix.SO_SNDBUF || opt == unix.SO_RCVBUF || opt == unix.TCP_CONGESTION {
			clear(kernel[4*11 : 4*16])
			clear(ours[4*11 : 4*16])
			if binary.NativeEndian.Uint32(kernel[80:]) != 0 {
				clear(kernel[4*31 : 4*36])
				clear(ours[4*31 : 4*36])
			}
		}
		if !bytes.Equal(kernel, ours) {
			show := func(b []byte) string { return fmt.Sprintf("% x, % x, % x", b[40:64], b[80:84], b[120:144]) }
			t.Errorf("%s:\nours   %s\nkernel %s", what, show(ours), show(kernel))
		}
		unix.Close(fd)
		s.Close()
		p.detach(0, name, at)
	}
	for _, v := range []struct {
		network, prog string
		at            skep.AttachType
	}{{"tcp4", "four", skep.AttachCGroupInet4Connect}, {"udp4", "four", skep.AttachCGroupInet4Connect}, {"tcp6", "six", skep.AttachCGroupInet6Connect}} {
		for level, opts := range map[int32][]int32{
			unix.SOL_SOCKET:   {1, 2, 6, 7, 8, 9, 12, 13, 15, 18, 36, 47, 62, 9999},
			unix.IPPROTO_IP:   {1, 2, 3},
			unix.IPPROTO_IPV6: {67, 26},
			unix.IPPROTO_TCP:  {1, 2, 3, 4, 5, 6, 7, 11, 16, 18, 25, 27, 1001, 1002, 1005, 1008, 9999},
			77:                {1},
		} {
			for _, opt := range opts {
				for _, value := range values {
					if opt == unix.SO_RCVLOWAT && (value < 0 || value > 1000) || level == unix.SOL_SOCKET && opt == unix.SO_BINDTOIFINDEX && value > 1 ||
						(opt == unix.SO_SNDBUF || opt == unix.SO_RCVBUF) && value < 0 {
						continue // bounded by what the system has
					}
					one(v.network, fmt.Sprint(v.prog, 4), v.at, level, opt, binary.NativeEndian.AppendUint32(nil, uint32(value)), 4)
				}
				one(v.network, fmt.Sprint(v.prog, 3), v.at, level, opt, []byte{1, 0, 0}, 3)
				one(v.network, fmt.Sprint(v.prog, 8), v.at, level, opt, []byte{1, 0, 0, 0}, 8)
			}
		}
		for _, n := range sizes {
			for _, name := range []string{"reno", "cubic", "reno\x00junk", "", "none", "cdg", "cd", "c", "renox"} {
				one(v.network, fmt.Sprint(v.prog, n), v.at, unix.IPPROTO_TCP, unix.TCP_CONGESTION, []byte(name), n)
			}
		}
	}
}
