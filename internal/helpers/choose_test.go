package helpers

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
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

// TestMessages does to messages what sk_msg programs do; the hooks' tests ask the kernel.
func TestMessages(t *testing.T) {
	e, h := env(t)
	e.Pkt = h.newPacket(t)
	e.Prog = &Prog{Type: catalog.ProgSkMsg}
	conn := func(local, remote string) *socket.Socket {
		return h.newSocket(t, socket.Spec{Protocol: socket.TCP, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)})
	}
	s, listens := conn("127.0.0.1:1", "127.0.0.1:2"), h.newSocket(t, socket.Spec{Protocol: socket.TCP, Local: netip.MustParseAddrPort("127.0.0.1:3")})
	ctx := newScratch(t, packet.MessageSize).Addr()
	m, err := e.Pkt.SetMessage(ctx, []byte("abcdef"), s)
	if err != nil {
		t.Fatal(err)
	}
	e.Msg = &m
	sees := func(want string) {
		t.Helper()
		data, end := mem.Load64(ctx), mem.Load64(ctx+8)
		if got := string(mem.Bytes(data, int(end-data))); got != want || int(mem.Load32(ctx+68)) != len(e.Pkt.Bytes()) {
			t.Errorf("the program sees %q of %q, want %q", got, e.Pkt.Bytes(), want)
		}
	}
	einval := errno.EINVAL.Ret()
	sees("abcdef")
	want(t, "msg_pull_data", e.do(catalog.FnMsgPullData, ctx, 1, 3, 0), 0)
	sees("bc")
	want(t, "msg_pull_data beyond", e.do(catalog.FnMsgPullData, ctx, 1, 7, 0), einval)
	want(t, "msg_pull_data of nothing", e.do(catalog.FnMsgPullData, ctx, 1, 1, 0), einval)
	want(t, "msg_pull_data with flags", e.do(catalog.FnMsgPullData, ctx, 1, 3, 1), einval)
	want(t, "msg_push_data", e.do(catalog.FnMsgPushData, ctx, 2, 1, 0), 0)
	sees("ab\x00cdef")
	want(t, "msg_push_data of nothing", e.do(catalog.FnMsgPushData, ctx, 99, 0, 0), 0)
	want(t, "msg_push_data with flags", e.do(catalog.FnMsgPushData, ctx, 2, 1, 1), einval)
	want(t, "msg_pop_data", e.do(catalog.FnMsgPopData, ctx, 1, 3, 0), 0)
	sees("adef")
	want(t, "msg_pop_data of nothing", e.do(catalog.FnMsgPopData, ctx, 99, 0, 0), 0)
	want(t, "msg_pop_data with flags", e.do(catalog.FnMsgPopData, ctx, 1, 1, 1), einval)
	want(t, "msg_apply_bytes", e.do(catalog.FnMsgApplyBytes, ctx, 7), 0)
	want(t, "msg_cork_bytes", e.do(catalog.FnMsgCorkBytes, ctx, 8), 0)
	if m.Apply != 7 || m.Cork != 8 {
		t.Errorf("apply %d cork %d", m.Apply, m.Cork)
	}

	key := newScratch(t, 8).Addr()
	maps := map[catalog.MapType]uint64{}
	for _, typ := range []catalog.MapType{catalog.MapSockMap, catalog.MapSockHash} {
		sm := h.newMap(t, catalog.MapDef{Name: "s", Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 4})
		maps[typ] = sm.Def().Ptr
		for i, x := range []*socket.Socket{s, listens} {
			if err := sm.Update([]byte{byte(i), 0, 0, 0}, []byte{byte(x.Number), 0, 0, 0, 0, 0, 0, 0}, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, fn := range []catalog.HelperID{catalog.FnMsgRedirectMap, catalog.FnMsgRedirectHash, catalog.FnSkRedirectMap, catalog.FnSkRedirectHash} {
		typ, arg := catalog.MapSockMap, func(k uint32) uint64 { return uint64(k) }
		if fn == catalog.FnMsgRedirectHash || fn == catalog.FnSkRedirectHash {
			typ, arg = catalog.MapSockHash, func(k uint32) uint64 { mem.Store32(key, k); return key }
		}
		name := catalog.HelperByID(fn).Name
		e.Redirect = Redirect{}
		want(t, name+" to a listener", e.do(fn, ctx, maps[typ], arg(1), 0), 0)
		want(t, name+" to nobody", e.do(fn, ctx, maps[typ], arg(2), 0), 0)
		want(t, name+" with flags", e.do(fn, ctx, maps[typ], arg(0), 2), 0)
		if e.Redirect.Kind != RedirectNone {
			t.Errorf("%s: redirected", name)
		}
		want(t, name, e.do(fn, ctx, maps[typ], arg(0), 1), 1)
		if e.Redirect.Socket != s || e.Redirect.Flags != 1 {
			t.Errorf("%s: %+v", name, e.Redirect)
		}
	}
}

// TestSkStorage keeps a value with a socket; the hooks' tests ask the kernel.
func TestSkStorage(t *testing.T) {
	e, h := env(t)
	s, told := h.newSocket(t, udpAt("127.0.0.1:1")), newScratch(t, socket.SockSize)
	(*socket.Sock)(mem.Ptr(told.Addr())).State = socket.TCPClose
	key, value := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}, &btf.Int{Name: "u64", Size: 8}
	m := h.newMap(t, catalog.MapDef{Name: "s", Type: catalog.MapSkStorage, KeySize: 4, ValueSize: 8, Flags: catalog.FlagNoPrealloc, Key: key, Value: value}).Def().Ptr
	init := newScratch(t, 8)
	mem.Store64(init.Addr(), 77)
	want(t, "sk_storage_get", e.do(catalog.FnSkStorageGet, m, s.Addr(), 0, 0), 0)
	want(t, "sk_storage_get with wrong flags", e.do(catalog.FnSkStorageGet, m, s.Addr(), 0, 2), 0)
	want(t, "sk_storage_get of no socket", e.do(catalog.FnSkStorageGet, m, 0, 0, 1), 0)
	want(t, "sk_storage_get of one told of", e.do(catalog.FnSkStorageGet, m, told.Addr(), 0, 1), 0)
	at := e.do(catalog.FnSkStorageGet, m, s.Addr(), init.Addr(), 1)
	if at == 0 || mem.Load64(at) != 77 || e.do(catalog.FnSkStorageGet, m, s.Addr(), 0, 0) != at {
		t.Errorf("a value at %#x", at)
	}
	want(t, "sk_storage_delete", e.do(catalog.FnSkStorageDelete, m, s.Addr()), 0)
	want(t, "sk_storage_delete again", e.do(catalog.FnSkStorageDelete, m, s.Addr()), errno.ENOENT.Ret())
	want(t, "sk_storage_delete of no socket", e.do(catalog.FnSkStorageDelete, m, 0), errno.EINVAL.Ret())
	want(t, "sk_storage_delete of one told of", e.do(catalog.FnSkStorageDelete, m, told.Addr()), errno.ENOENT.Ret())
	if at := e.do(catalog.FnSkStorageGet, m, s.Addr(), 0, 1); mem.Load64(at) != 0 {
		t.Error("a new value is not zero")
	}
}

// TestLocalStorage: a run by hand has storages of its own, another the ones of its place.
func TestLocalStorage(t *testing.T) {
	e, h := env(t)
	for _, typ := range []catalog.MapType{catalog.MapCGroupStorage, catalog.MapPerCPUCGroupStorage} {
		m := h.newMap(t, catalog.MapDef{Name: "s", Type: typ, KeySize: 16, ValueSize: 12})
		p := m.Def().Ptr
		own := e.do(catalog.FnGetLocalStorage, p, 0)
		mem.Store64(own, 77)
		want(t, "get_local_storage once more", e.do(catalog.FnGetLocalStorage, p, 0), own)
		e.Enter(maps.GroupPlace{})
		want(t, "what the run before left", mem.Load64(e.do(catalog.FnGetLocalStorage, p, 0)), 0)
		place := maps.GroupPlace{Group: 5, Attach: 1}
		if e := m.(interface {
			Place(maps.GroupPlace) errno.Errno
		}).Place(place); e != 0 {
			t.Fatal(e)
		}
		e.Enter(place)
		mem.Store64(e.do(catalog.FnGetLocalStorage, p, 0), 78)
		value := make([]byte, m.ValueSize())
		if err := m.Lookup([]byte{5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, value, 0); err != nil {
			t.Fatal(err)
		}
		at := 0
		if m.Def().PerCPU() {
			at = e.CPU * m.Def().Stride()
		}
		if value[at] != 78 {
			t.Errorf("%s: user space finds % x", typ, value)
		}
		e.Enter(maps.GroupPlace{})
	}
}
