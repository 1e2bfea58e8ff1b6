package verifier

import "github.com/skep-bpf/skep/isa"

// liveness knows which stack slots a path may still read. What instructions
// read and write is only seen while paths are followed, so marks accumulate
// (by chain of calls and instruction: what a function does to its callers'
// stacks depends on who calls it) and are spread backwards over the flow graph
// before states are asked about: the usual equations
//
//	live before = live after without what is surely written, and what may be read
//
// (kernel/bpf/liveness.c).
type liveness struct {
	byCalls map[callChain]*liveFunc
	cur     *liveFunc // of the state being followed; nil: look it up
	written [isa.MaxCallFrames]uint64
}

// callChain names a function reached by certain calls.
type callChain struct {
	depth int32
	sub   int32
	sites [isa.MaxCallFrames - 1]int32
}

// liveMarks belong to one instruction and one frame of the chain. Bit i is slot i.
type liveMarks struct {
	reads     uint64 // may be read by the instruction
	writes    uint64 // surely written by it
	allWrites uint64 // surely written by it or on every way from it to the function's end
	before    uint64 // may be read by it or after it
}

type liveFunc struct {
	chain   callChain
	start   int32
	end     int32
	changed bool
	dropped bool // a set of sure writes shrank
	visited []bool
	frames  [isa.MaxCallFrames][]liveMarks
}

func (l *liveness) reset() {
	l.byCalls = make(map[callChain]*liveFunc)
	l.cur = nil
}

// liveFuncOf returns the marks for frame no of s.
func (e *env) liveFuncOf(s *state, no int) *liveFunc {
	c := callChain{depth: int32(no), sub: s.frames[no].subprog}
	for i := 1; i <= no; i++ {
		c.sites[i-1] = s.frames[i].callSite
	}
	return e.liveFuncAt(c)
}

func (e *env) liveFuncAt(c callChain) *liveFunc {
	f := e.live.byCalls[c]
	if f == nil {
		s := &e.subs[c.sub]
		f = &liveFunc{chain: c, start: int32(s.start), end: int32(s.end), visited: make([]bool, s.end-s.start)}
		e.live.byCalls[c] = f
	}
	return f
}

func (e *env) liveCur() *liveFunc {
	if e.live.cur == nil {
		e.live.cur = e.liveFuncOf(e.st, e.st.cur)
	}
	return e.live.cur
}

func (f *liveFunc) marks(frame int, insn int32) *liveMarks {
	if f.frames[frame] == nil {
		f.frames[frame] = make([]liveMarks, f.end-f.start)
	}
	return &f.frames[frame][insn-f.start]
}

func (f *liveFunc) read(frame int, insn int32, slots uint64) {
	m := f.marks(frame, insn)
	if slots&^m.reads != 0 {
		m.reads |= slots
		if m.reads&^m.before != 0 {
			f.changed = true
		}
	}
}

// stackRead notes that the current instruction may read slots of a frame.
func (e *env) stackRead(frame int, slots uint64) {
	e.liveCur().read(frame, int32(e.insn), slots)
}

// stackWritten notes that it surely overwrites them.
func (e *env) stackWritten(frame int, slots uint64) { e.live.written[frame] |= slots }

// commit merges what was surely written into the marks of instruction insn.
func (f *liveFunc) commit(insn int32, written *[isa.MaxCallFrames]uint64) {
	i := insn - f.start
	for fr := 0; fr <= int(f.chain.depth); fr++ {
		mask := written[fr]
		if mask == 0 && (!f.visited[i] || f.frames[fr] == nil) {
			continue
		}
		m := f.marks(fr, insn)
		if f.visited[i] {
			mask &= m.writes
		}
		if m.writes != mask {
			f.changed = true
			f.dropped = f.dropped || m.writes&^mask != 0
			m.writes = mask
		}
	}
	f.visited[i] = true
}

// updateLiveness spreads the marks of all functions on the current chain of
// calls; to be done at the end of a path and of a function.
func (e *env) updateLiveness() {
	e.live.cur = nil
	for no := e.st.cur; no >= 0; no-- {
		f := e.liveFuncOf(e.st, no)
		if f.changed {
			e.spread(f)
			f.changed, f.dropped = false, false
		}
	}
}

func (e *env) spread(f *liveFunc) {
	order := e.subs[f.chain.sub].postorder
	if f.dropped {
		for _, ms := range f.frames {
			for i := range ms {
				ms[i].allWrites = 0
			}
		}
	}
	var succ [2]int32
	rounds := 0
	for changed := true; changed; {
		rounds++
		changed = false
		for fr := 0; fr <= int(f.chain.depth); fr++ {
			ms := f.frames[fr]
			if ms == nil {
				continue
			}
			for _, at := range order {
				to := e.successors(int(at), succ[:0])
				if len(to) == 0 {
					continue
				}
				var after uint64
				all := ^uint64(0)
				for _, w := range to {
					after |= ms[w-f.start].before
					all &= ms[w-f.start].allWrites
				}
				if f.chain.depth > 0 && e.mayLeave(int(at)) {
					all = 0 // what comes later may not come
				}
				m := &ms[at-f.start]
				before := after&^m.writes | m.reads
				all |= m.writes
				if before != m.before || all != m.allWrites {
					if e.level2 && (m.reads|m.writes != 0 || at == f.start || e.aux[at].prune) {
						e.logLiveChange(f, "live", fr, at, m.before, before)
						e.logLiveChange(f, "written", fr, at, m.allWrites, all)
					}
					m.before, m.allWrites, changed = before, all, true
				}
			}
		}
	}
	if e.level2 {
		e.logf("%s live stack update done in %d iterations\n", f.chainString(), rounds)
	}
	if f.chain.depth == 0 {
		return
	}
	// What the function does to outer frames, its call does.
	outer := f.chain
	outer.depth--
	site := outer.sites[outer.depth]
	outer.sites[outer.depth] = 0
	outer.sub = int32(e.subprogOf(int(site)))
	of := e.liveFuncAt(outer)
	var written [isa.MaxCallFrames]uint64
	for fr := 0; fr < int(f.chain.depth); fr++ {
		if ms := f.frames[fr]; ms != nil {
			written[fr] = ms[0].allWrites
			of.read(fr, site, ms[0].before)
		}
	}
	of.commit(site, &written)
}

// mayLeave reports whether an instruction other than exit can end its function:
// a tail call that succeeds, a legacy load beyond the packet.
func (e *env) mayLeave(at int) bool {
	ins := e.insns[at]
	if ins.Op.Class() == isa.ClassLD {
		return ins.Op.Mode() != isa.ModeIMM
	}
	return ins.IsHelperCall() && ins.Imm == fnTailCall
}

func (f *liveFunc) chainString() string {
	b := []byte{'('}
	for i := int32(0); i < f.chain.depth; i++ {
		b = appendUnum(b, uint64(f.chain.sites[i]))
		b = append(b, ',')
	}
	b = appendUnum(b, uint64(f.start))
	return string(append(b, ')'))
}

func (e *env) logLiveChange(f *liveFunc, what string, frame int, at int32, old, new uint64) {
	if old == new {
		return
	}
	e.logf("%s frame %d insn %d ", f.chainString(), frame, at)
	if on := new &^ old; on != 0 {
		e.logf("+%s %s ", what, slotMask(on))
	}
	if off := old &^ new; off != 0 {
		e.logf("-%s %s", what, slotMask(off))
	}
	e.logf("\n")
}

// liveSlots returns the slots of frame no that a path from the remembered state
// s may read: in the current function, or, back in a caller, after its call
// (or at it, if it calls its callback again).
func (e *env) liveSlots(s *state, no int) uint64 {
	var live uint64
	for i := no; i <= s.cur; i++ {
		f := e.liveFuncOf(s, i)
		ms := f.frames[no]
		if ms == nil {
			continue
		}
		at := s.insn
		if i < s.cur {
			if at = s.frames[i+1].callSite; !e.aux[at].callsCallback {
				at++
			}
		}
		live |= ms[at-f.start].before
	}
	return live
}
