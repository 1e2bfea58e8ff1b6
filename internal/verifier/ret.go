package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// checkReturn checks what a program, or a function verified by itself, leaves
// in register n when it ends (check_return_code).
func (e *env) checkReturn(n isa.Register, name string) *Error {
	f := e.st.frames[0]
	sub := f.subprog != 0
	if !sub || f.inException {
		if e.returnsVoid() {
			return nil
		}
		if r := &e.regs()[n]; !f.inException && e.returnedObject(r) {
			return e.checkFixedOff(r, n, false)
		}
	}
	if err := e.readReg(n); err != nil {
		return err
	}
	r := &e.regs()[n]
	if e.isPointer(r) {
		return e.refuse(errno.EACCES, "R%d leaks addr as return value", n)
	}
	ctx := "At program exit"
	var want catalog.Range
	switch {
	case f.inAsync:
		ctx, want = "At async callback return", f.ret
	case sub && !f.inException:
		if r.typ != scalarValue {
			return e.refuse(errno.EINVAL, "At subprogram exit the register R%d is not a scalar value (%s)", n, r.typ)
		}
		return nil
	default:
		var ok bool
		if want, ok = e.returnRange(); !ok {
			return nil
		}
	}
	if r.typ != scalarValue {
		return e.refuse(errno.EINVAL, "%s the register R%d is not a known value (%s)", ctx, n, r.typ)
	}
	if err := e.markPrecise(n); err != nil {
		return err
	}
	lo, hi := r.smin, r.smax
	if e.p.Type == catalog.ProgLSM && e.p.Attach != catalog.AttachLSMCGroup && !f.inAsync {
		lo, hi = int64(r.s32min), int64(r.s32max) // hooks return an int
	}
	if lo < int64(want.Min) || hi > int64(want.Max) {
		err := e.badRange(r, want, ctx, name)
		if e.p.Attach == catalog.AttachLSMCGroup && !sub && isVoid(e.target.proto.Return) {
			err = e.also(err, "Note, BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!")
		}
		return err
	}
	return nil
}

// returnRange is what the program type demands of R0, if anything.
func (e *env) returnRange() (catalog.Range, bool) {
	switch {
	case e.p.Type == catalog.ProgLSM && e.p.Attach == catalog.AttachLSMCGroup:
		if isVoid(e.target.proto.Return) {
			return catalog.Range{Min: 1, Max: 1}, true
		}
		return catalog.Range{Min: 0, Max: 1}, true
	case e.p.Type == catalog.ProgLSM:
		return e.hookRange()
	case e.ops != nil:
		return catalog.Range{}, e.memberReturns() != nil // NULL, if no object
	}
	return e.facts.kind.Return(e.p.Attach)
}

// returnsVoid reports whether the function attached to returns nothing, so that R0 does not matter.
func (e *env) returnsVoid() bool {
	lsm := e.p.Type == catalog.ProgLSM && e.p.Attach != catalog.AttachLSMCGroup
	return (lsm || e.ops != nil) && isVoid(e.target.proto.Return)
}
