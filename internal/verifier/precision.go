package verifier

import (
	"math/bits"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// Numbers are imprecise until one decides something (a branch, the bounds of an
// access). Then the path is walked backwards, marking in the remembered states
// along it the registers and slots the number came from: states compared with
// those later must agree on them, and need not agree on the rest
// (mark_chain_precision).

// backtrack is the set of registers and slots being traced, by frame.
type backtrack struct {
	frame int
	regs  [isa.MaxCallFrames]uint16
	slots [isa.MaxCallFrames]uint64
}

func (b *backtrack) empty() bool {
	for i := 0; i <= b.frame; i++ {
		if b.regs[i] != 0 || b.slots[i] != 0 {
			return false
		}
	}
	return true
}

func (b *backtrack) clear() {
	*b = backtrack{frame: b.frame}
}

func (b *backtrack) has(r isa.Register) bool { return b.regs[b.frame]&(1<<r) != 0 }
func (b *backtrack) set(r isa.Register)      { b.regs[b.frame] |= 1 << r }
func (b *backtrack) drop(r isa.Register)     { b.regs[b.frame] &^= 1 << r }

// syncLinked traces all of a group of linked registers if it traces one.
func (b *backtrack) syncLinked(h *histEntry) {
	if h == nil || h.linked.n == 0 {
		return
	}
	l := &h.linked
	some := false
	for _, r := range l.r[:l.n] {
		if r.isReg {
			some = some || b.regs[r.frame]&(1<<r.index) != 0
		} else {
			some = some || b.slots[r.frame]&(1<<r.index) != 0
		}
	}
	if !some {
		return
	}
	for _, r := range l.r[:l.n] {
		if r.isReg {
			b.regs[r.frame] |= 1 << r.index
		} else {
			b.slots[r.frame] |= 1 << r.index
		}
	}
}

// steps of going back over one instruction.
type backStep uint8

const (
	backOK   backStep = iota
	backFail          // cannot be followed: everything becomes precise
	backBug           // the trace contradicts the code
)

// markPrecise makes the number in register r of the current frame precise.
func (e *env) markPrecise(r isa.Register) *Error {
	if !e.capable {
		return nil // all their numbers are
	}
	if e.regs()[r].typ != scalarValue {
		panic("BUG: precision of a pointer")
	}
	e.bt = backtrack{frame: e.st.cur}
	e.bt.set(r)
	return e.backtrackFrom(e.st, true, nil)
}

// backtrackFrom follows the path of st backwards until nothing of e.bt is left.
// skip: the current instruction is still being checked. changed is set when a
// mark was added.
func (e *env) backtrackFrom(st *state, skip bool, changed *bool) *Error {
	bt := &e.bt
	if bt.empty() {
		return nil
	}
	start := st
	lastIdx, firstIdx, subseq := e.insn, int(st.first), -1
	if st != e.st {
		lastIdx = int(st.insn)
	}
	for {
		if e.level2 {
			e.logf("mark_precise: frame%d: last_idx %d first_idx %d subseq_idx %d \n", bt.frame, lastIdx, firstIdx, subseq)
		}
		if lastIdx < 0 {
			// The entry of a separately verified function: its arguments are unknown numbers.
			f := st.frames[0]
			if st.cur == 0 && f.subprog > 0 && f.callSite == noCallSite && bt.slots[0] == 0 && bt.regs[0]&^argRegs == 0 {
				for m := bt.regs[0]; m != 0; m &= m - 1 {
					if r := &f.regs[bits.TrailingZeros16(m)]; r.typ == scalarValue {
						r.precise = true
						if changed != nil {
							*changed = true
						}
					}
				}
				bt.clear()
				return nil
			}
			return e.refuse(errno.EFAULT, "verifier bug: backtracking func entry subprog %d reg_mask %x stack_mask %x", f.subprog, bt.regs[bt.frame], bt.slots[bt.frame])
		}
		hist := st.hist
		for i := lastIdx; ; {
			step := backOK
			if skip {
				skip = false
			} else {
				var h *histEntry
				if hist != nil && int(hist.idx) == i {
					h = hist
				}
				step = e.backOver(i, subseq, h)
			}
			switch step {
			case backFail:
				e.allPrecise(start, changed)
				bt.clear()
				return nil
			case backBug:
				return e.refuse(errno.EFAULT, "verifier bug: backtracking insn %d regs %x stack %x", i, bt.regs[bt.frame], bt.slots[bt.frame])
			}
			if bt.empty() {
				return nil
			}
			subseq = i
			var ok bool
			if i, hist, ok = prevInsn(st, i, hist); !ok {
				break
			}
			if i < 0 || i >= len(e.insns) {
				return e.refuse(errno.EFAULT, "verifier bug: backtracking idx %d", i)
			}
		}
		st = st.parent
		if st == nil {
			break
		}
		e.markState(st, changed)
		if bt.empty() {
			return nil
		}
		subseq, lastIdx, firstIdx = firstIdx, int(st.last), int(st.first)
	}
	// Still something to trace at the start: it came from nowhere we know.
	e.allPrecise(start, changed)
	bt.clear()
	return nil
}

// prevInsn steps back from instruction i of st's stretch of the path.
func prevInsn(st *state, i int, hist *histEntry) (int, *histEntry, bool) {
	if i == int(st.first) && (hist == nil || hist.prev == nil && int(hist.idx) == i) {
		return 0, nil, false
	}
	if hist != nil && int(hist.idx) == i {
		return int(hist.prevIdx), hist.prev, true
	}
	return i - 1, hist, true
}

// markState marks what is traced in a remembered state precise; what already
// is, or is no number, need not be traced further.
func (e *env) markState(st *state, changed *bool) {
	bt := &e.bt
	for fr := bt.frame; fr >= 0; fr-- {
		f := st.frames[fr]
		for m := bt.regs[fr]; m != 0; m &= m - 1 {
			i := bits.TrailingZeros16(m)
			r := &f.regs[i]
			if r.typ != scalarValue || r.precise {
				bt.regs[fr] &^= 1 << i
				continue
			}
			r.precise = true
			if changed != nil {
				*changed = true
			}
		}
		for m := bt.slots[fr]; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m)
			if i >= len(f.stack) || !f.stack[i].isSpillScalar() || f.stack[i].reg.precise {
				bt.slots[fr] &^= 1 << i
				continue
			}
			f.stack[i].reg.precise = true
			if changed != nil {
				*changed = true
			}
		}
		if e.level2 {
			e.logf("mark_precise: frame%d: parent state regs=%s stack=%s: ", fr, regMask(bt.regs[fr]), slotMask(bt.slots[fr]))
			e.logFrame(f, true)
		}
	}
}

// allPrecise gives up tracing: every number of every remembered state before
// st becomes precise.
func (e *env) allPrecise(st *state, changed *bool) {
	if e.level2 {
		e.logf("mark_precise: frame%d: falling back to forcing all scalars precise\n", st.cur)
	}
	mark := func(r *reg) {
		if r.typ == scalarValue && !r.precise {
			r.precise = true
			if changed != nil {
				*changed = true
			}
		}
	}
	for st = st.parent; st != nil; st = st.parent {
		for i := 0; i <= st.cur; i++ {
			f := st.frames[i]
			for j := 0; j < int(isa.RFP); j++ {
				mark(&f.regs[j])
			}
			for j := range f.stack {
				if f.stack[j].isSpill() {
					mark(&f.stack[j].reg)
				}
			}
		}
	}
}

// forget makes all numbers of st imprecise: what follows decides anew what matters.
func (st *state) forget() {
	for i := 0; i <= st.cur; i++ {
		f := st.frames[i]
		for j := range f.regs {
			if f.regs[j].typ == scalarValue {
				f.regs[j].precise = false
			}
		}
		for j := range f.stack {
			if f.stack[j].isSpillScalar() {
				f.stack[j].reg.precise = false
			}
		}
	}
}

func (b *backtrack) enter() bool { // going backwards, an exit enters its function
	if b.frame+1 >= isa.MaxCallFrames {
		return false
	}
	b.frame++
	return true
}

func (b *backtrack) leave() bool {
	if b.frame == 0 {
		return false
	}
	b.frame--
	return true
}

// backOver undoes instruction idx, after which the path went to subseq: what
// it computed is replaced by what it computed it from (backtrack_insn).
func (e *env) backOver(idx, subseq int, h *histEntry) backStep {
	bt := &e.bt
	ins := e.insns[idx]
	if ins.Op == 0 {
		return backOK
	}
	if e.level2 {
		e.logf("mark_precise: frame%d: regs=%s stack=%s before %d: %s\n", bt.frame, regMask(bt.regs[bt.frame]), slotMask(bt.slots[bt.frame]), idx, e.disasm(idx))
	}
	// Going back, registers are linked before the jump that used the link as
	// well as after it.
	bt.syncLinked(h)
	step := e.backOverInsn(idx, subseq, h)
	if step == backOK {
		bt.syncLinked(h)
	}
	return step
}

func (e *env) backOverInsn(idx, subseq int, h *histEntry) backStep {
	bt := &e.bt
	ins := e.insns[idx]
	stackAt := func() (fr, spi int, ok bool) {
		if h == nil || h.flags&histStack == 0 {
			return 0, 0, false
		}
		fr, spi = h.flags.slot()
		return fr, spi, true
	}
	switch ins.Op.Class() {
	case isa.ClassALU, isa.ClassALU64:
		if !bt.has(ins.Dst) {
			return backOK
		}
		switch ins.Op.ALUOp() {
		case isa.End, isa.Neg:
			return backOK
		case isa.Mov:
			bt.drop(ins.Dst)
		}
		if ins.Op.UsesReg() && ins.Src != isa.RFP {
			bt.set(ins.Src)
		}
		return backOK
	case isa.ClassLDX:
		return e.backOverLoad(ins.Dst, stackAt)
	case isa.ClassSTX, isa.ClassST:
		if ins.Op.Mode() == isa.ModeATOMIC && ins.Op.Class() == isa.ClassSTX {
			switch {
			case ins.Imm == isa.LoadAcquire:
				return e.backOverLoad(ins.Dst, stackAt)
			case ins.Imm == isa.AtomicCmpXch:
				return e.backOverLoad(isa.R0, stackAt)
			case ins.Imm != isa.StoreRelease && ins.Imm&isa.Fetch != 0:
				return e.backOverLoad(ins.Src, stackAt)
			}
		}
		if bt.has(ins.Dst) {
			return backFail // a number used as an address
		}
		fr, spi, ok := stackAt()
		if !ok || bt.slots[fr]&(1<<spi) == 0 {
			return backOK
		}
		bt.slots[fr] &^= 1 << spi
		if ins.Op.Class() == isa.ClassSTX {
			bt.set(ins.Src)
		}
		return backOK
	case isa.ClassLD:
		if ins.Op.Mode() == isa.ModeIMM {
			bt.drop(ins.Dst)
			return backOK
		}
		if bt.has(ins.Dst) {
			return backFail
		}
		if subseq != idx+1 && !bt.enter() { // the load left the function
			return backBug
		}
		return backOK
	}
	return e.backOverJump(idx, subseq, h)
}

func (e *env) backOverLoad(dst isa.Register, stackAt func() (int, int, bool)) backStep {
	bt := &e.bt
	if !bt.has(dst) {
		return backOK
	}
	bt.drop(dst)
	if fr, spi, ok := stackAt(); ok {
		bt.slots[fr] |= 1 << spi
	}
	return backOK
}

func (e *env) backOverJump(idx, subseq int, h *histEntry) backStep {
	bt := &e.bt
	ins := e.insns[idx]
	regs := &bt.regs[bt.frame]
	switch {
	case ins.IsLocalCall():
		if e.subs[e.subprogAt(idx+int(ins.Imm)+1)].global {
			if *regs&argRegs != 0 {
				return backBug
			}
			bt.drop(isa.R0)
			return backOK
		}
		// The start of the callee: what it still traces are its arguments.
		if *regs&^argRegs != 0 || bt.slots[bt.frame] != 0 {
			return backBug
		}
		args := *regs
		*regs = 0
		if !bt.leave() {
			return backBug
		}
		bt.regs[bt.frame] |= args
		return backOK
	case e.aux[idx].callsCallback && idx != subseq-1:
		// The start of a callback: its arguments are made up by the helper.
		if *regs&^argRegs != 0 || bt.slots[bt.frame] != 0 {
			return backBug
		}
		*regs = 0
		if !bt.leave() {
			return backBug
		}
		return backOK
	case ins.Op == opCall:
		bt.drop(isa.R0)
		if *regs&argRegs != 0 {
			return backBug
		}
		if ins.Src == isa.CallHelper && ins.Imm == fnTailCall && subseq != idx+1 && !bt.enter() { // the call left the function
			return backBug
		}
		return backOK
	case ins.Op == opExit:
		// Out of a function (backwards: into it), which left R0 to its caller;
		// a callback's R0 went to the helper.
		called := subseq >= 1 && e.insns[subseq-1].IsLocalCall()
		r0 := called && bt.has(isa.R0)
		if called && *regs&argRegs != 0 {
			return backBug
		}
		bt.drop(isa.R0)
		if subseq >= 0 && e.aux[subseq].callsCallback {
			// What the helper is called with again is what it was called with: see loopsAsOften.
			bt.regs[bt.frame] &^= argRegs
		}
		if !bt.enter() {
			return backBug
		}
		if r0 {
			bt.set(isa.R0)
		}
		return backOK
	}
	switch ins.Op.JumpOp() {
	case isa.Ja, isa.Jcond, isa.Call, isa.Exit:
		return backOK
	}
	if ins.Op.UsesReg() && (bt.has(ins.Dst) || bt.has(ins.Src)) {
		// One side was compared with the other: both matter.
		if h == nil || h.flags&histSrcPtr == 0 {
			bt.set(ins.Src)
		}
		if h == nil || h.flags&histDstPtr == 0 {
			bt.set(ins.Dst)
		}
	}
	return backOK
}

// pushHist remembers how the path went through the current instruction.
func (e *env) pushHist(flags histFlags, linked *linkedRegs) {
	if e.hist == nil {
		h := e.newHist()
		*h = histEntry{prev: e.st.hist, idx: int32(e.insn), prevIdx: int32(e.prevInsn)}
		e.st.hist = h
		e.st.histLen++
		e.hist = h
	}
	e.hist.flags |= flags
	if linked != nil {
		e.hist.linked = *linked
	}
}
