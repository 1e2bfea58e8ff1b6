package hook_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

func sockOps(name, text string) testprog.Prog {
	return testprog.Prog{Name: name, Type: catalog.ProgSockOps, Attach: skep.AttachCGroupSockOps, Text: text}
}

// segmentOf is a TCP segment with options, of a multiple of four bytes.
func segmentOf(flags byte, opts ...byte) []byte {
	b := append(make([]byte, 20), opts...)
	b[12], b[13] = byte(len(b)/4)<<4, flags
	return b
}

// TestSockOpsReplies: what programs answer comes back, and -1 where one refuses; those of groups above have the last word.
func TestSockOpsReplies(t *testing.T) {
	m, coll := setup(t, nil,
		sockOps("ten", "r2 = *(u32 *)(r1 + 0)\nr2 *= 10\nif r2 != 60 goto +1\nr2 = 1\n*(u32 *)(r1 + 4) = r2\nr0 = 1\nexit"),
		sockOps("more", "r2 = *(u32 *)(r1 + 4)\nr2 += 1\n*(u32 *)(r1 + 4) = r2\nr0 = 1\nexit"),
		sockOps("no", "r0 = 0\nexit"))
	above := hook.NewCgroup(m, nil)
	g := hook.NewCgroup(m, above)
	s, err := g.Socket("tcp4")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const at = skep.AttachCGroupSockOps
	for _, c := range []struct {
		own, above string
		want       hook.SockOpsStart
		base       int32
	}{
		{"", "", hook.SockOpsStart{}, 0},
		{"ten", "", hook.SockOpsStart{Window: 20, Timeout: 10, ECN: true}, 70},
		{"ten", "more", hook.SockOpsStart{Window: 21, Timeout: 11}, 71},
		{"ten", "no", hook.SockOpsStart{Window: -1, Timeout: -1}, -1},
		{"no", "ten", hook.SockOpsStart{Window: -1, Timeout: -1}, -1},
	} {
		for g, name := range map[*hook.Cgroup]string{g: c.own, above: c.above} {
			if name != "" {
				if err := g.Attach(coll.Programs[name], at, hook.CgroupAllowMulti); err != nil {
					t.Fatal(err)
				}
			}
		}
		o, err := g.SockOps(s.Socket)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.Connect()
		if err != nil || got != c.want {
			t.Errorf("%s, %s: %+v %v, want %+v", c.own, c.above, got, err, c.want)
		}
		if base, err := o.BaseRTT(); err != nil || base != c.base {
			t.Errorf("%s, %s: base RTT %d %v, want %d", c.own, c.above, base, err, c.base)
		}
		for g, name := range map[*hook.Cgroup]string{g: c.own, above: c.above} {
			if name != "" {
				if err := g.Detach(coll.Programs[name], at); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestSockOpsCallbacks: programs are told of what they asked for, and of nothing else.
func TestSockOpsCallbacks(t *testing.T) {
	maps := []*image.Map{{Name: "seen", Type: catalog.MapArray, KeySize: 4, ValueSize: 64, MaxEntries: 1}}
	count := `
		r6 = r1
		*(u32 *)(r10 - 4) = 0
		r2 = r10
		r2 += -4
		r1 = map_idx[0] ll
		call map_lookup_elem
		if r0 == 0 goto out
		r1 = *(u32 *)(r6 + 0)
		r1 <<= 2
		r1 &= 63
		r0 += r1
		r2 = *(u32 *)(r6 + 12)      // args[2]
		r2 <<= 8
		r1 = *(u32 *)(r0 + 0)
		r1 += r2
		r1 += 1
		*(u32 *)(r0 + 0) = r1
		out: `
	m, coll := setup(t, maps, sockOps("count", count+"r0 = 1\nexit"), sockOps("ask", `
		r6 = r1
		r2 = *(u32 *)(r6 + 68)      // local_port
		r1 = r6
		call sock_ops_cb_flags_set
		r0 = 1
		exit`))
	const at = skep.AttachCGroupSockOps
	for flags := range uint16(128) {
		g := hook.NewCgroup(m, nil)
		if err := g.Attach(coll.Programs["ask"], at, hook.CgroupAllowMulti); err != nil {
			t.Fatal(err)
		}
		if err := coll.Maps["seen"].Put(uint32(0), make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		s, err := m.NewSocket(skep.SocketSpec{Protocol: skep.ProtoTCP, State: skep.SocketClose,
			Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), flags), Remote: netip.MustParseAddrPort("10.0.0.2:80")})
		if err != nil {
			t.Fatal(err)
		}
		o, err := g.SockOps(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = o.Connect(); err != nil || o.Flags() != uint32(flags) {
			t.Fatalf("%v; flags %#x, want %#x", err, o.Flags(), flags)
		}
		if err := g.Attach(coll.Programs["count"], at, hook.CgroupAllowMulti); err != nil {
			t.Fatal(err)
		}
		syn := segmentOf(0x12, 2, 4, 5, 180)
		for i, step := range []func() error{
			func() error { return o.Received(segmentOf(0x12, 77, 4, 0, 0)) }, // belongs to Established
			func() error { return o.Established(syn) },
			func() error { return o.RTO(1, 2, true) },
			func() error { return o.Retransmit(1, 2, 3) },
			func() error { return o.RTT(1, 2) },
			func() error { return o.Received(segmentOf(0x10)) },
			func() error { return o.Received(segmentOf(0x10, 1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0)) },
			func() error { return o.Received(segmentOf(0x10, 1, 77, 3, 0)) },
			func() error { return o.Received(segmentOf(0x10, 254, 4, 0xf9, 0x89)) },
			func() error { return o.Received(segmentOf(0x10, 254, 4, 1, 2)) },
			func() error { return o.Received(segmentOf(0x10, 0, 77, 3, 0)) },
			func() error { return o.Received(segmentOf(0x10, 77, 9, 0, 0)) },
			func() error { _, _, err := o.Send(segmentOf(0x10)); return err },
			func() error { _, err := o.HeaderRoom(8); return err },
			func() error { return o.SetState(hook.TCPFinWait1) },
		} {
			if err := step(); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		var b []byte
		if err := coll.Maps["seen"].Lookup(uint32(0), &b); err != nil {
			t.Fatal(err)
		}
		want := func(op int, flag uint16, n uint32) {
			t.Helper()
			if flag != 0 && flags&flag == 0 {
				n = 0
			}
			if got := binary.NativeEndian.Uint32(b[4*op:]); got != n {
				t.Errorf("flags %#x: of op %d programs were told %#x, want %#x", flags, op, got, n)
			}
		}
		want(4, 0, 1)
		want(8, hook.SockOpsRTO, 1+1<<8)
		want(9, hook.SockOpsRetrans, 1+3<<8)
		want(10, hook.SockOpsState, 2)
		want(12, hook.SockOpsRTT, 1)
		want(14, hook.SockOpsWriteHeader, 2)
		parsed := uint32(0)
		if flags&hook.SockOpsParseAll != 0 {
			parsed = 7
		} else if flags&hook.SockOpsParseUnknown != 0 {
			parsed = 2
		}
		want(13, 0, parsed)
		s.Close()
	}
}

// TestSockOpsRefuses: what is no segment, and no connection.
func TestSockOpsRefuses(t *testing.T) {
	m, _ := setup(t, nil)
	g := hook.NewCgroup(m, nil)
	u, err := g.Socket("udp4")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := g.SockOps(u.Socket); err == nil || !strings.Contains(err.Error(), "TCP") {
		t.Errorf("a socket of UDP: %v", err)
	}
	s, err := g.Socket("tcp4")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o, err := g.SockOps(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	short := segmentOf(0)
	short[12] = 0x40
	for _, seg := range [][]byte{nil, make([]byte, 19), make([]byte, 20), segmentOf(0, 1, 1, 1, 1)[:23], short} {
		_, _, serr := o.Send(seg)
		_, _, rerr := o.Request(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2"), seg, false)
		_, aerr := o.Accept(nil, seg)
		for i, err := range []error{o.Received(seg), o.Established(seg), serr, rerr, aerr} {
			if number(err) != 22 {
				t.Errorf("%x, call %d: %v", seg, i, err)
			}
		}
	}
}

// Connections are put into a sockhash when they are there, and what one says the next hears.
func ExampleSockOps() {
	m, coll, done := sockOpsExample()
	defer done()
	g := hook.NewCgroup(m, nil)
	if err := g.Attach(coll.Programs["enter"], skep.AttachCGroupSockOps, 0); err != nil {
		fmt.Println(err)
	}
	h, err := hook.NewSockMap(m, coll.Maps["conns"])
	if err != nil {
		fmt.Println(err)
	}
	if err := h.Attach(coll.Programs["cross"], skep.AttachSkSKBVerdict); err != nil {
		fmt.Println(err)
	}
	var far []net.Conn
	for range 2 {
		near, peer := connected()
		far = append(far, peer)
		c, err := h.Serve(near, func(s *skep.Socket) error {
			o, err := g.SockOps(s)
			if err != nil {
				return err
			}
			return o.Established(segmentOf(0x12, 2, 4, 5, 180)) // SYN|ACK
		})
		if err != nil {
			fmt.Println(err)
		}
		defer c.Close()
	}
	fmt.Fprint(far[0], "hello")
	b := make([]byte, 5)
	io.ReadFull(far[1], b)
	fmt.Printf("%s\n", b)
	// Output: hello
}

// sockOpsExample loads programs: enter puts a connection into map conns under the count so far,
// cross sends what comes to the connection with number 1.
func sockOpsExample() (*skep.Machine, *skep.Collection, func()) {
	t := &testing.T{}
	img := testprog.Image(t, []*image.Map{
		{Name: "conns", Type: catalog.MapSockHash, KeySize: 4, ValueSize: 4, MaxEntries: 8},
		{Name: "count", Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}},
		sockOps("enter", `
			r6 = r1
			*(u32 *)(r10 - 4) = 0
			r2 = r10
			r2 += -4
			r1 = map_idx[1] ll
			call map_lookup_elem
			if r0 == 0 goto out
			r1 = *(u32 *)(r0 + 0)
			*(u32 *)(r10 - 4) = r1
			r1 += 1
			*(u32 *)(r0 + 0) = r1
			r1 = r6
			r2 = map_idx[0] ll
			r3 = r10
			r3 += -4
			r4 = 0
			call sock_hash_update
			out: r0 = 1
			exit`),
		testprog.Prog{Name: "cross", Type: catalog.ProgSkSKB, Attach: skep.AttachSkSKBVerdict, Text: `
			*(u32 *)(r10 - 4) = 1
			r2 = map_idx[0] ll
			r3 = r10
			r3 += -4
			r4 = 0
			call sk_redirect_hash
			exit`})
	m, err := skep.NewMachine(nil)
	if err != nil {
		panic(err)
	}
	coll, err := m.LoadCollection(img)
	if err != nil {
		panic(err)
	}
	return m, coll, func() { coll.Close(); m.Close() }
}

// connected is a connection of the loopback device's.
func connected() (near, far net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		panic(err)
	}
	if near, err = l.Accept(); err != nil {
		panic(err)
	}
	return near, far
}

// FuzzSockOpsSegment hands segments of any bytes to a connection whose program tries all helpers.
func FuzzSockOpsSegment(f *testing.F) {
	f.Add(segmentOf(0x12, 2, 4, 5, 180), []byte{253, 4, 0xeb, 0x9f})
	f.Add(segmentOf(0x10, 1, 77, 3, 0), []byte{77, 2})
	f.Add(segmentOf(0x10, 254, 4, 0xf9, 0x89), []byte{1, 2})
	f.Add([]byte{12: 0xf0, 60: 1}, []byte{0})
	helpers := ""
	for _, call := range []string{"reserve_hdr_opt", "store_hdr_opt", "load_hdr_opt"} {
		args := "r2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\n"
		if call == "reserve_hdr_opt" {
			args = "r2 = 8\nr3 = 0\n"
		}
		helpers += "r1 = *(u32 *)(r6 + 24)\nr2 = *(u32 *)(r6 + 28)\n*(u32 *)(r10 - 8) = r1\n*(u32 *)(r10 - 4) = r2\nr1 = r6\n" + args + "call " + call + "\n"
	}
	img := testprog.Image(f, nil, sockOps("all", "r6 = r1\nr2 = 127\ncall sock_ops_cb_flags_set\n"+helpers+"r0 = 1\nexit"))
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, Checked: engine.Checked, JIT: engine.JIT})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { m.Close() })
	coll, err := m.LoadCollection(img)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(coll.Close)
	g := hook.NewCgroup(m, nil)
	if err := g.Attach(coll.Programs["all"], skep.AttachCGroupSockOps, 0); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, segment, option []byte) {
		var addrs [8]byte // the option that programs store lies in the addresses
		copy(addrs[:], option)
		s, err := m.NewSocket(skep.SocketSpec{Protocol: skep.ProtoTCP, State: skep.SocketClose,
			Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte(addrs[:4])), 1), Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte(addrs[4:])), 2)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		o, err := g.SockOps(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Listen(); err != nil {
			t.Fatal(err)
		}
		s.State = hook.TCPEstablished
		out, _, err := o.Send(segment)
		if (err == nil) != (o.Received(segment) == nil) {
			t.Errorf("%x is sent: %v, but not received", segment, err)
		}
		if err == nil {
			if err := o.Received(out); err != nil || len(out) < len(segment) {
				t.Errorf("%x became %x: %v", segment, out, err)
			}
		}
		if req, _, err := o.Request(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2"), segment, true); err == nil {
			if conn, err := req.Accept(nil, segment); err == nil {
				conn.Socket().Close()
			}
		}
	})
}
