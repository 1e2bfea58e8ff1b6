package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// kfuncIter checks the iterator argument of a kfunc that makes one, steps it or
// ends it (process_iter_arg).
func (e *env) kfuncIter(n isa.Register, target btf.Type, meta *kfuncMeta) *Error {
	r := &e.regs()[n]
	if r.typ != ptrToStack {
		return e.refuse(errno.EINVAL, "arg#%d expected pointer to an iterator on stack", n-1)
	}
	size, err := btf.Sizeof(target)
	if err != nil || size%regSize != 0 || size == 0 {
		return e.refuse(errno.EINVAL, "expected valid iter pointer as arg #%d", n-1)
	}
	t := e.intern(meta.k.spec, target)
	slots := size / regSize
	f := e.frameOf(r)
	if meta.k.flags&kfIterNew != 0 {
		return e.iterNew(n, t, slots, meta)
	}
	spi, oerr := e.objectSlot(r, "iter", slots)
	if oerr != nil || spi < 0 || !isIter(f, spi, slots, t) {
		return e.refuse(errno.EINVAL, "expected an initialized iter_%s as arg #%d", iterName(t), n-1)
	}
	if f.stack[spi].reg.typ.has(untrusted) {
		return e.refuse(errno.EPROTO, "expected an RCU CS when using %s", meta.k.name)
	}
	var mask uint64
	for i := 0; i < slots; i++ {
		mask |= 1 << (spi - i)
		e.scratchSlot(spi - i)
	}
	e.stackRead(int(f.no), mask)
	meta.iterFrame, meta.iterSlot = int(r.frame), spi
	meta.ref = f.stack[spi].reg.ref
	if meta.k.flags&kfIterDestroy != 0 {
		e.release(meta.ref)
		for i := 0; i < slots; i++ {
			f.stack[spi-i].setAll(byteInvalid)
			e.markNotInit(&f.stack[spi-i].reg)
		}
		e.stackWritten(int(f.no), mask)
		meta.ref = 0
	}
	return nil
}

// isIter reports whether a whole iterator of type t starts in slot spi.
func isIter(f *frame, spi, slots int, t *btfType) bool {
	for i := 0; i < slots; i++ {
		s := &f.stack[spi-i]
		for _, k := range s.kind {
			if k != byteIter {
				return false
			}
		}
		if (i == 0) != (s.reg.ref != 0) || s.reg.btf != t {
			return false
		}
	}
	return true
}

func (e *env) iterNew(n isa.Register, t *btfType, slots int, meta *kfuncMeta) *Error {
	if meta.k.name == "bpf_iter_css_task_new" && e.p.Type != catalog.ProgLSM && !e.sleepable() &&
		(e.p.Type != catalog.ProgTracing || e.p.Attach != catalog.AttachTraceIter) {
		return e.refuse(errno.EINVAL, "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs")
	}
	r := &e.regs()[n]
	f := e.frameOf(r)
	spi, err := e.objectSlot(r, "iter", slots)
	ok := err == nil
	for i := 0; ok && spi >= 0 && i < slots; i++ {
		for _, k := range f.stack[spi-i].kind {
			ok = ok && k != byteIter
		}
	}
	if !ok {
		return e.refuse(errno.EINVAL, "expected uninitialized iter_%s as arg #%d", iterName(t), n-1)
	}
	for off := 0; off < slots*regSize; off += regSize {
		if err := e.checkAccess(access{ptr: n, off: off, size: regSize, write: true, val: noReg}); err != nil {
			return err
		}
	}
	spi, err = e.objectSlot(r, "iter", slots)
	if err != nil {
		return err
	}
	id := e.acquire()
	var mask uint64
	for i := 0; i < slots; i++ {
		s := &f.stack[spi-i]
		s.setAll(byteIter)
		s.reg.setPtr(ptrToStack)
		s.reg.btf, s.reg.iter, s.reg.depth = t, iterActive, 0
		if meta.k.flags&kfRCUProtected != 0 {
			if e.inRCU() {
				s.reg.typ |= rcu
			} else {
				s.reg.typ |= untrusted
			}
		}
		if i == 0 {
			s.reg.ref = id
		}
		mask |= 1 << (spi - i)
		e.scratchSlot(spi - i)
	}
	e.stackWritten(int(f.no), mask)
	return nil
}

// iterNext parts the paths after a step of an iterator: one more element, to
// be followed later, or, first, none (process_iter_next_call). Paths with
// elements converge when a step finds the state of an earlier one; what
// changed in between without mattering is forgotten to that end.
func (e *env) iterNext(meta *kfuncMeta) *Error {
	cur := e.st
	it := func(s *state) *reg { return &s.frames[meta.iterFrame].stack[meta.iterSlot].reg }
	if it(cur).iter == iterActive {
		prev := (*state)(nil)
		if cur.parent != nil {
			prev = e.findPrevEntry(cur.parent, e.insn)
		}
		next, err := e.pushPath(e.insn+1, e.insn)
		if err != nil {
			return err
		}
		it(next).depth++
		if prev != nil {
			e.widen(prev, next)
		}
		e.setNotNull(&next.regs()[isa.R0])
	}
	it(cur).iter = iterDrained
	e.markZero(&e.regs()[isa.R0])
	return nil
}
