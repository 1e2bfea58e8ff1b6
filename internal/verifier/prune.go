package verifier

import (
	"strconv"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// maxStateBytes bounds the memory of remembered states, roughly. The kernel
// has no bound of its own here but that of the loader's cgroup.
const maxStateBytes = 3 << 30

func (e *env) bucket(insn int, st *state) *[]*state {
	return &e.explored[uint32(int32(insn)^st.frame().callSite)%uint32(len(e.insns))]
}

// visited reports whether the current state at instruction insn need not be
// followed since one remembered there stands for it; otherwise it may be
// remembered itself (is_state_visited).
func (e *env) visited(insn int) (bool, *Error) {
	cur := e.st
	a := &e.aux[insn]
	// A path without a remembered state gets an ever longer history.
	force := e.p.Flags&flagTestStateFreq != 0 && e.capable || a.force || cur.histLen > 40
	add := force ||
		e.jmpsProcessed-e.prevJmps >= 2 && e.insnProcessed-e.prevInsnCount >= 8

	list := e.bucket(insn, cur)
	e.cleanStates(*list, insn, cur)
	count := 0
	for i := len(*list) - 1; i >= 0; i-- { // newest first
		old := (*list)[i]
		count++
		if int(old.insn) != insn {
			continue
		}
		hit, loop, err := e.standsFor(old, cur, insn, force, &add)
		if err != nil {
			return false, err
		}
		if hit {
			old.hits++
			return true, e.prunedBy(old, loop)
		}
		if add {
			old.misses++
		}
		// A state that never helps only costs time. Loops get more patience.
		n := 3
		if a.force && old.branches > 0 {
			n = 64
		}
		if old.misses > old.hits*n+n {
			*list = append((*list)[:i], (*list)[i+1:]...)
			old.dropped = true
			e.dropped++
			e.remembered--
			e.releaseState(old)
		}
	}
	e.maxPerInsn = max(e.maxPerInsn, count)
	if !e.capable && count > maxStates || !add {
		return false, nil
	}
	return false, e.remember(list, insn)
}

// standsFor compares a remembered state with the current one. loop: its future
// is not all known yet.
func (e *env) standsFor(old, cur *state, insn int, force bool, add *bool) (hit, loop bool, err *Error) {
	a := &e.aux[insn]
	if old.branches == 0 {
		if loop = e.unfinished(old); loop {
			level := rangeWithin
			if !e.patient && e.inCallLoop(old) {
				level = notExact // provisionally, see exitSCC
			}
			return e.statesEqual(old, cur, level), true, nil
		}
		return e.statesEqual(old, cur, notExact), false, nil
	}
	// The remembered state lies on the path that led here: this is a loop.
	// Loops over iterators, callbacks and may_goto end when nothing new comes
	// up; others must run out.
	f := old.frame()
	check := !(f.inAsync && f.asyncEntry != cur.frame().asyncEntry)
	switch {
	case !check:
	case a.iterNext:
		if e.statesEqual(old, cur, rangeWithin) {
			it := &cur.frame().regs[isa.R1]
			spi := int(-(int64(it.off)+int64(it.bits.value))-1) / regSize
			if e.frameOf(it).stack[spi].reg.iter == iterActive {
				return true, true, nil
			}
		}
	case isMayGoto(e.insns[insn]) && old.mayGotoDepth != cur.mayGotoDepth && e.statesEqual(old, cur, rangeWithin):
		return true, true, nil
	case a.callsCallback:
		if e.statesEqual(old, cur, rangeWithin) {
			return true, true, nil
		}
	default:
		if e.maybeLooping(old, cur) && e.statesEqual(old, cur, exact) && !iterDepthsDiffer(old, cur) &&
			old.mayGotoDepth == cur.mayGotoDepth && old.callbackDepth == cur.callbackDepth {
			e.logLine(insn, "; ")
			err := e.refuse(errno.EINVAL, "infinite loop detected at insn %d", insn)
			if e.any {
				e.logf("cur state:")
				e.logFrame(cur.frame(), true)
				e.logf("old state:")
				e.logFrame(old.frame(), true)
			}
			return false, false, err
		}
	}
	// Long unrolled loops would leave a state at every turn.
	if !force && e.jmpsProcessed-e.prevJmps < 20 && e.insnProcessed-e.prevInsnCount < 100 {
		*add = false
	}
	return false, false, nil
}

// prunedBy ends the current path at old: what old's future depended on, the path depends on too.
func (e *env) prunedBy(old *state, loop bool) *Error {
	if e.trace != nil {
		e.trace.pruned(old)
	}
	if e.aux[e.insn].jmpPoint {
		e.pushHist(0, nil)
	}
	if err := e.propagatePrecision(old, e.st, nil); err != nil {
		return err
	}
	if loop {
		e.noteEndless()
		back := e.clone(e.st)
		back.insn = int32(e.insn)
		e.addBackEdge(old, back)
	}
	return nil
}

// remember keeps a copy of the current state, from which the path goes on as its child.
func (e *env) remember(list *[]*state, insn int) *Error {
	cur := e.st
	e.totalStates++
	e.remembered++
	e.notePeak()
	e.prevJmps, e.prevInsnCount = e.jmpsProcessed, e.insnProcessed
	if e.capable {
		cur.forget()
	}
	st := e.clone(cur)
	if e.pool.bytes += st.size(); e.pool.bytes > maxStateBytes {
		return e.silent(errno.ENOMEM, "the states to remember take too much memory")
	}
	st.insn = int32(insn)
	if e.trace != nil {
		e.trace.remembered(st, e.insnProcessed-1)
	}
	e.enterSCC(st)
	cur.parent = st
	cur.first = int32(insn)
	cur.dfsDepth = st.dfsDepth + 1
	cur.hist, cur.histLen = nil, 0
	*list = append(*list, st)
	return nil
}

// notePeak counts the states kept at once.
func (e *env) notePeak() {
	e.peakStates = max(e.peakStates, e.remembered+e.dropped+e.backEdges)
}

// releaseState recycles a dropped state once no path and no loop refers to it.
func (e *env) releaseState(st *state) {
	if !st.dropped || st.branches != 0 || e.unfinished(st) {
		return
	}
	e.pool.bytes -= st.size()
	e.dropped--
	e.freeState(st)
}

// maybeLooping compares the registers of the current functions only, quickly.
func (e *env) maybeLooping(old, cur *state) bool {
	if old.cur != cur.cur {
		return false
	}
	of, cf := old.frame(), cur.frame()
	for i := range of.regs {
		o, c := &of.regs[i], &cf.regs[i]
		if o.typ != c.typ || o.scalar != c.scalar || o.off != c.off {
			return false
		}
	}
	return true
}

func iterDepthsDiffer(old, cur *state) bool {
	for fr := old.cur; fr >= 0; fr-- {
		for i := range old.frames[fr].stack {
			s := &old.frames[fr].stack[i]
			if s.kind[0] != byteIter || s.reg.iter != iterActive {
				continue
			}
			if i >= len(cur.frames[fr].stack) || cur.frames[fr].stack[i].reg.depth != s.reg.depth {
				return true
			}
		}
	}
	return false
}

// cleanStates drops, from remembered states whose future is all known, the
// registers and slots no path read: then they cannot tell states apart (clean_live_states).
func (e *env) cleanStates(list []*state, insn int, cur *state) {
	for _, st := range list {
		if st.branches > 0 || st.cleaned || int(st.insn) != insn || !sameCallSites(st, cur) || e.unfinished(st) {
			continue
		}
		st.cleaned = true
		for i := 0; i <= st.cur; i++ {
			f := st.frames[i]
			live := e.aux[st.insnOf(i)].live
			for r := 0; r < int(isa.RFP); r++ {
				if live&(1<<r) == 0 {
					e.markNotInit(&f.regs[r])
				}
			}
			slots := e.liveSlots(st, i)
			for j := range f.stack {
				if slots&(1<<j) == 0 {
					e.markNotInit(&f.stack[j].reg)
					f.stack[j].setAll(byteInvalid)
				}
			}
		}
	}
}

// propagatePrecision marks in cur's past what is precise in old, which stands
// for cur: old's future decided something by it (propagate_precision).
func (e *env) propagatePrecision(old, cur *state, changed *bool) *Error {
	e.bt = backtrack{frame: cur.cur}
	for fr := old.cur; fr >= 0; fr-- {
		f := old.frames[fr]
		first := true
		say := func(name string, n int) {
			if !e.level2 {
				return
			}
			if first {
				e.logf("frame %d: propagating %s%d", fr, name, n)
			} else {
				e.logf(",%s%d", name, n)
			}
			first = false
		}
		for i := 0; i < int(isa.RFP); i++ {
			if r := &f.regs[i]; r.typ == scalarValue && r.precise {
				e.bt.regs[fr] |= 1 << i
				say("r", i)
			}
		}
		for i := range f.stack {
			if s := &f.stack[i]; s.isSpillScalar() && s.reg.precise {
				e.bt.slots[fr] |= 1 << i
				say("fp", (-i-1)*regSize)
			}
		}
		if !first {
			e.logf("\n")
		}
	}
	if !e.capable {
		return nil
	}
	return e.backtrackFrom(cur, true, changed)
}

// pathDone counts the current path as followed, for its state and those
// before it that have no other path left (update_branch_counts).
func (e *env) pathDone(st *state) *Error {
	for st != nil {
		st.branches--
		if st.branches < 0 {
			panic("BUG: more paths ended than began")
		}
		parent := st.parent
		if st.branches == 0 {
			if err := e.exitSCC(st); err != nil {
				return err
			}
			e.releaseState(st)
		} else {
			break
		}
		st = parent
	}
	return nil
}

// sccs follows visits to the loops of the flow graph. While paths inside a loop
// are open, a state in it may lack marks that a turn of the loop will still
// bring; paths pruned by such a state are kept as back edges, and the marks
// passed around until they settle once the loop is left for good.
type sccs struct {
	visits map[sccKey]*sccVisit
}

// sccKey is a loop, entered through certain calls.
type sccKey struct {
	scc   int32
	n     int32
	sites [isa.MaxCallFrames - 1]int32
}

type sccVisit struct {
	entry *state // the first state remembered inside
	edges []backEdge
}

// backEdge is a pruned path: at the end of which st was equal to old.
type backEdge struct{ st, old *state }

func (s *sccs) reset() { s.visits = nil }

// keyOf returns the outermost loop st is in.
func (e *env) keyOf(st *state) (sccKey, bool) {
	var k sccKey
	for i := 0; i <= st.cur; i++ {
		at := st.insnOf(i)
		if n := e.aux[at].scc; n != 0 {
			k.scc = n
			return k, true
		}
		if i < st.cur {
			k.sites[i] = at
			k.n++
		}
	}
	return k, false
}

func (e *env) sccOf(st *state) *sccVisit {
	if len(e.scc.visits) == 0 {
		return nil
	}
	if k, ok := e.keyOf(st); ok {
		return e.scc.visits[k]
	}
	return nil
}

// unfinished reports whether marks of st may still be missing.
func (e *env) unfinished(st *state) bool {
	v := e.sccOf(st)
	return v != nil && len(v.edges) > 0
}

// inCallLoop reports whether the outermost loop st is in is the call of a callback.
func (e *env) inCallLoop(st *state) bool {
	k, ok := e.keyOf(st)
	return ok && k.scc >= firstCallLoop
}

func (e *env) enterSCC(st *state) {
	k, ok := e.keyOf(st)
	if !ok {
		return
	}
	v := e.scc.visits[k]
	if v == nil {
		if e.scc.visits == nil {
			e.scc.visits = make(map[sccKey]*sccVisit)
		}
		v = &sccVisit{}
		e.scc.visits[k] = v
	}
	if v.entry == nil {
		v.entry = st
		e.logSCC("enter", k)
	}
}

func (e *env) logSCC(what string, k sccKey) {
	if !e.level2 || k.scc >= firstCallLoop {
		return
	}
	b := []byte("SCC " + what + " (")
	for _, at := range k.sites[:k.n] {
		b = strconv.AppendInt(b, int64(at), 10)
		b = append(b, ',')
	}
	b = strconv.AppendInt(b, int64(k.scc), 10)
	e.logf("%s)\n", b)
}

func (e *env) addBackEdge(old, back *state) {
	k, ok := e.keyOf(old)
	if !ok {
		panic("BUG: a loop outside all loops")
	}
	v := e.scc.visits[k]
	e.logSCC("backedge", k)
	if k.scc < firstCallLoop {
		e.backEdges++
		e.notePeak()
	}
	v.edges = append(v.edges, backEdge{st: back, old: old})
}

// errHasty ends a verification that began too hastily; explore begins another.
var errHasty = &Error{Errno: errno.EAGAIN}

// exitSCC passes marks around a loop that no open path is in any more.
func (e *env) exitSCC(st *state) *Error {
	v := e.sccOf(st)
	if v == nil || v.entry != st {
		return nil
	}
	k, _ := e.keyOf(st)
	e.logSCC("exit", k)
	const maxRounds = 64
	for round := 1; len(v.edges) > 0; round++ {
		changed := false
		for _, b := range v.edges {
			if round > maxRounds {
				e.allPrecise(b.st, nil)
				continue
			}
			if err := e.propagatePrecision(b.old, b.st, &changed); err != nil {
				return err
			}
		}
		if !changed {
			break
		}
	}
	// Linux 6.18 compares states inside the calls of callbacks as if all marks were
	// there, which takes fewer instructions. So is done here, but held to what the
	// marks turned out to be: where it was too early, all begins anew, with patience.
	for _, b := range v.edges {
		if k.scc >= firstCallLoop && !e.patient && !e.statesEqual(b.old, b.st, notExact) {
			e.hasty = true
		}
		e.freeState(b.st)
	}
	if e.hasty {
		return errHasty
	}
	if k.scc < firstCallLoop {
		e.backEdges -= len(v.edges)
	}
	v.edges = nil
	v.entry = nil
	return nil
}

// findPrevEntry returns the state remembered at insn on the current path before this one.
func (e *env) findPrevEntry(cur *state, insn int) *state {
	list := *e.bucket(insn, cur)
	for i := len(list) - 1; i >= 0; i-- {
		st := list[i]
		if int(st.insn) == insn && st.branches > 0 && sameCallSites(st, cur) && st.dfsDepth < cur.dfsDepth {
			return st
		}
	}
	return nil
}

// widen forgets numbers of cur that changed since old without ever having
// mattered, so that a loop converges (widen_imprecise_scalars).
func (e *env) widen(old, cur *state) {
	e.ids.reset(e.idGen)
	one := func(o, c *reg) {
		if o.typ == scalarValue && c.typ == scalarValue && !o.precise && !c.precise && !e.sameReg(o, c) {
			e.markUnknown(c)
		}
	}
	for fr := old.cur; fr >= 0; fr-- {
		of, cf := old.frames[fr], cur.frames[fr]
		for i := range of.regs {
			one(&of.regs[i], &cf.regs[i])
		}
		for i := 0; i < min(len(of.stack), len(cf.stack)); i++ {
			if of.stack[i].isSpill() && cf.stack[i].isSpill() {
				one(&of.stack[i].reg, &cf.stack[i].reg)
			}
		}
	}
}
