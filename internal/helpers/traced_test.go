package helpers

import (
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// What is attached to a function asks for its arguments and its result.
func TestTracedFunction(t *testing.T) {
	e, _ := env(t)
	e.Traced = Traced{Args: 2, IP: 0x1000, Cookie: 7}
	ctx, out := newScratch(t, 24), newScratch(t, 8)
	for i, v := range []uint64{11, 12, 13} {
		mem.Store64(ctx.Addr()+8*uint64(i), v)
	}
	want(t, "get_func_ip", e.do(catalog.FnGetFuncIP, ctx.Addr()), 0x1000)
	want(t, "get_attach_cookie", e.do(catalog.FnGetAttachCookie, ctx.Addr()), 7)
	want(t, "get_func_arg_cnt", e.do(catalog.FnGetFuncArgCnt, ctx.Addr()), 2)
	want(t, "get_func_arg", e.do(catalog.FnGetFuncArg, ctx.Addr(), 1, out.Addr()), 0)
	want(t, "argument", mem.Load64(out.Addr()), 12)
	want(t, "argument too many", e.do(catalog.FnGetFuncArg, ctx.Addr(), 2, out.Addr()), errno.EINVAL.Ret())
	want(t, "result before it is there", e.do(catalog.FnGetFuncRet, ctx.Addr(), out.Addr()), errno.EOPNOTSUPP.Ret())
	e.Traced.Left = true
	want(t, "get_func_ret", e.do(catalog.FnGetFuncRet, ctx.Addr(), out.Addr()), 0)
	want(t, "result", mem.Load64(out.Addr()), 13)
}

// Samples with the packet that a function was given.
func TestPacketOutput(t *testing.T) {
	e, h := env(t)
	m := h.newMap(t, catalog.MapDef{Name: "perf", Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	buf, err := maps.NewPerfBuffer(1, 4096, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer buf.Close()
	if err := m.(*maps.PerfEventArray).Set(1, buf); err != nil {
		t.Fatal(err)
	}
	b := newScratch(t, 16)
	copy(b.Bytes(), "sample__")
	for _, id := range []catalog.HelperID{catalog.FnXDPOutput, catalog.FnSKBOutput} {
		send := func(flags uint64) uint64 { return e.do(id, 0, m.Def().Ptr, flags, b.Addr(), 8) }
		e.Pkt = nil
		want(t, "no packet", send(14<<32|1), errno.EFAULT.Ret())
		e.Pkt = h.newPacket(t)
		(&script{prog: xdp, pkt: tcp4}).setUp(e.Pkt)
		want(t, "packet", send(14<<32|1), 0)
		want(t, "packet and more", send(uint64(len(tcp4)+1)<<32|1), errno.EFAULT.Ret())
		want(t, "high flags", send(1<<52|1), errno.EINVAL.Ret())
		var rec maps.PerfRecord
		if !buf.Read(&rec) || len(rec.RawSample) < 8+14 || string(rec.RawSample[:8]) != "sample__" {
			t.Errorf("%v: sample %q", id, rec.RawSample)
		}
	}
}
