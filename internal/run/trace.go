package run

import (
	"slices"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
)

// TraceKind says when a program attached to a function of another runs.
type TraceKind uint8

// Kinds of tracing.
const (
	TraceEntry   TraceKind = iota // before the function (fentry)
	TraceExit                     // after it (fexit)
	TraceReplace                  // in its place (freplace)
)

// MaxTracers is how many programs may trace a function (BPF_MAX_TRAMP_LINKS).
const MaxTracers = 38

// tracer is one program attached to a function or an event.
type tracer struct {
	prog   *Program
	cookie uint64
}

// tracedFunc is a function that programs are attached to. It is never changed, only replaced.
type tracedFunc struct {
	args, taken int      // how many are told, and how many it takes
	entry, exit []tracer // the latest first, as the kernel's trampolines have them
	replace     *Program
}

func (f *tracedFunc) idle() bool { return len(f.entry)+len(f.exit) == 0 && f.replace == nil }

// traced is what is attached to a program's functions. It is never changed, only
// replaced: each run goes by what is there when a function is entered or left.
//
// Function 0 is told of by whoever begins a run. For all others the program is made
// anew, with a function before each of them ([rewrite.Program.Traced]): what is not traced pays nothing.
type traced struct {
	funcs   []*tracedFunc // by function; nil: nobody is attached
	variant *variant      // nil: the program's own code runs
}

// variant is a program made anew so that its functions are told of.
type variant struct {
	code   code
	native *jit.Program
	forget func()
	tokens map[uint64]uint64 // of functions as callbacks: those of the functions before them
}

// tracing is the part of a program that has to do with programs attached to it.
type tracing struct {
	now atomic.Pointer[traced] // nil: nobody is attached

	// The rest is guarded by the machine's tracing lock.
	wrapped []rewrite.TracedFunc // functions that were ever traced: tokens of theirs stay what they are
	variant *variant             // tells of all these
	arrays  int                  // how often the program is in a prog_array (prog_array_member_cnt)
	// extended: a function is replaced (is_extended). Such a program is nobody's to call by tail: the
	// one in the function's place could, without end.
	extended bool
}

// Attachment is one program attached to a function of another, until Detach.
type Attachment struct {
	to   *Program
	fn   int
	kind TraceKind
	by   *Program
}

// FuncIndex returns the number of the function that the program's BTF has as a type; ok is false where there is none.
func (p *Program) FuncIndex(name string) (i int, ok bool) {
	i = slices.IndexFunc(p.Rewritten.Source.Funcs, func(f verifier.FuncInfo) bool { return f.Func.Name == name })
	return i, i >= 0
}

// Trace attaches by to function fn of p (bpf_trampoline_link_prog). Whoever attaches keeps
// references to both programs until Detach.
func (p *Program) Trace(fn int, kind TraceKind, by *Program, cookie uint64) (*Attachment, errno.Errno) {
	p.m.tracing.Lock()
	defer p.m.tracing.Unlock()
	f := p.tracedFunc(fn)
	switch {
	case f.replace != nil,
		kind == TraceReplace && (!f.idle() || p.tracing.arrays != 0):
		return nil, errno.EBUSY
	case len(f.entry)+len(f.exit) >= MaxTracers:
		return nil, errno.E2BIG
	}
	switch t := (tracer{by, cookie}); kind {
	case TraceReplace:
		f.replace = by
	case TraceExit:
		f.exit = append([]tracer{t}, f.exit...)
	default:
		f.entry = append([]tracer{t}, f.entry...)
	}
	if e := p.retrace(fn, &f); e != 0 {
		return nil, e
	}
	p.tracing.extended = p.tracing.extended || kind == TraceReplace
	return &Attachment{p, fn, kind, by}, 0
}

// Detach ends what Trace began. A run that has found the program before may still call it.
func (a *Attachment) Detach() {
	p := a.to
	p.m.tracing.Lock()
	defer p.m.tracing.Unlock()
	f := p.tracedFunc(a.fn)
	without := func(list []tracer) []tracer {
		return slices.DeleteFunc(slices.Clone(list), func(t tracer) bool { return t.prog == a.by })
	}
	switch a.kind {
	case TraceReplace:
		f.replace, p.tracing.extended = nil, false
	case TraceExit:
		f.exit = without(f.exit)
	default:
		f.entry = without(f.entry)
	}
	p.retrace(a.fn, &f) // makes no code: it is there
}

// tracedFunc is what is attached to a function. The caller holds the tracing lock.
func (p *Program) tracedFunc(fn int) tracedFunc {
	if t := p.tracing.now.Load(); t != nil && t.funcs[fn] != nil {
		return *t.funcs[fn]
	}
	f := tracedFunc{args: maxFuncArgs, taken: maxFuncArgs}
	if funcs := p.Rewritten.Source.Funcs; fn < len(funcs) {
		f.taken = min(params(funcs[fn].Func), maxFuncArgs)
		if !p.Rewritten.Subprogs[fn].Unreliable {
			f.args = f.taken
		}
	}
	return f
}

// retrace has runs go by what is now attached to a function. The caller holds the tracing lock.
func (p *Program) retrace(fn int, f *tracedFunc) errno.Errno {
	next := &traced{funcs: make([]*tracedFunc, len(p.Rewritten.Subprogs))}
	if old := p.tracing.now.Load(); old != nil {
		copy(next.funcs, old.funcs)
	}
	if next.funcs[fn] = f; f.idle() {
		next.funcs[fn] = nil
	}
	among := func(list []*tracedFunc) bool {
		return slices.ContainsFunc(list, func(f *tracedFunc) bool { return f != nil })
	}
	before := p.variant()
	if among(next.funcs[1:]) {
		if e := p.tell(fn, f); e != 0 {
			return e
		}
		next.variant = p.tracing.variant
	}
	if !among(next.funcs) {
		next = nil
	}
	p.tracing.now.Store(next)
	for _, c := range p.m.cpus {
		c.armed.Store(nil)
	}
	if p.variant() != before { // programs that call this one by tail find it there
		for _, mp := range p.m.Maps.All() {
			if calls, ok := maps.Unwrap(mp).(*maps.ProgArray); ok {
				calls.Retarget(p)
			}
			mp.Close()
		}
	}
	return 0
}

// tell makes the variant that tells of function fn, too, if there is none yet.
func (p *Program) tell(fn int, of *tracedFunc) errno.Errno {
	t := &p.tracing
	if fn == 0 && t.variant != nil || slices.ContainsFunc(t.wrapped, func(f rewrite.TracedFunc) bool { return f.Index == fn }) {
		return 0
	}
	wrapped := append(slices.Clone(t.wrapped), rewrite.TracedFunc{Index: fn, Args: of.args, Taken: of.taken})
	rw := p.Rewritten.Traced(wrapped)
	c, forget, err := p.m.engine.compile(rw, p)
	if err != nil {
		return errno.ENOMEM
	}
	v := &variant{code: c, forget: forget, tokens: map[uint64]uint64{}}
	v.native, _ = c.(*jit.Program)
	for i, f := range wrapped {
		v.tokens[uint64(rw.Subprogs[f.Index].Start)] = uint64(rw.Subprogs[len(p.Rewritten.Subprogs)+i].Start)
	}
	old := t.variant
	t.wrapped, t.variant = wrapped, v
	if old != nil {
		p.m.Epoch.Retire(func() { old.free(p.m) })
	}
	return 0
}

func (v *variant) free(m *Machine) {
	v.forget()
	m.engine.free(v.code)
}

// Traced reports whether other programs are attached to functions of p.
func (p *Program) Traced() bool { return p.tracing.now.Load() != nil }

// variant is the one that runs; nil: the program's own code does.
func (p *Program) variant() *variant {
	if t := p.tracing.now.Load(); t != nil {
		return t.variant
	}
	return nil
}

// current is the code that runs.
func (p *Program) current() code {
	if v := p.variant(); v != nil {
		return v.code
	}
	return p.code
}

// callback is the code that runs, and what a function's token is in it.
func (p *Program) callback(token uint64) (code, uint64) {
	if v := p.variant(); v != nil {
		if w, ok := v.tokens[token]; ok {
			token = w
		}
		return v.code, token
	}
	if token < uint64(len(p.Rewritten.Insns)) {
		return p.code, token
	}
	p.m.tracing.Lock()
	defer p.m.tracing.Unlock()
	for own, w := range p.tracing.variant.tokens {
		if w == token {
			return p.code, own
		}
	}
	return p.code, token
}

// Enter counts the program into a prog_array (maps.Prog); not ok where it may not be in one.
func (p *Program) Enter() bool {
	p.m.tracing.Lock()
	defer p.m.tracing.Unlock()
	if p.tracing.extended {
		return false
	}
	p.tracing.arrays++
	return true
}

// Leave ends what Enter began.
func (p *Program) Leave() {
	p.m.tracing.Lock()
	defer p.m.tracing.Unlock()
	p.tracing.arrays--
}

// Misses is how often the program was not run as it ran already (recursion_misses).
func (p *Program) Misses() (n uint64) {
	for i := range p.stats {
		n += p.stats[i].misses.Load()
	}
	return n
}
