package skep

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/testrun"
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
	from    *origin // nil: of bpf(2)
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
	TestRunOnCPU = testrun.OnCPU
	// TestSKBChecksumComplete starts with a checksum over the packet and fails with
	// EBADMSG if the program leaves it wrong.
	TestSKBChecksumComplete = testrun.ChecksumComplete
)

// RunOptions are the input and output of [Program.Run], as BPF_PROG_TEST_RUN has them.
type RunOptions struct {
	// Data is the packet: at least an Ethernet header for XDP and programs over socket buffers. Of a struct_ops
	// program, which has to be for a member of bpf_dummy_ops, it is the state that the first argument points to.
	Data []byte
	// DataOut takes the packet after the run; it is cut to what there is. If it is
	// too short the run ends with ENOSPC.
	DataOut []byte
	// Context goes in, ContextOut (a pointer or slice) comes out: [XDPMd], [SKBuff]
	// or anything of their layout; raw bytes for programs over plain memory. Of netfilter programs none comes out. Of a
	// member of bpf_dummy_ops it is the arguments as uint64, the first of which is not 0 if there is a state.
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
	ret, err := p.run(opts)
	return ret, p.wrap(err)
}

func (p *Program) run(opts *RunOptions) (uint32, error) {
	in := testrun.Input{
		Data: opts.Data, DataOut: opts.DataOut,
		CtxOut: opts.ContextOut != nil, Repeat: opts.Repeat, Flags: opts.Flags, CPU: opts.CPU, Linear: opts.Linear,
	}
	var err error
	if opts.Context != nil {
		if in.Ctx, err = contextBytes(opts.Context); err != nil {
			return 0, err
		}
	}
	out, err := testrun.Run(p.mach.m, p.p, &in)
	if err != nil {
		return 0, err
	}
	full := opts.DataOut == nil || out.DataLen <= len(opts.DataOut)
	if opts.DataOut != nil {
		opts.DataOut = opts.DataOut[:min(out.DataLen, len(opts.DataOut))]
	}
	if opts.ContextOut != nil && out.Ctx != nil {
		err = storeContext(opts.ContextOut, out.Ctx)
	}
	if err == nil && !full {
		err = fmt.Errorf("%d bytes of output do not fit DataOut: %w", out.DataLen, errno.ENOSPC)
	}
	return out.Ret, err
}

func (p *Program) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("program %s: %w", p.Name(), err)
}

// ErrNoTestRun says that programs of a type cannot be run by hand.
var ErrNoTestRun = testrun.ErrNoTestRun
