package run

import (
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/jit"
	jitcode "github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
)

// JIT says whether programs run as native code.
type JIT uint8

// Ways of choosing. Checked mode is the interpreter's in any case.
const (
	JITAuto JIT = iota // native code where there is a compiler and the system allows it
	JITOn              // or else New fails
	JITOff             // the interpreter
)

// chooseEngine picks the engine the options ask for.
func chooseEngine(o *Options) (engine, error) {
	if o.JIT == JITOff || o.Checked {
		return interpreter{}, nil
	}
	switch err := jit.Available(); {
	case err == nil:
		return native{}, nil
	case o.JIT == JITOn:
		return nil, err
	}
	return interpreter{}, nil
}

// Native reports whether the machine runs programs as native code.
func (m *Machine) Native() bool { return m.engine == engine(native{}) }

// native is the engine that internal/jit is.
type native struct{}

func (native) compile(p *rewrite.Program, owner *Program) (code, func(), error) {
	o := &owner.m.opts
	var clock *jitcode.Clock
	if c, ok := owner.m.clock.(*systemClock); ok {
		clock = &jitcode.Clock{Boot: c.boot}
	}
	c, err := jit.Compile(p, jit.Options{Clock: clock, SharedRings: o.Share || sharesRing(p),
		Budgeted: o.Budget != 0, Layout: layout, Retpolines: o.Retpolines, Seal: o.Seal,
		Anonymous: o.PerfMap, // where there is a file, perf looks there for names
	})
	if err != nil {
		return nil, nil, err
	}
	c.Owner = owner
	forget, err := tellTools(o, p, c)
	if err != nil {
		c.Free()
		return nil, nil, err
	}
	return c, forget, nil
}

func (native) free(c code) { c.(*jit.Program).Free() }

// sharesRing reports whether a program writes to a ring buffer that other processes have too.
func sharesRing(p *rewrite.Program) bool {
	return p.Facts != nil && slices.ContainsFunc(p.Facts.Insns, func(f verifier.InsnFacts) bool {
		return f.Map != nil && f.Map.Type == catalog.MapRingBuf && f.Map.Doubtful
	})
}

// layout reads from a map's header how the map lies in memory.
func layout(m *catalog.MapDef) (jitcode.Layout, bool) {
	return jitcode.Layout{
		Base:      mem.Load64(m.Ptr + maps.HeaderBase),
		CPUStride: mem.Load64(m.Ptr + maps.HeaderCPUStride),
		ElemSize:  mem.Load32(m.Ptr + maps.HeaderElemSize),
		Buckets:   mem.Load64(m.Ptr + maps.HeaderBuckets),
		Mask:      mem.Load32(m.Ptr + maps.HeaderMask),
		Seed:      mem.Load32(m.Ptr + maps.HeaderSeed),
		ValueOff:  mem.Load32(m.Ptr + maps.HeaderValueOff),
		PerCPU:    mem.Load64(m.Ptr + maps.HeaderPerCPU),
	}, !m.Doubtful
}

func (native) newVM(c *CPU) (vm, error) {
	inner, err := jit.New(nativeServices{services{c}}, c.id)
	if err != nil {
		return nil, err
	}
	return &nativeVM{inner}, nil
}

type nativeVM struct{ vm *jit.VM }

func (v *nativeVM) run(c code, r1 uint64, l limits) (uint64, error) {
	return v.vm.Run(c.(*jit.Program), r1, jit.Limits{Budget: l.budget, Done: l.done})
}

func (v *nativeVM) runCallback(c code, fn uint64, args [5]uint64, l limits) (uint64, error) {
	return v.vm.RunCallback(c.(*jit.Program), fn, args, jit.Limits{Budget: l.budget, Done: l.done})
}

func (v *nativeVM) call(fn, r1, r2, r3, r4, r5 uint64) uint64 {
	return v.vm.Call(fn, r1, r2, r3, r4, r5)
}

func (v *nativeVM) throw(cookie uint64) { v.vm.Throw(cookie) }
func (v *nativeVM) close()              { v.vm.Close() }

// nativeServices is a CPU as its native engine sees it.
type nativeServices struct{ services }

// TailCall hands over what bpf_tail_call left.
func (s nativeServices) TailCall() *jit.Program {
	p, ok := s.c.env.TailCall.(*Program)
	s.c.env.TailCall = nil
	if !ok {
		return nil
	}
	return p.current().(*jit.Program)
}

// Redirect keeps what native code has decided of the packet, as the helper would.
func (s nativeServices) Redirect(m uint64, key uint32) {
	s.c.env.Redirect = helpers.Redirect{Kind: helpers.RedirectMissed}
	if m != 0 {
		s.c.env.Redirect = helpers.Redirect{Kind: helpers.RedirectMap, Map: s.c.m.Maps.ByPtr(m), Key: key}
	}
}

// Running makes helpers see the program that goes on.
func (s nativeServices) Running(p *jit.Program) { s.c.running(p.Owner.(*Program)) }

// NativeCode is a program as the native engine runs it.
type NativeCode struct {
	Text []byte // do not change it
	Addr uint64 // where it lies
	// Functions are the offsets of functions, the first 0; Slots those of the rewritten program's slots.
	Functions, Slots []int
}

// NativeCode returns the program's native code as bpf(2) tells of it; ok is false where it is interpreted.
func (p *Program) NativeCode() (n NativeCode, ok bool) {
	c := p.Native()
	if c == nil {
		return n, false
	}
	n = NativeCode{Text: c.Object.Text, Addr: c.Addr(), Functions: []int{0}, Slots: c.Object.Slots}
	for _, at := range c.Object.Entries[1:] {
		if at > n.Functions[len(n.Functions)-1] {
			n.Functions = append(n.Functions, at)
		}
	}
	return n, true
}
