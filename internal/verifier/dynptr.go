package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// A dynptr lies in two stack slots: the upper, spi, is its first and holds its
// identity; both know its kind.
//
//	        spi-1      spi
//	...  │ second  │  first │ ...     towards lower addresses →
const dynptrSlots = 2

// objectSlot returns the slot that an object of n slots on the stack starts in
// (its highest address is first), -1 if the stack is not that large yet, and
// an error where no object can be (stack_slot_obj_get_spi).
func (e *env) objectSlot(r *reg, what string, n int) (int, *Error) {
	if !r.isConst() {
		return 0, e.refuse(errno.EINVAL, "%s has to be at a constant offset", what)
	}
	off := int(r.off) + int(int64(r.bits.value))
	if off%regSize != 0 || off >= 0 {
		return 0, e.refuse(errno.EINVAL, "cannot pass in %s at an offset=%d", what, off)
	}
	spi := slotOf(off)
	if spi+1 < n {
		return 0, e.refuse(errno.EINVAL, "cannot pass in %s at an offset=%d", what, off)
	}
	if spi >= len(e.frameOf(r).stack) {
		return -1, nil
	}
	return spi, nil
}

// dynptrOf returns the register that describes a dynptr argument.
func (e *env) dynptrOf(r *reg) *reg {
	if r.typ == constPtrToDynptr {
		return r
	}
	spi := slotOf(int(r.off) + int(int64(r.bits.value)))
	return &e.frameOf(r).stack[spi].reg
}

// dynptrArg returns the register a helper's dynptr argument is in.
func (e *env) dynptrArg(h *helperRow) *reg {
	for i := range h.Args {
		if h.Args[i].Type.Base() == catalog.ArgDynptr {
			return &e.regs()[isa.R1+isa.Register(i)]
		}
	}
	panic("BUG: no dynptr argument")
}

// dynKindOf is the kind of dynptr an argument demands or makes; dynInvalid: any.
func dynKindOf(t catalog.ArgType) dynKind {
	switch {
	case t.Has(catalog.DynLocal):
		return dynKindLocal
	case t.Has(catalog.DynRingBuf):
		return dynKindRingBuf
	case t.Has(catalog.DynSKB):
		return dynKindSKB
	case t.Has(catalog.DynXDP):
		return dynKindXDP
	case t.Has(catalog.DynSKBMeta):
		return dynKindSKBMeta
	}
	return dynInvalid
}

// checkDynptr checks a dynptr argument and makes the dynptr if the callee does
// (process_dynptr_func). cloneRef is the reference a clone shares.
func (e *env) checkDynptr(n isa.Register, t catalog.ArgType, cloneRef uint32) *Error {
	r := &e.regs()[n]
	if r.typ != ptrToStack && r.typ != constPtrToDynptr {
		return e.refuse(errno.EINVAL, "arg#%d expected pointer to stack or const struct bpf_dynptr", n-1)
	}
	if t.Has(catalog.Uninit) {
		ok := r.typ != constPtrToDynptr
		if ok {
			_, err := e.objectSlot(r, "dynptr", dynptrSlots)
			ok = err == nil
		}
		if !ok {
			return e.refuse(errno.EINVAL, "Dynptr has to be an uninitialized dynptr")
		}
		for off := 0; off < dynptrSlots*regSize; off += regSize {
			if err := e.checkAccess(access{ptr: n, off: off, size: regSize, write: true, val: noReg}); err != nil {
				return err
			}
		}
		return e.makeDynptr(r, dynKindOf(t), cloneRef)
	}
	if r.typ == constPtrToDynptr && !t.Has(catalog.Rdonly) {
		return e.refuse(errno.EINVAL, "cannot pass pointer to const bpf_dynptr, the helper mutates it")
	}
	if !e.isDynptr(r) {
		return e.refuse(errno.EINVAL, "Expected an initialized dynptr as arg #%d", n-1)
	}
	if want := dynKindOf(t); want != dynInvalid && e.dynptrOf(r).dyn != want {
		return e.refuse(errno.EINVAL, "Expected a dynptr of type %s as arg #%d", want, n-1)
	}
	if r.typ == ptrToStack {
		spi := slotOf(int(r.off) + int(int64(r.bits.value)))
		e.stackRead(int(r.frame), 1<<spi|1<<(spi-1))
		e.scratchSlot(spi)
		e.scratchSlot(spi - 1)
	}
	return nil
}

// isDynptr reports whether r points to a whole dynptr.
func (e *env) isDynptr(r *reg) bool {
	if r.typ == constPtrToDynptr {
		return true
	}
	spi, err := e.objectSlot(r, "dynptr", dynptrSlots)
	if err != nil || spi < 0 {
		return false
	}
	f := e.frameOf(r)
	if !f.stack[spi].reg.dynFirst {
		return false
	}
	for i := range f.stack[spi].kind {
		if f.stack[spi].kind[i] != byteDynptr || f.stack[spi-1].kind[i] != byteDynptr {
			return false
		}
	}
	return true
}

func (e *env) makeDynptr(r *reg, kind dynKind, cloneRef uint32) *Error {
	f := e.frameOf(r)
	spi, err := e.objectSlot(r, "dynptr", dynptrSlots)
	if err != nil {
		return err
	}
	for _, i := range [...]int{spi, spi - 1} {
		if err := e.destroyDynptr(f, i); err != nil {
			return err
		}
	}
	if kind == dynInvalid {
		return e.silent(errno.EINVAL, "a dynptr of a kind that is not known")
	}
	id := e.newID()
	var ref uint32
	if kind.refcounted() {
		if ref = cloneRef; ref == 0 {
			ref = e.acquire()
		}
	}
	for _, i := range [...]int{spi, spi - 1} {
		s := &f.stack[i]
		s.setAll(byteDynptr)
		s.reg.setPtr(constPtrToDynptr)
		s.reg.id, s.reg.dyn, s.reg.dynFirst, s.reg.ref = id, kind, i == spi, ref
		e.scratchSlot(i)
	}
	e.stackWritten(int(f.no), 1<<spi|1<<(spi-1))
	return nil
}

// setConstDynptr makes r a dynptr that the kernel passes to the program.
func (e *env) setConstDynptr(r *reg, kind dynKind) {
	r.setPtr(constPtrToDynptr)
	r.id, r.dyn, r.dynFirst = e.newID(), kind, true
}

func (e *env) forgetDynptr(f *frame, spi int) {
	for _, i := range [...]int{spi, spi - 1} {
		f.stack[i].setAll(byteInvalid)
		e.markNotInit(&f.stack[i].reg)
		e.scratchSlot(i)
	}
	e.stackWritten(int(f.no), 1<<spi|1<<(spi-1))
}

// unmarkDynptr ends the dynptr r points to, with all clones if it holds a reference.
func (e *env) unmarkDynptr(r *reg) *Error {
	f := e.frameOf(r)
	spi, err := e.objectSlot(r, "dynptr", dynptrSlots)
	if err != nil {
		return err
	}
	d := &f.stack[spi].reg
	if !d.dyn.refcounted() {
		e.forgetDynptr(f, spi)
		return nil
	}
	ref := d.ref
	e.release(ref)
	for i := 1; i < len(f.stack); i++ {
		if s := &f.stack[i]; s.top() == byteDynptr && s.reg.ref == ref && s.reg.dynFirst {
			e.forgetDynptr(f, i)
		}
	}
	return nil
}

// destroyDynptr ends a dynptr that a store to slot spi overwrites, with the
// slices made of it (destroy_if_dynptr_stack_slot).
func (e *env) destroyDynptr(f *frame, spi int) *Error {
	if f.stack[spi].kind[0] != byteDynptr {
		return nil
	}
	if !f.stack[spi].reg.dynFirst {
		spi++
	}
	d := &f.stack[spi].reg
	if d.dyn.refcounted() {
		return e.refuse(errno.EINVAL, "cannot overwrite referenced dynptr")
	}
	id := d.id
	e.forgetDynptr(f, spi)
	e.st.eachReg(func(r *reg) {
		if r.typ&^mayBeNull == ptrToMem && r.dynptr == id {
			e.markInvalid(r)
		}
	})
	return nil
}
