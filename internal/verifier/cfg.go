package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

const (
	opCall  = isa.Opcode(isa.ClassJMP) | isa.Call
	opExit  = isa.Opcode(isa.ClassJMP) | isa.Exit
	opJa    = isa.Opcode(isa.ClassJMP) | isa.Ja
	opGotol = isa.Opcode(isa.ClassJMP32) | isa.Ja
	opJcond = isa.Opcode(isa.ClassJMP) | isa.Jcond
)

func isMayGoto(ins isa.Instruction) bool { return ins.Op == opJcond && ins.Src == 0 }

// checkCFG walks the flow graph depth first, as the kernel does, so that the
// points where states are compared and the first complaint are the same
// (check_cfg). What it cannot reach is refused.
func (e *env) checkCFG() *Error {
	n := len(e.insns)
	w := flowWalk{env: e, marks: zeroed(&e.ws.marks, n), stack: zeroed(&e.ws.ints, n)[:0]}
	if err := w.from(0); err != nil {
		return err
	}
	if e.exceptionCB > 0 {
		if err := w.from(e.subs[e.exceptionCB].start); err != nil {
			return err
		}
	}
	for i := 0; i < n; i++ {
		if w.marks[i] != explored {
			e.insn = i
			return e.refuse(errno.EINVAL, "unreachable insn %d", i)
		}
		if e.insns[i].IsLoadImm64() {
			if w.marks[i+1] != 0 {
				e.insn = i
				return e.refuse(errno.EINVAL, "jump into the middle of ldimm64 insn %d", i)
			}
			i++
		}
	}
	e.changesPkt = e.subs[0].changesPkt
	e.postorder()
	return nil
}

// flowWalk is a walk of the flow graph, depth first.
type flowWalk struct {
	*env
	marks []uint8 // of each slot: how far it is done
	stack []int32 // slots on the way to where the walk is
}

// Marks of a slot: 0, or discovered with the last edge taken out of it, or explored.
const (
	fallThru   = 1 // edges
	branch     = 2
	discovered = 0x10
	explored   = 0x20
)

// from walks everything that can be reached from a slot.
func (w *flowWalk) from(start int) *Error {
	w.marks[start] = discovered
	w.stack = append(w.stack[:0], int32(start))
	for len(w.stack) > 0 {
		t := int(w.stack[len(w.stack)-1])
		on, err := w.visit(t)
		if err != nil {
			return err
		}
		if !on {
			w.marks[t] = explored
			w.stack = w.stack[:len(w.stack)-1]
		}
	}
	return nil
}

// visit takes the next edge out of slot t. It reports whether that led to a new slot.
func (w *flowWalk) visit(t int) (bool, *Error) {
	ins := w.insns[t]
	if isPseudoFunc(ins) {
		return w.call(t, 2, true)
	}
	if !ins.Op.Class().IsJump() {
		size := 1
		if ins.IsLoadImm64() {
			size = 2
		}
		return w.push(t, t+size, fallThru)
	}
	switch ins.Op.JumpOp() {
	case isa.Exit:
		return false, nil
	case isa.Call:
		w.markCall(t)
		return w.call(t, 1, ins.Src == isa.CallLocal)
	case isa.Ja:
		if ins.Op.UsesReg() {
			w.insn = t
			return false, w.silent(errno.EINVAL, "a jump with a register for its target")
		}
		to := t + ins.JumpOffset() + 1
		on, err := w.push(t, to, fallThru)
		if err == nil {
			w.aux[to].prune, w.aux[to].jmpPoint = true, true
		}
		return on, err
	}
	w.aux[t].prune = true
	if isMayGoto(ins) {
		w.aux[t].force = true
	}
	on, err := w.push(t, t+1, fallThru)
	if on || err != nil {
		return on, err
	}
	return w.push(t, t+int(ins.Off)+1, branch)
}

// call takes the edges of a call of so many slots, or of a load of a function's address.
func (w *flowWalk) call(t, size int, callee bool) (bool, *Error) {
	on, err := w.push(t, t+size, fallThru)
	if on || err != nil {
		return on, err
	}
	w.aux[t+size].prune, w.aux[t+size].jmpPoint = true, true
	if !callee {
		return false, nil
	}
	to := t + int(w.insns[t].Imm) + 1
	w.aux[t].prune = true
	caller, sub := &w.subs[w.subprogOf(t)], &w.subs[w.subprogOf(to)]
	caller.changesPkt = caller.changesPkt || sub.changesPkt
	caller.mightSleep = caller.mightSleep || sub.mightSleep
	return w.push(t, to, branch)
}

// push goes on from t to a slot that is new. It reports whether it is.
func (w *flowWalk) push(t, to int, edge uint8) (bool, *Error) {
	if w.marks[t] >= discovered|edge {
		return false, nil
	}
	if to < 0 || to >= len(w.insns) {
		w.logLine(t, "%d: ", t)
		w.insn = t
		return false, w.refuse(errno.EINVAL, "jump out of range from insn %d to %d", t, to)
	}
	if edge == branch {
		w.aux[to].prune, w.aux[to].jmpPoint = true, true
	}
	switch {
	case w.marks[to] == 0:
		w.marks[t] = discovered | edge
		w.marks[to] = discovered
		w.stack = append(w.stack, int32(to))
		return true, nil
	case w.marks[to]&0xf0 == discovered:
		if w.capable {
			return false, nil
		}
		w.logLine(t, "%d: ", t)
		w.logLine(to, "%d: ", to)
		w.insn = t
		return false, w.refuse(errno.EINVAL, "back-edge from insn %d to %d", t, to)
	default:
		w.marks[t] = discovered | edge
		return false, nil
	}
}

// markCall notes what a call means for the points where states are compared.
func (e *env) markCall(t int) {
	ins, a := e.insns[t], &e.aux[t]
	sub := &e.subs[e.subprogOf(t)]
	switch {
	case ins.IsHelperCall():
		if isAsyncCallbackHelper(ins.Imm) {
			a.prune = true
		}
		if isSyncCallbackHelper(ins.Imm) {
			a.callsCallback, a.force, a.prune, a.jmpPoint = true, true, true, true
		}
		if h := e.helperRow(ins.Imm); h != nil {
			sub.mightSleep = sub.mightSleep || h.mightSleep()
			sub.changesPkt = sub.changesPkt || h.changesPkt()
		}
	case ins.IsKfuncCall():
		k := e.kfuncOf(ins)
		if k == nil {
			return
		}
		a.kfunc = k
		if k.flags&kfIterNext != 0 {
			a.prune, a.force, a.iterNext = true, true, true
		}
		if k.asyncCallback {
			a.prune = true
		}
		if k.syncCallback {
			a.callsCallback, a.force, a.prune, a.jmpPoint = true, true, true, true
		}
		sub.mightSleep = sub.mightSleep || k.flags&kfSleepable != 0
		sub.changesPkt = sub.changesPkt || k.changesPkt
	}
}

// successors appends the slots that may follow slot t in its function.
func (e *env) successors(t int, to []int32) []int32 {
	ins := e.insns[t]
	if !ins.Op.Class().IsJump() {
		if ins.IsLoadImm64() {
			return append(to, int32(t+2))
		}
		return append(to, int32(t+1))
	}
	switch ins.Op.JumpOp() {
	case isa.Exit:
		return to
	case isa.Call:
		return append(to, int32(t+1))
	case isa.Ja:
		return append(to, int32(t+ins.JumpOffset()+1))
	}
	return append(to, int32(t+1), int32(t+int(ins.Off)+1))
}

// postorder lists every function's slots so that, loops aside, each comes after
// its successors, jumps before what lies behind them.
func (e *env) postorder() {
	const (
		found = 1
		done  = 2
	)
	marks := zeroed(&e.ws.marks, len(e.insns))
	var stack []int32
	var succ [2]int32
	for i := range e.subs {
		s := &e.subs[i]
		stack = append(stack[:0], int32(s.start))
		for len(stack) > 0 {
			t := stack[len(stack)-1]
			if marks[t] == done {
				s.postorder = append(s.postorder, t)
				stack = stack[:len(stack)-1]
				continue
			}
			marks[t] = done
			for _, w := range e.successors(int(t), succ[:0]) {
				if marks[w] == 0 {
					marks[w] = found
					stack = append(stack, w)
				}
			}
		}
	}
}

// Register sets of calls.
const (
	callerSaved = 1<<isa.R0 | argRegs
	allRegs     = 1<<isa.RFP - 1
	argRegs     = 1<<isa.R1 | 1<<isa.R2 | 1<<isa.R3 | 1<<isa.R4 | 1<<isa.R5
)

// usesDefs returns the registers an instruction reads and those it writes.
func (e *env) usesDefs(t int) (use, def uint16) {
	ins := e.insns[t]
	dst, src := uint16(1)<<ins.Dst, uint16(1)<<ins.Src
	switch ins.Op.Class() {
	case isa.ClassLD:
		if ins.Op.Mode() == isa.ModeIMM {
			return 0, dst
		}
		return allRegs, 0 // packet loads: as the kernel has it, no telling
	case isa.ClassLDX:
		return src, dst
	case isa.ClassST:
		return dst, 0
	case isa.ClassSTX:
		if ins.Op.Mode() != isa.ModeATOMIC {
			return dst | src, 0
		}
		switch {
		case ins.Imm == isa.AtomicCmpXch:
			return 1<<isa.R0 | dst | src, 1 << isa.R0
		case ins.Imm == isa.LoadAcquire:
			return src, dst
		case ins.Imm == isa.StoreRelease:
			return dst | src, 0
		case ins.Imm&isa.Fetch != 0:
			return dst | src, src
		}
		return dst | src, 0
	case isa.ClassALU, isa.ClassALU64:
		switch ins.Op.ALUOp() {
		case isa.Mov:
			if ins.Op.UsesReg() {
				return src, dst
			}
			return 0, dst
		case isa.Neg, isa.End:
			return dst, dst
		}
		if ins.Op.UsesReg() {
			return dst | src, dst
		}
		return dst, dst
	}
	switch ins.Op.JumpOp() {
	case isa.Ja, isa.Jcond:
		return 0, 0
	case isa.Exit:
		return 1 << isa.R0, 0
	case isa.Call:
		n := 5
		if ins.IsHelperCall() {
			if h := e.helperRow(ins.Imm); h != nil {
				n = h.args()
			}
		} else if ins.IsKfuncCall() {
			if k := e.aux[t].kfunc; k != nil && (k.allowed || k.traps) {
				n = len(k.proto.Params)
			}
		}
		return uint16(2<<n-2) & argRegs, callerSaved
	}
	if ins.Op.UsesReg() {
		return dst | src, 0
	}
	return dst, 0
}

// computeLiveRegs finds, for every instruction, the registers that a path from
// it may still read: only those matter when states are compared (compute_live_registers).
func (e *env) computeLiveRegs() *Error {
	var succ [2]int32
	for i := range e.subs {
		for changed := true; changed; {
			changed = false
			for _, t := range e.subs[i].postorder {
				var out uint16
				for _, w := range e.successors(int(t), succ[:0]) {
					out |= e.aux[w].live
				}
				use, def := e.usesDefs(int(t))
				if in := out&^def | use; in != e.aux[t].live {
					e.aux[t].live, changed = in, true
				}
			}
		}
	}
	for i := range e.aux {
		e.aux[i].live &^= 1 << isa.RFP
	}
	if e.level2 {
		e.logLiveRegs()
	}
	return nil
}

// firstCallLoop is above the numbers of all loops of the flow graph.
const firstCallLoop = 1 << 24

// computeSCCs numbers the strongly connected components of every function's
// flow graph, which are its loops (compute_scc; Tarjan's algorithm). A call of
// a callback is a loop of its own, numbered from firstCallLoop.
func (e *env) computeSCCs() *Error {
	n := len(e.insns)
	const done = int32(^uint32(0) >> 1)
	ints := zeroed(&e.ws.ints, 2*n)
	pre, low := ints[:n], ints[n:] // pre: visit number from 1
	var stack, dfs []int32
	var next int32 = 1
	var id int32 = 1
	var succ [2]int32
	for i := range e.subs {
		for k := len(e.subs[i].postorder) - 1; k >= 0; k-- {
			root := e.subs[i].postorder[k]
			if pre[root] != 0 {
				continue
			}
			dfs = append(dfs[:0], root)
		walk:
			for len(dfs) > 0 {
				t := dfs[len(dfs)-1]
				if pre[t] == 0 {
					pre[t], low[t] = next, next
					next++
					stack = append(stack, t)
				}
				to := e.successors(int(t), succ[:0])
				for _, w := range to {
					if pre[w] == 0 {
						dfs = append(dfs, w)
						continue walk
					}
					low[t] = min(low[t], low[w])
				}
				dfs = dfs[:len(dfs)-1]
				if low[t] != pre[t] {
					continue
				}
				loop := stack[len(stack)-1] != t
				for _, w := range to {
					loop = loop || w == t
				}
				if !loop && e.aux[t].callsCallback {
					e.aux[t].scc = firstCallLoop + t
				}
				for {
					w := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					low[w] = done
					if loop {
						e.aux[w].scc = id
					}
					if w == t {
						break
					}
				}
				if loop {
					id++
				}
			}
		}
	}
	return nil
}
