package verifier

import (
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// History is the one path that led to a refusal, with what was known before each
// of its instructions: what an explanation is made of. (A Trace is of all paths, as text.)
type History struct {
	Program *Program
	Err     *Error
	// Steps are oldest first. The last is where the refusal was: its values are
	// those before the refused instruction. Empty for refusals before any path.
	Steps []Moment
	// Cut: the path is longer, Steps are only its end.
	Cut  bool
	Subs []Subprog // as far as they were found
}

// Moment is one instruction of a path, and the machine before it.
type Moment struct {
	Slot   int
	Frames []*Frame // the main program first, the current function last
	Held   []Held
	// RCU, Preempt: inside bpf_rcu_read_lock, or so many bpf_preempt_disable.
	RCU     bool
	Preempt int
}

// Frame is a function's registers and stack. Steps share what did not change.
type Frame struct {
	Regs     [isa.RFP + 1]*Value
	Stack    []*Slot // index 0 is fp-8
	Subprog  int
	CallSite int // slot of the call in the caller, or -1
	Callback bool
}

// Held is something a path must give back: an object, a lock, interrupt flags.
type Held struct {
	Kind HeldKind
	ID   uint32
	Insn int // where it was acquired
}

// HeldKind is what is held.
type HeldKind uint8

// Kinds of what is held.
const (
	HeldObject HeldKind = iota
	HeldLock
	HeldIRQ
)

// Value is what was known of a register or spilled slot.
type Value struct {
	r    reg
	Text string // as the log prints it
}

// Kind is the kind of value, as the log names it: "scalar", "pkt", "map_value", "ptr_".
func (v *Value) Kind() string { return regTypeNames[v.r.typ.base()] }

// Type is Kind with its modifiers: "map_value_or_null".
func (v *Value) Type() string {
	if v.r.typ.base() == ptrToBTF && v.r.btf != nil {
		return v.r.typ.String() + v.r.btf.name
	}
	return v.r.typ.String()
}

// Set reports whether anything was written there.
func (v *Value) Set() bool { return v != nil && v.r.typ != notInit }

// Scalar reports whether it is a number.
func (v *Value) Scalar() bool { return v.r.typ == scalarValue }

// Pointer reports whether it is a pointer of some kind.
func (v *Value) Pointer() bool { return v.Set() && !v.Scalar() }

// MayBeNull reports whether it is a pointer not yet checked.
func (v *Value) MayBeNull() bool { return v.r.mayBeNull() }

// Const returns a number's value if it is known.
func (v *Value) Const() (uint64, bool) { return v.r.bits.value, v.Scalar() && v.r.isConst() }

// Fixed reports whether a pointer's offset is known.
func (v *Value) Fixed() bool { return v.r.isConst() }

// Off is the fixed part of a pointer's offset, Offset all of it, which is known if Fixed.
func (v *Value) Off() int    { return int(v.r.off) }
func (v *Value) Offset() int { return int(v.r.off) + int(int64(v.r.bits.value)) }

// Signed and Unsigned are the ranges of a number, or of the variable part of an offset.
func (v *Value) Signed() (lo, hi int64)    { return v.r.smin, v.r.smax }
func (v *Value) Unsigned() (lo, hi uint64) { return v.r.umin, v.r.umax }

// Range is how many bytes of a packet are proven readable from where the pointer's fixed offset counts.
func (v *Value) Range() int { return int(v.r.rng) }

// Size is the size of the memory a "mem" pointer points to.
func (v *Value) Size() int { return int(v.r.size) }

// ID links values from one source, 0 none; Ref is the reference a pointer lives by.
func (v *Value) ID() uint32  { return v.r.id &^ addConst }
func (v *Value) Ref() uint32 { return v.r.ref }

// Map is the map a map pointer, value or key is of.
func (v *Value) Map() *catalog.MapDef { return v.r.m }

// Frame is the depth of the function whose stack it points to.
func (v *Value) Frame() int { return int(v.r.frame) }

// Struct is the name of the type a BTF pointer points to.
func (v *Value) Struct() string {
	if v.r.btf == nil {
		return ""
	}
	return v.r.btf.name
}

// Slot is eight bytes of stack.
type Slot struct {
	s slot
	// Value is the register spilled there, else nil.
	Value *Value
}

// Kind is what the slot as a whole is: "spill", "dynptr", "iter", "irq", "misc", "zero" or "" (never written).
func (s *Slot) Kind() string {
	switch s.s.top() {
	case byteSpill:
		return "spill"
	case byteDynptr:
		return "dynptr"
	case byteIter:
		return "iter"
	case byteIRQ:
		return "irq"
	}
	for _, k := range s.s.kind {
		switch k {
		case byteMisc, byteSpill:
			return "misc"
		case byteZero:
			return "zero"
		}
	}
	return ""
}

// Ref is the reference a dynptr, iterator or saved flag lives by.
func (s *Slot) Ref() uint32 { return s.s.reg.ref }

// Written reports whether the byte at that offset from the slot's lowest address was ever written.
func (s *Slot) Written(i int) bool { return s.s.kind[regSize-1-i] != byteInvalid }

// maxHistory bounds the steps a history keeps, and so its memory.
const maxHistory = 1 << 16

// historian follows paths so that the refused one can be told afterwards. A first
// run only links each step to the one before it; a second, which goes exactly
// the same way, describes the steps that turned out to matter.
type historian struct {
	links []link
	want  []int32 // steps to describe, rising; nil in the first run
	steps []Moment
	last  Moment
}

// link is one step of the first run: its instruction, and the step before.
type link struct{ prev, slot int32 }

// step notes that the current path comes to the current instruction.
func (t *historian) step(e *env) {
	n := int32(len(t.links))
	t.links = append(t.links, link{e.st.recorded - 1, int32(e.insn)})
	e.st.recorded = n + 1
	if len(t.want) > 0 && t.want[0] == n {
		t.want = t.want[1:]
		t.steps = append(t.steps, t.describe(e))
	}
}

// path returns the steps that end with the last one.
func (t *historian) path() (path []int32, cut bool) {
	for i := int32(len(t.links)) - 1; i >= 0; i = t.links[i].prev {
		if len(path) == maxHistory {
			cut = true
			break
		}
		path = append(path, i)
	}
	slices.Reverse(path)
	return path, cut
}

func (t *historian) describe(e *env) Moment {
	st := e.st
	s := Moment{Slot: e.insn, RCU: st.rcuLock, Preempt: st.preempt}
	for i := 0; i <= st.cur; i++ {
		s.Frames = append(s.Frames, t.frame(e, i))
	}
	for i := range st.refs {
		r := &st.refs[i]
		h := Held{ID: r.id, Insn: int(r.insn)}
		switch r.kind {
		case refPtr:
		case refIRQ:
			h.Kind = HeldIRQ
		default:
			h.Kind = HeldLock
		}
		s.Held = append(s.Held, h)
	}
	t.last = s
	return s
}

// frame describes frame i, reusing what the last step has of it.
func (t *historian) frame(e *env, i int) *Frame {
	f := e.st.frames[i]
	var old *Frame
	if i < len(t.last.Frames) && t.last.Frames[i].Subprog == int(f.subprog) {
		old = t.last.Frames[i]
	}
	d := &Frame{Subprog: int(f.subprog), CallSite: int(f.callSite), Callback: f.inCallback || f.inAsync}
	same := old != nil && old.CallSite == d.CallSite && len(old.Stack) == len(f.stack)
	for j := range f.regs {
		if old != nil && sameValue(&old.Regs[j].r, &f.regs[j]) {
			d.Regs[j] = old.Regs[j]
			continue
		}
		same = false
		d.Regs[j] = e.value(f, &f.regs[j])
	}
	for j := range f.stack {
		if old != nil && j < len(old.Stack) && sameSlot(&old.Stack[j].s, &f.stack[j]) {
			d.Stack = append(d.Stack, old.Stack[j])
			continue
		}
		same = false
		s := &Slot{s: f.stack[j]}
		if s.s.isSpill() {
			s.Value = e.value(f, &f.stack[j].reg)
		}
		d.Stack = append(d.Stack, s)
	}
	if same {
		return old
	}
	return d
}

// sameValue compares all but what pruning asks for.
func sameValue(a, b *reg) bool {
	x, y := *a, *b
	x.precise, y.precise = false, false
	return x == y
}

func sameSlot(a, b *slot) bool { return a.kind == b.kind && sameValue(&a.reg, &b.reg) }

func (e *env) value(f *frame, r *reg) *Value {
	v := *r
	v.precise = false
	return &Value{r: v, Text: string(e.appendReg(nil, f, &v))}
}

// HistoryOf verifies p again, twice, and returns how it came to be refused;
// nil if it is accepted.
func HistoryOf(p *Program, o Options) *History {
	o.LogLevel, o.States, o.Visits = 0, false, true
	var first, second historian
	if _, err := runWith(p, o, &first); err == nil {
		return nil
	}
	path, cut := first.path()
	first.links = nil
	second.want = path
	t := &History{Program: p, Cut: cut}
	e, err := runWith(p, o, &second)
	if err == nil {
		panic("BUG: a program was refused once, and then not")
	}
	t.Err, t.Steps = err, second.steps
	for i := range e.subs {
		s := &e.subs[i]
		t.Subs = append(t.Subs, Subprog{Start: s.start, End: s.end, Name: s.name, StackDepth: s.stackDepth, TailCalls: s.hasTail, Callback: s.isCB})
	}
	if e.st == nil {
		t.Steps = nil // the paths were fine; what comes after them was not
	}
	return t
}

func runWith(p *Program, o Options, t *historian) (*env, *Error) {
	want := t.want
	e, err := explore(p, o, func(e *env) {
		*t = historian{want: want}
		e.history = t
	})
	defer e.done()
	if err != nil {
		e.explain(err)
	}
	return e, err
}
