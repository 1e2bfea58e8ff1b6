package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// run follows all paths from the current state, depth first, until none is
// left or one is refused (do_check).
func (e *env) run() *Error {
	prev := -1
	printState := false // the next instruction is the first of another path
	for {
		e.hist = nil
		e.prevInsn = prev
		if e.insn >= len(e.insns) {
			return e.refuse(errno.EFAULT, "invalid insn idx %d insn_cnt %d", e.insn, len(e.insns))
		}
		ins := e.insns[e.insn]
		a := &e.aux[e.insn]
		if e.history != nil {
			e.history.step(e)
		}
		if e.insnProcessed++; e.insnProcessed > e.o.InsnLimit {
			return e.refuse(errno.E2BIG, "BPF program is too large. Processed %d insn", e.insnProcessed)
		}
		if e.visits != nil {
			e.visits[e.insn]++
		}
		st := e.st
		st.last = int32(prev)
		st.insn = int32(e.insn)
		if e.trace != nil {
			e.trace.step(e)
		}
		if a.prune {
			done, err := e.visited(e.insn)
			if err != nil {
				return err
			}
			if done {
				if e.level12 {
					if printState {
						e.logf("\nfrom %d to %d%s: safe\n", e.prevInsn, e.insn, st.guess())
					} else {
						e.logf("%d: safe\n", e.insn)
					}
				}
				more, err := e.nextPath(&prev)
				if err != nil || !more {
					return err
				}
				printState = true
				continue
			}
		}
		if a.jmpPoint {
			e.pushHist(0, nil)
		}
		if e.level2 && printState {
			e.logf("\nfrom %d to %d%s:", e.prevInsn, e.insn, st.guess())
			e.logFrame(st.frame(), true)
			printState = false
		}
		if e.level12 {
			e.logInsn(st.frame())
		}
		at := int32(e.insn)
		prev = e.insn
		switch {
		case !st.speculative:
			a.seen = true
			if e.recorder != nil {
				e.recorder.record(e)
			}
		case a.nospec: // no processor gets here by a guess
			more, err := e.nextPath(&prev)
			if err != nil || !more {
				return err
			}
			printState = true
			continue
		}
		e.live.written = [isa.MaxCallFrames]uint64{}
		live := e.liveCur()
		end, err := e.step(ins)
		if err != nil {
			if !st.speculative || !barrierHelps(err) {
				return err
			}
			a.nospec, a.sanitised = true, aluState{}
			end = pathEnds
		}
		if e.live.cur == live { // else a call or return: the callee's marks say what it writes
			live.commit(at, &e.live.written)
		}
		if st.speculative && a.nospecResult {
			end = pathEnds
		}
		switch end {
		case pathGoesOn:
			e.insn++
		case pathLeftFunc:
			printState = true
		case pathEnds:
			more, err := e.nextPath(&prev)
			if err != nil || !more {
				return err
			}
			printState = true
		}
	}
}

// How a path goes on after an instruction.
type pathEnd uint8

const (
	pathGoesOn   pathEnd = iota // at e.insn+1
	pathLeftFunc                // at e.insn, in the calling function
	pathEnds
)

// nextPath ends the current path and takes up the branch left last. It
// reports whether there was one.
func (e *env) nextPath(prev *int) (bool, *Error) {
	e.scratchAll()
	e.updateLiveness()
	st := e.st
	if err := e.pathDone(st); err != nil {
		return false, err
	}
	e.freeState(st)
	e.live.cur = nil
	if e.trace != nil {
		e.trace.next(e.insnProcessed)
	}
	n := len(e.pending)
	if n == 0 {
		e.st = nil
		return false, nil
	}
	p := e.pending[n-1]
	e.pending = e.pending[:n-1]
	e.st, e.insn, *prev = p.st, p.insn, p.prev
	if !e.level2 {
		e.truncate(p.logPos)
	}
	return true, nil
}

// step checks one instruction and carries it out (do_check_insn).
func (e *env) step(ins isa.Instruction) (pathEnd, *Error) {
	switch cls := ins.Op.Class(); cls {
	case isa.ClassALU, isa.ClassALU64:
		return pathGoesOn, e.checkALU(ins)
	case isa.ClassLDX:
		return pathGoesOn, e.checkLoad(ins, false, ins.Op.Mode() == isa.ModeMEMSX, true, "ldx")
	case isa.ClassSTX:
		if ins.Op.Mode() == isa.ModeATOMIC {
			return pathGoesOn, e.checkAtomic(ins)
		}
		if ins.Op.Mode() != isa.ModeMEM || ins.Imm != 0 {
			return pathGoesOn, e.refuse(errno.EINVAL, "BPF_STX uses reserved fields")
		}
		return pathGoesOn, e.checkStore(ins, false)
	case isa.ClassST:
		return pathGoesOn, e.checkStoreImm(ins)
	case isa.ClassLD:
		switch ins.Op.Mode() {
		case isa.ModeABS, isa.ModeIND:
			return pathGoesOn, e.checkLdAbs(ins)
		case isa.ModeIMM:
			if err := e.checkLdImm64(ins); err != nil {
				return pathGoesOn, err
			}
			e.insn++
			return pathGoesOn, nil
		}
		return pathGoesOn, e.refuse(errno.EINVAL, "invalid BPF_LD mode")
	default:
		e.jmpsProcessed++
		switch ins.Op.JumpOp() {
		case isa.Call:
			return e.checkCall(ins)
		case isa.Ja:
			wide := cls == isa.ClassJMP32
			if ins.Op.UsesReg() || ins.Src != 0 || ins.Dst != 0 || !wide && ins.Imm != 0 || wide && ins.Off != 0 {
				return pathGoesOn, e.refuse(errno.EINVAL, "BPF_JA uses reserved fields")
			}
			e.noteJump(true)
			e.insn += ins.JumpOffset()
			return pathGoesOn, nil
		case isa.Exit:
			if ins.Op.UsesReg() || ins.Imm != 0 || ins.Src != 0 || ins.Dst != 0 || cls == isa.ClassJMP32 {
				return pathGoesOn, e.refuse(errno.EINVAL, "BPF_EXIT uses reserved fields")
			}
			return e.checkExit(false)
		}
		return pathGoesOn, e.checkJump(ins)
	}
}

// checkCall tells the kinds of calls apart.
func (e *env) checkCall(ins isa.Instruction) (pathEnd, *Error) {
	if ins.Op.UsesReg() || ins.Src != isa.CallKfunc && ins.Off != 0 || ins.Src > isa.CallKfunc ||
		ins.Dst != 0 || ins.Op.Class() == isa.ClassJMP32 {
		return pathGoesOn, e.refuse(errno.EINVAL, "BPF_CALL uses reserved fields")
	}
	if e.st.activeLocks > 0 {
		ok := true
		switch ins.Src {
		case isa.CallHelper:
			ok = ins.Imm == fnSpinUnlock
		case isa.CallKfunc:
			k := e.aux[e.insn].kfunc
			ok = ins.Off == 0 && k != nil && k.underLock
		}
		if !ok {
			return pathGoesOn, e.refuse(errno.EINVAL, "function calls are not allowed while holding a lock")
		}
	}
	end := pathGoesOn
	var err *Error
	switch ins.Src {
	case isa.CallLocal:
		err = e.callLocal(ins)
	case isa.CallKfunc:
		if err = e.checkKfunc(ins); err == nil && e.aux[e.insn].kfunc.throws {
			return e.checkExit(true)
		}
	default:
		err = e.checkHelper(ins)
	}
	e.scratchReg(isa.R0)
	return end, err
}

// checkExit leaves the current function, or ends the path.
func (e *env) checkExit(exception bool) (pathEnd, *Error) {
	what := "BPF_EXIT instruction in main prog"
	if exception {
		what = "bpf_throw"
	}
	if err := e.checkResources(exception, exception || e.st.cur == 0, what); err != nil {
		return pathEnds, err
	}
	if exception {
		return pathEnds, nil
	}
	if e.st.cur > 0 {
		return pathLeftFunc, e.leaveFunc()
	}
	return pathEnds, e.checkReturn(isa.R0, "R0")
}
