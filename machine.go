package skep

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
)

// Clock is what programs read the time from, in nanoseconds. [SystemClock] and
// [NewManualClock] make one.
type Clock = run.Clock

// ManualClock stands still until Advance moves it on; timers that fall due then run.
type ManualClock = run.ManualClock

// SystemClock returns the clock of the machine skep runs on.
func SystemClock() Clock { return run.SystemClock() }

// NewManualClock makes a clock whose monotonic time is now, in nanoseconds, and whose wall clock is real.
func NewManualClock(now uint64, real time.Time) *ManualClock { return run.NewManualClock(now, real) }

// Net is the network around a packet: devices, routes, neighbours, sockets, as
// helpers such as bpf_fib_lookup ask about it. [NewStaticNet] makes one from lists.
type Net = packet.Net

// StaticNet is a [Net] that its owner fills.
type StaticNet = packet.StaticNet

// Device, Route and RouteQuery are what a [Net] speaks of.
type (
	Device     = packet.Device
	Route      = packet.Route
	RouteQuery = packet.RouteQuery
)

// NewStaticNet returns a network with a loopback device alone.
func NewStaticNet() *StaticNet { return packet.NewStaticNet() }

// Process is who the bpf_get_current_* helpers tell of.
type Process = helpers.Process

// TraceLine is one line a program wrote with bpf_trace_printk or bpf_trace_vprintk.
type TraceLine struct {
	CPU     int
	Program string
	Time    uint64 // monotonic clock, nanoseconds
	Text    string // without the newline
}

// JIT says whether programs run as native code. In checked mode they never do.
type JIT = run.JIT

// Ways of choosing.
const (
	JITAuto = run.JITAuto // native code where skep has a compiler and the system allows executable memory
	JITOn   = run.JITOn   // native code, or NewMachine fails
	JITOff  = run.JITOff  // the interpreter
)

// MachineOptions shape a [Machine]. The zero value is a machine with the
// system's clock, chance, and as many CPUs as Go uses.
//
// With Clock, Seed and one CPU fixed, what programs do is the same in every run, bit for bit.
type MachineOptions struct {
	// CPUs is the number of possible CPUs; 0: GOMAXPROCS.
	CPUs int
	// Clock is what programs read the time from; nil: the system's.
	Clock Clock
	// Seed feeds bpf_get_prandom_u32 and hash seeds; nil: chance.
	Seed *uint64
	// KernelBTF are the types CO-RE relocations, kfuncs and BTF pointers refer to;
	// nil: the running kernel's, where there is one.
	KernelBTF *btf.Spec
	// Net is the network around packets; nil: a loopback device alone, as in a fresh namespace.
	Net Net
	// Process is who programs are told is running; nil: nobody.
	Process *Process
	// Trace takes what programs trace; nil: it is dropped. TraceTo takes it as text, in the trace pipe's manner.
	Trace   func(TraceLine)
	TraceTo io.Writer
	// Checked runs programs in the interpreter's checked mode: every access, helper
	// argument and verifier claim is looked at. Slow; for tests.
	Checked bool
	// JIT chooses between native code and the interpreter; [JITAuto] is native code where there is any.
	JIT JIT
	// PerfMap names the functions of native code to perf, in /tmp/perf-PID.map. It
	// does not go with Harden.SealCode.
	PerfMap bool
	// GDB names them to debuggers, by gdb's JIT interface; binaries without symbol
	// table lack it.
	GDB bool
	// ProfileLabels gives samples of CPU profiles the label bpf_prog while a program
	// runs: go tool pprof -tagleaf bpf_prog. A run costs some 10 ns more.
	ProfileLabels bool
	// Harden guards the process against programs written to abuse native code.
	Harden Harden
	// Unprivileged applies the verifier's rules for callers without CAP_BPF.
	Unprivileged bool
}

// Harden says how native code is hardened, at the price of its speed. What
// unprivileged programs could learn by speculation the verifier bars by itself.
type Harden struct {
	// Blind keeps constants out of native code, as net.core.bpf_jit_harden does: of
	// no program (0), of those of an unprivileged machine (1), of all (2).
	Blind int
	// Retpolines makes indirect jumps of native code such that no other code in the
	// process can teach the processor a wrong guess of where they go. Only on x86-64.
	Retpolines bool
	// SealCode gives each program's code memory of its own that nobody in the
	// process can make writable again. It takes some pages for each program.
	SealCode bool
}

// blind returns what hides the constants of programs, or nil.
func (m *Machine) blind() func() uint32 {
	if !m.m.Native() || m.opts.Harden.Blind == 0 || m.opts.Harden.Blind == 1 && !m.opts.Unprivileged {
		return nil
	}
	return m.m.Secret
}

// Machine is where programs live: CPUs, maps, programs, clocks. Machines share
// nothing. It is safe for concurrent use.
type Machine struct {
	m    *run.Machine
	opts MachineOptions
	done atomic.Bool // closed

	types sync.Once
	btf   *btf.Spec
}

// Device returns what the machine's network says of the device with an index, nil if it has none.
func (m *Machine) Device(ifindex uint32) *Device { return m.m.Net().Device(ifindex) }

// NewMachine makes a machine; nil options mean the zero value.
func NewMachine(opts *MachineOptions) (*Machine, error) {
	var o MachineOptions
	if opts != nil {
		o = *opts
	}
	if o.Harden.Blind < 0 || o.Harden.Blind > 2 {
		return nil, fmt.Errorf("skep: new machine: Harden.Blind is %d: there are 0, 1 and 2", o.Harden.Blind)
	}
	if o.PerfMap && o.Harden.SealCode {
		return nil, errors.New("skep: new machine: PerfMap needs anonymous memory, which SealCode cannot seal: choose one")
	}
	ro := run.Options{
		CPUs: o.CPUs, Clock: o.Clock, Net: o.Net, Process: o.Process, Checked: o.Checked, JIT: o.JIT,
		Trace: traceTo(o), PerfMap: o.PerfMap, GDB: o.GDB, Labels: o.ProfileLabels,
		Retpolines: o.Harden.Retpolines, Seal: o.Harden.SealCode,
	}
	if o.Seed != nil {
		ro.Seed, ro.Seeded = *o.Seed, true
	}
	m, err := run.New(ro)
	if err != nil {
		return nil, fmt.Errorf("skep: new machine: %w", err)
	}
	return &Machine{m: m, opts: o}, nil
}

// traceTo joins the two ways of taking trace lines.
func traceTo(o MachineOptions) func(run.TraceLine) {
	if o.Trace == nil && o.TraceTo == nil {
		return nil
	}
	var mu sync.Mutex
	return func(l run.TraceLine) {
		line := TraceLine{CPU: l.CPU, Program: l.Prog.Name, Time: l.Time, Text: string(l.Text)}
		if n := len(line.Text); n > 0 && line.Text[n-1] == '\n' {
			line.Text = line.Text[:n-1]
		}
		if o.Trace != nil {
			o.Trace(line)
		}
		if o.TraceTo != nil {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(o.TraceTo, "[%03d] %5d.%06d: bpf_trace_printk: %s\n",
				line.CPU, line.Time/1e9, line.Time/1e3%1e6, line.Text)
		}
	}
}

// Close ends the machine: timers stop, CPUs go. Nothing may be running any more;
// what was loaded is to be closed as well, before or after.
func (m *Machine) Close() error {
	if !m.done.Swap(true) {
		m.m.Close()
	}
	return nil
}

// open returns an error for a machine that was closed.
func (m *Machine) open() error {
	if m.done.Load() {
		return fmt.Errorf("machine: %w", ErrClosed)
	}
	return nil
}

// CPUs returns the number of possible CPUs: the length of per-CPU values.
func (m *Machine) CPUs() int { return m.m.CPUs() }

// Now is the wall clock of the machine, which programs read as well.
func (m *Machine) Now() time.Time { return time.Unix(0, int64(m.m.Real())) }

// Jiffies is the kernel's count of ticks, as bpf_jiffies64 reads it: 250 a second.
func (m *Machine) Jiffies() uint64 { return m.m.Jiffies() }

// CountTime turns the measuring of programs' run times on or off (BPF_ENABLE_STATS).
func (m *Machine) CountTime(on bool) { m.m.CountTime(on) }

// kernelBTF returns the machine's kernel types, or nil.
func (m *Machine) kernelBTF() *btf.Spec {
	m.types.Do(func() {
		if m.btf = m.opts.KernelBTF; m.btf == nil {
			m.btf, _ = btf.LoadKernelSpec() // none to be had is an answer
		}
	})
	return m.btf
}
