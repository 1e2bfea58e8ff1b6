package skep

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/marshal"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// ProgramType and AttachType have the kernel's numbers.
type (
	ProgramType = catalog.ProgType
	AttachType  = catalog.AttachType
)

// VerifierError says why a program was refused: one line by Error, the
// verifier's log by %+v. It wraps the [Errno] that bpf(2) would return.
type VerifierError = verifier.Error

// VerifierStats are the figures of the verifier's last log line.
type VerifierStats = verifier.Stats

// Program is a verified program, ready to run. Safe for concurrent use.
type Program struct {
	p    *run.Program // this handle's reference
	mach *Machine
	done atomic.Bool // closed

	section string
	attach  AttachType
	source  *verifier.Program
	result  *verifier.Result
}

// Name returns the name of the program's entry function.
func (p *Program) Name() string { return p.p.Info.Name }

// Type returns the kind of the program.
func (p *Program) Type() ProgramType { return p.p.Info.Type }

// AttachType returns what the program may be attached to.
func (p *Program) AttachType() AttachType { return p.attach }

// Section returns the ELF section the program came from, "" if none.
func (p *Program) Section() string { return p.section }

// ID returns the program's number in its Machine.
func (p *Program) ID() uint32 { return p.p.ID() }

// String names the program and its kind.
func (p *Program) String() string { return fmt.Sprintf("%s(%s)", p.Type(), p.Name()) }

// Instructions returns the program as it was loaded, before any rewriting. Do not change it.
func (p *Program) Instructions() []isa.Instruction { return p.source.Insns }

// VerifierLog is what the verifier said, as far as [CollectionOptions.LogLevel] asked for it.
func (p *Program) VerifierLog() string { return p.result.Log }

// VerifierStats are the verifier's figures for the program.
func (p *Program) VerifierStats() VerifierStats { return p.result.Stats }

// RunCount and RunTime say how often the program ran and, while
// [Machine.CountTime] was on, how long in all.
func (p *Program) RunCount() uint64 { n, _ := p.p.Stats(); return n }

// RunTime is described with [Program.RunCount].
func (p *Program) RunTime() time.Duration { _, d := p.p.Stats(); return d }

// Close gives the handle up. The program goes when no map or hook has it either.
func (p *Program) Close() error {
	if p != nil && !p.done.Swap(true) {
		p.p.Close()
	}
	return nil
}

// Flags of a test run (uapi BPF_F_TEST_*).
const (
	// TestRunOnCPU runs the program on [RunOptions.CPU].
	TestRunOnCPU uint32 = 1 << 0
	// TestSKBChecksumComplete starts with a checksum over the packet and fails with
	// EBADMSG if the program leaves it wrong.
	TestSKBChecksumComplete uint32 = 1 << 2
)

// RunOptions are the input and output of [Program.Run], as BPF_PROG_TEST_RUN has them.
type RunOptions struct {
	// Data is the packet: at least an Ethernet header for XDP and programs over socket buffers.
	Data []byte
	// DataOut takes the packet after the run; it is cut to what there is. If it is
	// too short the run ends with ENOSPC.
	DataOut []byte
	// Context goes in, ContextOut (a pointer or slice) comes out: [XDPMd], [SKBuff]
	// or anything of their layout; raw bytes for programs over plain memory.
	Context    any
	ContextOut any
	// Repeat runs the program that often on the same packet; 0: once.
	Repeat uint32
	Flags  uint32
	CPU    uint32
	// Linear is how many bytes of the packet are directly readable, the rest
	// paged, as in a packet of several fragments; 0: as many as the kernel would.
	Linear int
}

// Test runs the program once on in and returns R0 and the packet after it.
func (p *Program) Test(in []byte) (uint32, []byte, error) {
	// Room for what xdp_adjust_head or tail may add.
	out := make([]byte, len(in)+256+2)
	opts := RunOptions{Data: in, DataOut: out}
	ret, err := p.Run(&opts)
	if err != nil {
		return ret, nil, err
	}
	return ret, opts.DataOut, nil
}

// Benchmark runs the program repeat times on in and returns R0 of the last run and the mean time of one.
// reset, if not nil, is called once before the first.
func (p *Program) Benchmark(in []byte, repeat int, reset func()) (uint32, time.Duration, error) {
	if uint(repeat) > 1<<32-1 {
		return 0, 0, fmt.Errorf("program %s: repeat %d does not fit 32 bits", p.Name(), repeat)
	}
	if reset != nil {
		reset()
	}
	start := time.Now()
	ret, err := p.Run(&RunOptions{Data: in, Repeat: uint32(repeat)})
	return ret, time.Since(start) / time.Duration(max(repeat, 1)), err
}

// Run runs the program as BPF_PROG_TEST_RUN does and returns R0. Errors of the
// arguments wrap the kernel's errno.
func (p *Program) Run(opts *RunOptions) (uint32, error) {
	if opts == nil {
		opts = &RunOptions{}
	}
	if p.done.Load() {
		return 0, p.wrap(ErrClosed)
	}
	if err := p.mach.open(); err != nil {
		return 0, p.wrap(err)
	}
	c, err := p.cpuFor(opts)
	if err != nil {
		return 0, p.wrap(err)
	}
	defer c.Release()
	var ret uint32
	if hasPacket(p.Type()) {
		ret, err = p.runPacket(c, opts)
	} else {
		ret, err = p.runMemory(c, opts)
	}
	return ret, p.wrap(err)
}

func (p *Program) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("program %s: %w", p.Name(), err)
}

func (p *Program) cpuFor(opts *RunOptions) (*run.CPU, error) {
	if opts.Flags&^(TestRunOnCPU|TestSKBChecksumComplete) != 0 {
		return nil, fmt.Errorf("test run flags %#x: %w", opts.Flags, errno.EINVAL)
	}
	if opts.Flags&TestRunOnCPU == 0 {
		return p.mach.m.Acquire(), nil
	}
	if int(opts.CPU) >= p.mach.CPUs() {
		return nil, fmt.Errorf("no CPU %d: the machine has %d: %w", opts.CPU, p.mach.CPUs(), errno.ENXIO)
	}
	return p.mach.m.AcquireCPU(int(opts.CPU)), nil
}

func (p *Program) runPacket(c *run.CPU, opts *RunOptions) (ret uint32, err error) {
	pkt := c.Packet()
	isXDP := p.Type() == catalog.ProgXDP
	if isXDP {
		err = loadXDP(pkt, opts.Data, opts.Context, opts.Linear)
	} else {
		err = loadSKB(pkt, opts.Data, opts.Context, packet.SKBOptions{
			L2:               isL2(p.Type()),
			Linear:           opts.Linear,
			ChecksumComplete: opts.Flags&TestSKBChecksumComplete != 0,
		})
	}
	if err != nil {
		return 0, err
	}
	for range max(opts.Repeat, 1) {
		r0, err := c.Run(p.p, pkt.Addr(), pkt)
		if err != nil {
			return 0, err
		}
		ret = uint32(r0)
	}
	pkt.Finish()
	if opts.Flags&TestSKBChecksumComplete != 0 && !isXDP && !pkt.CsumValid() {
		return 0, fmt.Errorf("checksum does not fit the packet any more: %w", errno.EBADMSG)
	}
	var full bool
	opts.DataOut, full = fillOut(opts.DataOut, pkt.Meta(), pkt.Bytes())
	if opts.ContextOut != nil {
		if isXDP {
			err = storeContext(opts.ContextOut, storeXDP(pkt, opts.Context))
		} else {
			err = storeContext(opts.ContextOut, storeSKB(pkt, opts.Context))
		}
	}
	if err == nil && !full {
		err = fmt.Errorf("%d bytes of output do not fit DataOut: %w", len(pkt.Meta())+len(pkt.Bytes()), errno.ENOSPC)
	}
	return ret, err
}

// isL2 reports whether test runs show programs of type t the Ethernet header.
func isL2(t catalog.ProgType) bool {
	return t == catalog.ProgSchedCls || t == catalog.ProgSchedAct
}

// fillOut copies the parts into out and cuts it to them; full is false if they
// do not all fit. A nil out wants nothing.
func fillOut(out []byte, parts ...[]byte) (cut []byte, full bool) {
	if out == nil {
		return nil, true
	}
	n := 0
	full = true
	for _, part := range parts {
		m := copy(out[n:], part)
		full = full && m == len(part)
		n += m
	}
	return out[:n], full
}

// storeContext hands a context out: into a pointer to its own type, or as bytes.
func storeContext(dst any, ctx any) error {
	b, err := encodeContext(ctx, ctxSize(ctx))
	if err != nil {
		return err
	}
	if s, ok := dst.([]byte); ok {
		if len(s) < len(b) {
			return fmt.Errorf("context of %d bytes does not fit ContextOut: %w", len(b), errno.ENOSPC)
		}
		copy(s, b)
		return nil
	}
	if err := marshal.Decode(dst, b); err != nil {
		return fmt.Errorf("ContextOut: %w", err)
	}
	return nil
}

// ErrNoTestRun says that programs of a type cannot be run by hand.
var ErrNoTestRun = fmt.Errorf("programs of this type cannot be run by themselves: %w", errors.ErrUnsupported)

// memoryContexts are the program types whose context is plain memory, with the
// most a caller may hand in, in bytes.
var memoryContexts = map[catalog.ProgType]int{
	catalog.ProgSyscall:               64 << 10, // U16_MAX
	catalog.ProgRawTracepoint:         12 * 8,   // MAX_BPF_FUNC_ARGS
	catalog.ProgRawTracepointWritable: 12 * 8,
	catalog.ProgTracepoint:            64 << 10,
	catalog.ProgKprobe:                512,
}

// runMemory runs a program whose context is a piece of memory.
func (p *Program) runMemory(c *run.CPU, opts *RunOptions) (uint32, error) {
	limit, ok := memoryContexts[p.Type()]
	if !ok {
		return 0, ErrNoTestRun
	}
	if len(opts.Data) != 0 || len(opts.DataOut) != 0 {
		return 0, fmt.Errorf("a %s program takes a Context, not Data: %w", p.Type(), errno.EINVAL)
	}
	var in []byte
	if opts.Context != nil {
		var err error
		if in, err = encodeContext(opts.Context, ctxSize(opts.Context)); err != nil {
			return 0, err
		}
	}
	need := p.contextReach()
	if len(in) > limit || len(in) < need {
		return 0, fmt.Errorf("context of %d bytes; the program reads %d, at most %d are taken: %w", len(in), need, limit, errno.EINVAL)
	}
	block, err := mem.Alloc(max(len(in), 8))
	if err != nil {
		return 0, err
	}
	defer block.Free()
	copy(block.Bytes(), in)
	var r0 uint64
	for range max(opts.Repeat, 1) {
		if r0, err = c.Run(p.p, block.Addr(), nil); err != nil {
			return 0, err
		}
	}
	if opts.ContextOut != nil {
		err = storeContext(opts.ContextOut, block.Bytes()[:len(in)])
	}
	return uint32(r0), err
}

// contextReach is how many bytes of its context the program may touch.
func (p *Program) contextReach() int {
	reach := 0
	for i, f := range p.result.Insns {
		if f.Access == verifier.AccessCtx {
			ins := p.source.Insns[i]
			reach = max(reach, int(ins.Off)+ins.Op.Bytes())
		}
	}
	return reach
}
