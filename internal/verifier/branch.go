package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// leave keeps a path to be followed later.
func (e *env) leave(st *state, to, from int) {
	e.pending = append(e.pending, pendingPath{st: st, insn: to, prev: from, logPos: e.pos()})
	if e.trace != nil {
		e.trace.fork(e.insnProcessed - 1)
	}
}

// pushPath makes a branch that continues at instruction to, to be followed later (push_stack).
func (e *env) pushPath(to, from int) (*state, *Error) {
	st := e.clone(e.st)
	e.leave(st, to, from)
	if len(e.pending) > maxJmpSeq {
		return nil, e.refuse(errno.EFAULT, "The sequence of %d jumps is too complex.", len(e.pending))
	}
	if st.parent != nil {
		st.parent.branches++
	}
	return st, nil
}

// checkJump checks a conditional jump at e.insn and follows the way on, leaving
// the jump for later if both are open (check_cond_jmp_op). It moves e.insn to
// the slot before the next.
func (e *env) checkJump(ins isa.Instruction) *Error {
	op := ins.Op.JumpOp()
	if op == isa.Ja || op > isa.Jcond {
		return e.refuse(errno.EINVAL, "invalid BPF_JMP/JMP32 opcode %x", op)
	}
	if op == isa.Jcond {
		return e.checkMayGoto(ins)
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	regs := e.regs()
	dst := &regs[ins.Dst]
	x := ins.Op.UsesReg()
	sub := ins.Op.Class() == isa.ClassJMP32
	var imm reg
	src := &imm
	var flags histFlags
	if x {
		if ins.Imm != 0 {
			return e.refuse(errno.EINVAL, "BPF_JMP/JMP32 uses reserved fields")
		}
		if err := e.readReg(ins.Src); err != nil {
			return err
		}
		src = &regs[ins.Src]
		if !(dst.typ.isPktAny() && src.typ.isPktAny()) && e.isPointer(src) {
			return e.refuse(errno.EACCES, "R%d pointer comparison prohibited", ins.Src)
		}
		if src.typ == ptrToStack {
			flags |= histSrcPtr
		}
	} else {
		if ins.Src != 0 {
			return e.refuse(errno.EINVAL, "BPF_JMP/JMP32 uses reserved fields")
		}
		imm = reg{typ: scalarValue, scalar: constScalar(uint64(int64(ins.Imm)))}
	}
	if dst.typ == ptrToStack {
		flags |= histDstPtr
	}
	if flags != 0 {
		e.pushHist(flags, nil)
	}

	if way := decideRegs(dst, src, op, sub); way != jumpUnknown {
		return e.followOnly(ins, way, dst, src, x)
	}

	e.noteJump(true)
	e.noteJump(false)
	var linked linkedRegs
	if x && src.typ == scalarValue && src.id != 0 {
		e.collectLinked(src.id, &linked)
	}
	if dst.typ == scalarValue && dst.id != 0 {
		e.collectLinked(dst.id, &linked)
	}
	if linked.n > 1 {
		e.pushHist(0, &linked)
	}
	other, err := e.pushPath(e.insn+int(ins.Off)+1, e.insn)
	if err != nil {
		return err
	}
	oregs := other.regs()
	odst, osrc := &oregs[ins.Dst], &oregs[ins.Src]
	if !x {
		immCopy := imm
		osrc = &immCopy
	}
	if err := e.refineBoth(odst, osrc, dst, src, op, sub); err != nil {
		return err
	}
	if x && src.typ == scalarValue && src.id != 0 {
		e.syncLinked(e.st, src, &linked)
		e.syncLinked(other, osrc, &linked)
	}
	if dst.typ == scalarValue && dst.id != 0 {
		e.syncLinked(e.st, dst, &linked)
		e.syncLinked(other, odst, &linked)
	}
	if x && !sub && dst.typ != scalarValue && src.typ != scalarValue &&
		src.typ.base() != ptrToBTF && dst.typ.base() != ptrToBTF {
		// A pointer that equals one known not to be NULL is not NULL.
		eq := oregs
		if op == isa.Jne {
			eq = regs
		}
		if op == isa.Jeq || op == isa.Jne {
			dn, sn := dst.notNull(), src.notNull()
			if dn && src.mayBeNull() {
				e.setNotNull(&eq[ins.Src])
			}
			if sn && dst.mayBeNull() {
				e.setNotNull(&eq[ins.Dst])
			}
		}
	}
	if !x && !sub && ins.Imm == 0 && (op == isa.Jeq || op == isa.Jne) && dst.mayBeNull() {
		id, ref := dst.id, dst.ref
		e.nullChecked(e.st, id, ref, op == isa.Jne)
		e.nullChecked(other, id, ref, op == isa.Jeq)
	} else if !(x && !sub && e.matchPkt(ins, op, dst, src, e.st, other)) && e.isPointer(dst) {
		return e.refuse(errno.EACCES, "R%d pointer comparison prohibited", ins.Dst)
	}
	if e.level12 {
		e.logInsnState(e.st.frame())
	}
	return nil
}

// followOnly goes the one way a decided jump can go.
func (e *env) followOnly(ins isa.Instruction, way int, dst, src *reg, x bool) *Error {
	if dst.typ == scalarValue {
		if err := e.markPrecise(ins.Dst); err != nil {
			return err
		}
	}
	if x && src.typ == scalarValue {
		if err := e.markPrecise(ins.Src); err != nil {
			return err
		}
	}
	if !e.priv {
		// The other way is what a processor may guess.
		other := e.insn + 1
		if way == jumpNever {
			other += int(ins.Off)
		}
		if err := e.pushGuess(other, &ins); err != nil {
			return err
		}
	}
	if e.level12 {
		e.logInsnState(e.st.frame())
	}
	e.noteJump(way == jumpAlways)
	if way == jumpAlways {
		e.insn += int(ins.Off)
	}
	return nil
}

// noteJump remembers that a jump was, or was not, taken: in earnest, not by a guess.
func (e *env) noteJump(taken bool) {
	a := &e.aux[e.insn]
	switch {
	case e.st.speculative:
	case taken:
		a.taken = true
		a.trips++
	default:
		a.fallthru = true
	}
}

// checkMayGoto follows the loop's exit first; how often it is not taken is
// limited when the program runs.
func (e *env) checkMayGoto(ins isa.Instruction) *Error {
	if ins.Op != opJcond || ins.Src != 0 || ins.Dst != 0 || ins.Imm != 0 {
		return e.refuse(errno.EINVAL, "invalid may_goto imm %d", ins.Imm)
	}
	if a := &e.aux[e.insn]; !e.st.speculative {
		a.taken, a.fallthru = true, true
	}
	var prev *state
	if e.st.parent != nil {
		prev = e.findPrevEntry(e.st.parent, e.insn)
	}
	next, err := e.pushPath(e.insn+1, e.insn)
	if err != nil {
		return err
	}
	next.mayGotoDepth++
	if prev != nil {
		e.widen(prev, next)
	}
	e.insn += int(ins.Off)
	return nil
}

// refineBoth refines the operands on both ways: odst and osrc where the jump
// is taken, dst and src where it is not (reg_set_min_max). Where a register is
// compared with itself they are one; what is then learnt of the way no run goes does not matter.
func (e *env) refineBoth(odst, osrc, dst, src *reg, op isa.Opcode, sub bool) *Error {
	if dst.typ != scalarValue || src.typ != scalarValue {
		return nil
	}
	refine(&dst.scalar, &src.scalar, negated(op), sub)
	dst.sync()
	src.sync()
	refine(&odst.scalar, &osrc.scalar, op, sub)
	odst.sync()
	osrc.sync()
	for _, c := range [...]struct {
		r   *reg
		ctx string
	}{{odst, "true_reg1"}, {osrc, "true_reg2"}, {dst, "false_reg1"}, {src, "false_reg2"}} {
		if err := e.sanityCheck(c.r, c.ctx); err != nil {
			return err
		}
	}
	return nil
}

// collectLinked lists the registers and slots with a scalar id; those beyond
// the sixth lose it (collect_linked_regs).
func (e *env) collectLinked(id uint32, l *linkedRegs) {
	id &^= addConst
	one := func(r *reg, frame, index int, isReg bool) {
		if r.typ != scalarValue || r.id&^addConst != id {
			return
		}
		if l.n == maxLinked {
			r.clearID()
			return
		}
		l.r[l.n] = linkedReg{frame: uint8(frame), index: uint8(index), isReg: isReg}
		l.n++
	}
	for i := e.st.cur; i >= 0; i-- {
		f := e.st.frames[i]
		live := e.aux[e.st.insnOf(i)].live // what is learnt of others, nobody reads
		for j := 0; j < int(isa.RFP); j++ {
			if live&(1<<j) != 0 {
				one(&f.regs[j], i, j, true)
			}
		}
		for j := range f.stack {
			if f.stack[j].isSpill() {
				one(&f.stack[j].reg, i, j, false)
			}
		}
	}
}

// syncLinked tells all registers linked to known what was learnt of it (sync_linked_regs).
func (e *env) syncLinked(st *state, known *reg, l *linkedRegs) {
	for _, lr := range l.r[:l.n] {
		f := st.frames[lr.frame]
		r := &f.regs[min(int(lr.index), int(isa.RFP))]
		if !lr.isReg {
			r = &f.stack[lr.index].reg
		}
		if r == known || r.typ != scalarValue || r.id&^addConst != known.id&^addConst {
			continue
		}
		if (r.id^known.id)&addConst == addConst {
			continue // distances in different widths do not add up
		}
		if (r.id|known.id)&addConst == 0 || r.off == known.off {
			*r = *known
			continue
		}
		id, off := r.id, r.off
		delta := constScalar(uint64(int64(off) - int64(known.off)))
		narrow := (id|known.id)&addConst32 != 0
		*r = *known
		r.id, r.off = id, off
		r.scalar.add(&delta)
		if narrow {
			r.scalar.zext()
		}
		r.scalar.sync()
	}
}

// setNotNull makes a pointer that was checked one that is not NULL (mark_ptr_not_null_reg).
func (e *env) setNotNull(r *reg) {
	if r.typ.base() != ptrToMapValue {
		r.typ &^= mayBeNull
		return
	}
	switch m := r.m; {
	case m.Inner != nil:
		r.typ = constPtrToMap
		r.m = m.Inner
		if mapHasTimers(m.Inner) {
			r.mapUID = r.id
		}
	case isXSKMap(m):
		r.typ = ptrToXDPSock
	case isSockMap(m):
		r.typ = ptrToSocket
	default:
		r.typ = ptrToMapValue
	}
}

// nullChecked tells all pointers with that id in st that they are, or are not,
// NULL (mark_ptr_or_null_regs).
func (e *env) nullChecked(st *state, id, ref uint32, isNull bool) {
	if ref != 0 && ref == id && isNull {
		st.dropRef(id) // nothing was acquired
	}
	st.eachReg(func(r *reg) {
		if !r.mayBeNull() || r.id != id || id == 0 && !r.typ.has(rcu) {
			return
		}
		if r.smin != 0 || r.smax != 0 || !r.bits.is(0) {
			return
		}
		if !r.typ.isAllocObj() && r.off != 0 {
			return
		}
		if isNull {
			// The offset of a linked list node stays out of it: NULL is 0.
			r.setConst(0)
			r.precise = !e.capable
			return
		}
		e.setNotNull(r)
		if !r.hasLock(e) {
			r.id = 0
		}
	})
}

// matchPkt learns from comparing a packet pointer with the packet's end, or a
// metadata pointer with the packet's start (try_match_pkt_pointers).
func (e *env) matchPkt(ins isa.Instruction, op isa.Opcode, dst, src *reg, this, other *state) bool {
	pair := func(p, end *reg) bool {
		return p.typ == ptrToPacket && end.typ == ptrToPacketEnd || p.typ == ptrToPacketMeta && end.isStartOf(ptrToPacket)
	}
	ptr, n := dst, ins.Dst
	switch {
	case pair(dst, src):
	case pair(src, dst):
		ptr, n, op = src, ins.Src, swapped(op)
	default:
		return false
	}
	// Now it reads: if ptr op end goto other.
	switch op {
	case isa.Jgt:
		e.pktInside(this, ptr, false)
		markPktEnd(other, n, true)
	case isa.Jlt:
		e.pktInside(other, ptr, true)
		markPktEnd(this, n, false)
	case isa.Jge:
		e.pktInside(this, ptr, true)
		markPktEnd(other, n, false)
	case isa.Jle:
		e.pktInside(other, ptr, false)
		markPktEnd(this, n, true)
	default:
		return false
	}
	return true
}

// pktInside notes that ptr lies at most at the packet's end, or before it
// (open): all pointers that differ from it by constants may read up to there
// (find_good_pkt_pointers).
//
//	 id's variable part         off
//	├───────────────────┼──────────────────┤ ptr ≤ end
//	                    ^ rng counts from here
func (e *env) pktInside(st *state, ptr *reg, open bool) {
	off, umax := ptr.off, ptr.umax
	if off < 0 || off == 0 && open {
		return
	}
	if umax > maxPacketOff || umax+uint64(off) > maxPacketOff {
		return
	}
	rng := off
	if open {
		rng++
	}
	t, id := ptr.typ, ptr.id
	st.eachReg(func(r *reg) {
		if r.typ == t && r.id == id {
			r.rng = max(r.rng, rng)
		}
	})
}

// markPktEnd notes that register n lies at the packet's end or beyond it.
func markPktEnd(st *state, n isa.Register, open bool) {
	r := &st.regs()[n]
	if r.typ != ptrToPacket {
		return
	}
	if open {
		r.rng = beyondPktEnd
	} else {
		r.rng = atPktEnd
	}
}
