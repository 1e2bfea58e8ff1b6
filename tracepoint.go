package skep

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// Tracepoint is an event of a machine that programs are attached to: raw_tracepoint programs and tracing programs
// loaded for it (tp_btf), which see what it is raised with, and tracepoint programs, which see its record. Those that skep
// raises by itself are listed in docs/hooks.md; any other name is an event of the caller's own, without a record.
type Tracepoint struct {
	mach *Machine
	e    *run.Event
}

// Tracepoint returns the machine's event with a name: xdp_exception.
func (m *Machine) Tracepoint(name string) *Tracepoint { return &Tracepoint{m, m.m.Event(name)} }

// TracepointLink keeps a program attached.
type TracepointLink struct {
	once   sync.Once
	detach func()
	p      *Program
}

// Attach attaches a program. cookie is what bpf_get_attach_cookie gives it.
func (t *Tracepoint) Attach(p *Program, cookie uint64) (*TracepointLink, error) {
	info := &p.p.Info
	switch info.Type {
	case catalog.ProgRawTracepoint, catalog.ProgRawTracepointWritable:
	case catalog.ProgTracepoint:
		if catalog.EventByName(t.e.Name()) == nil {
			return nil, p.wrap(fmt.Errorf("event %s has no record for a tracepoint program: use raw_tracepoint", t.e.Name()))
		}
	case catalog.ProgTracing:
		if info.Attach != catalog.AttachTraceRawTp || p.p.Rewritten.Source.AttachTo != t.e.Name() {
			return nil, p.wrap(fmt.Errorf("it was not loaded for event %s: %w", t.e.Name(), errno.EINVAL))
		}
	default:
		return nil, p.wrap(fmt.Errorf("programs of type %s do not go to events: %w", info.Type, errno.EINVAL))
	}
	if p.done.Load() {
		return nil, p.wrap(ErrClosed)
	}
	detach, e := t.e.Attach(p.p, cookie)
	if e != 0 {
		return nil, p.wrap(e)
	}
	p.p.Acquire()
	return &TracepointLink{detach: detach, p: p}, nil
}

// Close detaches the program. A run under way may still come to its end.
func (l *TracepointLink) Close() error {
	l.once.Do(func() {
		l.detach()
		l.p.p.Close()
	})
	return nil
}

// Active reports whether anything is attached: Raise does nothing if not, so whoever would have to work for its
// arguments asks first.
func (t *Tracepoint) Active() bool { return t.e.Active() }

// NetDevice stands for the net_device with an index among the arguments of [Tracepoint.Raise],
// DevmapEntry for a devmap's entry of it, and CPUMapEntry for a cpumap's of a CPU.
type (
	NetDevice   uint32
	DevmapEntry uint32
	CPUMapEntry uint32
)

var errArg = errors.New("events are raised with numbers, bytes, strings, programs, packets and devices")

// Raise has the event happen on a CPU that the caller holds, nil: on any that is idle. All attached programs run, in the order they
// were attached; each finds the arguments as 64-bit words: numbers as they are, of []byte and string (which ends with a zero
// byte) the address, of a *Program a bpf_prog, of the CPU's *Packet an xdp_buff or sk_buff, and of a [NetDevice] a net_device, as far as the
// machine's kernel BTF has these types. At most 12 arguments. An event that skep knows takes those of the kernel's.
func (t *Tracepoint) Raise(cpu *CPU, args ...any) error {
	if !t.e.Active() {
		return nil
	}
	if len(args) > run.MaxEventArgs {
		return fmt.Errorf("skep: event %s: %d arguments, at most %d are taken", t.e.Name(), len(args), run.MaxEventArgs)
	}
	all := make([]run.Arg, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case NetDevice:
			all[i] = run.DeviceArg(uint32(a))
		case DevmapEntry:
			all[i] = run.DevmapArg(uint32(a))
		case CPUMapEntry:
			all[i] = run.CPUMapArg(uint32(a))
		case *Program:
			all[i] = run.ProgArg(a.p)
		case *Packet:
			all[i] = run.PacketArg(a)
		case []byte:
			all[i] = run.BytesArg(a)
		case string:
			all[i] = run.BytesArg([]byte(a))
		default:
			switch v := reflect.ValueOf(a); {
			case v.IsValid() && v.CanInt():
				all[i] = run.Number(uint64(v.Int()))
			case v.IsValid() && v.CanUint():
				all[i] = run.Number(v.Uint())
			default:
				return fmt.Errorf("skep: event %s: argument %d is a %T: %w", t.e.Name(), i, a, errArg)
			}
		}
	}
	if cpu == nil {
		if err := t.mach.open(); err != nil {
			return err
		}
		cpu = t.mach.AcquireCPU()
		defer cpu.Release()
	}
	return cpu.c.Raise(t.e, all...)
}
