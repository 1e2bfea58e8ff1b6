package cli

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// testRun is the part of union bpf_attr that PROG_TEST_RUN has.
type testRun struct {
	ProgFD, Retval, DataSizeIn, DataSizeOut uint32
	DataIn, DataOut                         uintptr
	Repeat, Duration, CtxSizeIn, CtxSizeOut uint32
	CtxIn, CtxOut                           uintptr
	Flags, CPU, BatchSize, _                uint32
}

// live is BPF_F_TEST_XDP_LIVE_FRAMES.
const live = 1 << 1

// xdpMD is struct xdp_md.
type xdpMD struct{ Data, DataEnd, DataMeta, Ifindex, Queue, Egress uint32 }

// liveFrames are the calls of a test, in the kernel's devices or skep's, and what they count.
type liveFrames struct {
	counts *ebpf.Map // see the constants below
	lo     uint32
	a, b   uint32 // a pair
}

// What is counted.
const (
	ran   = iota // runs of the program
	queue        // the largest queue it saw
	inA          // what came up into the stack at a, at b, and at the loopback device
	inB
	inLo
	nativeB   // what b's own XDP program saw
	genericLo // what the loopback device's generic program saw
	bytesIn   // of what came up into any of them
	entry     // runs of a devmap entry's program
	onCPU     // runs of a cpumap entry's program
	marked    // the largest second byte of the packet, which programs count up
	lenSum    // of what the program saw
	nrCounts
)

// add returns instructions that add what the register R7 holds to a count.
func (l *liveFrames) add(which int32) asm.Instructions {
	label := fmt.Sprintf("no%d", which)
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, int64(which), asm.Word), asm.LoadMapPtr(asm.R1, l.counts.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, label), asm.StoreXAdd(asm.R0, asm.R7, asm.DWord), asm.Mov.Imm(asm.R0, 0).WithSymbol(label),
	}
}

// most returns instructions that make a count what R7 holds, if it was less.
func (l *liveFrames) most(which int32) asm.Instructions {
	label := fmt.Sprintf("no%d", which)
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, int64(which), asm.Word), asm.LoadMapPtr(asm.R1, l.counts.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, label), asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord), asm.JGE.Reg(asm.R1, asm.R7, label),
		asm.StoreMem(asm.R0, 0, asm.R7, asm.DWord), asm.Mov.Imm(asm.R0, 0).WithSymbol(label),
	}
}

// program loads a program. Its context is in R6.
func program(t ebpf.ProgramType, at ebpf.AttachType, parts ...asm.Instructions) *ebpf.Program {
	ins := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	for _, p := range parts {
		ins = append(ins, p...)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: t, AttachType: at, License: "GPL", Instructions: ins})
	if err != nil {
		panic(fmt.Sprintf("%+v", err))
	}
	return p
}

func returns(v int32) asm.Instructions { return asm.Instructions{asm.Mov.Imm(asm.R0, v), asm.Return()} }

func one() asm.Instructions { return asm.Instructions{asm.Mov.Imm(asm.R7, 1)} }

// counter counts packets, and returns.
func (l *liveFrames) counter(t ebpf.ProgramType, at ebpf.AttachType, which, verdict int32) *ebpf.Program {
	return program(t, at, one(), l.add(which), returns(verdict))
}

// upper counts what came up into the stack, bytes and packets, and drops it: packets are waited for, and so come last.
func (l *liveFrames) upper(which int32) *ebpf.Program {
	return program(ebpf.SchedCLS, ebpf.AttachTCXIngress, asm.Instructions{asm.LoadMem(asm.R7, asm.R6, 0, asm.Word)}, l.add(bytesIn), one(), l.add(which), returns(2))
}

// sub is a program whose runs are counted: packets, queue, length. It counts the second byte up, and body goes on with R0, the
// packet's start in R8 and its end in R9.
func (l *liveFrames) sub(body ...asm.Instructions) *ebpf.Program {
	parts := append([]asm.Instructions{
		one(), l.add(ran), {asm.LoadMem(asm.R7, asm.R6, 16, asm.Word)}, l.most(queue),
		{asm.LoadMem(asm.R8, asm.R6, 0, asm.Word), asm.LoadMem(asm.R9, asm.R6, 4, asm.Word), asm.Mov.Reg(asm.R7, asm.R9), asm.Sub.Reg(asm.R7, asm.R8)}, l.add(lenSum),
		{asm.Mov.Reg(asm.R1, asm.R8), asm.Add.Imm(asm.R1, 14), asm.JGT.Reg(asm.R1, asm.R9, "short"),
			asm.LoadMem(asm.R7, asm.R8, 13, asm.Byte), asm.Add.Imm(asm.R7, 1), asm.StoreMem(asm.R8, 13, asm.R7, asm.Byte), asm.Sub.Imm(asm.R7, 1)},
		l.most(marked), {asm.Mov.Imm(asm.R0, 0).WithSymbol("short")},
	}, body...)
	return program(ebpf.XDP, ebpf.AttachXDP, parts...)
}

func ptr[T any](v *T) uintptr { return uintptr(unsafe.Pointer(v)) }

// want is how many of what a call is to have counted.
type want map[int]uint64

// call makes a call and prints what came of it, as soon as the counts are there that are waited for.
func (l *liveFrames) call(what string, p *ebpf.Program, n int, change func(*testRun, *xdpMD), w want) {
	zero := make([]byte, 8)
	for k := range uint32(nrCounts) {
		l.counts.Put(k, zero)
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i)
	}
	if n > 13 {
		data[12], data[13] = 0x90, 0
	}
	out, md, mdOut := make([]byte, 8192), &xdpMD{DataEnd: uint32(n), Ifindex: l.a}, &xdpMD{}
	at := testRun{ProgFD: uint32(p.FD()), Retval: 77, DataSizeIn: uint32(n), Flags: live, Repeat: 1, CtxIn: ptr(md), CtxSizeIn: uint32(unsafe.Sizeof(*md))}
	if n > 0 {
		at.DataIn = ptr(&data[0])
	}
	change(&at, md)
	if at.DataOut != 0 {
		at.DataOut = ptr(&out[0])
	}
	if at.CtxOut != 0 {
		at.CtxOut, at.CtxSizeOut = ptr(mdOut), uint32(unsafe.Sizeof(*mdOut))
	}
	_, _, e := unix.Syscall(unix.SYS_BPF, 10, ptr(&at), unsafe.Sizeof(at))
	runtime.KeepAlive(data)
	runtime.KeepAlive(out)
	count := func(which int) (n uint64) {
		l.counts.Lookup(uint32(which), &n)
		return n
	}
	for end := time.Now().Add(3 * time.Second); e == 0 && time.Now().Before(end); runtime.Gosched() {
		all := true
		for which, n := range w {
			all = all && count(which) >= n
		}
		if all {
			break
		}
	}
	var b strings.Builder
	for which, name := range [...]string{"ran", "queue", "at a", "at b", "at lo", "by b's XDP", "by lo's", "bytes", "entry", "on cpu", "marked", "length"} {
		if n := count(which); n != 0 && (which != marked || w[inB]|w[onCPU] == 0) { // frames that leave come back when Linux finds time
			fmt.Fprintf(&b, " %s %d", name, n)
		}
	}
	took := "none"
	if at.Duration != 0 {
		took = "some"
	}
	fmt.Printf("%s: %s, retval %d, size %d, time %s, as given %t;%s\n", what, unix.ErrnoName(e), at.Retval, at.DataSizeOut, took, string(out[:n]) == string(data), b.String())
}

// liveFramesClient prints what live frames do on the devices that the environment names.
func liveFramesClient() (err error) {
	var l liveFrames
	if _, err := fmt.Sscan(os.Getenv("SKEP_TEST_DEVICES"), &l.lo, &l.a, &l.b); err != nil {
		return err
	}
	if l.counts, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: nrCounts}); err != nil {
		return err
	}
	var links []link.Link
	for which, index := range map[int32]uint32{inA: l.a, inB: l.b, inLo: l.lo} {
		k, err := link.AttachTCX(link.TCXOptions{Program: l.upper(which), Interface: int(index), Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		links = append(links, k)
	}
	for _, x := range []struct {
		index uint32
		which int32
		flags link.XDPAttachFlags
	}{{l.b, nativeB, 0}, {l.a, nativeA, 0}, {l.lo, genericLo, link.XDPGenericMode}} {
		k, err := link.AttachXDP(link.XDPOptions{Program: l.counter(ebpf.XDP, ebpf.AttachXDP, x.which, 2), Interface: int(x.index), Flags: x.flags})
		if err != nil {
			return err
		}
		links = append(links, k)
	}
	defer func() {
		for _, k := range links {
			k.Close()
		}
	}()

	drop, pass, tx := l.sub(returns(1)), l.sub(returns(2)), l.sub(returns(3))
	same := func(*testRun, *xdpMD) {}
	run := func(f func(*testRun)) func(*testRun, *xdpMD) { return func(t *testRun, _ *xdpMD) { f(t) } }
	ctx := func(f func(*xdpMD)) func(*testRun, *xdpMD) { return func(_ *testRun, m *xdpMD) { f(m) } }

	// What is refused, and in which order.
	for _, v := range []uint32{0, 1, 63, 64, 65, 255, 256, 257, 1 << 31} {
		l.call(fmt.Sprint("batch ", v), drop, 64, run(func(t *testRun) { t.BatchSize, t.Repeat = v, 3 }), nil)
		l.call(fmt.Sprint("batch without flag ", v), drop, 64, run(func(t *testRun) { t.BatchSize, t.Flags = v, 0 }), nil)
	}
	for bit := range 32 {
		l.call(fmt.Sprint("flag ", bit), drop, 64, run(func(t *testRun) { t.Flags |= 1 << bit }), nil)
	}
	l.call("cpu", drop, 64, run(func(t *testRun) { t.CPU = 1 << 20 }), nil)
	for _, n := range []int{0, 1, 13, 14, 15, 3000, 3407, 3408, 3409, 3472, 3519, 3520, 3521, 4096} {
		l.call(fmt.Sprint("size ", n), drop, n, same, nil)
		l.call(fmt.Sprint("size without context ", n), drop, n, run(func(t *testRun) { t.CtxIn, t.CtxSizeIn = 0, 0 }), nil)
	}
	for _, n := range []uint32{0, 1, 4, 8, 52, 60, 64, 100, 204, 208, 212, 216, 220, 244, 248, 252, 256} {
		for _, size := range []int{14, 70, 400, 3300} {
			l.call(fmt.Sprintf("metadata %d of %d", n, size), drop, size, ctx(func(m *xdpMD) { m.Data = n }), nil)
		}
	}
	for _, n := range []uint32{0, 13, 14, 63, 65, 100} {
		l.call(fmt.Sprint("data_end ", n), drop, 64, ctx(func(m *xdpMD) { m.DataEnd = n }), nil)
	}
	l.call("data_meta", drop, 64, ctx(func(m *xdpMD) { m.DataMeta = 4 }), nil)
	l.call("egress", drop, 64, ctx(func(m *xdpMD) { m.Egress = l.a }), nil)
	for _, index := range []uint32{0, l.lo, l.a, l.b, 4711} {
		for _, q := range []uint32{0, 1, 2, 77} {
			l.call(fmt.Sprintf("device %d queue %d", index, q), drop, 64, ctx(func(m *xdpMD) { m.Ifindex, m.Queue = index, q }), nil)
		}
	}
	l.call("data_out", drop, 64, run(func(t *testRun) { t.DataOut, t.DataSizeOut = 1, 8192 }), nil)
	l.call("ctx_out", drop, 64, run(func(t *testRun) { t.CtxOut = 1 }), nil)
	for _, room := range []uint32{0, 10, 64, 8192} {
		l.call(fmt.Sprint("data_out without context ", room), pass, 64, run(func(t *testRun) { t.DataOut, t.DataSizeOut, t.CtxIn, t.CtxSizeIn = 1, room, 0, 0 }), want{inLo: 1})
	}
	l.call("ctx_out without ctx_in", drop, 64, run(func(t *testRun) { t.CtxOut, t.CtxIn, t.CtxSizeIn = 1, 0, 0 }), nil)
	l.call("long context", drop, 64, run(func(t *testRun) { t.CtxSizeIn += 8 }), nil)
	for _, at := range []ebpf.AttachType{ebpf.AttachXDPDevMap, ebpf.AttachXDPCPUMap} {
		l.call(fmt.Sprint("program for ", at), program(ebpf.XDP, at, returns(1)), 64, same, nil)
	}

	// What becomes of the frames.
	for _, n := range []uint32{0, 1, 2, 63, 64, 65, 1000} {
		repeat := run(func(t *testRun) { t.Repeat = n })
		m := max(uint64(n), 1)
		l.call(fmt.Sprint("drop ", n), drop, 100, repeat, nil)
		l.call(fmt.Sprint("pass ", n), pass, 100, repeat, want{inA: m})
		if m < 256 { // which a pair's ring has room for
			l.call(fmt.Sprint("tx ", n), tx, 100, repeat, want{inB: m})
		}
		l.call(fmt.Sprint("pass in batches of 7 ", n), pass, 100, run(func(t *testRun) { t.Repeat, t.BatchSize = n, 7 }), want{inA: m})
	}
	for _, v := range []int32{0, 5, 77} {
		l.call(fmt.Sprint("action ", v), l.sub(returns(v)), 100, run(func(t *testRun) { t.Repeat = 10 }), nil)
	}
	ten := run(func(t *testRun) { t.Repeat = 10 })
	noCtx := run(func(t *testRun) { t.Repeat, t.CtxIn, t.CtxSizeIn = 10, 0, 0 })
	for _, n := range []uint32{7, 16, 100, 256} {
		batches := run(func(t *testRun) { t.Repeat, t.BatchSize = 3000, n })
		l.call(fmt.Sprint("drop in batches of ", n), drop, 100, batches, nil)
		l.call(fmt.Sprint("pass in batches of ", n), pass, 100, batches, want{inA: 3000})
	}
	l.call("pass to lo", pass, 100, noCtx, want{inLo: 10, genericLo: 10})
	l.call("tx to lo", tx, 100, noCtx, nil)
	l.call("pass with metadata", pass, 100, func(t *testRun, m *xdpMD) { t.Repeat, m.Data = 10, 8 }, want{inA: 10})
	l.call("tx with metadata", tx, 100, func(t *testRun, m *xdpMD) { t.Repeat, m.Data = 10, 8 }, want{inB: 10})
	adjust := func(fn asm.BuiltinFunc, by, verdict int32) *ebpf.Program {
		return l.sub(asm.Instructions{asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, by), fn.Call()}, returns(verdict))
	}
	for _, by := range []int32{-20, 20} {
		l.call(fmt.Sprint("head by ", by), adjust(asm.FnXdpAdjustHead, by, 2), 100, run(func(t *testRun) { t.Repeat = 200 }), want{inA: 200})
		l.call(fmt.Sprint("tail by ", by), adjust(asm.FnXdpAdjustTail, by, 2), 100, run(func(t *testRun) { t.Repeat = 200 }), want{inA: 200})
	}
	redirect := func(to uint32) *ebpf.Program {
		return l.sub(asm.Instructions{asm.Mov.Imm(asm.R1, int32(to)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return()})
	}
	l.call("redirect to a", redirect(l.a), 100, run(func(t *testRun) { t.Repeat = 70 }), want{inB: 70})
	l.call("redirect to b", redirect(l.b), 100, run(func(t *testRun) { t.Repeat = 60 }), want{inA: 60})
	l.call("redirect to lo", redirect(l.lo), 100, ten, nil)
	l.call("redirect to none", redirect(4711), 100, ten, nil)
	l.call("redirect a long frame", redirect(l.a), 1600, ten, nil)

	type mapEntry struct{ To, Prog uint32 }
	second := l.counter(ebpf.XDP, ebpf.AttachXDPDevMap, entry, 2)
	devs, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.DevMap, KeySize: 4, ValueSize: 8, MaxEntries: 4})
	if err != nil {
		return err
	}
	cpus, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.CPUMap, KeySize: 4, ValueSize: 8, MaxEntries: 2})
	if err != nil {
		return err
	}
	for k, v := range []mapEntry{{l.a, 0}, {l.b, uint32(second.FD())}} {
		if err := devs.Put(uint32(k), v); err != nil {
			return err
		}
	}
	for k, v := range []mapEntry{{64, 0}, {64, uint32(l.counter(ebpf.XDP, ebpf.AttachXDPCPUMap, onCPU, 2).FD())}} {
		if err := cpus.Put(uint32(k), v); err != nil {
			return err
		}
	}
	through := func(m *ebpf.Map, key, flags int32) *ebpf.Program {
		return l.sub(asm.Instructions{asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Imm(asm.R2, key), asm.Mov.Imm(asm.R3, flags), asm.FnRedirectMap.Call(), asm.Return()})
	}
	fifty := run(func(t *testRun) { t.Repeat = 50 })
	l.call("devmap", through(devs, 0, 0), 100, fifty, want{inB: 50})
	l.call("devmap with a program", through(devs, 1, 0), 100, fifty, want{inA: 50})
	l.call("devmap, no entry", through(devs, 2, 0), 100, fifty, nil)
	l.call("devmap, no entry, pass", through(devs, 2, 2), 100, fifty, want{inA: 50})
	l.call("devmap, all", through(devs, 0, 8), 100, fifty, want{inA: 50, inB: 50})
	l.call("devmap, all but where it came from", through(devs, 0, 8|16), 100, fifty, want{inA: 50})
	l.call("cpumap", through(cpus, 0, 0), 100, fifty, want{inA: 50})
	l.call("cpumap with a program", through(cpus, 1, 0), 100, fifty, want{inA: 50})
	return nil
}

// nativeA is not told: that a has a program lets it receive what b sends.
const nativeA = nrCounts

func init() { clients["liveframes"] = liveFramesClient }

// TestLiveFrames: test runs whose frames are live do to devices what they do on the kernel.
func TestLiveFrames(t *testing.T) {
	t.Setenv(clientEnv, "liveframes")
	t.Setenv("GODEBUG", "asyncpreemptoff=1") // the signal that preempts a goroutine ends a test run of Linux's, with EINTR
	var linux string
	netns.In(t, func() {
		netns.Pair(t, "lf0", "lf1", 1)
		netns.IP(t, "link set lo up")
		t.Setenv("SKEP_TEST_DEVICES", fmt.Sprintln(1, netns.Up(t, "lf0"), netns.Up(t, "lf1")))
		out, err := exec.Command(self(t)).CombinedOutput()
		linux = string(out)
		if err != nil {
			oracle.Need(t, "bpf(2)", fmt.Errorf("%w: %s", err, out))
		}
	})
	served(t)
	t.Setenv("SKEP_TEST_DEVICES", "1 3 2")
	must(t, "ip link add lf0 type veth peer name lf1")
	must(t, "ip link set lf0 up")
	must(t, "ip link set lf1 up")
	must(t, "ip link set lo up")
	out, errs, code := skep("exec", "--", self(t))
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	if diff := cmp.Diff(strings.Split(linux, "\n"), strings.Split(out, "\n")); diff != "" {
		t.Errorf("linux, skep: %s", diff)
	}
}
