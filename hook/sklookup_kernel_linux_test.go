package hook_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
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

// lookupPeek writes down what it sees in map 0, and assigns the socket of map 1 that
// the remote port's low byte names, with the high byte's low bits for flags, as often
// as the local port's low byte says. It returns the local port's next bit.
const lookupPeek = `
r6 = r1
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto pass
r9 = r0
r1 = *(u32 *)(r6 + 8)
*(u32 *)(r9 + 0) = r1
r1 = *(u32 *)(r6 + 12)
*(u32 *)(r9 + 4) = r1
r1 = *(u32 *)(r6 + 16)
*(u32 *)(r9 + 8) = r1
r1 = *(u32 *)(r6 + 20)
*(u32 *)(r9 + 12) = r1
r1 = *(u32 *)(r6 + 32)
*(u32 *)(r9 + 16) = r1
r1 = *(u16 *)(r6 + 36)
*(u32 *)(r9 + 20) = r1
r1 = *(u32 *)(r6 + 36)
*(u32 *)(r9 + 24) = r1
r1 = *(u32 *)(r6 + 40)
*(u32 *)(r9 + 28) = r1
r1 = *(u32 *)(r6 + 44)
*(u32 *)(r9 + 32) = r1
r1 = *(u32 *)(r6 + 56)
*(u32 *)(r9 + 36) = r1
r1 = *(u32 *)(r6 + 60)
*(u32 *)(r9 + 40) = r1
r1 = *(u32 *)(r6 + 64)
*(u32 *)(r9 + 44) = r1
r1 = *(u8 *)(r6 + 37)
*(u32 *)(r10 - 4) = r1
r2 = r10
r2 += -4
r1 = map_idx[1] ll
call map_lookup_elem
r7 = r0
if r7 == 0 goto look
look:
r8 = *(u8 *)(r6 + 36)
*(u32 *)(r9 + 48) = 0
*(u32 *)(r9 + 52) = 0
*(u32 *)(r9 + 56) = 0
r1 = *(u8 *)(r6 + 60)
if r1 == 0 goto out
r1 = r6
r2 = r7
r3 = r8
call sk_assign
*(u32 *)(r9 + 48) = r0
r1 = *(u8 *)(r6 + 60)
if r1 == 1 goto seen
r1 = r6
r2 = r7
r3 = r8
call sk_assign
*(u32 *)(r9 + 52) = r0
r1 = *(u8 *)(r6 + 60)
if r1 == 2 goto seen
r1 = r6
r2 = 0
r3 = r8
call sk_assign
*(u32 *)(r9 + 56) = r0
seen:
r1 = 0
r2 = *(u64 *)(r6 + 0)
if r2 == 0 goto mark
r1 = *(u32 *)(r2 + 44)
mark:
*(u32 *)(r9 + 60) = r1
out:
if r7 == 0 goto verdict
r1 = r7
call sk_release
verdict:
r0 = *(u8 *)(r6 + 61)
r0 &= 1
exit
pass:
r0 = 1
exit`

// TestSkLookupAgainstKernel has test runs of the kernel's and ours choose among like sockets.
func TestSkLookupAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	maps := []*image.Map{
		{Name: "seen", Type: catalog.MapArray, KeySize: 4, ValueSize: 64, MaxEntries: 1},
		{Name: "socks", Type: catalog.MapSockMap, KeySize: 4, ValueSize: 8, MaxEntries: 16},
	}
	p := testprog.Prog{Name: "p", Type: catalog.ProgSkLookup, Attach: catalog.AttachSkLookup, Text: lookupPeek}
	kprog, kmaps := kernelProg(t, testprog.Image(t, maps, p), "p")
	m, coll := setup(t, maps, p)

	at4, at6 := netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")
	n := 0
	put := func(fd int, spec skep.SocketSpec) {
		t.Helper()
		s, err := m.NewSocket(spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if s.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
			t.Fatal(err)
		}
		key := binary.NativeEndian.AppendUint32(nil, uint32(n))
		if err := errors.Join(kmaps[1].Update(key, binary.NativeEndian.AppendUint64(nil, uint64(fd)), 0), coll.Maps["socks"].Put(uint32(n), s)); err != nil {
			t.Fatalf("socket %d: %v", n, err)
		}
		n++
	}
	for _, typ := range []struct {
		sock  int
		proto uint8
	}{{unix.SOCK_DGRAM, skep.ProtoUDP}, {unix.SOCK_STREAM, skep.ProtoTCP}} {
		for _, at := range []netip.AddrPort{at4, at6, netip.MustParseAddrPort("[::]:0")} {
			fd, local := kernelSock(t, typ.sock, at)
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0); err != nil {
				t.Fatal(err)
			}
			put(fd, skep.SocketSpec{Protocol: typ.proto, Local: local})
		}
		fd, local := kernelSock(t, typ.sock, at4)
		put(fd, skep.SocketSpec{Protocol: typ.proto, Local: local, Reuseport: true})
		peer, err := unix.Socket(unix.AF_INET, typ.sock|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(peer) })
		if err := unix.Connect(peer, &unix.SockaddrInet4{Addr: local.Addr().As4(), Port: int(local.Port())}); err != nil {
			t.Fatal(err)
		}
		got, _ := unix.Getsockname(peer)
		own := netip.AddrPortFrom(at4.Addr(), uint16(got.(*unix.SockaddrInet4).Port))
		put(peer, skep.SocketSpec{Protocol: typ.proto, Local: own, Remote: local})
	}

	zero := make([]byte, 4)
	compare := func(what string, ctx []byte) {
		t.Helper()
		kout, kerr := kprog.TestRun(&linux.Run{Ctx: bytes.Clone(ctx)})
		out := make([]byte, len(ctx))
		ret, err := coll.Programs["p"].Run(&skep.RunOptions{Context: ctx, ContextOut: out})
		var e, ke skep.Errno
		errors.As(err, &e)
		errors.As(kerr, &ke)
		switch {
		case e != ke, err == nil && (ret != kout.Ret || !bytes.Equal(out[:72], kout.Ctx[:72])):
			t.Errorf("%s: %d %x %v, kernel says %+v %v", what, ret, out, err, kout, kerr)
			return
		case err != nil:
			return
		}
		kernelSaw, weSaw := make([]byte, 64), make([]byte, 64)
		if err := errors.Join(kmaps[0].Lookup(zero, kernelSaw, 0), coll.Maps["seen"].Lookup(uint32(0), &weSaw)); err != nil {
			t.Fatal(err)
		}
		if binary.NativeEndian.Uint32(kernelSaw[60:]) != 0 {
			clear(kernelSaw[60:]) // whose port differs
			if binary.NativeEndian.Uint32(weSaw[60:]) == 0 {
				t.Errorf("%s: no socket in the context afterwards", what)
			}
			clear(weSaw[60:])
		}
		if !bytes.Equal(kernelSaw, weSaw) {
			t.Errorf("%s:\nours   %x\nkernel %x", what, weSaw, kernelSaw)
		}
	}
	context := func(family, proto uint32, key, flags byte, localPort uint32) []byte {
		b := make([]byte, 72)
		binary.NativeEndian.PutUint32(b[8:], family)
		binary.NativeEndian.PutUint32(b[12:], proto)
		for i := 16; i < 36; i++ {
			b[i] = byte(i)
		}
		b[36], b[37] = flags, key
		for i := 40; i < 60; i++ {
			b[i] = byte(i)
		}
		binary.NativeEndian.PutUint32(b[60:], localPort)
		return b
	}
	for _, family := range []uint32{unix.AF_INET, unix.AF_INET6} {
		for _, proto := range []uint32{unix.IPPROTO_UDP, unix.IPPROTO_TCP, 132} {
			for key := range byte(n + 1) {
				for flags := range byte(5) {
					for port := range uint32(4) {
						for _, verdict := range []uint32{0, 1 << 8} {
							compare(fmt.Sprint("family ", family, " protocol ", proto, " socket ", key, " flags ", flags, " times ", port, " verdict ", verdict),
								context(family, proto, key, flags, port|verdict))
						}
					}
				}
			}
		}
	}
	good := context(unix.AF_INET, unix.IPPROTO_UDP, 0, 0, 1)
	for off := range 72 {
		bad := bytes.Clone(good)
		bad[off] ^= 0xff
		if off >= 36 && off < 38 {
			continue
		}
		compare(fmt.Sprint("byte ", off), bad)
	}
	compare("longer, zero", append(bytes.Clone(good), 0, 0, 0))
	compare("longer", append(bytes.Clone(good), 0, 1, 0))
	compare("family 1", context(1, unix.IPPROTO_UDP, 0, 0, 1))
}

// TestSkLookupOrder: programs in order, the last one that chooses and passes decides.
func TestSkLookupOrder(t *testing.T) {
	assign := func(name, key, flags, verdict string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgSkLookup, Attach: catalog.AttachSkLookup, Text: `
r6 = r1
*(u32 *)(r10 - 4) = ` + key + `
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto out
r7 = r0
r1 = r6
r2 = r7
r3 = ` + flags + `
call sk_assign
r1 = r7
call sk_release
out:
r0 = ` + verdict + `
exit`}
	}
	ret := func(name, r0 string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgSkLookup, Attach: catalog.AttachSkLookup, Text: "r0 = " + r0 + "\nexit"}
	}
	maps := []*image.Map{{Name: "socks", Type: catalog.MapSockMap, KeySize: 4, ValueSize: 8, MaxEntries: 2}}
	m, coll := setup(t, maps, assign("a", "0", "0", "1"), assign("b", "1", "1", "1"), assign("c", "1", "1", "0"),
		assign("d", "0", "2", "1"), ret("pass", "1"), ret("drop", "0"), xdp("x", "r0 = 2\nexit"))
	local := netip.MustParseAddrPort("192.0.2.1:53")
	g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Network: "udp", Local: local})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var workers []*hook.ReuseportConn
	for i := range 2 {
		w, err := g.ListenPacket()
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
		if err := coll.Maps["socks"].Put(uint32(i), w.Socket()); err != nil {
			t.Fatal(err)
		}
	}
	a, b := workers[0].Socket(), workers[1].Socket()
	from := netip.MustParseAddrPort("198.51.100.1:999")
	for _, c := range []struct {
		progs       []string
		pass        bool
		to          *skep.Socket
		noReuseport bool
	}{
		{nil, true, nil, false},
		{[]string{"pass"}, true, nil, false},
		{[]string{"pass", "drop", "pass"}, false, nil, false},
		{[]string{"a"}, true, a, false},
		{[]string{"a", "drop"}, true, a, false},
		{[]string{"drop", "a"}, true, a, false},
		{[]string{"a", "b"}, true, b, false},
		{[]string{"b", "a"}, true, b, false}, // without REPLACE the second may not
		{[]string{"a", "c"}, true, a, false}, // who drops has not chosen
		{[]string{"c"}, false, nil, false},
		{[]string{"c", "pass"}, true, b, false}, // but what it assigned is there for the next
		{[]string{"d"}, true, a, true},
	} {
		h := hook.NewSkLookup(m)
		var links []*hook.SkLookupLink
		for _, name := range c.progs {
			l, err := h.Attach(coll.Programs[name])
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, l)
		}
		r, err := h.Lookup(skep.ProtoUDP, from, local, hook.Meta{})
		if err != nil || r.Pass != c.pass || r.Socket != c.to || r.NoReuseport != c.noReuseport {
			t.Errorf("%v: %+v, %v; want %+v", c.progs, r, err, c)
		}
		to, err := h.Deliver(from, local, []byte("x"), hook.Meta{})
		switch {
		case !c.pass && !errors.Is(err, hook.ErrRefused), c.pass && err != nil, c.pass && (to != nil) != (c.to != nil), c.noReuseport && to != c.to:
			t.Errorf("%v: delivered to %v: %v", c.progs, to, err)
		}
		if len(links) > 1 && c.to == b {
			if err := links[1].Update(coll.Programs["pass"]); err != nil {
				t.Fatal(err)
			}
			links[0].Close()
			if r, err := h.Lookup(skep.ProtoUDP, from, local, hook.Meta{}); err != nil || r.Socket != nil {
				t.Errorf("%v, changed: %+v %v", c.progs, r, err)
			}
			if err := links[0].Update(coll.Programs["pass"]); err == nil {
				t.Error("a closed link is updated")
			}
		}
	}
	h := hook.NewSkLookup(m)
	if _, err := h.Attach(coll.Programs["x"]); err == nil {
		t.Error("an XDP program is attached")
	}
	for range 64 {
		if _, err := h.Attach(coll.Programs["pass"]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Attach(coll.Programs["pass"]); !errors.Is(err, skep.Errno(7)) {
		t.Errorf("a program too many: %v", err)
	}
}
