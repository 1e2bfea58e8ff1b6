package helpers

import (
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// What programs do to a connection; the hook's tests ask the kernel.
func TestSockOps(t *testing.T) {
	e, h := env(t)
	e.Pkt = h.newPacket(t)
	e.Prog = &Prog{Type: catalog.ProgSockOps}
	s := h.newSocket(t, socket.Spec{Protocol: socket.TCP, Local: netip.MustParseAddrPort("127.0.0.1:1"), Remote: netip.MustParseAddrPort("127.0.0.1:2")})
	o := SockOps{Socket: s, Op: OpHdrLen, Remaining: 8}
	e.Ops = &o
	room := newScratch(t, 512)
	ctx, opt := room.Addr(), room.Addr()+256
	perm, inval, nospc, nomsg := errno.EPERM.Ret(), errno.EINVAL.Ret(), errno.ENOSPC.Ret(), errno.ENOMSG.Ret()
	put := func(b ...byte) uint64 { clear(room.Bytes()[256:]); copy(room.Bytes()[256:], b); return opt }
	store := func(what string, ret uint64, b ...byte) {
		t.Helper()
		want(t, what, e.do(catalog.FnStoreHdrOpt, ctx, put(b...), uint64(len(b)), 0), ret)
	}
	load := func(what string, ret, flags uint64, b ...byte) {
		t.Helper()
		want(t, what, e.do(catalog.FnLoadHdrOpt, ctx, put(b...), uint64(len(b)), flags), ret)
	}
	want(t, "get_socket_cookie", e.do(catalog.FnGetSocketCookie, ctx), s.Cookie)
	want(t, "flags", e.do(catalog.FnSockOpsCbFlagsSet, ctx, 0x185), 0x180)
	want(t, "the context's", uint64(mem.Load32(ctx+OpsFlags)), 5)
	want(t, "reserve", e.do(catalog.FnReserveHdrOpt, ctx, 6, 0), 0)
	want(t, "reserve too much", e.do(catalog.FnReserveHdrOpt, ctx, 3, 0), nospc)
	want(t, "reserve one", e.do(catalog.FnReserveHdrOpt, ctx, 1, 0), inval)
	want(t, "reserve with flags", e.do(catalog.FnReserveHdrOpt, ctx, 2, 1), inval)
	store("store before", perm, 77, 2)
	load("load before", perm, 0, 77, 0)

	// A header of 32 bytes, of which 8 are still free, with two options.
	head := make([]byte, 32)
	copy(head[20:], []byte{1, 77, 3})
	if err := e.Pkt.SetStream(head, s); err != nil {
		t.Fatal(err)
	}
	e.Pkt.DataEnd = e.Pkt.Data + 24
	mem.Store64(ctx+OpsData, e.Pkt.Data)
	mem.Store64(ctx+OpsDataEnd, e.Pkt.DataEnd)
	o.Op, o.Remaining = OpWriteHdr, 8
	want(t, "reserve late", e.do(catalog.FnReserveHdrOpt, ctx, 2, 0), perm)
	store("store what is there", errno.EEXIST.Ret(), 77, 2)
	store("store longer than given", inval, 78, 3)
	store("store an end", inval, 0, 2)
	store("store an experiment without magic", inval, 253, 3, 0)
	store("store too much", nospc, 78, 9, 0, 0, 0, 0, 0, 0, 0)
	store("store an experiment", 0, 253, 4, 1, 2)
	store("store it again", errno.EEXIST.Ret(), 253, 4, 1, 2)
	store("store another", 0, 253, 4, 1, 3)
	load("load", 4, 0, 253, 4, 1, 3, 0, 0)
	if b := room.Bytes()[256:260]; string(b) != "\xfd\x04\x01\x03" || e.Pkt.DataEnd != e.Pkt.Data+32 || o.Remaining != 0 {
		t.Errorf("loaded % x; %d bytes are seen, %d remain", b, e.Pkt.DataEnd-e.Pkt.Data, o.Remaining)
	}
	load("load by longer magic", nomsg, 0, 253, 6, 1, 3, 0, 0)
	load("load into less room", nospc, 0, 77, 0)
	load("load with a length", inval, 0, 77, 2)
	load("load a nop", inval, 0, 1, 0)
	load("load of a SYN", errno.ENOENT.Ret(), 1, 77, 0, 0)
	o.Syn = append(make([]byte, 20), 77, 3, 5, 9, 9)
	load("load of a SYN", 3, 1, 77, 0, 0)
	load("load what is broken", errno.EFAULT.Ret(), 1, 78, 0, 0)
	load("load with other flags", inval, 2, 77, 0)
	o.Syn = append(make([]byte, 20), 0, 77, 3, 5)
	load("load behind the end", nomsg, 1, 77, 0, 0)
	mem.Bytes(e.Pkt.Data+20, 1)[0] = optEnd
	o.Remaining = 4
	store("store behind the end", nospc, 80, 2)

	sm := h.newMap(t, catalog.MapDef{Name: "m", Type: catalog.MapSockMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	sh := h.newMap(t, catalog.MapDef{Name: "h", Type: catalog.MapSockHash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	for _, op := range []uint32{OpConnect, OpActiveEstablished} {
		ret := errno.EOPNOTSUPP.Ret()
		if o.Op = op; op == OpActiveEstablished {
			ret = 0
		}
		want(t, "sock_map_update", e.do(catalog.FnSockMapUpdate, ctx, sm.Def().Ptr, put(0, 0, 0, 0), 0), ret)
		want(t, "sock_hash_update", e.do(catalog.FnSockHashUpdate, ctx, sh.Def().Ptr, put(5, 0, 0, 0), 0), ret)
	}
	const solTCP, nodelay, cwnd, syn = 6, 1, 1001, 1005
	get := func(what string, name, n, ret uint64, value uint32) {
		t.Helper()
		put(0xff, 0xff, 0xff, 0xff)
		want(t, what, e.do(catalog.FnGetsockopt, ctx, solTCP, name, opt, n), ret)
		want(t, what+": value", uint64(mem.Load32(opt)), uint64(value))
	}
	want(t, "setsockopt", e.do(catalog.FnSetsockopt, ctx, solTCP, nodelay, put(9, 0, 0, 0), 4), 0)
	get("getsockopt", nodelay, 4, 0, 1)
	get("getsockopt of three bytes", nodelay, 3, inval, 0xff000000)
	want(t, "setsockopt of what there is not", e.do(catalog.FnSetsockopt, ctx, solTCP, 9999, opt, 4), inval)
	want(t, "the initial window", e.do(catalog.FnSetsockopt, ctx, solTCP, cwnd, put(7, 0, 0, 0), 4), 0)
	want(t, "the context's window", uint64(mem.Load32(ctx+OpsCwnd)), 7)
	want(t, "flags as an option", e.do(catalog.FnSetsockopt, ctx, solTCP, 1008, put(3, 0, 0, 0), 4), 0)
	want(t, "the context's flags", uint64(mem.Load32(ctx+OpsFlags)), 3)
	o.Syn = []byte{1, 2, 3, 4, 5, 6}
	get("the SYN", syn, 6, 6, 0x04030201)
	get("the SYN in less room", syn, 4, nospc, 0x04030201)
	get("headers before the SYN", syn+1, 6, errno.ENOENT.Ret(), 0xffffffff)
	e.Prog = &Prog{Type: catalog.ProgCGroupSockopt}
	want(t, "setsockopt of a socket", e.do(catalog.FnSetsockopt, s.Addr(), solTCP, nodelay, put(0, 0, 0, 0), 4), 0)
	want(t, "getsockopt of a socket", e.do(catalog.FnGetsockopt, s.Addr(), solTCP, nodelay, opt, 4), 0)
	told := newScratch(t, socket.SockSize) // a socket of a network that is only told of
	want(t, "setsockopt of another", e.do(catalog.FnSetsockopt, told.Addr(), solTCP, nodelay, opt, 4), inval)
	want(t, "getsockopt of another", e.do(catalog.FnGetsockopt, told.Addr(), solTCP, nodelay, opt, 4), inval)
	e.Prog = &Prog{Type: catalog.ProgSockOps}
	s.State = socket.TCPTimeWait
	want(t, "flags of no full socket", e.do(catalog.FnSockOpsCbFlagsSet, ctx, 1), inval)
}
