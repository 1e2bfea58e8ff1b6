package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// slotOf is the index of the slot that byte off (negative, from the frame pointer) lies in.
func slotOf(off int) int { return (-off - 1) / regSize }

// byteOf is the index of that byte in its slot.
func byteOf(off int) int { return (-off - 1) % regSize }

// growStack makes room for size bytes of stack in f.
func (e *env) growStack(f *frame, size int) {
	n := (size + regSize - 1) / regSize
	for len(f.stack) < n {
		if len(f.stack) < cap(f.stack) {
			f.stack = f.stack[:len(f.stack)+1]
			f.stack[len(f.stack)-1] = slot{}
		} else {
			f.stack = append(f.stack, slot{})
		}
	}
	s := &e.subs[f.subprog]
	s.stackDepth = max(s.stackDepth, n*regSize)
}

// stackBounds keeps an access of size bytes at off from the pointer in n inside
// its frame (check_stack_access_within_bounds). It makes the frame large enough.
func (e *env) stackBounds(n isa.Register, off, size int, write bool) *Error {
	r := &e.regs()[n]
	f := e.frameOf(r)
	what := " write to"
	if !write {
		what = " read from"
	}
	var lo, hi int64
	if r.isConst() {
		lo = int64(r.bits.value) + int64(off)
		hi = lo + int64(size)
	} else {
		if r.smax >= maxVarOff || r.smin <= -maxVarOff {
			return e.refuse(errno.EACCES, "invalid unbounded variable-offset%s stack R%d", what, n)
		}
		lo = r.smin + int64(off)
		hi = r.smax + int64(off) + int64(size)
	}
	least := int64(-isa.StackSize)
	if !write && !e.priv {
		least = -int64(len(f.stack) * regSize)
	}
	no := errno.Errno(0)
	switch {
	case lo < least || lo > -1:
		no = errno.EACCES
	case hi > 0:
		no = errno.EINVAL
	case size < 0:
		no = errno.EFAULT
	}
	if no != 0 {
		if r.isConst() {
			return e.refuse(no, "invalid%s stack R%d off=%d size=%d", what, n, off, size)
		}
		return e.refuse(no, "invalid variable-offset%s stack R%d var_off=%s off=%d size=%d", what, n, r.bits, off, size)
	}
	e.growStack(f, int(-lo))
	return nil
}

func isSpillable(t regType) bool {
	switch t.base() {
	case notInit, scalarValue, ptrToTPBuffer, constPtrToDynptr:
		return false
	}
	return true
}

// spill puts the register into slot spi: its size low bytes.
func (e *env) spill(f *frame, spi int, r *reg, size int) {
	s := &f.stack[spi]
	s.reg = *r
	for i := range s.kind {
		switch {
		case i >= regSize-size:
			s.kind[i] = byteSpill
		case s.kind[i] != byteZero && s.kind[i] != byteInvalid:
			s.kind[i] = byteMisc
		}
	}
	if size == regSize {
		e.stackWritten(int(f.no), 1<<spi)
	}
}

// isStoreImm reports whether the current instruction stores its immediate.
func (e *env) isStoreImm() bool {
	op := e.insns[e.insn].Op
	return op.Class() == isa.ClassST && op.Mode() == isa.ModeMEM
}

// writeStack stores a register, an immediate or (val == noReg) something
// unknown (check_stack_write).
func (e *env) writeStack(n isa.Register, off, size int, val isa.Register) *Error {
	r := &e.regs()[n]
	f := e.frameOf(r)
	if r.isConst() {
		return e.writeStackAt(f, off+int(int64(r.bits.value)), size, val)
	}
	return e.writeStackSomewhere(f, r, off, size, val)
}

// noReg stands for no register where one is optional.
const noReg = isa.Register(0xff)

// writeStackAt stores at a known offset (check_stack_write_fixed_off).
func (e *env) writeStackAt(f *frame, off, size int, val isa.Register) *Error {
	spi := slotOf(off)
	s := &f.stack[spi]
	if !e.priv && s.isSpill() && !s.isSpillScalar() && size != regSize {
		return e.refuse(errno.EACCES, "attempt to corrupt spilled pointer on stack")
	}
	var r *reg
	if val != noReg {
		r = &e.regs()[val]
	}
	e.guardStore(s, off, size, r)
	if err := e.destroyDynptr(f, spi); err != nil {
		return err
	}
	e.scratchSlot(spi)
	hist := histStackAccess(int(f.no), spi)
	switch {
	case r != nil && off%regSize == 0 && r.typ == scalarValue && e.capable:
		fits := r.width() <= size*8
		if fits {
			e.linkBeforeCopy(r)
		}
		e.spill(f, spi, r, size)
		if !fits {
			s.reg.id = 0
		}
	case r == nil && off%regSize == 0 && e.isStoreImm() && e.capable:
		imm := reg{typ: scalarValue, scalar: constScalar(uint64(int64(e.insns[e.insn].Imm)))}
		e.spill(f, spi, &imm, size)
	case r != nil && isSpillable(r.typ):
		if size != regSize {
			e.logLine(e.insn, "; ")
			return e.refuse(errno.EACCES, "invalid size of register spill")
		}
		if f != e.st.frame() && r.typ == ptrToStack {
			return e.refuse(errno.EINVAL, "cannot spill pointers to stack into stack frame of the caller")
		}
		e.spill(f, spi, r, size)
	default:
		s.scrub()
		if size == regSize {
			e.stackWritten(int(f.no), 1<<spi)
		}
		kind := byteMisc
		if r != nil && r.isNull() || r == nil && e.isStoreImm() && e.insns[e.insn].Imm == 0 {
			if r != nil {
				if err := e.markPrecise(val); err != nil {
					return err
				}
			}
			kind = byteZero
		}
		for i := 0; i < size; i++ {
			s.kind[byteOf(off)-i] = kind
		}
		return nil
	}
	e.pushHist(hist, nil)
	return nil
}

// writeStackSomewhere stores at one of several offsets: all bytes in reach may
// have changed (check_stack_write_var_off).
func (e *env) writeStackSomewhere(f *frame, r *reg, off, size int, val isa.Register) *Error {
	lo, hi := int(r.smin)+off, int(r.smax)+off+size
	zero := false
	if val != noReg {
		zero = e.regs()[val].isNull()
	} else {
		zero = e.isStoreImm() && e.insns[e.insn].Imm == 0
	}
	for i := lo; i < hi; i++ {
		if err := e.destroyDynptr(f, slotOf(i)); err != nil {
			return err
		}
	}
	zeroUsed := false
	for i := lo; i < hi; i++ {
		spi := slotOf(i)
		s := &f.stack[spi]
		k := &s.kind[byteOf(i)]
		e.scratchSlot(spi)
		if !e.priv && *k != byteMisc && *k != byteZero {
			return e.refuse(errno.EINVAL, "spilled ptr in range of var-offset stack write; insn %d, ptr off: %d", e.insn, i)
		}
		if zero && *k == byteSpill && s.isSpillScalar() && s.reg.bits.is(0) {
			zeroUsed = true
			continue
		}
		s.scrub()
		if zero && *k == byteZero {
			zeroUsed = true
			continue
		}
		*k = byteMisc
	}
	if zeroUsed && val != noReg {
		return e.markPrecise(val)
	}
	return nil
}

// readStack loads into dst, or, for noReg, only looks (check_stack_read).
func (e *env) readStack(n isa.Register, off, size int, dst isa.Register) *Error {
	r := &e.regs()[n]
	f := e.frameOf(r)
	if r.isConst() {
		return e.readStackAt(f, off+int(int64(r.bits.value)), size, dst)
	}
	if dst == noReg {
		return e.refuse(errno.EACCES, "variable offset stack pointer cannot be passed into helper function; var_off=%s off=%d size=%d", r.bits, off, size)
	}
	lo, hi := int(r.smin)+off, int(r.smax)+off+size
	if err := e.stackInitialised(n, off, size, false, false, nil); err != nil {
		return err
	}
	e.loadBytes(f, lo, hi, dst)
	return nil
}

// loadBytes gives dst the number read from some of the bytes lo..hi-1.
func (e *env) loadBytes(f *frame, lo, hi int, dst isa.Register) {
	d := &e.regs()[dst]
	for i := lo; i < hi; i++ {
		e.scratchSlot(slotOf(i))
		if f.stack[slotOf(i)].kind[byteOf(i)] != byteZero {
			e.markUnknown(d)
			return
		}
	}
	e.markZero(d)
}

// readStackAt loads from a known offset (check_stack_read_fixed_off).
func (e *env) readStackAt(f *frame, off, size int, dst isa.Register) *Error {
	spi := slotOf(off)
	s := &f.stack[spi]
	e.scratchSlot(spi)
	e.stackRead(int(f.no), 1<<spi)
	hist := histStackAccess(int(f.no), spi)
	invalid := func(i int) *Error {
		return e.refuse(errno.EACCES, "invalid read from stack off %d+%d size %d", off, i, size)
	}
	if !s.isSpill() {
		for i := 0; i < size; i++ {
			switch k := s.kind[byteOf(off)-i]; {
			case k == byteMisc || k == byteZero || k == byteInvalid && e.priv:
			default:
				return invalid(i)
			}
		}
		if dst != noReg {
			e.loadBytes(f, off, off+size, dst)
		}
		return nil
	}
	spilled := 1
	for spilled < regSize && s.kind[regSize-1-spilled] == byteSpill {
		spilled++
	}
	if size == regSize && spilled == regSize {
		if dst == noReg {
			if e.isPointer(&s.reg) {
				return e.refuse(errno.EACCES, "leaking pointer from stack off %d", off)
			}
		} else {
			e.regs()[dst] = s.reg
		}
		e.pushHist(hist, nil)
		return nil
	}
	if s.reg.typ != scalarValue {
		e.logLine(e.insn, "; ")
		return e.refuse(errno.EACCES, "invalid size of register fill")
	}
	if dst == noReg {
		return nil
	}
	d := &e.regs()[dst]
	if size <= spilled && off%regSize == 0 { // the low bytes of a register lie lowest
		*d = s.reg
		if s.reg.width() > size*8 {
			d.clearID() // only a part: the caller truncates
		}
		e.pushHist(hist, nil)
		return nil
	}
	spills, zeros := 0, 0
	for i := 0; i < size; i++ {
		switch k := s.kind[byteOf(off)-i]; {
		case k == byteSpill:
			spills++
		case k == byteZero:
			zeros++
		case k == byteMisc || k == byteInvalid && e.priv:
		default:
			return invalid(i)
		}
	}
	switch {
	case spills == size && s.reg.bits.is(0):
		e.markZero(d)
		e.pushHist(hist, nil)
	case zeros == size:
		e.markZero(d)
	default:
		e.markUnknown(d)
	}
	return nil
}

// stackInitialised demands that size bytes at off may be read, or, for memory
// a helper fills (meta.raw), may be written: the caller then carries the write
// out (check_stack_range_initialized).
//
// write: whoever reads the bytes may also overwrite them.
func (e *env) stackInitialised(n isa.Register, off, size int, zeroOK, write bool, meta *callMeta) *Error {
	r := &e.regs()[n]
	f := e.frameOf(r)
	if size == 0 && !zeroOK {
		return e.refuse(errno.EACCES, "invalid zero-sized read")
	}
	if err := e.stackBounds(n, off, size, write); err != nil {
		return err
	}
	lo, hi := int(int64(r.bits.value))+off, int(int64(r.bits.value))+off
	if !r.isConst() {
		if !e.priv {
			return e.refuse(errno.EACCES, "R%d variable offset stack access prohibited for !root, var_off=%s", n, r.bits)
		}
		if meta != nil && meta.raw {
			meta = nil // which bytes are written is not known: all must be there
		}
		lo, hi = int(r.smin)+off, int(r.smax)+off
	}
	if meta != nil && meta.raw {
		for i := lo; i < hi+size; i++ {
			if spi := slotOf(i); spi < len(f.stack) {
				switch f.stack[spi].kind[byteOf(i)] {
				case byteDynptr:
					return e.refuse(errno.EACCES, "potential write to dynptr at off=%d disallowed", i)
				}
			}
		}
		meta.writeSize, meta.writeReg = size, n
		return nil
	}
	for i := lo; i < hi+size; i++ {
		spi := slotOf(i)
		s := &f.stack[spi]
		k := &s.kind[byteOf(i)]
		switch {
		case *k == byteMisc:
		case *k == byteZero || *k == byteInvalid && e.priv:
			if write {
				*k = byteMisc
			}
		case s.isSpill() && (s.reg.typ == scalarValue || e.priv):
			if write {
				e.markUnknown(&s.reg)
				for j, k := range s.kind {
					if k != byteInvalid {
						s.kind[j] = byteMisc
					}
				}
			}
		case r.isConst():
			return e.refuse(errno.EACCES, "invalid read from stack R%d off %d+%d size %d", n, lo, i-lo, size)
		default:
			return e.refuse(errno.EACCES, "invalid read from stack R%d var_off %s+%d size %d", n, r.bits, i-lo, size)
		}
		e.stackRead(int(f.no), 1<<spi)
	}
	return nil
}
