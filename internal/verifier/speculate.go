package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// A processor runs ahead along ways it guesses, and what it touches there can
// be measured. So for callers that may not see the kernel's memory the ways are
// followed, too, that no run takes but a guess may. What would be refused on
// one of them gets a barrier instead, which ends guessing:
//
//	r0 = 1
//	if r0 == 1 goto safe      a guess goes on below, with any r0
//	r1 = *(u64 *)(r0 + 0)     never run; by a guess, a read of any address: barrier before it
//	safe:

// guess is what the log says of a path that is only guessed.
func (s *state) guess() string {
	if s.speculative {
		return " (speculative execution)"
	}
	return ""
}

// barrierHelps reports whether a guessed path that is refused so is safe behind
// a barrier (error_recoverable_with_nospec).
func barrierHelps(err *Error) bool {
	switch err.Errno {
	case errno.EPERM, errno.EACCES, errno.EINVAL:
		return true
	}
	return false
}

// pushGuess leaves a way for later that only a guess takes. What the guess was
// about, the operands of jump, can be anything then (sanitize_speculative_path).
func (e *env) pushGuess(to int, jump *isa.Instruction) *Error {
	st, err := e.pushPath(to, e.insn)
	if err != nil {
		return err
	}
	st.speculative = true
	if jump == nil {
		return nil
	}
	regs := st.regs()
	e.markUnknown(&regs[jump.Dst])
	if jump.Op.UsesReg() {
		e.markUnknown(&regs[jump.Src])
	}
	return nil
}

// guessMasked leaves for later the path on which the mask made 0 of a number
// that by a wrong guess was too large: there the pointer did not move.
func (e *env) guessMasked(ins isa.Instruction, ptr, off, dst *reg, dstIsPtr bool) *Error {
	if off.isConst() {
		return nil // becomes an immediate, and needs no mask
	}
	saved := *dst
	if !dstIsPtr {
		*dst = *ptr
	}
	err := e.pushGuess(e.insn+1, nil)
	*dst = saved
	if err != nil {
		return e.refuse(errno.ENOMEM, "R%d could not be pushed for speculative verification, %s", ins.Dst, notRoot)
	}
	return nil
}

// guardStore asks for a barrier behind a store to the stack over what a load
// that overtakes it must not see: a spilled pointer, or bytes nobody has
// written (check_stack_write_fixed_off).
func (e *env) guardStore(s *slot, off, size int, r *reg) {
	if e.priv {
		return
	}
	guard := r != nil && isSpillable(r.typ)
	for i := 0; i < size && !guard; i++ {
		k := s.kind[byteOf(off)-i]
		guard = k != byteMisc && k != byteZero
	}
	if guard {
		e.aux[e.insn].nospecResult = true
	}
}
