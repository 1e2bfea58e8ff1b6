package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// Program is a program the machine can run. It is shared: the last Close frees it.
type Program struct {
	// Info is what helpers know of the program.
	Info helpers.Prog
	// Rewritten is what the engine runs.
	Rewritten *rewrite.Program
	// About is what was said of it when it was loaded.
	About About

	m      *Machine
	code   code
	native *jit.Program // code, where that is native
	forget func()       // takes back what tools were told of it
	labels context.Context
	plain  bool // it is, and is plain, and bears no labels
	kfuncs map[kfuncKey]kfunc
	maps   []maps.Map
	frags  bool
	stats  []progStats // per vCPU
	refs   atomic.Int64

	tracing tracing
	// acts is Info, or, of a program that replaces a function of another, with that one's type.
	acts *helpers.Prog
}

// progStats is a cache line of its own per vCPU, so that counting costs no traffic.
type progStats struct {
	runs atomic.Uint64
	time atomic.Int64 // ns
	// timed are the runs that time is of.
	timed  atomic.Uint64
	misses atomic.Uint64 // runs left out, as the program ran already
	active bool          // it runs, attached to something
	_      [24]byte
}

// kfuncKey names a kernel function as a call instruction does.
type kfuncKey struct {
	btfID int32
	fdIdx int16
}

// kfunc is a kernel function; bpf_throw has no call, as the engine carries it out.
type kfunc struct {
	name string
	call helpers.Func
}

// UnsupportedError says that a program needs a kernel function that skep does
// not have. errors.Is(err, errors.ErrUnsupported) holds.
type UnsupportedError struct {
	Slot int    // of the call, as the verifier saw it
	Name string // "bpf_get_stack"
	Why  string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("insn %d: %s is not supported in user space: it %s", e.Slot, e.Name, e.Why)
}

// Is makes every UnsupportedError an errors.ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

// NewProgram makes a rewritten program ready and gives it an id. The program
// holds a reference to each of the maps until it is freed.
func (m *Machine) NewProgram(rw *rewrite.Program, used []maps.Map) (*Program, error) {
	return m.newProgram(rw, used, About{})
}

func (m *Machine) newProgram(rw *rewrite.Program, used []maps.Map, about About) (*Program, error) {
	src := rw.Source
	p := &Program{
		Info:      helpers.Prog{Name: src.Name, Type: src.Type, Attach: src.Attach},
		Rewritten: rw, About: about, m: m, frags: src.Flags&catalog.LoadXDPHasFrags != 0,
		stats: make([]progStats, m.opts.CPUs), kfuncs: map[kfuncKey]kfunc{},
	}
	if err := p.bind(); err != nil {
		return nil, err
	}
	if m.opts.Labels {
		p.labels = labelled(rw)
	}
	var err error
	if p.code, p.forget, err = m.engine.compile(rw, p); err != nil {
		return nil, fmt.Errorf("program %q: %w", src.Name, err)
	}
	p.native, _ = p.code.(*jit.Program)
	p.plain = p.native != nil && p.native.Plain() && !m.opts.Labels
	for _, mp := range used {
		mp.Acquire()
		p.maps = append(p.maps, mp)
	}
	p.refs.Store(1)
	if p.acts = &p.Info; src.Target != nil && src.Type == catalog.ProgExt {
		p.acts = &helpers.Prog{Name: src.Name, Type: src.Target.Type, Attach: src.Target.Attach}
	}
	return p, m.add(p)
}

// bind finds what the program's calls name.
func (p *Program) bind() error {
	for pc, ins := range p.Rewritten.Insns {
		slot := pc
		if p.Rewritten.Orig != nil {
			slot = int(p.Rewritten.Orig[pc])
		}
		switch {
		case ins.IsHelperCall():
			id := catalog.HelperID(ins.Imm)
			if helpers.Lookup(id) == nil {
				return &UnsupportedError{slot, id.String(), helpers.Unimplemented[id]}
			}
		case ins.IsKfuncCall():
			if err := p.bindKfunc(slot, ins); err != nil {
				return err
			}
		}
	}
	return nil
}

// throwName is the kernel function that the engine carries out itself.
const throwName = "bpf_throw"

func (p *Program) bindKfunc(slot int, ins isa.Instruction) error {
	name := fmt.Sprintf("kernel function %d", ins.Imm)
	if spec := p.Rewritten.Source.KernelBTF; spec != nil {
		t, err := spec.TypeByID(btf.TypeID(ins.Imm))
		if f, ok := t.(*btf.Func); err == nil && ok {
			name = f.Name
		}
	}
	f := helpers.KfuncTable[name]
	if typed := helpers.TypedKfuncs[name]; typed != nil {
		f = typed(p.Rewritten.Source.KernelBTF)
	}
	if f == nil && name != throwName {
		return &UnsupportedError{slot, name, "is not among the kernel functions skep has"}
	}
	p.kfuncs[kfuncKey{ins.Imm, ins.Off}] = kfunc{name, f}
	return nil
}

// add gives the program the next free id (idr_alloc_cyclic).
func (m *Machine) add(p *Program) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.progs) >= math.MaxInt32-1 {
		return errno.ENOSPC
	}
	for taken := true; taken; {
		m.lastID++
		if m.lastID >= math.MaxInt32 {
			m.lastID = 1
		}
		_, taken = m.progs[m.lastID]
	}
	p.Info.ID, p.acts.ID = m.lastID, m.lastID
	m.progs[p.Info.ID] = p
	return nil
}

// Program returns the program with an id, with a reference for the caller, or nil.
func (m *Machine) Program(id uint32) *Program {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.progs[id]
	if p != nil {
		p.Acquire()
	}
	return p
}

// NextProgram returns the smallest id above id that is in use
// (BPF_PROG_GET_NEXT_ID).
func (m *Machine) NextProgram(id uint32) (next uint32, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.progs {
		if i > id && (!ok || i < next) {
			next, ok = i, true
		}
	}
	return next, ok
}

// ID is the program's id in its machine.
func (p *Program) ID() uint32 { return p.Info.ID }

// Owner says with which programs this one may share a prog_array, devmap or cpumap.
func (p *Program) Owner() maps.ProgOwner {
	return maps.ProgOwner{Type: p.Info.Type, Attach: p.Info.Attach, Frags: p.frags}
}

// Implements reports whether a struct_ops program is one for a member of a kernel type.
func (p *Program) Implements(structure uint32, member int) bool {
	return p.About.AttachBTFType == structure && int(p.Info.Attach) == member
}

// Native is the program's machine code, nil where it is interpreted.
func (p *Program) Native() *jit.Program { return p.native }

// Target is the program's for tail calls of native code, 0 where it is interpreted.
func (p *Program) Target() uint64 {
	if v := p.variant(); v != nil && v.native != nil {
		return v.native.Target()
	}
	if p.native == nil {
		return 0
	}
	return p.native.Target()
}

// Maps are the maps the program uses; they stay the program's.
func (p *Program) Maps() []maps.Map {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.maps
}

// Bind makes the program keep another map, which it may have already (BPF_PROG_BIND_MAP).
func (p *Program) Bind(mp maps.Map) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if !slices.Contains(p.maps, mp) {
		mp.Acquire()
		p.maps = append(slices.Clip(p.maps), mp)
	}
}

// Acquire takes another reference.
func (p *Program) Acquire() { p.refs.Add(1) }

// Close gives a reference back; the last one drops the program and its maps.
func (p *Program) Close() {
	p.m.mu.Lock()
	left := p.refs.Add(-1)
	if left == 0 {
		delete(p.m.progs, p.Info.ID)
	}
	p.m.mu.Unlock()
	if left < 0 {
		panic("BUG: program closed more often than acquired")
	}
	if left == 0 {
		for _, mp := range p.maps {
			mp.Close()
		}
		if p.About.Target != nil {
			p.About.Target.Close()
		}
		if p.About.Freed != nil {
			p.About.Freed()
		}
		// A run that began before may be in the code still.
		p.m.Epoch.Retire(func() {
			p.forget()
			p.m.engine.free(p.code)
			if v := p.tracing.variant; v != nil {
				v.free(p.m)
			}
		})
		p.m.Epoch.Reclaim()
	}
}

// count notes runs on a vCPU, whose holder alone writes the figure.
func (p *Program) count(cpu, runs int) {
	s := &p.stats[cpu]
	mem.StoreRelease(&s.runs, s.runs.Load()+uint64(runs))
}

// Timed returns how often and how long the program ran while
// [Machine.CountTime] was on (run_cnt and run_time_ns).
func (p *Program) Timed() (runs uint64, took time.Duration) {
	for i := range p.stats {
		runs += p.stats[i].timed.Load()
		took += time.Duration(p.stats[i].time.Load())
	}
	return runs, took
}

// Stats returns how often the program ran and, as far as [Machine.CountTime]
// was on, how long. Tail calls count for the program a run began with.
func (p *Program) Stats() (runs uint64, took time.Duration) {
	for i := range p.stats {
		runs += p.stats[i].runs.Load()
		took += time.Duration(p.stats[i].time.Load())
	}
	return runs, took
}
