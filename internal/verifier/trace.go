package verifier

import (
	"slices"
	"strconv"

	"github.com/skep-bpf/skep/isa"
)

// Trace is the record of how a program was explored: a tree of paths, what was
// known before each instruction on them, and how often what happened. Steps are
// numbered as the verifier processes instructions, from 0; of long explorations
// only some are kept (Options.Trace), the counts are exact all the same.
type Trace struct {
	// Steps are those kept, by rising N.
	Steps []TraceStep
	// Paths are the pieces that have a step kept or lead to one that has. A piece
	// comes after the one it branches off.
	Paths []TracePath
	// Texts are the values of registers and stack slots as the log prints them.
	// Text 0 is empty: nothing is known there.
	Texts []string

	Processed     int // steps in all
	Exits, Pruned int // paths in all, by how they ended
	// By slot: paths that ended there since a state seen before stood for them,
	// states remembered for that, and how often a jump was taken and fell through.
	PrunedAt, Remembered, Taken, Fell []uint32
}

// TraceStep is one instruction on one path, and what is known before it.
type TraceStep struct {
	N     int
	Slot  int
	Frame int // depth of calls
	// Full: Changes is all that is known; else what differs from the step before,
	// which is the one of Steps before it.
	Full    bool
	Changes []TraceChange
}

// TraceChange says that a place holds the value Texts[Text].
type TraceChange struct {
	Place TracePlace
	Text  int
}

// TracePlace names a register or stack slot of a frame:
//
//	bits 0–6: 0–10 a register, 11–74 stack slot fp-8, fp-16, …, 127 what the path holds   7–10: frame
type TracePlace uint16

const (
	firstStackPlace = TracePlace(isa.RFP) + 1
	heldPlace       = 1<<7 - 1
)

// Frame is the depth of calls the place belongs to.
func (p TracePlace) Frame() int { return int(p >> 7) }

// String returns "R1", "fp-8", or "held" for references, locks and the like.
func (p TracePlace) String() string {
	switch p &= heldPlace; {
	case p == heldPlace:
		return "held"
	case p < firstStackPlace:
		return "R" + strconv.Itoa(int(p))
	}
	return "fp-" + strconv.Itoa(int(p-firstStackPlace+1)*regSize)
}

// TraceEnd is how a path ended.
type TraceEnd uint8

// Ends of paths.
const (
	TraceExit    TraceEnd = iota // at the program's end
	TracePruned                  // at a state seen before
	TraceRefused                 // with the verification
)

// String returns "exit", "pruned" or "refused".
func (h TraceEnd) String() string { return [...]string{"exit", "pruned", "refused"}[h] }

// TracePath is a piece of path: what was followed in one go. It branches off
// another one, or begins a function that is verified by itself.
type TracePath struct {
	Parent int // index in Paths, -1: none
	Fork   int // N of the parent's step it branches off, -1: none
	// First and End bound its steps by N, End exclusive.
	First, End int
	How        TraceEnd
	// By, of a pruned path, is the N of the step whose state stood for it.
	By int
}

// tracer records a Trace. Where the limit is not enough, Verify works out from
// a first run which steps to keep (plan), and records those in a second.
type tracer struct {
	limit int
	plan  []traceRange // by rising number; nil: the first limit steps

	t     Trace
	texts map[string]int

	first  []int32 // by slot: N of its first step
	from   []int   // of the pending paths: the step they branch off
	parent []int   // and its path
	states map[*state]int
	by     int // what prunes the current path, -1: nothing

	// What the last step kept knew, to tell what changed.
	shadow [isa.MaxCallFrames]shadowFrame
	depth  int // frames in it, 0: none kept yet on this path
	last   int // N of it
	held   int
	buf    []byte
}

type traceRange struct{ from, to int } // to exclusive

type shadowFrame struct {
	regs  [isa.RFP + 1]reg
	stack []slot
	texts [isa.RFP + 1 + maxSlots]int
}

func newTracer(slots, limit int, plan []traceRange) *tracer {
	counts := make([]uint32, 4*slots)
	take := func() []uint32 {
		c := counts[:slots:slots]
		counts = counts[slots:]
		return c
	}
	t := &tracer{
		limit: limit, plan: plan, by: -1,
		texts: map[string]int{"": 0}, states: map[*state]int{}, first: make([]int32, slots),
	}
	t.t = Trace{Texts: []string{""}, PrunedAt: take(), Remembered: take(), Taken: take(), Fell: take()}
	for i := range t.first {
		t.first[i] = -1
	}
	return t
}

// begin starts a function that is verified by itself.
func (t *tracer) begin(n int) {
	t.from, t.parent = t.from[:0], t.parent[:0]
	clear(t.states)
	t.startPath(-1, -1, n)
}

func (t *tracer) startPath(parent, fork, n int) {
	t.t.Paths = append(t.t.Paths, TracePath{Parent: parent, Fork: fork, First: n, End: n, By: -1})
	t.depth, t.by = 0, -1
}

// fork notes that the current instruction left another path for later.
func (t *tracer) fork(n int) {
	t.from = append(t.from, n)
	t.parent = append(t.parent, len(t.t.Paths)-1)
}

// remembered notes the state kept at the current step.
func (t *tracer) remembered(st *state, n int) {
	t.states[st] = n
	t.t.Remembered[st.insn]++
}

// pruned notes that old stands for the current path.
func (t *tracer) pruned(old *state) {
	t.by = t.states[old]
	t.t.PrunedAt[old.insn]++
}

// next ends the current path; n is the number of the next step.
func (t *tracer) next(n int) {
	p := &t.t.Paths[len(t.t.Paths)-1]
	p.How, p.By = TraceExit, t.by
	if t.by >= 0 {
		p.How = TracePruned
		t.t.Pruned++
	} else {
		t.t.Exits++
	}
	if i := len(t.from) - 1; i >= 0 {
		t.startPath(t.parent[i], t.from[i], n)
		t.from, t.parent = t.from[:i], t.parent[:i]
	}
}

// step notes the state before the current instruction.
func (t *tracer) step(e *env) {
	n := e.insnProcessed - 1
	t.t.Paths[len(t.t.Paths)-1].End = n + 1
	if t.first[e.insn] < 0 {
		t.first[e.insn] = int32(n)
	}
	if e.prevInsn >= 0 {
		if ins := e.insns[e.prevInsn]; ins.Op.Class().IsJump() && ins.Op.JumpOp() != isa.Call && ins.Op.JumpOp() != isa.Exit {
			if e.insn == e.prevInsn+1 && ins.Op.JumpOp() != isa.Ja {
				t.t.Fell[e.prevInsn]++
			} else {
				t.t.Taken[e.prevInsn]++
			}
		}
	}
	if t.keeps(n) {
		t.keep(e, n)
	}
}

func (t *tracer) keeps(n int) bool {
	if t.plan == nil {
		return n < t.limit
	}
	for len(t.plan) > 0 && n >= t.plan[0].to {
		t.plan = t.plan[1:]
		if len(t.plan) == 0 {
			t.plan = []traceRange{} // not nil: nothing more is kept
		}
	}
	return len(t.plan) > 0 && n >= t.plan[0].from
}

// keep records a step whole or as what changed since the one before.
func (t *tracer) keep(e *env, n int) {
	st := e.st
	s := TraceStep{N: n, Slot: e.insn, Frame: st.cur, Full: t.depth == 0 || n != t.last+1}
	if s.Full {
		t.depth, t.held = 0, 0
	}
	note := func(p TracePlace, was *int, text []byte) {
		id, ok := t.texts[string(text)]
		if !ok {
			id = len(t.t.Texts)
			t.t.Texts = append(t.t.Texts, string(text))
			t.texts[string(text)] = id
		}
		if id != *was {
			*was = id
			s.Changes = append(s.Changes, TraceChange{p, id})
		}
	}
	for i := st.cur + 1; i < t.depth; i++ {
		f := &t.shadow[i]
		for p := range f.texts {
			note(TracePlace(i<<7|p), &f.texts[p], nil)
		}
	}
	for i := 0; i <= st.cur; i++ {
		f, was := st.frames[i], &t.shadow[i]
		if i >= t.depth {
			*was = shadowFrame{stack: was.stack[:0]}
		}
		for r := range f.regs {
			if f.regs[r] == was.regs[r] {
				continue
			}
			was.regs[r] = f.regs[r]
			t.buf = t.buf[:0]
			if f.regs[r].typ != notInit {
				t.buf = e.appendReg(t.buf, f, &f.regs[r])
			}
			note(TracePlace(i<<7|r), &was.texts[r], t.buf)
		}
		if slices.Equal(f.stack, was.stack) {
			continue
		}
		was.stack = append(was.stack[:0], f.stack...)
		for j := 0; j < len(f.stack); j++ {
			first := j
			t.buf, j = e.appendSlot(t.buf[:0], f, j)
			for ; first < j; first++ { // an object's other slots say nothing
				p := int(firstStackPlace) + first
				note(TracePlace(i<<7|p), &was.texts[p], nil)
			}
			text := t.buf
			if k := slices.Index(text, '='); k >= 0 {
				text = text[k+1:]
			}
			p := int(firstStackPlace) + j
			note(TracePlace(i<<7|p), &was.texts[p], text)
		}
	}
	note(heldPlace, &t.held, e.appendHeld(t.buf[:0]))
	t.depth, t.last = st.cur+1, n
	t.t.Steps = append(t.t.Steps, s)
}

// appendHeld says what the path holds and must give back, and what protects it.
func (e *env) appendHeld(b []byte) []byte {
	st := e.st
	word := func(s string) {
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, s...)
	}
	for i := range st.refs {
		r := &st.refs[i]
		word([...]string{refPtr: "ref", refLock: "lock", refResLock: "res_lock", refResLockIRQ: "res_lock_irq", refIRQ: "irq"}[r.kind])
		b = append(b, '=')
		b = strconv.AppendUint(b, uint64(r.id), 10)
	}
	if st.rcuLock {
		word("rcu")
	}
	if st.preempt > 0 {
		word("preempt_off=" + strconv.Itoa(st.preempt))
	}
	if st.speculative {
		word("speculative")
	}
	if f := st.frame(); f.inCallback {
		word("callback")
	} else if f.inAsync {
		word("async_callback")
	}
	return b
}

// finish returns the record, without the pieces of path that lead to no step kept.
func (t *tracer) finish(e *env, refused bool) *Trace {
	t.t.Processed = e.insnProcessed
	if n := len(t.t.Paths); n > 0 && refused && e.st != nil {
		t.t.Paths[n-1].How = TraceRefused
	}
	if t.plan == nil {
		return &t.t
	}
	paths := t.t.Paths
	wanted := make([]bool, len(paths))
	for i, s := len(paths)-1, t.t.Steps; i >= 0; i-- {
		p := &paths[i]
		at, _ := slices.BinarySearchFunc(s, p.First, func(s TraceStep, n int) int { return s.N - n })
		wanted[i] = wanted[i] || at < len(s) && s[at].N < p.End
		if wanted[i] && p.Parent >= 0 {
			wanted[p.Parent] = true
		}
	}
	index := make([]int, len(paths))
	t.t.Paths = nil
	for i, p := range paths {
		if !wanted[i] {
			continue
		}
		index[i] = len(t.t.Paths)
		if p.Parent >= 0 {
			p.Parent = index[p.Parent]
		}
		t.t.Paths = append(t.t.Paths, p)
	}
	return &t.t
}

// choose decides which steps of an exploration longer than the limit are worth
// keeping: half of them for the path that was refused, or the last one; the
// first visit of every slot, so that there is a state to show at each; the rest
// for the exploration's beginning.
func (t *tracer) choose() []traceRange {
	var plan []traceRange
	left := t.limit
	add := func(from, to int) {
		if from < to {
			plan = append(plan, traceRange{from, to})
			left -= to - from
		}
	}
	var chain []traceRange // the last path's pieces, last first
	length := 0
	to := -1
	for i := len(t.t.Paths) - 1; i >= 0; i = t.t.Paths[i].Parent {
		p := &t.t.Paths[i]
		if to < 0 {
			to = p.End
		}
		chain = append(chain, traceRange{p.First, to})
		length += to - p.First
		to = p.Fork + 1
	}
	half := t.limit / 2
	for _, r := range chain { // its end, and a little of its beginning
		add(max(r.from, r.to-max(0, half-(t.limit-left))), r.to)
	}
	if length > half {
		beginning := t.limit / 10
		for _, r := range slices.Backward(chain) {
			end := min(r.to, r.from+beginning)
			add(r.from, end)
			beginning -= end - r.from
		}
	}
	for _, n := range t.first {
		if n >= 0 {
			add(int(n), int(n)+1)
		}
	}
	add(0, max(0, left))
	return mergeRanges(plan)
}

// mergeRanges sorts ranges and joins those that touch.
func mergeRanges(list []traceRange) []traceRange {
	slices.SortFunc(list, func(a, b traceRange) int { return a.from - b.from })
	out := list[:0]
	for _, r := range list {
		if n := len(out); n > 0 && r.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, r.to)
			continue
		}
		out = append(out, r)
	}
	return out
}
