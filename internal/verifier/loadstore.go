package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// checkLoad checks LDX and load-acquire.
func (e *env) checkLoad(ins isa.Instruction, strict, sx, trustMismatch bool, ctx string) *Error {
	if err := e.readReg(ins.Src); err != nil {
		return err
	}
	if err := e.writeReg(ins.Dst); err != nil {
		return err
	}
	t := e.regs()[ins.Src].typ
	e.noteAccess(t)
	err := e.checkAccess(access{ptr: ins.Src, off: int(ins.Off), size: ins.Op.Bytes(), val: ins.Dst, strict: strict, sx: sx})
	if err != nil {
		return err
	}
	if err := e.saveType(t, trustMismatch); err != nil {
		return err
	}
	return e.sanityCheck(&e.regs()[ins.Dst], ctx)
}

// checkStore checks STX and store-release.
func (e *env) checkStore(ins isa.Instruction, strict bool) *Error {
	if err := e.readReg(ins.Src); err != nil {
		return err
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	t := e.regs()[ins.Dst].typ
	e.noteAccess(t)
	err := e.checkAccess(access{ptr: ins.Dst, off: int(ins.Off), size: ins.Op.Bytes(), write: true, val: ins.Src, strict: strict})
	if err != nil {
		return err
	}
	return e.saveType(t, false)
}

// checkStoreImm checks ST.
func (e *env) checkStoreImm(ins isa.Instruction) *Error {
	if ins.Op.Mode() != isa.ModeMEM || ins.Src != 0 {
		return e.refuse(errno.EINVAL, "BPF_ST uses reserved fields")
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	t := e.regs()[ins.Dst].typ
	e.noteAccess(t)
	if err := e.checkAccess(access{ptr: ins.Dst, off: int(ins.Off), size: ins.Op.Bytes(), write: true, val: noReg}); err != nil {
		return err
	}
	return e.saveType(t, false)
}

// checkAtomic checks atomic instructions (check_atomic).
func (e *env) checkAtomic(ins isa.Instruction) *Error {
	switch ins.Imm {
	case isa.AtomicAdd, isa.AtomicAdd | isa.Fetch, isa.AtomicAnd, isa.AtomicAnd | isa.Fetch,
		isa.AtomicOr, isa.AtomicOr | isa.Fetch, isa.AtomicXor, isa.AtomicXor | isa.Fetch,
		isa.AtomicXchg, isa.AtomicCmpXch:
		return e.checkRMW(ins)
	case isa.LoadAcquire:
		if err := e.checkLoad(ins, true, false, false, "atomic_load"); err != nil {
			return err
		}
		return e.atomicOK(e.aux[e.insn].ptrType, ins.Src, "loads from")
	case isa.StoreRelease:
		if err := e.checkStore(ins, true); err != nil {
			return err
		}
		return e.atomicOK(e.regs()[ins.Dst].typ, ins.Dst, "stores into")
	}
	return e.refuse(errno.EINVAL, "BPF_ATOMIC uses invalid atomic opcode %02x", ins.Imm)
}

// atomicOK refuses memory that has no atomic access.
func (e *env) atomicOK(t regType, n isa.Register, what string) *Error {
	if t == ptrToCtx || t.isPkt() || t == ptrToFlowKeys || t.isSock() {
		return e.refuse(errno.EACCES, "BPF_ATOMIC %s R%d %s is not allowed", what, n, t)
	}
	return nil
}

func (e *env) checkRMW(ins isa.Instruction) *Error {
	size := ins.Op.Bytes()
	if size < 4 {
		return e.refuse(errno.EINVAL, "invalid atomic operand size")
	}
	if err := e.readReg(ins.Src); err != nil {
		return err
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	regs := e.regs()
	if ins.Imm == isa.AtomicCmpXch {
		if err := e.readReg(isa.R0); err != nil {
			return err
		}
		if e.isPointer(&regs[isa.R0]) {
			return e.refuse(errno.EACCES, "R%d leaks addr into mem", isa.R0)
		}
	}
	if e.isPointer(&regs[ins.Src]) {
		return e.refuse(errno.EACCES, "R%d leaks addr into mem", ins.Src)
	}
	t := regs[ins.Dst].typ
	e.noteAccess(t)
	if err := e.atomicOK(t, ins.Dst, "stores into"); err != nil {
		return err
	}
	load := noReg
	if ins.Imm&isa.Fetch != 0 {
		load = ins.Src
		if ins.Imm == isa.AtomicCmpXch {
			load = isa.R0
		}
		if err := e.writeReg(load); err != nil {
			return err
		}
		e.markUnknown(&regs[load])
	}
	a := access{ptr: ins.Dst, off: int(ins.Off), size: size, val: noReg, strict: true}
	// Once without a register, since a pointer may not be read from the stack here.
	if err := e.checkAccess(a); err != nil {
		return err
	}
	if load != noReg {
		a.val = load
		if err := e.checkAccess(a); err != nil {
			return err
		}
		a.val = noReg
	}
	if err := e.saveType(regs[ins.Dst].typ, false); err != nil {
		return err
	}
	a.write = true
	return e.checkAccess(a)
}

// noteAccess remembers what kind of memory the instruction reaches.
func (e *env) noteAccess(t regType) {
	k := accessKind(t)
	switch a := &e.aux[e.insn]; {
	case e.st.speculative:
	case a.access == AccessNone || a.access == k:
		a.access = k
	default:
		a.access = AccessMem // several plain kinds: saveType refuses others
	}
}

func accessKind(t regType) Access {
	switch t.base() {
	case ptrToCtx:
		return AccessCtx
	case ptrToStack:
		return AccessStack
	case ptrToMapValue:
		return AccessMapValue
	case ptrToPacket, ptrToPacketMeta:
		return AccessPacket
	case ptrToSocket, ptrToSockCommon:
		return AccessSock
	case ptrToTCPSock:
		return AccessTCPSock
	case ptrToXDPSock:
		return AccessXDPSock
	case ptrToBTF, constPtrToMap:
		if t.has(allocMem) {
			return AccessMem
		}
		return AccessBTF
	case ptrToArena:
		return AccessArena
	case ptrToFlowKeys:
		return AccessFlowKeys
	case ptrToTPBuffer:
		return AccessTPBuffer
	case ptrToMem:
		if t.has(untrusted) {
			return AccessBTF
		}
	}
	return AccessMem
}

func memOrBTF(t regType) bool { return t.base() == ptrToMem || t.base() == ptrToBTF }

// saveType refuses one instruction that reaches memory to be rewritten on one
// path and other memory on another (save_aux_ptr_type).
func (e *env) saveType(t regType, trustMismatch bool) *Error {
	special := func(t regType) bool {
		switch t.base() {
		case ptrToCtx, ptrToSocket, ptrToSockCommon, ptrToTCPSock, ptrToXDPSock, ptrToBTF, ptrToArena:
			return true
		case ptrToMem:
			return t.has(untrusted)
		}
		return false
	}
	prev := &e.aux[e.insn].ptrType
	switch {
	case *prev == notInit:
		*prev = t
	case t == *prev || !special(t) && !special(*prev):
	case trustMismatch && memOrBTF(t) && memOrBTF(*prev):
		// Whichever it is, the load may fault.
		merged := ptrToBTF
		if t.base() == ptrToMem || prev.base() == ptrToMem {
			merged = ptrToMem
		}
		*prev = merged | (t|*prev)&(untrusted|rdonly)
	default:
		return e.refuse(errno.EINVAL, "same insn cannot be used with different pointers")
	}
	return nil
}

// checkLdAbs checks the packet loads inherited from classic BPF (check_ld_abs).
func (e *env) checkLdAbs(ins isa.Instruction) *Error {
	if e.facts.kind.Flags&catalog.LDAbs == 0 {
		return e.refuse(errno.EINVAL, "BPF_LD_[ABS|IND] instructions not allowed for this program type")
	}
	ind := ins.Op.Mode() == isa.ModeIND
	if ins.Dst != 0 || ins.Off != 0 || ins.Op.SizeBits() == isa.DW || !ind && ins.Src != 0 {
		return e.refuse(errno.EINVAL, "BPF_LD_[ABS|IND] uses reserved fields")
	}
	if err := e.readReg(isa.R6); err != nil {
		return err
	}
	if err := e.checkResources(false, true, "BPF_LD_[ABS|IND]"); err != nil {
		return err
	}
	regs := e.regs()
	if regs[isa.R6].typ != ptrToCtx {
		return e.refuse(errno.EINVAL, "at the time of BPF_LD_ABS|IND R6 != pointer to skb")
	}
	if ind {
		if err := e.readReg(ins.Src); err != nil {
			return err
		}
	}
	if err := e.checkFixedOff(&regs[isa.R6], isa.R6, false); err != nil {
		return err
	}
	e.aux[e.insn].access = AccessPacket
	e.clearCallerSaved(regs)
	e.markUnknown(&regs[isa.R0])
	if e.st.cur == 0 {
		return nil
	}
	// A load beyond the packet ends the program: here, this function.
	e.scratchReg(isa.R0)
	if _, err := e.pushPath(e.insn+1, e.insn); err != nil {
		return err
	}
	regs[isa.R0].setConst(0)
	if err := e.leaveFunc(); err != nil {
		return err
	}
	e.insn--
	return nil
}

// checkLdImm64 gives a register a constant or the address of a map, a map's
// value, a function or a kernel variable (check_ld_imm).
func (e *env) checkLdImm64(ins isa.Instruction) *Error {
	if ins.Op.SizeBits() != isa.DW {
		return e.refuse(errno.EINVAL, "invalid BPF_LD_IMM insn")
	}
	if ins.Off != 0 {
		return e.refuse(errno.EINVAL, "BPF_LD_IMM64 uses reserved fields")
	}
	if err := e.writeReg(ins.Dst); err != nil {
		return err
	}
	a := &e.aux[e.insn]
	dst := &e.regs()[ins.Dst]
	switch ins.Src {
	case 0:
		dst.setConst(isa.Imm64(e.insns, e.insn))
		dst.precise = !e.capable
	case isa.PseudoBTFID:
		*dst = *a.btfVar
	case isa.PseudoFunc:
		sub := e.subprogAt(e.insn + int(ins.Imm) + 1)
		switch {
		case e.p.Funcs == nil:
			return e.refuse(errno.EINVAL, "missing btf func_info")
		case e.subs[sub].global:
			return e.refuse(errno.EINVAL, "callback function not static")
		case sub == 0:
			return e.refuse(errno.EINVAL, "callback function cannot be the main program")
		}
		dst.setPtr(ptrToFunc)
		dst.subprog = int32(sub)
	case isa.PseudoMapValue, isa.PseudoMapIdxValue:
		if a.m.Type == catalog.MapArena {
			e.markUnknown(dst)
			return nil
		}
		dst.setPtr(ptrToMapValue)
		dst.m, dst.off = a.m, int32(a.mapOff)
	default:
		dst.setPtr(constPtrToMap)
		dst.m = a.m
	}
	return nil
}
