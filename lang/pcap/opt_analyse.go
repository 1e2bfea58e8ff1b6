package pcap

import (
	"math/bits"

	c "github.com/skep-bpf/skep/classic"
)

// atoms is a set of the things instructions read and write: the scratch slots
// and, after them, the registers.
type atoms uint32

const (
	atomA    = c.MemWords
	atomX    = c.MemWords + 1
	numAtoms = c.MemWords + 2

	setA = atoms(1) << atomA
	setX = atoms(1) << atomX
)

// first returns the first atom of a set that is not empty.
func (a atoms) first() int { return bits.TrailingZeros32(uint32(a)) }

// effect is what instructions of one code do to atoms. The optimiser asks so
// often that the answer has no branches.
type effect struct {
	reads, writes         atoms // registers
	readsSlot, writesSlot atoms // 1: the slot the instruction names
}

// effects are those of all codes; the last of them stands for nop.
var effects = func() (t [256]effect) {
	for code := range t {
		t[code] = effectOf(uint16(code))
	}
	t[uint8(nop&0xff)] = effect{}
	return t
}()

// reads returns the atoms an instruction reads.
func reads(code int32, k uint32) atoms {
	e := &effects[uint8(code)]
	return e.reads | e.readsSlot<<(k%32)
}

// writes returns the set of the one atom an instruction writes, or the empty set.
func writes(code int32, k uint32) atoms {
	e := &effects[uint8(code)]
	return e.writes | e.writesSlot<<(k%32)
}

func effectOf(code uint16) (e effect) {
	switch code & c.ClassMask {
	case c.LD, c.LDX:
		e.writes = setA
		if code&c.ClassMask == c.LDX {
			e.writes = setX
		}
		switch code & c.ModeMask {
		case c.IND:
			e.reads = setX
		case c.MEM:
			e.readsSlot = 1
		}
	case c.ST:
		e.reads, e.writesSlot = setA, 1
	case c.STX:
		e.reads, e.writesSlot = setX, 1
	case c.ALU:
		e.reads, e.writes = setA, setA
		if code&c.SrcMask == c.X {
			e.reads |= setX
		}
	case c.JMP:
		e.reads = setA
		if code&c.SrcMask == c.X {
			e.reads |= setX
		}
	case c.MISC:
		e.reads, e.writes = setA, setX
		if code&c.MiscMask == c.TXA {
			e.reads, e.writes = setX, setA
		}
	}
	return e // filters return constants
}

// findLevels puts the blocks into lists by their longest way to a return.
func (o *optimiser) findLevels() {
	clear(o.levels)
	o.p.walk()
	o.findLevel(o.p.root)
}

func (o *optimiser) findLevel(b *block) {
	if !o.p.visit(b) {
		return
	}
	b.level = 0
	if t, f := b.t.succ, b.f.succ; t != nil {
		o.findLevel(t)
		o.findLevel(f)
		b.level = max(t.level, f.level) + 1
	}
	b.link = o.levels[b.level]
	o.levels[b.level] = b
}

func hasBit(set []uint64, i int32) bool { return set[i/64]>>(uint(i)%64)&1 != 0 }
func setBit(set []uint64, i int32)      { set[i/64] |= 1 << (uint(i) % 64) }

func intersect(a, b []uint64) {
	for i, w := range b[:len(a)] {
		a[i] &= w
	}
}

// findDominators finds the blocks that are on every way to each block.
func (o *optimiser) findDominators() {
	for i := range o.sets.dom {
		o.sets.dom[i] = ^uint64(0)
	}
	clear(o.p.root.dom)
	for level := o.p.root.level; level >= 0; level-- {
		for b := o.levels[level]; b != nil; b = b.link {
			setBit(b.dom, b.id)
			if b.t.succ != nil {
				intersect(b.t.succ.dom, b.dom)
				intersect(b.f.succ.dom, b.dom)
			}
		}
	}
}

// findEdgeDominators finds the edges that are on every way over each edge.
func (o *optimiser) findEdgeDominators() {
	for i := range o.sets.edgeDom {
		o.sets.edgeDom[i] = ^uint64(0)
	}
	clear(o.p.root.t.dom)
	clear(o.p.root.f.dom)
	for level := o.p.root.level; level >= 0; level-- {
		for b := o.levels[level]; b != nil; b = b.link {
			b.t.dominate()
			b.f.dominate()
		}
	}
}

// dominate hands the edges that dominate e on to those behind it.
func (e *edge) dominate() {
	setBit(e.dom, e.id)
	if e.succ != nil {
		intersect(e.succ.t.dom, e.dom)
		intersect(e.succ.f.dom, e.dom)
	}
}

// findInEdges lists the edges into each block.
func (o *optimiser) findInEdges() {
	for _, b := range o.blocks {
		b.in = nil
	}
	for level := o.p.root.level; level > 0; level-- {
		for b := o.levels[level]; b != nil; b = b.link {
			b.t.next, b.t.succ.in = b.t.succ.in, &b.t
			b.f.next, b.f.succ.in = b.f.succ.in, &b.f
		}
	}
}

// findUses finds what each block reads before it writes it, and what its
// successors do.
func (o *optimiser) findUses() {
	top := o.p.root.level
	for level := top; level >= 0; level-- {
		for b := o.levels[level]; b != nil; b = b.link {
			b.findUses()
			b.outUse = 0
		}
	}
	for level := int32(1); level <= top; level++ {
		for b := o.levels[level]; b != nil; b = b.link {
			b.outUse |= b.t.succ.inUse | b.f.succ.inUse
			b.inUse |= b.outUse &^ b.kill
		}
	}
}

// findUses finds what the block alone reads and writes.
func (b *block) findUses() {
	var def, use, kill atoms
	for s := b.stmts.head; s != nil; s = s.next {
		use |= reads(s.code, s.k) &^ def
		w := writes(s.code, s.k)
		kill |= w &^ use
		def |= w
	}
	use |= reads(b.code, b.k) &^ def
	b.kill, b.inUse = kill, use
}
