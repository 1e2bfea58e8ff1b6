package verifier

import (
	"math"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

const fnSpinUnlock = int32(catalog.FnSpinUnlock)

// enter makes st go on in function sub, called at the current instruction;
// args gives the callee its arguments (setup_func_entry).
func (e *env) enter(st *state, sub int, args func(caller, callee *frame) *Error) *Error {
	if st.cur+1 >= isa.MaxCallFrames {
		return e.refuse(errno.E2BIG, "the call stack of %d frames is too deep", st.cur+2)
	}
	callee := e.newFrame()
	e.initFrame(callee, e.insn, st.cur+1, sub)
	if err := args(st.frame(), callee); err != nil {
		return err
	}
	st.cur++
	st.frames[st.cur] = callee
	return nil
}

// passArgs hands R1–R5 over, as local calls do.
func passArgs(caller, callee *frame) *Error {
	copy(callee.regs[isa.R1:isa.R6], caller.regs[isa.R1:isa.R6])
	return nil
}

// callLocal calls a function of the program: into its code, or, if it is
// global, by its prototype alone (check_func_call).
func (e *env) callLocal(ins isa.Instruction) *Error {
	sub := e.subprogAt(e.insn + int(ins.Imm) + 1)
	caller := e.st.frame()
	s := &e.subs[sub]
	err := e.checkCallArgs(sub, &caller.regs)
	if s.global {
		switch {
		case e.st.activeLocks > 0:
			return e.refuse(errno.EINVAL, "global function calls are not allowed while holding a lock,\nuse static function instead")
		case s.mightSleep && !e.sleepable():
			return e.refuse(errno.EINVAL, "global functions that may sleep are not allowed in non-sleepable context,\ni.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context")
		case s.mightSleep && (e.st.rcuLock || e.st.preempt > 0 || e.st.irqID != 0):
			return e.refuse(errno.EINVAL, "global functions that may sleep are not allowed in non-sleepable context,\ni.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context")
		case err != nil:
			return e.also(err, "Caller passes invalid args into func#%d ('%s')", sub, s.name)
		}
		e.logf("Func#%d ('%s') is global and assumed valid.\n", sub, s.name)
		if s.changesPkt {
			e.dropPktPointers()
		}
		s.called = true
		e.clearCallerSaved(&caller.regs)
		e.markUnknown(&caller.regs[isa.R0])
		return nil
	}
	if err := e.enter(e.st, sub, passArgs); err != nil {
		return err
	}
	e.clearCallerSaved(&caller.regs)
	e.live.cur = nil
	if e.level12 {
		e.logf("caller:\n")
		e.logFrame(caller, true)
		e.logf("callee:\n")
		e.logFrame(e.st.frame(), true)
	}
	e.insn = s.start - 1
	return nil
}

// leaveFunc returns from the current function to its caller; from a callback,
// to the call that made it, which may call it again (prepare_func_exit).
func (e *env) leaveFunc() *Error {
	e.updateLiveness()
	st := e.st
	callee := st.frame()
	caller := st.frames[st.cur-1]
	r0 := &callee.regs[isa.R0]
	if r0.typ == ptrToStack {
		return e.refuse(errno.EINVAL, "cannot return stack pointer to the caller")
	}
	if callee.inCallback {
		if r0.typ != scalarValue {
			return e.refuse(errno.EACCES, "R0 not a scalar value")
		}
		if err := e.markPrecise(isa.R0); err != nil {
			return err
		}
		if r0.smin < int64(callee.ret.Min) || r0.smax > int64(callee.ret.Max) {
			return e.badRange(r0, callee.ret, "At callback return", "R0")
		}
		e.insn = int(callee.callSite)
	} else {
		caller.regs[isa.R0] = *r0
		e.insn = int(callee.callSite) + 1
	}
	if e.level12 {
		e.logf("returning from callee:\n")
		e.logFrame(callee, true)
		e.logf("to caller at %d:\n", e.insn)
		e.logFrame(caller, true)
	}
	again := callee.inCallback
	st.frames[st.cur] = nil
	st.cur--
	e.freeFrame(callee)
	e.live.cur = nil
	if again {
		if prev := e.findPrevEntry(st, e.insn); prev != nil {
			e.widen(prev, st)
		}
	}
	return nil
}

// pushAsync makes a path of its own through a callback that is called some
// time later (push_async_cb).
func (e *env) pushAsync(sub int, sleepable bool, args func(caller, callee *frame) *Error) *Error {
	caller := e.st.frame()
	s := &e.subs[sub]
	s.isCB, s.isAsyncCB = true, true
	st := e.newState()
	st.branches = 1
	st.inSleepable = sleepable
	st.frames[0] = e.newFrame()
	e.initFrame(st.frames[0], noCallSite, 0, sub)
	st.frames[0].asyncEntry = caller.asyncEntry + 1
	st.first, st.last = int32(s.start), int32(e.insn)
	e.leave(st, s.start, e.insn)
	if len(e.pending) > maxJmpSeq {
		return e.refuse(errno.EFAULT, "The sequence of %d jumps is too complex for async cb.", len(e.pending))
	}
	return args(caller, st.frames[0])
}

// pushCallback makes a path that goes through a callback: once, before the
// call returns (push_callback_call).
func (e *env) pushCallback(sub int, args func(caller, callee *frame) *Error) *Error {
	caller := e.st.frame()
	s := &e.subs[sub]
	s.isCB = true
	st, err := e.pushPath(s.start, e.insn)
	if err != nil {
		return err
	}
	outer := st.frame()
	if err := e.enter(st, sub, args); err != nil {
		return err
	}
	st.callbackDepth++
	outer.callbackDepth++
	caller.callbackDepth = 0
	return nil
}

func (f *frame) asCallback() {
	f.inCallback = true
	f.ret = catalog.Range{Min: 0, Max: 1}
}

// mapArgs gives a callback the key and value of an element of m.
func mapArgs(callee *frame, m *catalog.MapDef, uid uint32) {
	k, v := &callee.regs[isa.R2], &callee.regs[isa.R3]
	k.setPtr(ptrToMapKey)
	k.m, k.mapUID = m, uid
	v.setPtr(ptrToMapValue)
	v.m, v.mapUID = m, uid
}

func (e *env) forEachArgs(caller, callee *frame) *Error {
	r := &caller.regs[isa.R1]
	switch r.m.Type {
	case catalog.MapArray, catalog.MapPerCPUArray, catalog.MapHash, catalog.MapPerCPUHash,
		catalog.MapLRUHash, catalog.MapLRUPerCPUHash:
	default:
		return e.refuse(errno.ENOTSUPP, "callback function not allowed for map")
	}
	callee.regs[isa.R1] = *r
	mapArgs(callee, r.m, r.mapUID)
	callee.regs[isa.R4] = caller.regs[isa.R3]
	callee.asCallback()
	return nil
}

func (e *env) loopArgs(caller, callee *frame) *Error {
	e.markUnknown(&callee.regs[isa.R1])
	callee.regs[isa.R2] = caller.regs[isa.R3]
	callee.asCallback()
	return nil
}

func (e *env) timerArgs(caller, callee *frame) *Error {
	r := &caller.regs[isa.R1]
	callee.regs[isa.R1].setPtr(constPtrToMap)
	callee.regs[isa.R1].m, callee.regs[isa.R1].mapUID = r.m, r.mapUID
	mapArgs(callee, r.m, r.mapUID)
	callee.inAsync = true
	callee.ret = catalog.Range{Min: 0, Max: 0}
	return nil
}

func (e *env) findVMAArgs(caller, callee *frame) *Error {
	t := e.kernelStruct("vm_area_struct")
	if t == nil {
		return e.unsupported("bpf_find_vma without kernel BTF")
	}
	callee.regs[isa.R1] = caller.regs[isa.R1]
	callee.regs[isa.R2].setPtr(ptrToBTF)
	callee.regs[isa.R2].btf = t
	callee.regs[isa.R3] = caller.regs[isa.R4]
	callee.asCallback()
	return nil
}

func (e *env) drainArgs(caller, callee *frame) *Error {
	e.setConstDynptr(&callee.regs[isa.R1], dynKindLocal)
	callee.regs[isa.R2] = caller.regs[isa.R3]
	callee.asCallback()
	return nil
}

func (e *env) taskWorkArgs(caller, callee *frame) *Error {
	r := &caller.regs[isa.R3]
	callee.regs[isa.R1].setPtr(constPtrToMap)
	callee.regs[isa.R1].m, callee.regs[isa.R1].mapUID = r.m, r.mapUID
	mapArgs(callee, r.m, r.mapUID)
	callee.inAsync = true
	callee.ret = catalog.Range{Min: math.MinInt32, Max: math.MaxInt32}
	return nil
}
