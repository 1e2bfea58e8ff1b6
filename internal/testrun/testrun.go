// Package testrun runs a program once on data that its caller hands in, as
// BPF_PROG_TEST_RUN does (net/bpf/test_run.c), for the public API and for bpf(2) alike.
package testrun

import (
	"errors"
	"fmt"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
)

// Flags of a test run (uapi BPF_F_TEST_*).
const (
	// OnCPU runs the program on [Input.CPU].
	OnCPU uint32 = 1 << 0
	// ChecksumComplete starts with a checksum over the packet and fails with
	// EBADMSG if the program leaves it wrong.
	ChecksumComplete uint32 = 1 << 2
)

// Input is what a run gets.
type Input struct {
	Data []byte // the packet
	// DataOut takes the packet after the run, as far as it has room; nil wants none.
	DataOut []byte
	// Ctx is the context in the uapi's layout; nil: zeroes.
	Ctx    []byte
	Repeat uint32 // 0: once
	Flags  uint32
	CPU    uint32
	Near   int // without OnCPU: one more than the CPU to run on if it is idle, 0: any
	// CtxOut asks for the context after the run.
	CtxOut bool
	// State is, of a member of bpf_dummy_ops, what its first argument points to. The run changes it.
	State []byte
	// Syscalls are what a program of type syscall makes system calls by; nil: it makes none.
	Syscalls helpers.Syscalls
	// Linear is how many bytes of the packet are directly readable; 0: as many as the kernel would.
	Linear int
}

// Output is what a run left.
type Output struct {
	Ret     uint32 // R0
	DataLen int    // of the packet after the run, whether or not it fitted
	Ctx     []byte // the context after the run
	// Duration is the mean time of a run.
	Duration time.Duration
}

// ErrNoTestRun says that programs of a type cannot be run by hand.
var ErrNoTestRun = fmt.Errorf("programs of this type cannot be run by themselves: %w", errors.ErrUnsupported)

// Can reports whether programs of type t can be run by hand.
func Can(t catalog.ProgType) bool {
	row := catalog.ProgKindByType(t)
	return row != nil && (row.Flags&catalog.HasPacket != 0 || row.MaxContext != 0)
}

// Run runs p. Errors of the input wrap the kernel's errno.
func Run(m *run.Machine, p *run.Program, in *Input) (Output, error) {
	c, err := cpuFor(m, in)
	if err != nil {
		return Output{}, err
	}
	defer c.Release()
	c.Enter(maps.GroupPlace{})
	if catalog.ProgKindByType(p.Info.Type).Flags&catalog.HasPacket != 0 {
		return runPacket(c, m.Net(), p, in)
	}
	switch p.Info.Type {
	case catalog.ProgSkLookup:
		return runSkLookup(c, p, in)
	case catalog.ProgFlowDissector:
		return runFlowDissector(c, p, in)
	case catalog.ProgStructOps:
		return runStructOps(c, p, in)
	case catalog.ProgNetfilter:
		return runNetfilter(c, p, in)
	case catalog.ProgTracing:
		return runTracing(c, p, in)
	}
	return runMemory(c, p, in)
}

func cpuFor(m *run.Machine, in *Input) (*run.CPU, error) {
	if in.Flags&^(OnCPU|ChecksumComplete) != 0 {
		return nil, fmt.Errorf("test run flags %#x: %w", in.Flags, errno.EINVAL)
	}
	if in.Near > 0 && in.Near <= m.CPUs() && in.Flags&OnCPU == 0 {
		return m.AcquireNear(in.Near - 1), nil
	}
	if in.Flags&OnCPU == 0 {
		return m.Acquire(), nil
	}
	if int64(in.CPU) >= int64(m.CPUs()) {
		return nil, fmt.Errorf("no CPU %d: the machine has %d: %w", in.CPU, m.CPUs(), errno.ENXIO)
	}
	return m.AcquireCPU(int(in.CPU)), nil
}

// repeat runs p as often as asked and returns R0 of the last run and the mean time of one.
func repeat(c *run.CPU, p *run.Program, in *Input, ctx uint64, pkt *packet.Packet) (Output, error) {
	return repeatWith(c, p, in, ctx, pkt, func() {})
}

// repeatWith calls before ahead of each run.
func repeatWith(c *run.CPU, p *run.Program, in *Input, ctx uint64, pkt *packet.Packet, before func()) (out Output, err error) {
	var r0 uint64
	n := max(in.Repeat, 1)
	start := time.Now()
	for range n {
		before()
		if r0, err = c.Run(p, ctx, pkt); err != nil {
			return out, err
		}
	}
	out.Ret, out.Duration = uint32(r0), time.Since(start)/time.Duration(n)
	return out, nil
}

func runPacket(c *run.CPU, net packet.Net, p *run.Program, in *Input) (out Output, err error) {
	pkt := c.Packet()
	isXDP := p.Info.Type == catalog.ProgXDP
	if isXDP {
		err = loadXDP(pkt, net, in.Data, in.Ctx, in.Linear)
	} else {
		err = loadSKB(pkt, net, in.Data, in.Ctx, packet.SKBOptions{
			L2:               isL2(p.Info.Type),
			Linear:           in.Linear,
			ChecksumComplete: in.Flags&ChecksumComplete != 0,
		})
	}
	if err != nil {
		return out, err
	}
	if out, err = repeat(c, p, in, pkt.Addr(), pkt); err != nil {
		return out, err
	}
	pkt.Finish()
	if in.Flags&ChecksumComplete != 0 && !isXDP && !pkt.CsumValid() {
		return Output{}, fmt.Errorf("checksum does not fit the packet any more: %w", errno.EBADMSG)
	}
	n := 0
	for _, part := range [][]byte{pkt.Meta(), pkt.Bytes()} {
		n += copy(in.DataOut[n:], part)
		out.DataLen += len(part)
	}
	switch {
	case !in.CtxOut:
	case isXDP:
		out.Ctx = storeXDP(pkt, in.Ctx)
	default:
		out.Ctx = storeSKB(pkt, in.Ctx)
	}
	return out, nil
}

// isL2 reports whether test runs show programs of type t the Ethernet header.
func isL2(t catalog.ProgType) bool {
	return t == catalog.ProgSchedCls || t == catalog.ProgSchedAct
}

// runMemory runs a program whose context is a piece of memory.
func runMemory(c *run.CPU, p *run.Program, in *Input) (Output, error) {
	limit := catalog.ProgKindByType(p.Info.Type).MaxContext
	if limit == 0 {
		return Output{}, ErrNoTestRun
	}
	if len(in.Data) != 0 || len(in.DataOut) != 0 {
		return Output{}, fmt.Errorf("a %s program takes a Context, not Data: %w", p.Info.Type, errno.EINVAL)
	}
	need := ContextReach(p)
	if len(in.Ctx) > limit || len(in.Ctx) < need {
		return Output{}, fmt.Errorf("context of %d bytes; the program reads %d, at most %d are taken: %w", len(in.Ctx), need, limit, errno.EINVAL)
	}
	block, err := mem.Alloc(max(len(in.Ctx), 8))
	if err != nil {
		return Output{}, err
	}
	defer block.Free()
	copy(block.Bytes(), in.Ctx)
	c.CallAs(in.Syscalls)
	defer c.CallAs(nil)
	out, err := repeat(c, p, in, block.Addr(), nil)
	if err == nil && in.CtxOut {
		out.Ctx = append(make([]byte, 0, len(in.Ctx)), block.Bytes()[:len(in.Ctx)]...)
	}
	return out, err
}

// ContextReach is how many bytes of its context a program may touch.
func ContextReach(p *run.Program) int {
	reach := 0
	src := p.Rewritten.Source
	for i, f := range p.Rewritten.Facts.Insns {
		if f.Access == verifier.AccessCtx {
			ins := src.Insns[i]
			reach = max(reach, int(ins.Off)+ins.Op.Bytes())
		}
	}
	return reach
}
