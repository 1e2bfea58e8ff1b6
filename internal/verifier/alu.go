package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// readReg demands that r holds something (check_reg_arg, SRC_OP).
func (e *env) readReg(r isa.Register) *Error {
	if r > isa.RFP {
		return e.refuse(errno.EINVAL, "R%d is invalid", r)
	}
	e.scratchReg(r)
	if e.regs()[r].typ == notInit {
		return e.refuse(errno.EACCES, "R%d !read_ok", r)
	}
	return nil
}

// writeReg demands that r may be written (check_reg_arg, DST_OP_NO_MARK).
func (e *env) writeReg(r isa.Register) *Error {
	if r > isa.RFP {
		return e.refuse(errno.EINVAL, "R%d is invalid", r)
	}
	e.scratchReg(r)
	if r == isa.RFP {
		return e.refuse(errno.EACCES, "frame pointer is read only")
	}
	return nil
}

// isPointer reports whether r would leak an address where the loader may not see one.
func (e *env) isPointer(r *reg) bool { return !e.priv && r.typ != scalarValue }

// linkBeforeCopy gives a number an id, so that it and its copy learn from each other.
func (e *env) linkBeforeCopy(r *reg) {
	if r.typ != scalarValue {
		return
	}
	if r.id&addConst != 0 {
		r.clearID()
	}
	if r.id == 0 && !r.isConst() {
		r.id = e.newID()
	}
}

var aluSymbols = [...]string{"+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "endian"}

func aluSymbol(op isa.Opcode) string { return aluSymbols[op>>4] }

// checkALU checks and carries out an arithmetic instruction (check_alu_op).
func (e *env) checkALU(ins isa.Instruction) *Error {
	op := ins.Op.ALUOp()
	wide := ins.Op.Class() == isa.ClassALU64
	x := ins.Op.UsesReg()
	var err *Error
	switch {
	case op == isa.Neg || op == isa.End:
		err = e.checkUnary(ins, op, wide, x)
	case op == isa.Mov:
		err = e.checkMov(ins, wide, x)
	case op > isa.End:
		return e.refuse(errno.EINVAL, "invalid BPF_ALU opcode %x", op)
	default:
		err = e.checkBinary(ins, op, wide, x)
	}
	if err != nil {
		return err
	}
	return e.sanityCheck(&e.regs()[ins.Dst], "alu")
}

func (e *env) checkUnary(ins isa.Instruction, op isa.Opcode, wide, x bool) *Error {
	if op == isa.Neg {
		if x || ins.Src != 0 || ins.Off != 0 || ins.Imm != 0 {
			return e.refuse(errno.EINVAL, "BPF_NEG uses reserved fields")
		}
	} else if ins.Src != 0 || ins.Off != 0 || ins.Imm != 16 && ins.Imm != 32 && ins.Imm != 64 || wide && x {
		return e.refuse(errno.EINVAL, "BPF_END uses reserved fields")
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	dst := &e.regs()[ins.Dst]
	if e.isPointer(dst) {
		return e.refuse(errno.EACCES, "R%d pointer arithmetic prohibited", ins.Dst)
	}
	if err := e.writeReg(ins.Dst); err != nil {
		return err
	}
	if dst.typ != scalarValue {
		e.markUnknown(dst)
		return nil
	}
	dst.clearID()
	if op == isa.End {
		// Little endian is what the machine has: only big endian and the
		// unconditional form swap.
		dst.swapBytes(int(ins.Imm)/8, wide || x)
		return nil
	}
	dst.neg()
	if !wide {
		dst.zext()
	}
	dst.sync()
	return nil
}

func (e *env) checkMov(ins isa.Instruction, wide, x bool) *Error {
	regs := e.regs()
	reserved := func() *Error { return e.refuse(errno.EINVAL, "BPF_MOV uses reserved fields") }
	cast := false
	if x {
		switch {
		case !wide:
			if ins.Off != 0 && ins.Off != 8 && ins.Off != 16 || ins.Imm != 0 {
				return reserved()
			}
		case ins.Off == 1:
			if ins.Imm != 1 && ins.Imm != 1<<16 {
				return e.refuse(errno.EINVAL, "addr_space_cast insn can only convert between address space 1 and 0")
			}
			if e.arena == nil {
				return e.refuse(errno.EINVAL, "addr_space_cast insn can only be used in a program that has an associated arena")
			}
			cast = true
		case ins.Off != 0 && ins.Off != 8 && ins.Off != 16 && ins.Off != 32 || ins.Imm != 0:
			return reserved()
		}
		if err := e.readReg(ins.Src); err != nil {
			return err
		}
	} else if ins.Src != 0 || ins.Off != 0 {
		return reserved()
	}
	if err := e.writeReg(ins.Dst); err != nil {
		return err
	}
	dst := &regs[ins.Dst]
	if !x {
		v := uint64(int64(ins.Imm))
		if !wide {
			v = uint64(uint32(ins.Imm))
		}
		dst.setConst(v)
		dst.precise = !e.capable
		return nil
	}
	src := &regs[ins.Src]
	switch {
	case cast:
		e.markUnknown(dst)
		if ins.Imm == 1 {
			dst.typ = ptrToArena
		}
	case wide && ins.Off == 0:
		e.linkBeforeCopy(src)
		*dst = *src
	case wide:
		return e.movSX(ins, src, dst)
	default:
		return e.mov32(ins, src, dst)
	}
	return nil
}

// movSX copies the sign-extended low bits of a register.
func (e *env) movSX(ins isa.Instruction, src, dst *reg) *Error {
	if e.isPointer(src) {
		return e.refuse(errno.EACCES, "R%d sign-extension part of pointer", ins.Src)
	}
	if src.typ != scalarValue {
		e.markUnknown(dst)
		return nil
	}
	e.copyIf(src.umax < 1<<(ins.Off-1), src, dst)
	dst.signExtend(int(ins.Off) / 8)
	return nil
}

// copyIf copies a number; the copy is linked to it only if it stays the same.
func (e *env) copyIf(same bool, src, dst *reg) {
	if same {
		e.linkBeforeCopy(src)
	}
	*dst = *src
	if !same {
		dst.clearID()
	}
}

// mov32 copies the low half of a register, or its sign-extended low bits.
func (e *env) mov32(ins isa.Instruction, src, dst *reg) *Error {
	if e.isPointer(src) {
		return e.refuse(errno.EACCES, "R%d partial copy of pointer", ins.Src)
	}
	switch {
	case src.typ != scalarValue:
		e.markUnknown(dst)
	case ins.Off == 0:
		e.copyIf(src.width() <= 32, src, dst)
	default:
		e.copyIf(src.umax < 1<<(ins.Off-1), src, dst)
		dst.signExtend32(int(ins.Off) / 8)
	}
	dst.zext()
	dst.sync()
	return nil
}

func (e *env) checkBinary(ins isa.Instruction, op isa.Opcode, wide, x bool) *Error {
	if x && ins.Imm != 0 || !x && ins.Src != 0 || ins.Off != 0 && ins.Off != 1 ||
		ins.Off == 1 && op != isa.Mod && op != isa.Div {
		return e.refuse(errno.EINVAL, "BPF_ALU uses reserved fields")
	}
	if x {
		if err := e.readReg(ins.Src); err != nil {
			return err
		}
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	if !x {
		if (op == isa.Mod || op == isa.Div) && ins.Imm == 0 {
			return e.refuse(errno.EINVAL, "div by zero")
		}
		if op == isa.Lsh || op == isa.Rsh || op == isa.Arsh {
			if ins.Imm < 0 || ins.Imm >= 64 || !wide && ins.Imm >= 32 {
				return e.refuse(errno.EINVAL, "invalid shift %d", ins.Imm)
			}
		}
	}
	if err := e.writeReg(ins.Dst); err != nil {
		return err
	}
	return e.arith(ins, op, wide, x)
}

// arith tells arithmetic on numbers from that on pointers (adjust_reg_min_max_vals).
func (e *env) arith(ins isa.Instruction, op isa.Opcode, wide, x bool) *Error {
	regs := e.regs()
	dst := &regs[ins.Dst]
	var src *reg
	if x {
		src = &regs[ins.Src]
	}
	if dst.typ == ptrToArena || x && src.typ == ptrToArena {
		if dst.typ != ptrToArena {
			*dst = *src
		}
		return nil
	}
	if !x {
		imm := reg{typ: scalarValue, scalar: constScalar(uint64(int64(ins.Imm)))}
		if dst.typ != scalarValue {
			ptr := *dst
			return e.ptrArith(ins, op, wide, &ptr, &imm, true)
		}
		return e.scalarArith(ins, op, wide, x, dst, &imm)
	}
	switch {
	case src.typ != scalarValue && dst.typ != scalarValue:
		if op == isa.Sub && e.priv {
			e.markUnknown(dst)
			return nil
		}
		return e.refuse(errno.EACCES, "R%d pointer %s pointer prohibited", ins.Dst, aluSymbol(op))
	case src.typ != scalarValue:
		if err := e.markPrecise(ins.Dst); err != nil {
			return err
		}
		ptr, off := *src, *dst
		return e.ptrArith(ins, op, wide, &ptr, &off, false)
	case dst.typ != scalarValue:
		if err := e.markPrecise(ins.Src); err != nil {
			return err
		}
		ptr, off := *dst, *src
		return e.ptrArith(ins, op, wide, &ptr, &off, true)
	case dst.precise:
		if err := e.markPrecise(ins.Src); err != nil {
			return err
		}
	}
	val := *src
	return e.scalarArith(ins, op, wide, x, dst, &val)
}

// scalarArith computes dst op= src (adjust_scalar_min_max_vals).
func (e *env) scalarArith(ins isa.Instruction, op isa.Opcode, wide, x bool, dst, src *reg) *Error {
	if (op == isa.Add || op == isa.Sub) && e.sanitises(x) && !e.aux[e.insn].nospec {
		if err := e.noteSanitised(ins, aluState{kind: sanNumber}); err != nil {
			return err
		}
	}
	narrow := dst.width() <= 32
	if err := e.compute(ins, op, wide, dst, src); err != nil {
		return err
	}
	delta, ok := distance(op, wide, src)
	if !e.capable || !ok || dst.id == 0 || dst.id&addConst != 0 || !wide && !narrow || x && ins.Src == ins.Dst {
		dst.clearID()
		return nil
	}
	// The link to what the register was copied from stays, at a distance.
	if wide {
		dst.id |= addConst64
	} else {
		dst.id |= addConst32
	}
	dst.off = delta
	return nil
}

// distance is what adding or subtracting a constant puts between a register and its copies.
func distance(op isa.Opcode, wide bool, src *reg) (int32, bool) {
	v, ok := src.constVal(!wide)
	if !ok || op != isa.Add && op != isa.Sub {
		return 0, false
	}
	if wide && int64(v) != int64(int32(v)) {
		return 0, false
	}
	d := int32(v)
	if op == isa.Sub {
		return -d, d != -1<<31
	}
	return d, true
}

func (e *env) compute(ins isa.Instruction, op isa.Opcode, wide bool, dst, src *reg) *Error {
	var n uint8
	switch op {
	case isa.Lsh, isa.Rsh, isa.Arsh:
		v, ok := src.known(!wide)
		if !ok || v > 63 || !wide && v > 31 || src.umax > 63 || !wide && src.umax > 31 {
			e.markUnknown(dst)
			return nil
		}
		n = uint8(v)
	case isa.Div, isa.Mod:
		e.markUnknown(dst)
		return nil
	case isa.And, isa.Or:
		if src.isConst() {
			if err := e.forkSignMask(ins, dst); err != nil {
				return err
			}
		}
	}
	d, s := &dst.scalar, &src.scalar
	switch op {
	case isa.Add:
		d.add(s)
	case isa.Sub:
		d.sub(s)
	case isa.Mul:
		d.mul(s)
	case isa.And:
		d.and(s)
	case isa.Or:
		d.or(s)
	case isa.Xor:
		d.xor(s)
	case isa.Lsh:
		if wide {
			d.lsh64(n)
		} else {
			d.lsh32(n)
		}
	case isa.Rsh:
		if wide {
			d.rsh64(n)
		} else {
			d.rsh32(n)
		}
	case isa.Arsh:
		if wide {
			d.arsh64(n)
		} else {
			d.arsh32(n)
		}
	}
	if !wide {
		d.zext()
	}
	d.sync()
	return nil
}

// forkSignMask follows dst = 0 and dst = -1 apart where a sign was spread over
// the register only to mask something with it (maybe_fork_scalars).
func (e *env) forkSignMask(ins isa.Instruction, dst *reg) *Error {
	wide := dst.smin == -1 && dst.smax == 0
	if !wide && !(dst.s32min == -1 && dst.s32max == 0) {
		return nil
	}
	other, err := e.pushPath(e.insn, e.insn)
	if err != nil {
		return err
	}
	zero := &other.regs()[ins.Dst]
	if wide {
		zero.scalar = constScalar(0)
		dst.scalar = constScalar(^uint64(0))
	} else {
		zero.setConst32(0)
		dst.setConst32(^uint32(0))
	}
	return nil
}

// saneOffset keeps pointers within reach of their object (check_reg_sane_offset).
func (e *env) saneOffset(r *reg, t regType) *Error {
	if v, ok := r.known(false); ok && (int64(v) >= maxVarOff || int64(v) <= -maxVarOff) {
		return e.refuse(errno.EINVAL, "math between %s pointer and %d is not allowed", t, int64(v))
	}
	switch {
	case r.off >= maxVarOff || r.off <= -maxVarOff:
		return e.refuse(errno.EINVAL, "%s pointer offset %d is not allowed", t, r.off)
	case r.smin == -1<<63:
		return e.refuse(errno.EINVAL, "math between %s pointer and register with unbounded min value is not allowed", t)
	case r.smin >= maxVarOff || r.smin <= -maxVarOff:
		return e.refuse(errno.EINVAL, "value %d makes %s pointer be out of bounds", r.smin, t)
	}
	return nil
}

// ptrArith computes pointer ± number into the destination, which was the
// pointer (dstIsPtr) or the number (adjust_ptr_min_max_vals).
func (e *env) ptrArith(ins isa.Instruction, op isa.Opcode, wide bool, ptr, off *reg, dstIsPtr bool) *Error {
	dst := &e.regs()[ins.Dst]
	t := ptr.typ
	v, known := off.known(false)
	delta := int64(v)
	if known && (off.smin != off.smax || off.umin != off.umax) || off.smin > off.smax || off.umin > off.umax {
		e.markUnknown(dst) // no run gets here
		return nil
	}
	if !wide {
		if op == isa.Sub && e.priv {
			e.markUnknown(dst)
			return nil
		}
		return e.refuse(errno.EACCES, "R%d 32-bit pointer arithmetic prohibited", ins.Dst)
	}
	if t.mayBeNull() {
		return e.refuse(errno.EACCES, "R%d pointer arithmetic on %s prohibited, null-check it first", ins.Dst, t)
	}
	if t.base() == ptrToMem && t.has(untrusted) {
		// Reads through it may fault anyway: the range is not tracked.
		*dst = *ptr
		return nil
	}
	ok := false
	switch t.base() {
	case ptrToCtx, ptrToMapValue, ptrToMapKey, ptrToStack, ptrToPacketMeta, ptrToPacket, ptrToTPBuffer,
		ptrToBTF, ptrToMem, ptrToBuf, ptrToFunc, constPtrToDynptr:
		ok = true
	case ptrToFlowKeys:
		ok = known
	case constPtrToMap:
		ok = known && delta == 0 && op == isa.Add
	}
	if !ok {
		return e.refuse(errno.EACCES, "R%d pointer arithmetic on %s prohibited", ins.Dst, t)
	}
	*dst = *ptr
	if err := e.saneOffset(off, t); err != nil {
		return err
	}
	if err := e.saneOffset(ptr, t); err != nil {
		return err
	}
	dst.unbound32()
	sanitise := (op == isa.Add || op == isa.Sub) && e.sanitises(ins.Op.UsesReg()) && !e.aux[e.insn].nospec
	var window aluState
	if sanitise {
		if !e.st.speculative {
			var err *Error
			if window, err = e.sanitisePtr(ins, op, ptr, off, dstIsPtr); err != nil {
				return err
			}
		}
		if err := e.guessMasked(ins, ptr, off, dst, dstIsPtr); err != nil {
			return err
		}
	}
	switch op {
	case isa.Add:
		if sum := int64(ptr.off) + delta; known && sum == int64(int32(sum)) {
			dst.off = int32(sum)
			break
		}
		dst.add64(&off.scalar)
		dst.bits = ptr.bits.add(off.bits)
		if t.isPkt() { // what was proven of the packet was proven without the new part
			dst.id = e.newID()
			dst.rng = 0
		}
	case isa.Sub:
		if !dstIsPtr {
			return e.refuse(errno.EACCES, "R%d tried to subtract pointer from scalar", ins.Dst)
		}
		if t == ptrToStack {
			return e.refuse(errno.EACCES, "R%d subtraction from stack pointer prohibited", ins.Dst)
		}
		if diff := int64(ptr.off) - delta; known && diff == int64(int32(diff)) {
			dst.off = int32(diff)
			break
		}
		dst.sub64(&off.scalar)
		dst.bits = ptr.bits.sub(off.bits)
		if t.isPkt() {
			dst.id = e.newID()
			if off.smin < 0 {
				dst.rng = 0
			}
		}
	case isa.And, isa.Or, isa.Xor:
		return e.refuse(errno.EACCES, "R%d bitwise operator %s on pointer prohibited", ins.Dst, aluSymbol(op))
	default:
		return e.refuse(errno.EACCES, "R%d pointer arithmetic with %s operator prohibited", ins.Dst, aluSymbol(op))
	}
	if err := e.saneOffset(dst, t); err != nil {
		return err
	}
	dst.sync()
	if !e.priv {
		if err := e.checkUnprivPtr(ins.Dst, dst); err != nil {
			return err
		}
	}
	if sanitise && !e.st.speculative {
		return e.commitSanitised(ins, op, window, dst)
	}
	return nil
}
