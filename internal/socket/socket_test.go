package socket

import (
	"net"
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/errno"
)

func sock(t *testing.T, spec Spec) *Socket {
	t.Helper()
	s, err := New(spec, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var local, remote = netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:99")

// TestStates: what a socket is follows from its addresses.
func TestStates(t *testing.T) {
	for _, c := range []struct {
		spec            Spec
		state           uint32
		hashed, rcuFree bool
		v6only          bool
	}{
		{Spec{Protocol: TCP, Local: local}, TCPListen, true, true, false},
		{Spec{Protocol: TCP, Local: local, Remote: remote}, TCPEstablished, true, false, false},
		{Spec{Protocol: TCP}, TCPClose, false, false, false},
		{Spec{Protocol: TCP, Local: local, State: TCPClose}, TCPClose, false, false, false},
		{Spec{Protocol: UDP, Local: local}, TCPClose, true, true, false},
		{Spec{Protocol: UDP, Local: local, Remote: remote}, TCPEstablished, true, true, false},
		{Spec{Protocol: UDP}, TCPClose, false, false, false},
		{Spec{Protocol: UDP, Local: netip.MustParseAddrPort("[::]:53")}, TCPClose, true, true, false},
		{Spec{Protocol: UDP, Local: netip.MustParseAddrPort("[::1]:53")}, TCPClose, true, true, true},
	} {
		s := sock(t, c.spec)
		if s.State != c.state || s.Flags&Hashed != 0 != c.hashed || s.RCUFree() != c.rcuFree || s.Flags&V6Only != 0 != c.v6only {
			t.Errorf("%+v: state %d flags %#x", c.spec, s.State, s.Flags)
		}
	}
}

// TestGroup: the last member takes the place of one that leaves, hashes fall on all alike.
func TestGroup(t *testing.T) {
	var g Group
	var socks []*Socket
	for range 4 {
		s := sock(t, Spec{Protocol: UDP, Local: local})
		if !g.Add(s) || g.Add(s) || new(Group).Add(s) {
			t.Fatal("a socket is in one group, once")
		}
		socks = append(socks, s)
	}
	for i, s := range socks {
		if got := g.ByHash(uint32(i)<<30 + 5); got != s {
			t.Errorf("hash %d falls elsewhere", i)
		}
	}
	socks[1].State = TCPEstablished // connected ones get nothing by hash
	if g.ByHash(1<<30) != socks[2] {
		t.Error("a connected socket is chosen")
	}
	socks[1].Close()
	if got := g.Socks(); len(got) != 3 || got[1] != socks[3] || socks[1].Group() != nil || g.Add(socks[1]) {
		t.Errorf("%d members left", len(got))
	}
	for _, s := range socks {
		s.Close()
	}
	if g.ByHash(7) != nil {
		t.Error("an empty group has a member")
	}
}

// TestTable: numbers are for one table, and for sockets that are open.
func TestTable(t *testing.T) {
	var a, b Table
	s := sock(t, Spec{Protocol: UDP, Local: local})
	n := a.Number(s)
	if n == 0 || a.Number(s) != n || b.Number(s) != 0 || a.Get(n) != s || a.At(s.Addr()) != s || a.At(0) != nil {
		t.Errorf("number %d", n)
	}
	told := sock(t, Spec{Protocol: UDP, Local: local})
	if a.At(told.Addr()) != nil {
		t.Error("a socket without number is found")
	}
	dropped := 0
	if !s.Hold("map", func() { dropped++ }) || !s.Hold("other", func() { dropped += 10 }) {
		t.Fatal("not held")
	}
	s.Forget("other")
	s.Close()
	s.Close()
	if dropped != 1 || a.Get(n) != nil || a.Number(s) != 0 || s.Hold("map", func() {}) {
		t.Errorf("dropped %d, number %d", dropped, a.Number(s))
	}
}

// TestClaim: one alone has the place for data of its own.
func TestClaim(t *testing.T) {
	s := sock(t, Spec{Protocol: UDP, Local: local})
	if s.Claim("a") != 0 || s.Claim("a") != 0 || s.Claim("b") != errno.EBUSY {
		t.Error("claimed twice")
	}
	s.Unclaim("b")
	if s.User() != "a" {
		t.Errorf("it is %v's", s.User())
	}
	s.Unclaim("a")
	if s.Claim("b") != 0 {
		t.Error("not given back")
	}
}

// TestSpecOf tells Go's connections apart.
func TestSpecOf(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range []struct {
		conn   any
		proto  uint8
		remote bool
	}{{pc, UDP, false}, {ln, TCP, false}, {conn, TCP, true}} {
		s, err := SpecOf(c.conn)
		if err != nil || s.Protocol != c.proto || s.Remote.IsValid() != c.remote || !s.Local.Addr().Is4() || s.Local.Port() == 0 {
			t.Errorf("%T: %+v %v", c.conn, s, err)
		}
	}
	pipe, _ := net.Pipe()
	for _, bad := range []any{nil, 7, pipe, &net.TCPConn{}} {
		if _, err := SpecOf(bad); err == nil {
			t.Errorf("%T is taken", bad)
		}
	}
}
