package helpers

import (
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// udpAt is a bound socket.
func udpAt(addr string) socket.Spec {
	return socket.Spec{Protocol: socket.UDP, Local: netip.MustParseAddrPort(addr)}
}

// What is chosen, and what cannot be. The hooks' tests ask the kernel.
func TestChooseSocket(t *testing.T) {
	e, h := env(t)
	e.Pkt = h.newPacket(t)
	e.Prog = &Prog{Type: catalog.ProgSkReuseport}
	key := newScratch(t, 8).Addr()
	a, b := h.newSocket(t, udpAt("127.0.0.1:1")), h.newSocket(t, udpAt("127.0.0.1:2"))
	var mine, other socket.Group
	mine.Add(a)
	other.Add(b)
	m := h.newMap(t, catalog.MapDef{Name: "s", Type: catalog.MapReuseportSockarray, KeySize: 4, ValueSize: 4, MaxEntries: 3})
	for i, s := range []*socket.Socket{a, b} {
		if err := m.Update([]byte{byte(i), 0, 0, 0}, []byte{byte(s.Number), 0, 0, 0}, 0); err != nil {
			t.Fatal(err)
		}
	}
	e.Choice = &socket.Choice{Group: &mine, Own: a}
	want(t, "sk_select_reuseport", e.do(catalog.FnSkSelectReuseport, 0, m.Def().Ptr, key), 0)
	if e.Choice.Selected != a {
		t.Error("nobody is selected")
	}
	mem.Store32(key, 1)
	want(t, "sk_select_reuseport in another group", e.do(catalog.FnSkSelectReuseport, 0, m.Def().Ptr, key), errno.EBADFD.Ret())
	mem.Store32(key, 2)
	want(t, "sk_select_reuseport of nothing", e.do(catalog.FnSkSelectReuseport, 0, m.Def().Ptr, key), errno.ENOENT.Ret())
	want(t, "get_socket_cookie of a socket", e.do(catalog.FnGetSocketCookie, a.Addr()), a.Cookie)

	ctx := newScratch(t, 72).Addr()
	e.Prog = &Prog{Type: catalog.ProgSkLookup}
	e.Choice = &socket.Choice{Family: socket.AFInet, Protocol: socket.UDP}
	want(t, "sk_assign", e.do(catalog.FnSkAssign, ctx, a.Addr(), 0), 0)
	want(t, "the context's socket", mem.Load64(ctx), a.Addr())
	want(t, "sk_assign again", e.do(catalog.FnSkAssign, ctx, b.Addr(), 0), errno.EEXIST.Ret())
	want(t, "sk_assign instead", e.do(catalog.FnSkAssign, ctx, b.Addr(), socket.LookupReplace), 0)
	want(t, "sk_assign of nothing", e.do(catalog.FnSkAssign, ctx, 0, socket.LookupReplace), 0)
	want(t, "the context's socket", mem.Load64(ctx), 0)

	e.Prog = &Prog{Type: catalog.ProgSchedCls}
	frame := make([]byte, 60)
	for _, ingress := range []bool{true, false} {
		if err := e.Pkt.SetSKB(frame, packet.SKBOptions{L2: true, AtIngress: ingress}); err != nil {
			t.Fatal(err)
		}
		no := errno.EOPNOTSUPP.Ret()
		if ingress {
			no = 0
		}
		want(t, "sk_assign of tc", e.do(catalog.FnSkAssign, e.Pkt.Addr(), a.Addr(), 0), no)
		want(t, "sk_assign of tc with flags", e.do(catalog.FnSkAssign, e.Pkt.Addr(), a.Addr(), 1), errno.EINVAL.Ret())
		if got := e.Pkt.Sock; (got == a.Addr()) != ingress {
			t.Errorf("the packet's socket is %#x", got)
		}
	}
}
