package verifier

import (
	"github.com/skep-bpf/skep/internal/bprintf"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// checkHelper checks a call of a helper by its row and carries out what it
// does to registers, references and paths (check_helper_call).
func (e *env) checkHelper(ins isa.Instruction) *Error {
	id := catalog.HelperID(ins.Imm)
	if catalog.HelperByID(id) == nil {
		return e.refuse(errno.EINVAL, "invalid func %s#%d", id, ins.Imm)
	}
	h := e.helperRow(ins.Imm)
	if h == nil {
		return e.refuse(errno.EINVAL, "program of this type cannot use helper %s#%d", id, ins.Imm)
	}
	if !e.p.GPL && h.Flags&catalog.GPLOnly != 0 {
		return e.refuse(errno.EINVAL, "cannot call GPL-restricted function from non-GPL compatible program")
	}
	if h.Flags&catalog.AttachAllowed != 0 && !e.attachAllows(id) {
		return e.refuse(errno.EINVAL, "helper call is not allowed in probe")
	}
	if err := e.checkSleeping(h, id); err != nil {
		return err
	}
	meta := callMeta{id: id, pktAccess: h.Flags&catalog.PktAccess != 0}
	for i := range h.Args {
		if err := e.checkHelperArg(i, h, &meta); err != nil {
			return err
		}
	}
	if err := e.noteMap(&meta); err != nil {
		return err
	}
	// Memory that the helper fills is written byte by byte.
	for i := 0; i < meta.writeSize; i++ {
		if err := e.checkAccess(access{ptr: meta.writeReg, off: i, size: 1, write: true, val: noReg}); err != nil {
			return err
		}
	}
	if err := e.releaseArg(h, &meta); err != nil {
		return err
	}
	changesPkt := h.changesPkt()
	if err := e.helperEffects(ins, h, &meta, &changesPkt); err != nil {
		return err
	}
	regs := e.regs()
	e.clearCallerSaved(regs)
	if err := e.helperResult(h, &meta); err != nil {
		return err
	}
	if err := e.checkMapHelper(meta.m, id); err != nil {
		return err
	}
	if id == catalog.FnTailCall {
		return e.afterTailCall()
	}
	if changesPkt {
		e.dropPktPointers()
	}
	return nil
}

// afterTailCall goes the two ways there are from a tail call in a function: on,
// where it failed, and back to the caller, with what the other program
// returned and did to the packet. From the main program a tail call that succeeds
// does not come back.
func (e *env) afterTailCall() *Error {
	if e.st.cur == 0 {
		return nil
	}
	e.scratchReg(isa.R0)
	if _, err := e.pushPath(e.insn+1, e.insn); err != nil {
		return err
	}
	e.dropPktPointers()
	e.markUnknown(&e.regs()[isa.R0])
	if err := e.leaveFunc(); err != nil {
		return err
	}
	e.insn--
	return nil
}

// checkSleeping refuses helpers that may sleep where that is forbidden.
func (e *env) checkSleeping(h *helperRow, id catalog.HelperID) *Error {
	if !h.mightSleep() {
		return nil
	}
	switch {
	case !e.sleepable():
		return e.refuse(errno.EINVAL, "helper call might sleep in a non-sleepable prog")
	case e.st.rcuLock:
		return e.refuse(errno.EINVAL, "sleepable helper %s#%d in rcu_read_lock region", id, id)
	case e.st.preempt > 0:
		return e.refuse(errno.EINVAL, "sleepable helper %s#%d in non-preemptible region", id, id)
	case e.st.irqID != 0:
		return e.refuse(errno.EINVAL, "sleepable helper %s#%d in IRQ-disabled region", id, id)
	}
	return nil
}

// noteMap remembers map and constant key of a call for the passes to come (record_func_map, record_func_key).
func (e *env) noteMap(meta *callMeta) *Error {
	a := &e.aux[e.insn]
	m := meta.m
	switch meta.id {
	case catalog.FnMapDeleteElem, catalog.FnMapUpdateElem, catalog.FnMapPushElem, catalog.FnMapPopElem:
		if m.Flags&catalog.FlagRdonlyProg != 0 {
			return e.refuse(errno.EACCES, "write into map forbidden")
		}
	}
	if m != nil {
		if a.m == nil {
			a.m = m
		} else if a.m != m {
			a.poisoned = true
		}
	}
	if meta.id != catalog.FnTailCall {
		return nil
	}
	if m.Type != catalog.MapProgArray {
		return e.refuse(errno.EINVAL, "expected prog array map for tail call")
	}
	r := &e.regs()[isa.R3]
	v, ok := r.constVal(false)
	if !ok || v >= uint64(m.MaxEntries) {
		a.keyPoison = true
		return nil
	}
	if err := e.markPrecise(isa.R3); err != nil {
		return err
	}
	if !a.keySeen {
		a.key, a.keySeen = uint32(v), true
	} else if a.key != uint32(v) {
		a.keyPoison = true
	}
	return nil
}

// releaseArg gives back what a releasing argument held.
func (e *env) releaseArg(h *helperRow, meta *callMeta) *Error {
	if meta.relReg == 0 {
		return nil
	}
	r := &e.regs()[meta.relReg]
	ok := false
	switch {
	case h.Args[meta.relReg-isa.R1].Type.Base() == catalog.ArgDynptr:
		return e.unmarkDynptr(r)
	case meta.id == catalog.FnKptrXchg && meta.ref != 0:
		inRCU := e.inRCU()
		if ok = e.st.dropRef(meta.ref); ok {
			e.st.eachReg(func(r *reg) {
				switch {
				case r.ref != meta.ref:
				case inRCU && r.typ.has(allocMem) && r.typ.has(perCPUMem):
					r.ref = 0
					r.typ = r.typ&^allocMem | rcu
				default:
					e.markInvalid(r)
				}
			})
		}
	case meta.ref != 0:
		ok = e.release(meta.ref)
	default:
		ok = r.isNull()
	}
	if !ok {
		return e.refuse(errno.EINVAL, "func %s#%d reference has not been acquired before", meta.id, meta.id)
	}
	return nil
}

// helperEffects has what single helpers demand or do beyond their row.
func (e *env) helperEffects(ins isa.Instruction, h *helperRow, meta *callMeta, changesPkt *bool) *Error {
	regs := e.regs()
	switch meta.id {
	case catalog.FnTailCall:
		return e.checkTailCall()
	case catalog.FnGetLocalStorage:
		if !regs[isa.R2].isNull() {
			return e.refuse(errno.EINVAL, "get_local_storage() doesn't support non-zero flags")
		}
		return e.markPrecise(isa.R2)
	case catalog.FnForEachMapElem:
		return e.pushCallback(meta.subprog, e.forEachArgs)
	case catalog.FnTimerSetCallback:
		return e.pushAsync(meta.subprog, false, e.timerArgs)
	case catalog.FnFindVma:
		return e.pushCallback(meta.subprog, e.findVMAArgs)
	case catalog.FnUserRingBufDrain:
		return e.pushCallback(meta.subprog, e.drainArgs)
	case catalog.FnLoop:
		return e.checkLoop(meta)
	case catalog.FnSnprintf:
		return e.checkSnprintf()
	case catalog.FnDynptrFromMem:
		if regs[isa.R1].typ != ptrToMapValue {
			return e.refuse(errno.EACCES, "Unsupported reg type %s for bpf_dynptr_from_mem data", regs[isa.R1].typ)
		}
	case catalog.FnDynptrData, catalog.FnDynptrWrite:
		r := e.dynptrArg(h)
		d := e.dynptrOf(r)
		if meta.id == catalog.FnDynptrData {
			meta.dynptr, meta.ref = d.id, d.ref
		} else if d.dyn == dynKindSKB || d.dyn == dynKindSKBMeta {
			*changesPkt = true
		}
	}
	return nil
}

func (e *env) checkTailCall() *Error {
	if err := e.checkResources(false, true, "tail_call"); err != nil {
		return err
	}
	return nil
}

// checkLoop follows the callback of bpf_loop as often as it may run, or until
// nothing new comes of it.
func (e *env) checkLoop(meta *callMeta) *Error {
	f := e.st.frame()
	plain := f.regs[isa.R4].isNull()
	if plain {
		if err := e.markPrecise(isa.R4); err != nil { // inlining depends on it
			return err
		}
	}
	switch a := &e.aux[e.insn]; {
	case a.loopBody == 0:
		a.loopBody, a.plainLoop = int32(meta.subprog), plain
	default:
		a.plainLoop = a.plainLoop && plain && a.loopBody == int32(meta.subprog)
	}
	if f.regs[isa.R1].typ == scalarValue {
		if err := e.markPrecise(isa.R1); err != nil {
			return err
		}
	}
	if uint64(f.callbackDepth) < f.regs[isa.R1].umax {
		return e.pushCallback(meta.subprog, e.loopArgs)
	}
	f.callbackDepth = 0
	if e.level2 {
		e.logf("frame%d bpf_loop iteration limit reached\n", e.st.cur)
	}
	return nil
}

// checkSnprintf checks the format of bpf_snprintf against the number of its arguments.
func (e *env) checkSnprintf() *Error {
	regs := e.regs()
	if regs[isa.R5].bits.value%8 != 0 {
		return e.silent(errno.EINVAL, "the size of the arguments of bpf_snprintf is no multiple of 8")
	}
	format, err := e.constStr(isa.R3, &regs[isa.R3])
	if err != nil {
		return err
	}
	if no := bprintf.Check([]byte(format), int(regs[isa.R5].bits.value/8)); no != 0 {
		return e.refuse(no, "Invalid format string")
	}
	return nil
}

// helperResult gives R0 what the row says the helper returns.
func (e *env) helperResult(h *helperRow, meta *callMeta) *Error {
	r0 := &e.regs()[isa.R0]
	flags := regType(h.Ret) &^ 0xff
	switch h.Ret.Base() {
	case catalog.RetInteger:
		e.markUnknown(r0)
	case catalog.RetVoid:
	case catalog.RetMapValue:
		if meta.m == nil {
			return e.refuse(errno.EINVAL, "kernel subsystem misconfigured verifier")
		}
		r0.setPtr(ptrToMapValue | flags)
		r0.m, r0.mapUID = meta.m, meta.mapUID
		if !r0.mayBeNull() && r0.hasLock(e) {
			r0.id = e.newID()
		}
		if meta.id == catalog.FnMapLookupElem && r0.mayBeNull() && meta.constKeyInside {
			r0.typ &^= mayBeNull
			if r0.hasLock(e) {
				r0.id = e.newID()
			}
		}
	case catalog.RetSocket:
		r0.setPtr(ptrToSocket | flags)
	case catalog.RetSockCommon:
		r0.setPtr(ptrToSockCommon | flags)
	case catalog.RetTCPSock:
		r0.setPtr(ptrToTCPSock | flags)
	case catalog.RetMem:
		r0.setPtr(ptrToMem | flags)
		r0.size = uint32(meta.memSize)
	case catalog.RetMemOrBTFID, catalog.RetBTFID:
		if err := e.btfResult(r0, h, meta, flags); err != nil {
			return err
		}
	default:
		return e.unsupported("results of kind %d of %s", h.Ret.Base(), meta.id)
	}
	if r0.mayBeNull() {
		r0.id = e.newID()
	}
	switch {
	case meta.id == catalog.FnDynptrData:
		r0.dynptr, r0.ref = meta.dynptr, meta.ref
	case isPtrCast(meta.id):
		r0.ref = meta.ref
	case h.Flags&catalog.Acquires != 0 || meta.id == catalog.FnMapLookupElem && isSockMap(meta.m):
		id := e.acquire()
		r0.id, r0.ref = id, id
	}
	return e.refineResult(r0, h, meta)
}

func isPtrCast(id catalog.HelperID) bool {
	switch id {
	case catalog.FnTcpSock, catalog.FnSkFullsock, catalog.FnSkcToTcpSock, catalog.FnSkcToTcp6Sock,
		catalog.FnSkcToUDP6Sock, catalog.FnSkcToMptcpSock, catalog.FnSkcToTcpTimewaitSock, catalog.FnSkcToTcpRequestSock:
		return true
	}
	return false
}

// refineResult bounds the numbers of helpers that document a range (do_refine_retval_range).
func (e *env) refineResult(r0 *reg, h *helperRow, meta *callMeta) *Error {
	if h.Ret.Base() != catalog.RetInteger {
		return nil
	}
	switch meta.id {
	case catalog.FnGetStack, catalog.FnGetTaskStack, catalog.FnProbeReadStr, catalog.FnProbeReadKernelStr, catalog.FnProbeReadUserStr:
		r0.smin, r0.s32min = -maxErrno, -maxErrno
		r0.smax, r0.s32max = int64(meta.maxSize), int32(meta.maxSize)
	case catalog.FnGetSmpProcessorID:
		last := e.o.lastCPU()
		r0.umin, r0.umax = 0, last
		r0.smin, r0.smax = 0, int64(last)
		r0.u32min, r0.u32max = 0, uint32(last)
		r0.s32min, r0.s32max = 0, int32(last)
	default:
		return nil
	}
	r0.sync()
	return e.sanityCheck(r0, "retval")
}

// lastCPU is the greatest processor number a program may see.
func (o *Options) lastCPU() uint64 {
	if o.CPUs > 0 {
		return uint64(o.CPUs - 1)
	}
	return 8191 // the kernel's own bound on processors (NR_CPUS)
}
