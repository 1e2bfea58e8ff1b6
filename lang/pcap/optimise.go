package pcap

import (
	"fmt"
	"math/bits"

	c "github.com/skep-bpf/skep/classic"
)

// pass is a pass of the optimiser. Analyses, whose answers later passes read,
// change no code.
type pass struct {
	name     string
	analysis bool
	run      func(*optimiser)
}

// loops are what the optimiser does to the flow graph: the passes of a loop
// one after the other, until a round of them changes nothing, loop by loop.
// Which code comes out depends on the order of passes, and on that in which
// they visit blocks: both are libpcap's.
//
// The first loop moves edges, by the numbers it gives to values. The second
// also drops and folds statements by them. The passes over a block (values,
// peephole, dead stores) are run on one block after the other, since each
// block's values begin where its predecessors' end; see optimiser.block.
var loops = [...][]pass{
	{
		{"levels", true, (*optimiser).findLevels},
		{"dominators", true, (*optimiser).findDominators},
		{"uses", true, (*optimiser).findUses},
		{"edge dominators", true, (*optimiser).findEdgeDominators},
		{"peephole, dead stores", false, func(o *optimiser) { o.blocksDown(false) }},
		{"redirect edges", false, (*optimiser).redirectEdges},
		{"pull up tests", false, (*optimiser).pullUp},
	},
	{
		{"levels", true, (*optimiser).findLevels},
		{"uses", true, (*optimiser).findUses},
		{"values, peephole, dead stores", false, func(o *optimiser) { o.blocksDown(true) }},
	},
	{
		{"merge equal blocks", false, (*optimiser).mergeEqual},
	},
	{
		{"skip decided tests", false, (*optimiser).skipDecided},
	},
}

// optimiser is the state of the passes.
type optimiser struct {
	p      *program
	blocks []*block // by id
	edges  []*edge  // by id
	levels []*block // by level, the first of a list
	space  []uint64 // dominator sets
	sets   struct {
		dom, edgeDom []uint64 // all of them
		words        int      // of a set of blocks
		edgeWords    int      // of a set of edges
	}
	numbers numbering
	touched atoms    // by any instruction
	heads   []*block // of chains of blocks with the same hash

	done  bool // this round has changed nothing
	moved bool // this round has changed more than edges
	err   *Error
}

// maxEdgeRounds bounds the rounds in which nothing but edges move: they may
// move in circles.
const maxEdgeRounds = 100

// optimise runs all passes over p.
func (o *optimiser) optimise(p *program, opts *Options) *Error {
	o.err = nil
	o.p = p
	o.number()
	for i, loop := range loops {
		round := 1
		for idle := 0; idle < maxEdgeRounds; round++ {
			o.done, o.moved = true, false
			for _, pass := range loop {
				pass.run(o)
				if opts.Trace != nil && !pass.analysis {
					opts.trace(fmt.Sprintf("loop %d, round %d, %s", i+1, round, pass.name), p)
				}
			}
			if o.err != nil {
				return o.err
			}
			if o.done {
				break
			}
			if idle++; o.moved {
				idle = 0
			}
		}
	}
	if len(o.space) > maxKept {
		o.space, o.blocks, o.edges, o.levels, o.heads = nil, nil, nil, nil, nil
	}
	return nil
}

// maxKept is how many words of sets are kept for the next expression.
const maxKept = 1 << 16

// changed notes that something other than an edge has changed.
func (o *optimiser) changed() { o.done, o.moved = false, true }

// number gives ids to blocks and edges and makes room for the sets.
func (o *optimiser) number() {
	o.blocks = o.blocks[:0]
	o.p.walk()
	o.collect(o.p.root)

	n := len(o.blocks)
	s := &o.sets
	s.words, s.edgeWords = n/64+1, 2*n/64+1
	o.space = grow(o.space, n*s.words+2*n*s.edgeWords)
	o.levels = grow(o.levels, n)
	o.edges = grow(o.edges, 2*n)
	rest := o.space
	take := func(words int) (set []uint64) {
		set, rest = rest[:words:words], rest[words:]
		return set
	}
	for _, b := range o.blocks {
		b.dom = take(s.words)
	}
	s.dom = o.space[:n*s.words]
	s.edgeDom = rest
	stmts := 0
	o.touched = setA | setX
	for i, b := range o.blocks {
		b.t.dom, b.f.dom = take(s.edgeWords), take(s.edgeWords)
		b.t.id, b.f.id = int32(i), int32(n+i)
		o.edges[i], o.edges[n+i] = &b.t, &b.f
		for s := b.stmts.head; s != nil; s = s.next {
			o.touched |= writes(s.code, s.k)
			stmts++
		}
		stmts++
	}
	o.numbers.room(3 * stmts)
}

// grow returns a slice of n elements, s if it is long enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func (o *optimiser) collect(b *block) {
	if b == nil || !o.p.visit(b) {
		return
	}
	b.id = int32(len(o.blocks))
	o.blocks = append(o.blocks, b)
	o.collect(b.t.succ)
	o.collect(b.f.succ)
}

// blocksDown runs the passes over blocks, those farthest from a return first,
// so that what is known at the end of all predecessors is known at the start.
func (o *optimiser) blocksDown(alter bool) {
	o.numbers.reset()
	o.findInEdges()
	for level := o.p.root.level; level >= 0; level-- {
		for b := o.levels[level]; b != nil; b = b.link {
			o.block(b, alter)
		}
	}
}

// block runs the passes over one block.
func (o *optimiser) block(b *block, alter bool) {
	if b.in == nil {
		b.val = [numAtoms]valueNumber{}
	} else {
		b.val = b.in.pred.val
		for e := b.in.next; e != nil; e = e.next {
			from := &e.pred.val
			for rest := o.touched; rest != 0; rest &= rest - 1 {
				if i := rest.first(); b.val[i] != from[i] {
					b.val[i] = unknown
				}
			}
		}
	}
	a, x := b.val[atomA], b.val[atomX]
	for s := b.stmts.head; s != nil; s = s.next {
		o.value(s, &b.val, alter)
	}

	// A block that leaves everything as it was needs no statements, nor does
	// one that returns.
	same := b.outUse == 0 && a != unknown && b.val[atomA] == a && x != unknown && b.val[atomX] == x
	if alter && (same || b.code&c.ClassMask == c.RET) {
		if b.stmts.head != nil {
			b.stmts = list{}
			o.changed()
		}
	} else {
		o.peephole(b)
		o.deadStores(b)
	}

	if b.code&c.SrcMask == c.K {
		b.operand = o.numbers.constant(b.k)
	} else {
		b.operand = b.val[atomX]
	}
	b.t.code, b.f.code = b.code, -b.code
}

// mergeEqual makes one block of blocks with the same statements, jump and
// successors. The one that stays is the last by id.
func (o *optimiser) mergeEqual() {
	p := o.p
	p.walk()
	p.mark(p.root)
	o.heads = grow(o.heads, 1<<bits.Len(uint(len(o.blocks))))
	clear(o.heads)
	for i := len(o.blocks) - 1; i >= 0; i-- {
		b := o.blocks[i]
		b.link = nil
		if b.mark != p.walks {
			continue
		}
		head := &o.heads[b.hash()&uint32(len(o.heads)-1)]
		for d := *head; d != nil; d = d.chain {
			if b.equal(d) {
				b.link = d
				break
			}
		}
		if b.link == nil {
			b.chain, *head = *head, b
		}
	}
	for _, b := range o.blocks {
		for _, e := range [...]*edge{&b.t, &b.f} {
			if e.succ != nil && e.succ.link != nil {
				e.succ = e.succ.link
				o.changed()
			}
		}
	}
}

// hash returns the same for equal blocks.
func (b *block) hash() uint32 {
	h := uint32(b.code)*0x9e3779b1 ^ b.k*0x85ebca6b
	if b.t.succ != nil {
		h ^= uint32(b.t.succ.id)*0xc2b2ae35 ^ uint32(b.f.succ.id)*0x27d4eb2f
	}
	return h ^ h>>15
}

// mark visits all blocks that are still part of the program.
func (p *program) mark(b *block) {
	if p.visit(b) && b.t.succ != nil {
		p.mark(b.t.succ)
		p.mark(b.f.succ)
	}
}

// equal reports whether two blocks do the same.
func (b *block) equal(d *block) bool {
	if b.code != d.code || b.k != d.k || b.t.succ != d.t.succ || b.f.succ != d.f.succ {
		return false
	}
	s, t := skipNops(b.stmts.head), skipNops(d.stmts.head)
	for s != nil && t != nil {
		if s.code != t.code || s.k != t.k {
			return false
		}
		s, t = skipNops(s.next), skipNops(t.next)
	}
	return s == t
}

// skipNops returns the first statement from s on that has not been removed.
func skipNops(s *stmt) *stmt {
	for s != nil && s.code == nop {
		s = s.next
	}
	return s
}

// skipDecided goes, at the root, past tests of which both branches are one.
func (o *optimiser) skipDecided() {
	b := o.p.root
	stmts := b.stmts
	b.stmts = list{}
	for b.code&c.ClassMask == c.JMP && b.t.succ == b.f.succ {
		b = b.t.succ
	}
	stmts.add(b.stmts)
	if b.stmts = stmts; b.code&c.ClassMask == c.RET {
		b.stmts = list{}
	}
	o.p.root = b
}
