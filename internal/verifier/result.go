package verifier

import "github.com/skep-bpf/skep/isa"

// result collects what the passes after the verifier need to know.
func (e *env) result() *Result {
	r := &Result{
		Log: e.logger.String(), LogMost: max(e.most, e.pos()),
		Insns:  make([]InsnFacts, len(e.insns)),
		Stats:  e.figures(),
		Visits: e.visits,
		Void:   e.returnsVoid(),
	}
	once := e.runOnce()
	for i := range e.aux {
		a, f := &e.aux[i], &r.Insns[i]
		f.Seen = a.seen
		f.Access = a.access
		f.Poisoned = a.poisoned
		if !a.poisoned {
			f.Map = a.m
		}
		if a.keySeen && !a.keyPoison {
			f.Const, f.HasConst = a.key, true
		}
		f.Nospec, f.NospecResult = a.nospec, a.nospecResult
		if a.sanitised.kind&sanNumber == 0 {
			f.Mask = ALUMask{Kind: MaskKind(a.sanitised.kind), Limit: a.sanitised.limit}
		}
		f.AlwaysJumps = a.seen && a.taken && !a.fallthru
		f.NeverJumps = a.seen && a.fallthru && !a.taken
		if e.jumpsBack(i) && a.trips > 0 && !e.endless[a.scc] && once[e.subprogOf(i)] {
			f.TripBound = a.trips
		}
		if isPseudoFunc(e.insns[i]) {
			f.Callback = e.subprogAt(i + int(e.insns[i].Imm) + 1)
		}
	}
	for i := range e.subs {
		s := &e.subs[i]
		r.Subprogs = append(r.Subprogs, Subprog{
			Start: s.start, End: s.end, Name: s.name, StackDepth: s.stackDepth,
			TailCalls: s.hasTail, Callback: s.isCB, Exception: s.isException,
			Unreliable: s.unreliable, ChangesPkt: s.changesPkt, MightSleep: s.mightSleep,
		})
		r.Stats.StackDepth = append(r.Stats.StackDepth, s.stackDepth)
	}
	if e.recorder != nil {
		r.States = e.recorder.states()
	}
	return r
}

// noteEndless remembers the loops the current path is in when it ends because
// nothing new comes up: how often they turn is not known.
func (e *env) noteEndless() {
	if e.st.speculative {
		return
	}
	if e.endless == nil {
		e.endless = make(map[int32]bool)
	}
	for i := 0; i <= e.st.cur; i++ {
		at := e.insn
		if i < e.st.cur {
			at = int(e.st.frames[i+1].callSite)
		}
		if loop := e.aux[at].scc; loop != 0 {
			e.endless[loop] = true
		}
	}
}

// jumpsBack reports whether instruction i is a jump to itself or before.
func (e *env) jumpsBack(i int) bool {
	ins := e.insns[i]
	switch ins.Op.Class() {
	case isa.ClassJMP, isa.ClassJMP32:
		switch ins.Op.JumpOp() {
		case isa.Call, isa.Exit, isa.Jcond:
			return false
		}
		return ins.JumpOffset() < 0
	}
	return false
}

// runOnce tells which functions one run of the program enters only as often as
// the verifier followed it there: not callbacks, not functions verified by
// themselves, nor what those or endless loops call. States that were seen
// before end paths, so the states form no circle outside endless loops, and a
// run follows each step between two states at most once.
func (e *env) runOnce() []bool {
	once := make([]bool, len(e.subs))
	for i := range e.subs {
		s := &e.subs[i]
		once[i] = i == 0 || !s.global && !s.isCB && !s.isException
	}
	for again := true; again; {
		again = false
		for i, ins := range e.insns {
			if !ins.IsLocalCall() || once[e.subprogOf(i)] && !e.endless[e.aux[i].scc] {
				continue
			}
			if callee := e.subprogAt(i + int(ins.Imm) + 1); callee > 0 && once[callee] {
				once[callee], again = false, true
			}
		}
	}
	return once
}

// figures returns the statistics of the verification as far as it came.
func (e *env) figures() Stats {
	return Stats{
		InsnProcessed: e.insnProcessed, InsnLimit: e.o.InsnLimit,
		MaxStatesPerInsn: e.maxPerInsn, TotalStates: e.totalStates, PeakStates: e.peakStates,
	}
}
