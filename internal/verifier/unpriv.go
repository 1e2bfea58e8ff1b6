package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// What the processor does on paths it only guesses must not leak memory to the
// unprivileged: the kernel masks the number that is added to a pointer. An
// instruction can be masked in one way only, so every path must agree on it.

type aluState struct {
	kind  uint8
	limit uint32
}

// How an instruction is masked; 0: not seen yet (BPF_ALU_*).
const (
	sanSrc uint8 = 1 << iota
	sanDst
	sanNegative
	sanNumber
	sanConst
)

const notRoot = "pointer arithmetic with it prohibited for !root"

// sanitises reports whether arithmetic is masked: by the unprivileged, with a register.
func (e *env) sanitises(x bool) bool { return !e.priv && x }

// noteSanitised demands that all paths mask the instruction in the same way
// (update_alu_sanitation_state).
func (e *env) noteSanitised(ins isa.Instruction, s aluState) *Error {
	was := &e.aux[e.insn].sanitised
	if was.kind != 0 && *was != s {
		return e.refuse(errno.EACCES, "R%d tried to %s from different maps, paths or scalars, %s", ins.Dst, addOrSub(ins.Op.ALUOp()), notRoot)
	}
	*was = s
	return nil
}

func addOrSub(op isa.Opcode) string {
	if op == isa.Add {
		return "add"
	}
	return "sub"
}

// sanitisePtr says how pointer arithmetic is to be masked, by how far the
// pointer may move (sanitize_ptr_alu).
func (e *env) sanitisePtr(ins isa.Instruction, op isa.Opcode, ptr, off *reg, dstIsPtr bool) (aluState, *Error) {
	number, pointer := ins.Src, ins.Dst
	if !dstIsPtr {
		number, pointer = pointer, number
	}
	if !off.isConst() && off.smin < 0 != (off.smax < 0) {
		return aluState{}, e.refuse(errno.EACCES, "R%d has unknown scalar with mixed signed bounds, %s", number, notRoot)
	}
	neg := off.smin < 0
	s := aluState{kind: sanDst}
	if dstIsPtr {
		s.kind = sanSrc
	}
	if neg {
		s.kind |= sanNegative
	}
	if off.isConst() {
		s.kind |= sanConst
	}
	e.exploreALU = e.exploreALU || !off.isConst()
	limit, ok := ptrLimit(ptr, op == isa.Add == neg)
	if !ok {
		return s, e.refuse(errno.EACCES, "R%d has pointer with unsupported alu operation, %s", pointer, notRoot)
	}
	if limit < 0 {
		return s, e.beyondPtr(ins, op)
	}
	s.limit = uint32(limit)
	return s, nil
}

func (e *env) beyondPtr(ins isa.Instruction, op isa.Opcode) *Error {
	return e.refuse(errno.EACCES, "R%d tried to %s beyond pointer bounds, %s", ins.Dst, addOrSub(op), notRoot)
}

// ptrLimit is how far a pointer can be moved to the left, or where it stands
// when it is moved to the right: -1 if outside its object (retrieve_ptr_limit).
func ptrLimit(ptr *reg, left bool) (limit int64, ok bool) {
	var end uint32
	var at uint32
	switch ptr.typ {
	case ptrToStack:
		end = isa.StackSize
		if left {
			end++
		}
		at = -(uint32(ptr.bits.value) + uint32(ptr.off))
	case ptrToMapValue:
		end = ptr.m.ValueSize
		at = uint32(ptr.umax)
		if left {
			at = uint32(ptr.smin)
		}
		at += uint32(ptr.off)
	default:
		return 0, false
	}
	if at >= end {
		return -1, true
	}
	return int64(at), true
}

// commitSanitised narrows the mask to how far the pointer did move.
func (e *env) commitSanitised(ins isa.Instruction, op isa.Opcode, s aluState, dst *reg) *Error {
	limit, ok := ptrLimit(dst, op == isa.Add == (s.kind&sanNegative != 0))
	if !ok || limit < 0 {
		return e.beyondPtr(ins, op)
	}
	d := int32(s.limit) - int32(limit)
	s.limit = uint32(max(d, -d))
	return e.noteSanitised(ins, s)
}

// checkTailCallMaps refuses tail calls of the unprivileged through one of
// several maps: their index is masked by one map's size (do_misc_fixups).
func (e *env) checkTailCallMaps() *Error {
	if e.priv {
		return nil
	}
	for i := range e.aux {
		ins := e.insns[i]
		if a := &e.aux[i]; a.seen && a.poisoned && ins.IsHelperCall() && ins.Imm == fnTailCall {
			e.insn = i
			return e.refuse(errno.EINVAL, "tail_call abusing map_ptr")
		}
	}
	return nil
}

// checkUnprivPtr keeps pointers that the unprivileged compute inside their
// object even while they are only computed (sanitize_check_bounds).
func (e *env) checkUnprivPtr(n isa.Register, r *reg) *Error {
	switch r.typ {
	case ptrToStack:
		off := int64(r.off) + int64(r.bits.value)
		if !r.isConst() {
			return e.refuse(errno.EACCES, "R%d variable stack access prohibited for !root, var_off=%s off=%d", n, r.bits, off)
		}
		if off >= 0 || off < -isa.StackSize {
			return e.refuse(errno.EACCES, "R%d stack pointer arithmetic goes out of range, prohibited for !root; off=%d", n, off)
		}
	case ptrToMapValue:
		if err := e.checkMapValue(n, int(r.off), 1, false, true); err != nil {
			return e.also(err, "R%d pointer arithmetic of map value goes out of range, prohibited for !root", n)
		}
	}
	return nil
}
