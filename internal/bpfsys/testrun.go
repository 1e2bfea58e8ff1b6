package bpfsys

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/testrun"
)

// outSlack is how much longer than its input a packet can come out, in bytes.
const outSlack = 64 << 10

// progTestRun follows bpf_prog_test_run.
func (c *call) progTestRun() (int32, errno.Errno) {
	a := as[testRun](&c.attr)
	if (a.CtxSizeIn != 0) != (a.CtxIn != 0) || (a.CtxSizeOut != 0) != (a.CtxOut != 0) {
		return 0, errno.EINVAL
	}
	p, f, e := open[*run.Program](c, a.ProgFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	c.s.sweepFor(p)
	row := catalog.ProgKindByType(p.Info.Type)
	switch {
	case row.Flags&catalog.NoTestRun != 0:
		return 0, errno.ENOTSUPP
	case row.Flags&catalog.HasPacket != 0:
		return 0, c.runPacket(a, p)
	case p.Info.Type == catalog.ProgSkLookup:
		return 0, c.runSkLookup(a, p)
	case p.Info.Type == catalog.ProgFlowDissector:
		return 0, c.runFlowDissector(a, p)
	case p.Info.Type == catalog.ProgNetfilter:
		return 0, c.runNetfilter(a, p)
	case p.Info.Type == catalog.ProgTracing:
		return 0, c.runTracing(a, p)
	case p.Info.Type == catalog.ProgSyscall:
		return 0, c.runSyscall(a, p)
	case p.Info.Type == catalog.ProgRawTracepoint:
		return 0, c.runRawTracepoint(a, p)
	case p.Info.Type == catalog.ProgStructOps:
		return 0, c.testStructOps(a, p)
	}
	return 0, errno.ENOTSUPP
}

// runPacket runs a program over a packet (bpf_prog_test_run_xdp, _skb).
func (c *call) runPacket(a *testRun, p *run.Program) errno.Errno {
	isXDP := p.Info.Type == catalog.ProgXDP
	if isXDP {
		if p.Info.Attach == catalog.AttachXDPDevMap || p.Info.Attach == catalog.AttachXDPCPUMap {
			return errno.EINVAL
		}
		if a.Flags&testrun.LiveFrames != 0 {
			return c.runLive(a, p)
		}
		if a.Flags != 0 || a.BatchSize != 0 {
			return errno.EINVAL
		}
	} else if a.Flags&^testrun.ChecksumComplete != 0 || a.Cpu != 0 || a.BatchSize != 0 {
		return errno.EINVAL
	}
	in := testrun.Input{Repeat: a.Repeat, Flags: a.Flags, CtxOut: a.CtxOut != 0, Near: c.who.near()}
	ctxSize, limit := skbSize, uint32(maxSKB)
	if isXDP {
		ctxSize, limit = xdpSize, maxXDP
	}
	var e errno.Errno
	readCtx := func() errno.Errno {
		in.Ctx, e = c.readContext(a, ctxSize)
		return e
	}
	readData := func() errno.Errno {
		if a.DataSizeIn < ethHeader {
			return errno.EINVAL
		}
		if a.DataSizeIn > limit {
			if _, e := c.read(a.DataIn, packet.XDPFrameLen); isXDP && e == 0 {
				return errno.ENOMEM
			} else if isXDP {
				return e
			}
			return errno.EINVAL
		}
		in.Data, e = c.read(a.DataIn, int(a.DataSizeIn))
		return e
	}
	order := []func() errno.Errno{readData, readCtx}
	if isXDP {
		order = []func() errno.Errno{readCtx, readData}
	}
	for _, f := range order {
		if e := f(); e != 0 {
			return e
		}
	}
	if a.DataOut != 0 {
		in.DataOut = make([]byte, len(in.Data)+outSlack)
	}
	out, err := testrun.Run(c.s.m, p, &in)
	if err != nil {
		return numberOf(err)
	}
	return c.finishRun(a, &in, &out)
}

// Frames of a batch of a live run: if nothing is said (NAPI_POLL_WEIGHT), and at most.
const (
	liveBatch    = 64
	maxLiveBatch = 256
)

// runLive runs an XDP program on frames that go where it sends them (bpf_test_run_xdp_live). What comes back are
// the frames as they went in.
func (c *call) runLive(a *testRun, p *run.Program) (e errno.Errno) {
	if a.Flags != testrun.LiveFrames {
		return errno.EINVAL
	}
	if a.BatchSize > maxLiveBatch {
		return errno.E2BIG
	}
	if c.s.o.Devices == nil {
		c.s.unserved("skep exec, whose machines have devices", "BPF_F_TEST_XDP_LIVE_FRAMES")
		return errno.EINVAL
	}
	ctx, e := c.readContext(a, xdpSize)
	if e != 0 {
		return e
	}
	if (a.CtxIn != 0 || a.CtxOut != 0) && (a.DataOut != 0 || a.CtxOut != 0) {
		return errno.EINVAL
	}
	l, err := testrun.LiveOf(int(a.DataSizeIn), ctx)
	if err != nil {
		return numberOf(err)
	}
	if l.Data, e = c.read(a.DataIn, int(a.DataSizeIn)); e != 0 {
		return e
	}
	l.Ifindex = max(l.Ifindex, 1)
	if err := testrun.Receives(c.s.m.Net(), l.Ifindex, l.Queue); err != nil {
		return numberOf(err)
	}
	took, e := c.s.o.Devices.RunLive(p, &LiveRun{Live: l, Repeat: a.Repeat, Batch: cmp.Or(a.BatchSize, liveBatch)})
	if e != 0 {
		return e
	}
	return c.finishRun(a, &testrun.Input{DataOut: l.Data}, &testrun.Output{DataLen: len(l.Data), Duration: took})
}

// readContext follows bpf_ctx_init for a context of size bytes: nil if there is none, E2BIG if more is not zero.
func (c *call) readContext(a *testRun, size uint32) ([]byte, errno.Errno) {
	if a.CtxIn == 0 {
		return nil, 0
	}
	if e := c.zeroFrom(a.CtxIn, size, a.CtxSizeIn); e != 0 {
		return nil, e
	}
	return c.read(a.CtxIn, int(min(a.CtxSizeIn, size)))
}

// runFlowDissector follows bpf_prog_test_run_flow_dissector.
func (c *call) runFlowDissector(a *testRun, p *run.Program) (e errno.Errno) {
	if a.Flags|a.Cpu|a.BatchSize != 0 || a.DataSizeIn < ethHeader || a.DataSizeIn > testrun.MaxFlow {
		return errno.EINVAL
	}
	in := testrun.Input{Repeat: a.Repeat, CtxOut: a.CtxOut != 0, Near: c.who.near()}
	if in.Data, e = c.read(a.DataIn, int(a.DataSizeIn)); e != 0 {
		return e
	}
	if in.Ctx, e = c.readContext(a, catalog.FlowKeysSize); e != 0 {
		return e
	}
	if a.DataOut != 0 {
		in.DataOut = make([]byte, catalog.FlowKeysSize)
	}
	out, err := testrun.Run(c.s.m, p, &in)
	if err != nil {
		return numberOf(err)
	}
	return c.finishRun(a, &in, &out)
}

// Sizes of contexts and of what a test run takes, in bytes.
const (
	ethHeader = 14
	maxSKB    = 4096 - 64 - 320 // a page without NET_SKB_PAD and struct skb_shared_info
	maxXDP    = 18 * packet.XDPFrameLen
	ipHeader  = 20
)

var (
	xdpSize = uint32(unsafe.Sizeof(testrun.XDPMd{}))
	skbSize = uint32(192) // struct __sk_buff
)

// finishRun hands results out (bpf_test_finish, bpf_ctx_finish): what does not
// fit is cut, and the call ends with ENOSPC.
func (c *call) finishRun(a *testRun, in *testrun.Input, out *testrun.Output) (e errno.Errno) {
	e = c.finishData(a, in, out)
	c.s.testFinished(e)
	if e != 0 || a.CtxOut == 0 {
		return e
	}
	n := len(out.Ctx)
	if uint32(n) > a.CtxSizeOut {
		n, e = int(a.CtxSizeOut), errno.ENOSPC
	}
	if w := c.write(a.CtxOut, out.Ctx[:n]); w != 0 {
		return w
	}
	if w := c.put(unsafe.Offsetof(a.CtxSizeOut), u32bytes(uint32(len(out.Ctx)))); w != 0 {
		return w
	}
	return e
}

// finishData is the part of finishRun before the context.
func (c *call) finishData(a *testRun, in *testrun.Input, out *testrun.Output) (e errno.Errno) {
	if a.DataOut != 0 {
		n := out.DataLen
		if a.DataSizeOut != 0 && n > int(a.DataSizeOut) {
			n, e = int(a.DataSizeOut), errno.ENOSPC
		}
		if w := c.write(a.DataOut, in.DataOut[:min(n, len(in.DataOut))]); w != 0 {
			return w
		}
	}
	took := uint32(min(out.Duration.Nanoseconds(), math.MaxUint32))
	for _, f := range []struct {
		off uintptr
		v   uint32
	}{
		{unsafe.Offsetof(a.DataSizeOut), uint32(out.DataLen)},
		{unsafe.Offsetof(a.Retval), out.Ret},
		{unsafe.Offsetof(a.Duration), took},
	} {
		if w := c.put(f.off, u32bytes(f.v)); w != 0 {
			return w
		}
	}
	return e
}

// testFinished raises the event of a test run's end.
func (s *System) testFinished(e errno.Errno) {
	ev := s.m.Event("bpf_test_finish")
	if !ev.Active() {
		return
	}
	err := -int32(e)
	cpu := s.m.Acquire()
	defer cpu.Release()
	cpu.Raise(ev, run.BytesArg(bytesOf(&err)))
}

// testStructOps follows bpf_struct_ops_test_run: the first argument is where the state is that the program changes.
func (c *call) testStructOps(a *testRun, p *run.Program) (e errno.Errno) {
	m, size, err := testrun.DummyMember(p)
	if err != nil {
		return numberOf(err)
	}
	if int(a.CtxSizeIn) != 8*len(m.Proto.Params) {
		return errno.EINVAL
	}
	in := testrun.Input{Near: c.who.near()}
	if in.Ctx, e = c.read(a.CtxIn, int(a.CtxSizeIn)); e != 0 {
		return e
	}
	state := binary.NativeEndian.Uint64(in.Ctx)
	if state != 0 {
		if in.State, e = c.read(state, size); e != 0 {
			return e
		}
	}
	out, err := testrun.Run(c.s.m, p, &in)
	if err != nil {
		return numberOf(err)
	}
	if state != 0 {
		if e := c.write(state, in.State); e != 0 {
			return e
		}
	}
	return c.put(unsafe.Offsetof(a.Retval), u32bytes(out.Ret))
}

// runSyscall follows bpf_prog_test_run_syscall: the context comes back where it came from.
func (c *call) runSyscall(a *testRun, p *run.Program) errno.Errno {
	if a.DataIn|a.DataOut|a.CtxOut != 0 || a.Duration|a.Repeat|a.Flags|a.BatchSize != 0 ||
		int(a.CtxSizeIn) < testrun.ContextReach(p) || a.CtxSizeIn > math.MaxUint16 {
		return errno.EINVAL
	}
	return c.runMemory(a, p, &testrun.Input{CtxOut: true, Near: c.who.near(), Syscalls: c.syscalls()})
}

// runRawTracepoint follows bpf_prog_test_run_raw_tp.
func (c *call) runRawTracepoint(a *testRun, p *run.Program) errno.Errno {
	if a.DataIn|a.DataOut|a.CtxOut != 0 || a.Duration|a.Repeat|a.BatchSize != 0 ||
		int(a.CtxSizeIn) < testrun.ContextReach(p) || a.CtxSizeIn > 12*8 ||
		a.Flags&testrun.OnCPU == 0 && a.Cpu != 0 {
		return errno.EINVAL
	}
	return c.runMemory(a, p, &testrun.Input{Flags: a.Flags & testrun.OnCPU, CPU: a.Cpu, Near: c.who.near()})
}

func (c *call) runMemory(a *testRun, p *run.Program, in *testrun.Input) (e errno.Errno) {
	if in.Ctx, e = c.read(a.CtxIn, int(a.CtxSizeIn)); e != 0 {
		return e
	}
	out, err := testrun.Run(c.s.m, p, in)
	if errors.Is(err, testrun.ErrNoTestRun) {
		return errno.ENOTSUPP
	}
	if err != nil {
		return numberOf(err)
	}
	if in.CtxOut {
		if e := c.write(a.CtxIn, out.Ctx); e != 0 {
			return e
		}
	}
	return c.put(unsafe.Offsetof(a.Retval), u32bytes(out.Ret))
}
