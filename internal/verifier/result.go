package verifier

// result collects what the passes after the verifier need to know.
func (e *env) result() *Result {
	r := &Result{
		Log:   e.logger.String(),
		Insns: make([]InsnFacts, len(e.insns)),
		Stats: Stats{
			InsnProcessed: e.insnProcessed, InsnLimit: maxInsns,
			MaxStatesPerInsn: e.maxPerInsn, TotalStates: e.totalStates, PeakStates: e.peakStates,
		},
	}
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
		f.AlwaysJumps = a.seen && a.taken && !a.fallthru
		f.NeverJumps = a.seen && a.fallthru && !a.taken
		if isPseudoFunc(e.insns[i]) {
			f.Callback = e.subprogAt(i + int(e.insns[i].Imm) + 1)
		}
	}
	for i := range e.subs {
		s := &e.subs[i]
		r.Subprogs = append(r.Subprogs, Subprog{
			Start: s.start, End: s.end, Name: s.name, StackDepth: s.stackDepth,
			TailCalls: s.hasTail, Callback: s.isCB, Exception: s.isException,
		})
		r.Stats.StackDepth = append(r.Stats.StackDepth, s.stackDepth)
	}
	if e.recorder != nil {
		r.States = e.recorder.states()
	}
	return r
}
