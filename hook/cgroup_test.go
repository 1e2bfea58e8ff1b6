package hook_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// seenSize is how much programs write down of what they see, in bytes, each
// at a place of its own in the only value of map 0.
const seenSize = 1024

var cgroupMaps = []*image.Map{{Name: "seen", Type: catalog.MapArray, KeySize: 4, ValueSize: seenSize, MaxEntries: 1}}

// number is the errno of an error, 0 of none.
func number(err error) int {
	var e skep.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int(e)
	}
	return -1
}

// TestCgroupHelpers: programs of calls with addresses find sockets, and those of their group.
func TestCgroupHelpers(t *testing.T) {
	const at = skep.AttachCGroupInet4Connect
	m, coll := setup(t, cgroupMaps,
		testprog.Prog{Name: "find", Type: catalog.ProgCGroupSockAddr, Attach: at, Text: `
*(u32 *)(r10 - 12) = 0x0200007f
*(u32 *)(r10 - 8) = 0x0100007f
*(u32 *)(r10 - 4) = 0x5000901f
r2 = r10
r2 += -12
r3 = 12
r4 = -1
r5 = 0
call sk_lookup_udp
if r0 == 0 goto none
r6 = *(u32 *)(r0 + 44)
r1 = r0
call sk_release
r1 = r6
r1 = -r1
call set_retval
none:
r0 = 1
exit`},
		testprog.Prog{Name: "group", Type: catalog.ProgCGroupSKB, Attach: skep.AttachCGroupInetIngress, Text: `
r6 = r1
call skb_cgroup_id
if r0 != 2 goto no
r1 = r6
r2 = 0
call skb_ancestor_cgroup_id
if r0 == 1 goto yes
no: r0 = 0
exit
yes: r0 = 1
exit`})
	g := hook.NewCgroup(m, hook.NewCgroup(m, nil))
	if err := g.Attach(coll.Programs["find"], at, 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Attach(coll.Programs["group"], skep.AttachCGroupInetIngress, 0); err != nil {
		t.Fatal(err)
	}
	s, err := g.Socket("udp4")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	to := netip.MustParseAddrPort("192.0.2.1:53")
	if got, err := s.Connect(to); err != nil || got != to {
		t.Errorf("without such a socket: %v %v", got, err)
	}
	other, err := m.NewSocket(skep.SocketSpec{Protocol: skep.ProtoUDP, Local: netip.MustParseAddrPort("127.0.0.1:80")})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := s.Connect(to); number(err) != 80 {
		t.Errorf("with one: %v", err)
	}
	for _, c := range []struct {
		s    *skep.Socket
		keep bool
	}{{s.Socket, true}, {other, false}, {nil, false}} {
		if v, err := g.Ingress(packet(), hook.Meta{}, c.s); err != nil || v.Keep != c.keep {
			t.Errorf("%+v, %v; want keep %v", v, err, c.keep)
		}
	}
}

// TestCgroupRefuses: what does not fit is told, and what was closed does not run.
func TestCgroupRefuses(t *testing.T) {
	const at = skep.AttachCGroupInet4Connect
	m, coll := setup(t, nil, xdp("x", "r0 = 2\nexit"),
		testprog.Prog{Name: "c", Type: catalog.ProgCGroupSockAddr, Attach: at, Text: "r0 = 1\nexit"},
		testprog.Prog{Name: "out", Type: catalog.ProgCGroupSKB, Attach: skep.AttachCGroupInetEgress, Text: "r0 = 3\nexit"})
	g := hook.NewCgroup(m, nil)
	for _, c := range []struct {
		prog  string
		at    skep.AttachType
		flags uint32
	}{{"x", at, 0}, {"c", skep.AttachCGroupInet4Bind, 0}, {"out", skep.AttachCGroupInetIngress, 0}, {"c", at, hook.CgroupAllowMulti | hook.CgroupAllowOverride}, {"c", at, 1 << 20}, {"c", at, 1 << 2}} {
		if err := g.Attach(coll.Programs[c.prog], c.at, c.flags); number(err) != 22 || !strings.Contains(err.Error(), c.prog) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := g.Socket("unix"); err == nil {
		t.Error("a socket of unix")
	}
	if err := g.Attach(coll.Programs["c"], at, 0); err != nil {
		t.Fatal(err)
	}
	if got := g.Effective(at); !slices.Equal(got, []*skep.Program{coll.Programs["c"]}) {
		t.Error(got)
	}
	s, err := g.Socket("tcp4")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Connect(netip.MustParseAddrPort("[::1]:80")); number(err) != 97 {
		t.Errorf("an address of IPv6: %v", err)
	}
	if _, err := s.Connect(netip.AddrPort{}); number(err) != 97 {
		t.Errorf("no address: %v", err)
	}
	six, err := g.Socket("udp6")
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	if _, _, err := six.Bind(netip.AddrPort{}); number(err) != 97 {
		t.Errorf("no address: %v", err)
	}
	if _, err := g.Ingress(make([]byte, 3), hook.Meta{}, nil); err != nil {
		t.Errorf("no programs look at it: %v", err)
	}
	if err := g.Attach(coll.Programs["out"], skep.AttachCGroupInetEgress, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Egress(make([]byte, 3), hook.Meta{}, nil); err == nil {
		t.Error("a packet without a link header")
	}
	coll.Programs["c"].Close()
	if _, err := s.Connect(netip.MustParseAddrPort("127.0.0.1:80")); err == nil {
		t.Error("a closed program runs")
	}
}
