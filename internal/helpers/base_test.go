package helpers

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// env returns an Env of a host whose own memory, from newScratch, can be probed.
func env(t *testing.T) (*Env, *testHost) {
	t.Helper()
	h := newTestHost(t)
	e := &Env{Host: h, CPU: 1, Prog: &Prog{Name: "test", Type: catalog.ProgSchedCls}}
	t.Cleanup(e.Close)
	return e, h
}

// do calls a helper.
func (e *Env) do(id catalog.HelperID, args ...uint64) uint64 {
	var r [5]uint64
	copy(r[:], args)
	return Lookup(id)(e, r[0], r[1], r[2], r[3], r[4])
}

func want(t *testing.T, what string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %d (%#x), want %d (%#x)", what, int64(got), got, int64(want), want)
	}
}

func TestFactsOfTheHost(t *testing.T) {
	e, h := env(t)
	want(t, "ktime_get_ns", e.do(catalog.FnKtimeGetNs), h.Monotonic())
	want(t, "ktime_get_boot_ns", e.do(catalog.FnKtimeGetBootNs), h.Boot())
	want(t, "ktime_get_tai_ns", e.do(catalog.FnKtimeGetTaiNs), h.TAI())
	want(t, "ktime_get_coarse_ns", e.do(catalog.FnKtimeGetCoarseNs), 1_234_000_000)
	want(t, "jiffies64", e.do(catalog.FnJiffies64), h.Jiffies())
	want(t, "get_prandom_u32", e.do(catalog.FnGetPrandomU32), 4)
	want(t, "get_smp_processor_id", e.do(catalog.FnGetSmpProcessorID), 1)
	want(t, "get_numa_node_id", e.do(catalog.FnGetNumaNodeID), 0)
	want(t, "get_current_pid_tgid", e.do(catalog.FnGetCurrentPidTgid), 5<<32|7)
	want(t, "get_current_uid_gid", e.do(catalog.FnGetCurrentUidGid), 100<<32|1000)
	h.process.CGroupID = 99
	want(t, "get_current_cgroup_id", e.do(catalog.FnGetCurrentCGroupID), 99)
	h.process.CGroupsAbove = []uint64{50, 1}
	for level, id := range []uint64{1, 50, 99, 0} {
		want(t, "get_current_ancestor_cgroup_id", e.do(catalog.FnGetCurrentAncestorCGroupID, uint64(level)), id)
	}
	want(t, "get_current_ancestor_cgroup_id of no level", e.do(catalog.FnGetCurrentAncestorCGroupID, errno.EPERM.Ret()), 0)
	groups := h.newMap(t, catalog.MapDef{Name: "g", Type: catalog.MapCGroupArray, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	for group, under := range map[byte]uint64{99: 1, 50: 1, 1: 1, 98: 0} {
		if err := groups.Update([]byte{0, 0, 0, 0}, []byte{group, 0, 0, 0}, 0); err != nil {
			t.Fatal(err)
		}
		want(t, "current_task_under_cgroup", e.do(catalog.FnCurrentTaskUnderCGroup, groups.Def().Ptr, 0), under)
	}
	want(t, "current_task_under_cgroup of none", e.do(catalog.FnCurrentTaskUnderCGroup, groups.Def().Ptr, 1), errno.EAGAIN.Ret())
	want(t, "current_task_under_cgroup beyond", e.do(catalog.FnCurrentTaskUnderCGroup, groups.Def().Ptr, 2), errno.E2BIG.Ret())
	want(t, "per_cpu_ptr", e.do(catalog.FnPerCPUPtr, 0x10000, 1), 0x10000+PerCPUStride)
	want(t, "per_cpu_ptr of no CPU", e.do(catalog.FnPerCPUPtr, 0x10000, 2), 0)
	want(t, "this_cpu_ptr", e.do(catalog.FnThisCPUPtr, 0x10000), 0x10000+PerCPUStride)
	want(t, "set_retval", e.do(catalog.FnSetRetval, errno.EPERM.Ret()), 0)
	want(t, "get_retval", e.do(catalog.FnGetRetval), errno.EPERM.Ret())
}

func TestComm(t *testing.T) {
	e, _ := env(t)
	b := newScratch(t, 32)
	for n, text := range map[uint64]string{16: "skep", 3: "sk", 1: "", 20: "skep"} {
		copy(b.Bytes(), bytes.Repeat([]byte{0xee}, 32))
		want(t, "get_current_comm", e.do(catalog.FnGetCurrentComm, b.Addr(), n), 0)
		if got := b.Bytes()[:n]; strings.TrimRight(string(got), "\x00") != text || got[n-1] != 0 {
			t.Errorf("comm in %d bytes: %q", n, got)
		}
		if b.Bytes()[n] != 0xee {
			t.Errorf("comm in %d bytes wrote beyond them", n)
		}
	}
	want(t, "get_current_comm of nothing", e.do(catalog.FnGetCurrentComm, b.Addr(), 0), errno.EINVAL.Ret())
}

func TestMapHelpers(t *testing.T) {
	e, h := env(t)
	m := h.newMap(t, catalog.MapDef{Name: "m", Type: catalog.MapHash, KeySize: 4, ValueSize: 8, MaxEntries: 2}).Def().Ptr
	b := newScratch(t, 64)
	key, value := b.Addr(), b.Addr()+16
	mem.Store32(key, 5)
	mem.Store64(value, 77)
	want(t, "lookup of nothing", e.do(catalog.FnMapLookupElem, m, key), 0)
	want(t, "update, exist", e.do(catalog.FnMapUpdateElem, m, key, value, catalog.UpdateExist), errno.ENOENT.Ret())
	want(t, "update", e.do(catalog.FnMapUpdateElem, m, key, value, 0), 0)
	want(t, "update, noexist", e.do(catalog.FnMapUpdateElem, m, key, value, catalog.UpdateNoExist), errno.EEXIST.Ret())
	at := e.do(catalog.FnMapLookupElem, m, key)
	if at == 0 || mem.Load64(at) != 77 {
		t.Fatalf("lookup gave %#x", at)
	}
	want(t, "delete", e.do(catalog.FnMapDeleteElem, m, key), 0)
	want(t, "delete again", e.do(catalog.FnMapDeleteElem, m, key), errno.ENOENT.Ret())
	want(t, "percpu lookup in another map", e.do(catalog.FnMapLookupPerCPUElem, m, key, 0), 0)

	p := h.newMap(t, catalog.MapDef{Name: "p", Type: catalog.MapPerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 8}).Def().Ptr
	own := e.do(catalog.FnMapLookupElem, p, key)
	want(t, "percpu lookup of the own CPU", e.do(catalog.FnMapLookupPerCPUElem, p, key, 1), own)
	if other := e.do(catalog.FnMapLookupPerCPUElem, p, key, 0); other == 0 || other == own {
		t.Errorf("percpu lookup of another CPU: %#x, own %#x", other, own)
	}
	want(t, "percpu lookup of no CPU", e.do(catalog.FnMapLookupPerCPUElem, p, key, 2), 0)

	q := h.newMap(t, catalog.MapDef{Name: "q", Type: catalog.MapQueue, ValueSize: 8, MaxEntries: 1}).Def().Ptr
	want(t, "pop of nothing", e.do(catalog.FnMapPopElem, q, value), errno.ENOENT.Ret())
	want(t, "what an empty pop leaves", mem.Load64(value), 0)
	mem.Store64(value, 77)
	want(t, "push", e.do(catalog.FnMapPushElem, q, value, 0), 0)
	want(t, "push on full", e.do(catalog.FnMapPushElem, q, value, 0), errno.E2BIG.Ret())
	mem.Store64(value, 0)
	want(t, "peek", e.do(catalog.FnMapPeekElem, q, value), 0)
	want(t, "peeked", mem.Load64(value), 77)
	want(t, "pop", e.do(catalog.FnMapPopElem, q, value), 0)
	want(t, "pop again", e.do(catalog.FnMapPopElem, q, value), errno.ENOENT.Ret())
}

func TestForEach(t *testing.T) {
	e, h := env(t)
	a := h.newMap(t, catalog.MapDef{Name: "a", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 5}).Def().Ptr
	var seen []uint32
	stopAt := -1
	e.Call = func(fn, m, key, value, ctx, r5 uint64) uint64 {
		if fn != 0xf00 || m != a || ctx != 0xc || r5 != 0 {
			t.Fatalf("callback %#x(%#x, …, %#x, %#x)", fn, m, ctx, r5)
		}
		mem.Store64(value, uint64(mem.Load32(key))*10)
		seen = append(seen, mem.Load32(key))
		return b2u(len(seen) == stopAt)
	}
	want(t, "for_each", e.do(catalog.FnForEachMapElem, a, 0xf00, 0xc, 0), 5)
	if !slices.Equal(seen, []uint32{0, 1, 2, 3, 4}) {
		t.Errorf("saw %v", seen)
	}
	seen, stopAt = nil, 2
	want(t, "for_each, stopped", e.do(catalog.FnForEachMapElem, a, 0xf00, 0xc, 0), 2)
	want(t, "for_each flags", e.do(catalog.FnForEachMapElem, a, 0xf00, 0xc, 1), errno.EINVAL.Ret())

	// A walk inside a walk has a key of its own.
	pairs := 0
	e.Call = func(fn, m, key, _, ctx, _ uint64) uint64 {
		if fn == 1 {
			before := mem.Load32(key)
			e.do(catalog.FnForEachMapElem, a, 2, 0, 0)
			if mem.Load32(key) != before {
				t.Error("the inner walk moved the outer key")
			}
			return 0
		}
		pairs++
		return 0
	}
	e.do(catalog.FnForEachMapElem, a, 1, 0, 0)
	want(t, "pairs", uint64(pairs), 25)
}

func TestLoop(t *testing.T) {
	e, _ := env(t)
	var calls, stopAt uint64 = 0, ^uint64(0)
	e.Call = func(_, i, ctx, _, _, _ uint64) uint64 {
		if i != calls || ctx != 0xc {
			t.Fatalf("callback(%d, %#x) after %d calls", i, ctx, calls)
		}
		calls++
		return b2u(i == stopAt)
	}
	want(t, "loop", e.do(catalog.FnLoop, 10, 1, 0xc, 0), 10)
	calls, stopAt = 0, 3
	want(t, "loop, stopped", e.do(catalog.FnLoop, 10, 1, 0xc, 0), 4)
	calls = 0
	want(t, "loop of 2³² + 2", e.do(catalog.FnLoop, 1<<32|2, 1, 0xc, 0), errno.E2BIG.Ret())
	want(t, "loop flags", e.do(catalog.FnLoop, 1, 1, 0xc, 1), errno.EINVAL.Ret())
	want(t, "long loop", e.do(catalog.FnLoop, maxLoops+1, 1, 0xc, 0), errno.E2BIG.Ret())
}

// program is a program in a prog_array.
type program uint32

func (p program) ID() uint32 { return uint32(p) }

func (program) Target() uint64        { return 0 }
func (program) Enter() bool           { return true }
func (program) Leave()                {}
func (program) Owner() maps.ProgOwner { return maps.ProgOwner{Type: catalog.ProgSchedCls} }

func (program) Acquire() {}

func (program) Close() {}

func TestTailCall(t *testing.T) {
	e, h := env(t)
	m := h.newMap(t, catalog.MapDef{Name: "progs", Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	if err := m.(*maps.ProgArray).Set(1, program(42)); err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint64{0, 2, 1 << 31} {
		if e.do(catalog.FnTailCall, 0, m.Def().Ptr, index); e.TailCall != nil {
			t.Errorf("index %d leads to %v", index, e.TailCall)
		}
	}
	want(t, "tail_call", e.do(catalog.FnTailCall, 0, m.Def().Ptr, 1<<32|1), 0)
	if e.TailCall == nil || e.TailCall.ID() != 42 {
		t.Errorf("tail call goes to %v", e.TailCall)
	}
}

func TestSpinLock(t *testing.T) {
	e, _ := env(t)
	b := newScratch(t, 64)
	done := make(chan bool)
	const rounds = 2000
	work := func() {
		for range rounds {
			e.do(catalog.FnSpinLock, b.Addr())
			mem.Store64(b.Addr()+8, mem.Load64(b.Addr()+8)+1)
			e.do(catalog.FnSpinUnlock, b.Addr())
		}
		done <- true
	}
	go work()
	go work()
	<-done
	<-done
	want(t, "count", mem.Load64(b.Addr()+8), 2*rounds)
	want(t, "lock word", uint64(mem.Load32(b.Addr())), 0)
}

func TestKptrXchg(t *testing.T) {
	e, _ := env(t)
	b := newScratch(t, 8)
	want(t, "kptr_xchg", e.do(catalog.FnKptrXchg, b.Addr(), 5), 0)
	want(t, "kptr_xchg", e.do(catalog.FnKptrXchg, b.Addr(), 0), 5)
}

func TestProbeRead(t *testing.T) {
	e, _ := env(t)
	src, dst := newScratch(t, 64), newScratch(t, 64)
	copy(src.Bytes(), "hello, world")
	copy(src.Bytes()[60:], "tail")
	e.Readable = func(addr, n uint64) bool { return addr >= src.Addr() && addr+n <= src.Addr()+64 }
	for _, id := range []catalog.HelperID{catalog.FnProbeRead, catalog.FnProbeReadKernel, catalog.FnProbeReadUser, catalog.FnCopyFromUser} {
		want(t, "probe_read", e.do(id, dst.Addr(), 5, src.Addr()), 0)
		if string(dst.Bytes()[:5]) != "hello" {
			t.Errorf("read %q", dst.Bytes()[:5])
		}
		for _, bad := range []uint64{0, src.Addr() + 60, ^uint64(0) - 3, 0xffffffff81000000} {
			want(t, "probe_read of what is not there", e.do(id, dst.Addr(), 8, bad), errno.EFAULT.Ret())
			want(t, "what it leaves", mem.Load64(dst.Addr()), 0)
		}
		want(t, "probe_read of nothing", e.do(id, dst.Addr(), 0, 0), 0)
	}
	for _, id := range []catalog.HelperID{catalog.FnProbeReadStr, catalog.FnProbeReadKernelStr, catalog.FnProbeReadUserStr} {
		want(t, "probe_read_str", e.do(id, dst.Addr(), 64, src.Addr()), 13)
		want(t, "probe_read_str, cut", e.do(id, dst.Addr(), 6, src.Addr()), 6)
		if string(dst.Bytes()[:6]) != "hello\x00" {
			t.Errorf("read %q", dst.Bytes()[:6])
		}
		want(t, "probe_read_str over the edge", e.do(id, dst.Addr(), 8, src.Addr()+60), errno.EFAULT.Ret())
		want(t, "probe_read_str to the edge", e.do(id, dst.Addr(), 4, src.Addr()+60), 4)
		want(t, "probe_read_str of NULL", e.do(id, dst.Addr(), 8, 0), errno.EFAULT.Ret())
		want(t, "probe_read_str of nothing", e.do(id, dst.Addr(), 0, src.Addr()), 0)
	}
}

func TestTrace(t *testing.T) {
	e, h := env(t)
	b := newScratch(t, 2048)
	copy(b.Bytes(), "port %d of %u\n\x00")
	want(t, "trace_printk", e.do(catalog.FnTracePrintk, b.Addr(), 15, 80, 1<<32|2, 3), 13)
	mem.Store64(b.Addr()+1024, 7)
	mem.Store64(b.Addr()+1032, 8)
	want(t, "trace_vprintk", e.do(catalog.FnTraceVprintk, b.Addr(), 15, b.Addr()+1024, 16), 12)
	want(t, "trace_vprintk of odd size", e.do(catalog.FnTraceVprintk, b.Addr(), 15, b.Addr()+1024, 12), errno.EINVAL.Ret())
	want(t, "trace_vprintk of much", e.do(catalog.FnTraceVprintk, b.Addr(), 15, b.Addr()+1024, 8*13), errno.EINVAL.Ret())
	copy(b.Bytes(), "%5000d\x00")
	want(t, "long line", e.do(catalog.FnTracePrintk, b.Addr(), 7, 1), 5000)
	if len(h.lines) != 3 || h.lines[0] != "port 80 of 2\n" || h.lines[1] != "port 7 of 8\n" || len(h.lines[2]) != maxText-1 {
		t.Errorf("traced %q", h.lines)
	}
}

func TestRingBuf(t *testing.T) {
	e, h := env(t)
	m := h.newMap(t, catalog.MapDef{Name: "rb", Type: catalog.MapRingBuf, MaxEntries: 4096})
	rb := m.Def().Ptr
	b := newScratch(t, 64)
	copy(b.Bytes(), "payload!")
	want(t, "output flags", e.do(catalog.FnRingBufOutput, rb, b.Addr(), 8, 4), errno.EINVAL.Ret())
	want(t, "output", e.do(catalog.FnRingBufOutput, rb, b.Addr(), 8, 0), 0)
	want(t, "output of too much", e.do(catalog.FnRingBufOutput, rb, b.Addr(), 1<<30, 0), errno.EAGAIN.Ret())
	want(t, "reserve flags", e.do(catalog.FnRingBufReserve, rb, 8, 1), 0)
	sample := e.do(catalog.FnRingBufReserve, rb, 8, 0)
	mem.Store64(sample, 1)
	want(t, "submit", e.do(catalog.FnRingBufSubmit, sample, 0), 0)
	want(t, "discard", e.do(catalog.FnRingBufDiscard, e.do(catalog.FnRingBufReserve, rb, 8, 0), 0), 0)
	want(t, "available data", e.do(catalog.FnRingBufQuery, rb, 0), 3*16)
	want(t, "size", e.do(catalog.FnRingBufQuery, rb, 1), 4096)

	d := b.Addr() + 32
	want(t, "reserve_dynptr flags", e.do(catalog.FnRingBufReserveDynptr, rb, 8, 1, d), errno.EINVAL.Ret())
	want(t, "submit_dynptr of null", e.do(catalog.FnRingBufSubmitDynptr, d, 0), 0)
	want(t, "reserve_dynptr of too much", e.do(catalog.FnRingBufReserveDynptr, rb, 1<<24, 0, d), errno.E2BIG.Ret())
	want(t, "reserve_dynptr of what is not there", e.do(catalog.FnRingBufReserveDynptr, rb, 1<<20, 0, d), errno.EINVAL.Ret())
	want(t, "discard_dynptr of null", e.do(catalog.FnRingBufDiscardDynptr, d, 0), 0)
	want(t, "reserve_dynptr", e.do(catalog.FnRingBufReserveDynptr, rb, 24, 0, d), 0)
	want(t, "dynptr_write", e.do(catalog.FnDynptrWrite, d, 8, b.Addr(), 8, 0), 0)
	if at := e.do(catalog.FnDynptrData, d, 8, 8); at == 0 || string(mem.Bytes(at, 8)) != "payload!" {
		t.Errorf("dynptr_data gave %#x", at)
	}
	want(t, "submit_dynptr", e.do(catalog.FnRingBufSubmitDynptr, d, 0), 0)
	want(t, "the dynptr then", mem.Load64(d), 0)
	want(t, "reserve_dynptr", e.do(catalog.FnRingBufReserveDynptr, rb, 8, 0, d), 0)
	want(t, "discard_dynptr", e.do(catalog.FnRingBufDiscardDynptr, d, 0), 0)
	want(t, "available data", e.do(catalog.FnRingBufQuery, rb, 0), 5*16+16)
}

func TestPerfOutput(t *testing.T) {
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
	pe, b := m.Def().Ptr, newScratch(t, 16)
	copy(b.Bytes(), "sample__")
	send := func(flags uint64) uint64 { return e.do(catalog.FnPerfEventOutput, 0, pe, flags, b.Addr(), 8) }
	want(t, "current CPU", send(maps.PerfCurrentCPU), 0)
	want(t, "index", send(1), 0)
	want(t, "empty index", send(0), errno.ENOENT.Ret())
	want(t, "index beyond", send(2), errno.E2BIG.Ret())
	want(t, "packet without packet", send(14<<32|maps.PerfCurrentCPU), errno.EINVAL.Ret())
	e.CPU = 0
	want(t, "another CPU's buffer", send(1), errno.EOPNOTSUPP.Ret())
	e.CPU = 1
	e.Pkt = h.newPacket(t)
	(&script{prog: xdp, pkt: tcp4}).setUp(e.Pkt)
	want(t, "packet", send(14<<32|1), 0)
	want(t, "packet and more", send(uint64(len(tcp4)+1)<<32|1), errno.EFAULT.Ret())
	want(t, "high flags", send(1<<52|1), errno.EINVAL.Ret())
	var sizes []int
	for rec := (maps.PerfRecord{}); buf.Read(&rec); {
		sizes = append(sizes, len(rec.RawSample))
		if !bytes.HasPrefix(rec.RawSample, []byte("sample__")) {
			t.Errorf("sample %q", rec.RawSample)
		}
	}
	if len(sizes) != 3 || sizes[2] < 8+14 {
		t.Errorf("samples of %v bytes", sizes)
	}
}
