package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// Classes of functions that save and restore interrupt flags: what one saved
// the other must not restore. The slot's reg.depth holds it.
const (
	irqNative uint32 = iota
	irqLock
)

var irqClasses = [...]string{"native", "lock"}

// kfuncIRQ checks the saved interrupt flags on the stack, and saves or restores
// them (process_irq_flag).
func (e *env) kfuncIRQ(n isa.Register, meta *kfuncMeta) *Error {
	r := &e.regs()[n]
	if r.typ != ptrToStack {
		return e.refuse(errno.EINVAL, "arg#%d doesn't point to an irq flag on stack", n-1)
	}
	class := irqNative
	if meta.k.effect == effectResLockIRQ || meta.k.effect == effectResUnlockIRQ {
		class = irqLock
	}
	spi, err := e.objectSlot(r, "irq_flag", 1)
	if meta.k.effect == effectIRQSave || meta.k.effect == effectResLockIRQ {
		return e.saveIRQ(n, r, spi, err, class)
	}
	var s *slot
	if err == nil && spi >= 0 {
		s = &e.frameOf(r).stack[spi]
	}
	if s == nil || s.reg.ref == 0 || !s.all(byteIRQ) {
		return e.refuse(errno.EINVAL, "expected an initialized irq flag as arg#%d", n-1)
	}
	e.stackRead(int(r.frame), 1<<spi)
	if s.reg.depth != class {
		return e.refuse(errno.EINVAL, "irq flag acquired by %s kfuncs cannot be restored with %s kfuncs", irqClasses[s.reg.depth], irqClasses[class])
	}
	if err := e.restoreIRQ(s.reg.ref); err != nil {
		return err
	}
	e.markNotInit(&s.reg)
	s.setAll(byteInvalid)
	e.scratchSlot(spi)
	e.stackWritten(int(r.frame), 1<<spi)
	return nil
}

// all reports whether all bytes of the slot are of one kind.
func (s *slot) all(k byteKind) bool {
	for _, have := range s.kind {
		if have != k {
			return false
		}
	}
	return true
}

func (e *env) saveIRQ(n isa.Register, r *reg, spi int, bad *Error, class uint32) *Error {
	valid := bad == nil
	if valid && spi >= 0 {
		for _, k := range e.frameOf(r).stack[spi].kind {
			valid = valid && k != byteIRQ
		}
	}
	if !valid {
		return e.refuse(errno.EINVAL, "expected uninitialized irq flag as arg#%d", n-1)
	}
	if err := e.checkAccess(access{ptr: n, size: regSize, write: true, val: noReg}); err != nil {
		return err
	}
	spi, err := e.objectSlot(r, "irq_flag", 1)
	if err != nil || spi < 0 {
		return err
	}
	id := e.newID()
	e.st.refs = append(e.st.refs, ref{kind: refIRQ, id: id, insn: int32(e.insn)})
	e.st.irqID = id
	s := &e.frameOf(r).stack[spi]
	s.reg.setPtr(ptrToStack)
	s.reg.ref, s.reg.depth = id, class
	s.setAll(byteIRQ)
	e.scratchSlot(spi)
	e.stackWritten(int(r.frame), 1<<spi)
	return nil
}

// restoreIRQ gives saved flags back, which must be those saved last (release_irq_state).
func (e *env) restoreIRQ(id uint32) *Error {
	st := e.st
	if id != st.irqID {
		at := int32(0)
		for i := range st.refs {
			if st.refs[i].kind == refIRQ && st.refs[i].id == st.irqID {
				at = st.refs[i].insn
			}
		}
		return e.refuse(errno.EACCES, "cannot restore irq state out of order, expected id=%d acquired at insn_idx=%d", st.irqID, at)
	}
	before := uint32(0)
	for i := range st.refs {
		if st.refs[i].kind != refIRQ {
			continue
		}
		if st.refs[i].id == id {
			st.refs = append(st.refs[:i], st.refs[i+1:]...)
			st.irqID = before
			return nil
		}
		before = st.refs[i].id
	}
	return e.silent(errno.EINVAL, "these interrupt flags are not saved now")
}

// kfuncResLock takes or gives back a resilient spin lock.
func (e *env) kfuncResLock(n isa.Register, meta *kfuncMeta) *Error {
	if t := e.regs()[n].typ; t != ptrToMapValue && t != ptrToBTF|allocMem {
		return e.refuse(errno.EINVAL, "arg#%d doesn't point to map value or allocated object", n-1)
	}
	kind := refResLock
	if meta.k.effect == effectResLockIRQ || meta.k.effect == effectResUnlockIRQ {
		kind = refResLockIRQ
	}
	return e.checkLock(n, meta.k.effect.takesLock(), kind)
}

// forkLockFailed makes the path on which a resilient lock was not taken.
func (e *env) forkLockFailed() *Error {
	st, err := e.pushPath(e.insn+1, e.insn)
	if err != nil {
		return err
	}
	regs := st.regs()
	for r := isa.R0; r <= isa.R5; r++ {
		e.markNotInit(&regs[r])
	}
	r0 := &regs[isa.R0]
	e.markUnknown(r0)
	r0.smin, r0.s32min = -maxErrno, -maxErrno
	r0.smax, r0.s32max = -1, -1
	r0.sync()
	return nil
}
