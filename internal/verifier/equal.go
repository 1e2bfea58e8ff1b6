package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// exactness says how alike states must be for the older to stand for the newer.
type exactness uint8

const (
	// notExact: whatever may happen from the newer may happen from the older,
	// as far as the older's future cared. Only for states whose future is known.
	notExact exactness = iota
	// exact: the same, to the last known bit: a loop without progress.
	exact
	// rangeWithin: as notExact, but caring for every number, since the older's
	// future is not all known.
	rangeWithin
)

// idMap pairs the ids of two states: an id names the same thing in both if it
// is paired with the same id everywhere (struct bpf_idmap).
type idMap struct {
	tmp   uint32
	pairs []idPair
}

type idPair struct{ old, cur uint32 }

const maxIDs = (int(isa.RFP) + 1 + maxSlots) * isa.MaxCallFrames

func (m *idMap) reset(gen uint32) {
	m.tmp = gen
	m.pairs = m.pairs[:0]
}

func (m *idMap) same(old, cur uint32) bool {
	if (old != 0) != (cur != 0) {
		return false
	}
	if old == 0 {
		return true
	}
	for _, p := range m.pairs {
		if p.old == old {
			return p.cur == cur
		}
		if p.cur == cur {
			return false
		}
	}
	if len(m.pairs) >= maxIDs {
		return false
	}
	m.pairs = append(m.pairs, idPair{old, cur})
	return true
}

// sameScalar pairs the ids of numbers. An older number without links is fine with any.
func (m *idMap) sameScalar(old, cur uint32) bool {
	if old == 0 {
		return true
	}
	if cur == 0 {
		m.tmp++
		cur = m.tmp
	}
	if !m.same(old, cur) {
		return false
	}
	if old&addConst != 0 {
		return m.same(old&^addConst, cur&^addConst)
	}
	return true
}

// sameShape compares everything but ids, reference, marks and the scalar part.
func (r *reg) sameShape(o *reg) bool {
	return r.typ == o.typ && r.off == o.off && r.rng == o.rng && r.size == o.size &&
		r.mapUID == o.mapUID && r.dynptr == o.dynptr && r.subprog == o.subprog && r.depth == o.depth &&
		r.dyn == o.dyn && r.dynFirst == o.dynFirst && r.iter == o.iter &&
		r.m == o.m && r.btf == o.btf
}

func (e *env) sameReg(old, cur *reg) bool {
	return old.sameShape(cur) && old.scalar == cur.scalar &&
		e.ids.same(old.id, cur.id) && e.ids.same(old.ref, cur.ref)
}

// regSafe reports whether cur may be treated as old was (regsafe).
func (e *env) regSafe(old, cur *reg, level exactness) bool {
	if level == exact {
		return e.sameReg(old, cur)
	}
	if old.typ == notInit {
		return true // nothing can have read it
	}
	if old.typ != cur.typ {
		return false
	}
	switch old.typ.base() {
	case scalarValue:
		if e.exploreALU {
			return old.sameShape(cur) && old.scalar == cur.scalar && e.ids.sameScalar(old.id, cur.id)
		}
		if !old.precise && level == notExact && e.recorder == nil {
			return true // claims recorded after old must hold for cur too
		}
		if old.id != 0 && (old.id^cur.id)&addConst != 0 || old.id&addConst != 0 && old.off != cur.off {
			return false
		}
		return e.ids.sameScalar(old.id, cur.id) && old.contains(&cur.scalar)
	case ptrToMapKey, ptrToMapValue, ptrToMem, ptrToBuf, ptrToTPBuffer:
		return old.sameShape(cur) && old.contains(&cur.scalar) &&
			e.ids.same(old.id, cur.id) && e.ids.same(old.ref, cur.ref)
	case ptrToPacketMeta, ptrToPacket:
		if old.rng < 0 || cur.rng < 0 {
			if old.rng != cur.rng {
				return false
			}
		} else if old.rng > cur.rng {
			return false // more was proven readable before
		}
		return old.off == cur.off && e.ids.same(old.id, cur.id) && old.contains(&cur.scalar)
	case ptrToStack:
		return e.sameReg(old, cur) && old.frame == cur.frame
	case ptrToArena:
		return true
	}
	return e.sameReg(old, cur)
}

// unknownReg stands for bytes that are some number.
var unknownReg = reg{typ: scalarValue, scalar: unknownScalar}

// numberIn returns the number a slot holds as a whole, or nil.
func (e *env) numberIn(s *slot) *reg {
	if s.isSpillScalar64() {
		return &s.reg
	}
	for _, k := range s.kind {
		if k != byteMisc && !(k == byteInvalid && e.priv) {
			return nil
		}
	}
	return &unknownReg
}

// stackSafe compares stacks byte by byte (stacksafe). The privileged may read
// what they never wrote: to them unwritten bytes are some number.
func (e *env) stackSafe(old, cur *frame, level exactness) bool {
	for i := range old.stack {
		o := &old.stack[i]
		var c *slot
		if i < len(cur.stack) {
			c = &cur.stack[i]
		}
		if level == exact {
			if c == nil {
				if o.kind != [regSize]byteKind{} {
					return false
				}
				continue
			}
			if o.kind != c.kind {
				return false
			}
		}
		if level != exact && c != nil {
			if on, cn := e.numberIn(o), e.numberIn(c); on != nil && cn != nil {
				if !e.slotIgnored(o) && !e.regSafe(on, cn, level) {
					return false
				}
				continue
			}
		}
		spill := false
		for j, ok := range o.kind {
			if ok == byteInvalid || ok == byteMisc && e.priv {
				continue
			}
			if c == nil {
				return false
			}
			ck := c.kind[j]
			if ok == byteMisc && ck == byteZero {
				continue
			}
			if ok != ck {
				return false
			}
			spill = spill || j == regSize-1
		}
		if spill && !e.objectSafe(o, c, level) {
			return false
		}
	}
	return true
}

// slotIgnored reports whether no byte of an older slot matters.
func (e *env) slotIgnored(o *slot) bool {
	for _, k := range o.kind {
		if k != byteInvalid && !(k == byteMisc && e.priv) {
			return false
		}
	}
	return true
}

// objectSafe compares what two slots of the same kind hold.
func (e *env) objectSafe(o, c *slot, level exactness) bool {
	switch o.top() {
	case byteSpill:
		return e.regSafe(&o.reg, &c.reg, level)
	case byteDynptr:
		return o.reg.dyn == c.reg.dyn && o.reg.dynFirst == c.reg.dynFirst && e.ids.same(o.reg.ref, c.reg.ref)
	case byteIter:
		return o.reg.typ == c.reg.typ && o.reg.btf == c.reg.btf && o.reg.iter == c.reg.iter && e.ids.same(o.reg.ref, c.reg.ref)
	case byteIRQ:
		return e.ids.same(o.reg.ref, c.reg.ref) && o.reg.depth == c.reg.depth
	}
	return true
}

// refsSafe compares what is held: locks, references, disabled preemption (refsafe).
func (e *env) refsSafe(old, cur *state) bool {
	if len(old.refs) != len(cur.refs) || old.preempt != cur.preempt || old.rcuLock != cur.rcuLock ||
		old.activeLocks != cur.activeLocks || !e.ids.same(old.irqID, cur.irqID) ||
		!e.ids.same(old.lockID, cur.lockID) || old.lockObj != cur.lockObj {
		return false
	}
	for i := range old.refs {
		o, c := &old.refs[i], &cur.refs[i]
		if o.kind != c.kind || !e.ids.same(o.id, c.id) || o.obj != c.obj {
			return false
		}
	}
	return true
}

// statesEqual reports whether every run that is safe from old is safe from cur (states_equal).
func (e *env) statesEqual(old, cur *state, level exactness) bool {
	if old.cur != cur.cur || old.speculative && !cur.speculative || old.inSleepable != cur.inSleepable {
		return false
	}
	e.ids.reset(e.idGen)
	if !e.refsSafe(old, cur) {
		return false
	}
	for i := 0; i <= old.cur; i++ {
		of, cf := old.frames[i], cur.frames[i]
		if of.callSite != cf.callSite || of.subprog != cf.subprog || of.callbackDepth > cf.callbackDepth {
			return false
		}
		live := e.aux[old.insnOf(i)].live | 1<<isa.RFP
		for r := range of.regs {
			if live&(1<<r) != 0 && !e.regSafe(&of.regs[r], &cf.regs[r], level) {
				return false
			}
		}
		if !e.stackSafe(of, cf, level) || i < old.cur && !e.loopsAsOften(old.insnOf(i), of, cf) {
			return false
		}
	}
	return true
}

// loopsAsOften reports whether from inside a callback of bpf_loop no more turns
// follow in cur than did in old: R1 of the caller, precise where the helper is
// called, is not so inside. Linux 6.18 does not ask this.
func (e *env) loopsAsOften(site int32, old, cur *frame) bool {
	if ins := e.insns[site]; !ins.IsHelperCall() || ins.Imm != int32(catalog.FnLoop) {
		return true
	}
	return old.regs[isa.R1].umax >= cur.regs[isa.R1].umax
}
