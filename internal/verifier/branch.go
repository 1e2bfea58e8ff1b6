package verifier

import (
	"math/bits"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// Outcomes of a conditional jump.
const (
	jumpUnknown = -1
	jumpNever   = 0
	jumpAlways  = 1
)

// swapped is the operator that compares the same with the operands exchanged.
func swapped(op isa.Opcode) isa.Opcode {
	switch op {
	case isa.Jge:
		return isa.Jle
	case isa.Jgt:
		return isa.Jlt
	case isa.Jle:
		return isa.Jge
	case isa.Jlt:
		return isa.Jgt
	case isa.Jsge:
		return isa.Jsle
	case isa.Jsgt:
		return isa.Jslt
	case isa.Jsle:
		return isa.Jsge
	case isa.Jslt:
		return isa.Jsgt
	}
	return op
}

// jnset holds where jset does not jump; no instruction has it.
const jnset = isa.Jset | isa.SrcX

// negated is the operator that holds where op does not.
func negated(op isa.Opcode) isa.Opcode {
	switch op {
	case isa.Jeq:
		return isa.Jne
	case isa.Jne:
		return isa.Jeq
	case isa.Jset:
		return jnset
	case isa.Jge:
		return isa.Jlt
	case isa.Jgt:
		return isa.Jle
	case isa.Jle:
		return isa.Jgt
	case isa.Jlt:
		return isa.Jge
	case isa.Jsge:
		return isa.Jslt
	case isa.Jsgt:
		return isa.Jsle
	case isa.Jsle:
		return isa.Jsgt
	case isa.Jslt:
		return isa.Jsge
	}
	return op
}

// differ reports whether a and b can never be equal.
func differ(a, b *scalar, sub bool) bool {
	if a.u32min > b.u32max || a.u32max < b.u32min || a.s32min > b.s32max || a.s32max < b.s32min {
		return true
	}
	if sub {
		return !a.bits.subreg().overlaps(b.bits.subreg())
	}
	return a.umin > b.umax || a.umax < b.umin || a.smin > b.smax || a.smax < b.smin || !a.bits.overlaps(b.bits)
}

// order decides a < b or a <= b from ranges, or does not.
func order[T int64 | uint64](amin, amax, bmin, bmax T, orEqual bool) int {
	if orEqual {
		switch {
		case amax <= bmin:
			return jumpAlways
		case amin > bmax:
			return jumpNever
		}
		return jumpUnknown
	}
	switch {
	case amax < bmin:
		return jumpAlways
	case amin >= bmax:
		return jumpNever
	}
	return jumpUnknown
}

// decide says how comparing numbers a and b must come out (is_scalar_branch_taken).
func decide(a, b *scalar, op isa.Opcode, sub bool) int {
	switch op {
	case isa.Jeq, isa.Jne:
		eq := jumpUnknown
		av, ak := a.known(sub)
		bv, bk := b.known(sub)
		switch {
		case ak && bk && av == bv:
			eq = jumpAlways
		case ak && bk || differ(a, b, sub):
			eq = jumpNever
		}
		if op == isa.Jne && eq != jumpUnknown {
			eq = 1 - eq
		}
		return eq
	case isa.Jset:
		v, ok := b.known(sub)
		if !ok {
			if v, ok = a.known(sub); !ok {
				return jumpUnknown
			}
			a = b
		}
		t := a.bits
		if sub {
			t = t.subreg()
		}
		switch {
		case t.value&^t.mask&v != 0:
			return jumpAlways
		case (t.value|t.mask)&v == 0:
			return jumpNever
		}
		return jumpUnknown
	case isa.Jgt, isa.Jge, isa.Jsgt, isa.Jsge:
		return decide(b, a, swapped(op), sub)
	}
	orEqual := op == isa.Jle || op == isa.Jsle
	if op == isa.Jlt || op == isa.Jle {
		if sub {
			return order(uint64(a.u32min), uint64(a.u32max), uint64(b.u32min), uint64(b.u32max), orEqual)
		}
		return order(a.umin, a.umax, b.umin, b.umax, orEqual)
	}
	if sub {
		return order(int64(a.s32min), int64(a.s32max), int64(b.s32min), int64(b.s32max), orEqual)
	}
	return order(a.smin, a.smax, b.smin, b.smax, orEqual)
}

// decidePkt is decide for a packet pointer that was already found at or beyond
// the packet's end (is_pkt_ptr_branch_taken).
func decidePkt(a, b *reg, op isa.Opcode) int {
	pkt := a
	switch {
	case b.typ == ptrToPacketEnd:
	case a.typ == ptrToPacketEnd:
		pkt, op = b, swapped(op)
	default:
		return jumpUnknown
	}
	yes := func(b bool) int {
		if b {
			return jumpAlways
		}
		return jumpNever
	}
	switch {
	case pkt.rng >= 0:
	case op == isa.Jle || op == isa.Jgt:
		if pkt.rng == beyondPktEnd {
			return yes(op == isa.Jgt)
		}
	case op == isa.Jlt || op == isa.Jge:
		return yes(op == isa.Jge)
	}
	return jumpUnknown
}

// decideRegs is decide for any two values (is_branch_taken).
func decideRegs(a, b *reg, op isa.Opcode, sub bool) int {
	if a.typ.isPktAny() && b.typ.isPktAny() && !sub {
		return decidePkt(a, b, op)
	}
	if a.typ == scalarValue && b.typ == scalarValue {
		return decide(&a.scalar, &b.scalar, op, sub)
	}
	if sub {
		return jumpUnknown
	}
	if _, ok := b.constVal(false); !ok {
		a, b = b, a
	}
	v, ok := b.constVal(false)
	if !ok || v != 0 || !a.notNull() {
		return jumpUnknown
	}
	switch op {
	case isa.Jeq:
		return jumpNever
	case isa.Jne:
		return jumpAlways
	}
	return jumpUnknown
}

// refine cuts a and b down to where a op b holds (regs_refine_cond_op); sync follows.
func refine(a, b *scalar, op isa.Opcode, sub bool) {
	switch op {
	case isa.Jge, isa.Jgt, isa.Jsge, isa.Jsgt:
		op = swapped(op)
		a, b = b, a
	case isa.Jne, isa.Jset, jnset:
		if _, ok := b.known(sub); !ok {
			a, b = b, a
		}
		v, ok := b.known(sub)
		if ok {
			refineConst(a, v, op, sub)
		}
		return
	}
	switch op {
	case isa.Jeq:
		refineEqual(a, b, sub)
	case isa.Jle:
		if sub {
			a.u32max = min(a.u32max, b.u32max)
			b.u32min = max(a.u32min, b.u32min)
		} else {
			a.umax = min(a.umax, b.umax)
			b.umin = max(a.umin, b.umin)
		}
	case isa.Jlt:
		if sub {
			a.u32max = min(a.u32max, b.u32max-1)
			b.u32min = max(a.u32min+1, b.u32min)
		} else {
			a.umax = min(a.umax, b.umax-1)
			b.umin = max(a.umin+1, b.umin)
		}
	case isa.Jsle:
		if sub {
			a.s32max = min(a.s32max, b.s32max)
			b.s32min = max(a.s32min, b.s32min)
		} else {
			a.smax = min(a.smax, b.smax)
			b.smin = max(a.smin, b.smin)
		}
	case isa.Jslt:
		if sub {
			a.s32max = min(a.s32max, b.s32max-1)
			b.s32min = max(a.s32min+1, b.s32min)
		} else {
			a.smax = min(a.smax, b.smax-1)
			b.smin = max(a.smin+1, b.smin)
		}
	}
}

func refineEqual(a, b *scalar, sub bool) {
	if sub {
		a.u32min, a.u32max = max(a.u32min, b.u32min), min(a.u32max, b.u32max)
		a.s32min, a.s32max = max(a.s32min, b.s32min), min(a.s32max, b.s32max)
		b.u32min, b.u32max, b.s32min, b.s32max = a.u32min, a.u32max, a.s32min, a.s32max
		t := a.bits.subreg().intersect(b.bits.subreg())
		a.bits, b.bits = a.bits.withSubreg(t), b.bits.withSubreg(t)
		return
	}
	a.umin, a.umax = max(a.umin, b.umin), min(a.umax, b.umax)
	a.smin, a.smax = max(a.smin, b.smin), min(a.smax, b.smax)
	b.umin, b.umax, b.smin, b.smax = a.umin, a.umax, a.smin, a.smax
	a.bits = a.bits.intersect(b.bits)
	b.bits = a.bits
}

// refineConst cuts a down to where it differs from v, or shares, or does not share, a bit with it.
func refineConst(a *scalar, v uint64, op isa.Opcode, sub bool) {
	switch {
	case op == isa.Jne && sub:
		if a.u32min == uint32(v) {
			a.u32min++
		}
		if a.u32max == uint32(v) {
			a.u32max--
		}
		if a.s32min == int32(v) {
			a.s32min++
		}
		if a.s32max == int32(v) {
			a.s32max--
		}
	case op == isa.Jne:
		if a.umin == v {
			a.umin++
		}
		if a.umax == v {
			a.umax--
		}
		if a.smin == int64(v) {
			a.smin++
		}
		if a.smax == int64(v) {
			a.smax--
		}
	case op == isa.Jset:
		if bits.OnesCount64(v) == 1 {
			a.bits.value |= v
			a.bits.mask &^= v
		}
	default: // jnset
		// Ranges that contradict the bits, on a branch no run takes, must not meet them.
		a.unbound()
		if sub {
			a.bits = a.bits.withSubreg(a.bits.subreg().and(tnumConst(^v)))
		} else {
			a.bits = a.bits.and(tnumConst(^v))
		}
	}
}

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
