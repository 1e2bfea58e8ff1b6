package pcap

import c "github.com/skep-bpf/skep/classic"

// stmt is one instruction before it has a place in the program. Those of a
// block form a list. In a few lists there are jumps, to other instructions of
// the same list.
type stmt struct {
	code   int32 // a classic code, or nop
	k      uint32
	jt, jf *stmt // of a jump inside the list
	next   *stmt
}

// nop is the code of an instruction the optimiser has removed.
const nop = -1

// list is a list of instructions.
type list struct{ head, tail *stmt }

// add appends the instructions of m.
func (l *list) add(m list) {
	switch {
	case m.head == nil:
	case l.head == nil:
		*l = m
	default:
		l.tail.next = m.head
		l.tail = m.tail
	}
}

// block is a node of the flow graph: instructions, and the jump or return
// that ends them.
type block struct {
	stmts list
	code  int32 // of the jump or return
	k     uint32
	t, f  edge // where the jump goes; nil successors in a returning block

	id    int32
	mark  uint32 // last walk that came by, see program.walk
	level int32  // longest way to a return
	link  *block // next of the same level, or the block this one is equal to
	chain *block // next of the same hash

	// For emission.
	offset       int
	longT, longF bool // the jump needs a ja to reach

	// For the optimiser, see optimise.go.
	dom           []uint64
	in            *edge
	kill          atoms
	inUse, outUse atoms
	operand       valueNumber
	val           [numAtoms]valueNumber
}

// edge is a way out of a block.
type edge struct {
	succ, pred *block
	next       *edge // in a list of edges: open ones first, later those into succ
	code       int32 // code of pred's jump, negative on its false edge
	id         int32
	dom        []uint64
}

// edges is a list of edges that lead nowhere yet.
type edges struct{ head, tail *edge }

func (l *edges) add(m edges) {
	switch {
	case m.head == nil:
	case l.head == nil:
		*l = m
	default:
		l.tail.next = m.head
		l.tail = m.tail
	}
}

// lead makes all edges of the list go to b.
func (l edges) lead(b *block) {
	for e := l.head; e != nil; {
		next := e.next
		e.succ, e.next = b, nil
		e = next
	}
}

// cond is a piece of flow graph with one entry that decides something: its
// edges leave it where the answer is yes, or no.
type cond struct {
	head    *block
	yes, no edges
}

// and returns the condition that asks a, then b.
//
//	     ┌───┐ yes ┌───┐ yes
//	────►│ a ├────►│ b ├────►
//	     └─┬─┘     └─┬─┘
//	       └────no───┴────────►
func and(a, b cond) cond {
	a.yes.lead(b.head)
	b.no.add(a.no)
	return cond{a.head, b.yes, b.no}
}

// or returns the condition that asks a, then b if the answer was no.
func or(a, b cond) cond {
	a.no.lead(b.head)
	b.yes.add(a.yes)
	return cond{a.head, b.yes, b.no}
}

// not returns the condition with its answers exchanged.
func not(a cond) cond { return cond{a.head, a.no, a.yes} }

// graph makes the flow graph of an expression: conditions of syntax nodes, and
// the state that one primitive leaves to those after it: how far vlan, mpls
// and the like have moved the headers, and which scratch slots are taken.
type graph struct {
	opts    *Options
	link    linkState
	stmts   slab[stmt]
	blocks  slab[block]
	used    [c.MemWords]bool // scratch slots that are taken
	slot    int              // the next to try
	asIs    bool             // the graph has loops or jumps the optimiser does not follow
	at      *node            // what is being compiled, for error messages
	refused *Error           // why an identifier has no target
	err     *Error
}

// reset prepares the graph for an expression.
func (g *graph) reset(opts *Options) {
	g.opts = opts
	g.stmts.reset()
	g.blocks.reset()
	g.used, g.slot = [c.MemWords]bool{}, 0
	g.asIs, g.at, g.err = false, nil, nil
}

// fail notes the first error. What is made after it is never looked at.
func (g *graph) fail(k error, format string, args ...any) cond {
	if g.err == nil {
		var pos, end int32
		if g.at != nil {
			pos, end = g.at.pos, g.at.end
		}
		g.err = newError(k, pos, end, format, args...)
	}
	return g.always(false)
}

// list returns a list of one instruction.
func (g *graph) list(code int32, k uint32) list {
	s := g.stmts.alloc()
	s.code, s.k = code, k
	return list{s, s}
}

// add appends an instruction to a list and returns it.
func (g *graph) add(l *list, code int32, k uint32) *stmt {
	m := g.list(code, k)
	l.add(m)
	return m.head
}

// test returns the condition of one block: the instructions, and a jump.
func (g *graph) test(l list, jump int32, k uint32) cond {
	b := g.blocks.alloc()
	b.stmts, b.code, b.k = l, jump, k
	b.t.pred, b.f.pred = b, b
	return cond{b, edges{&b.t, &b.t}, edges{&b.f, &b.f}}
}

// ret returns a block that returns v.
func (g *graph) ret(v uint32) *block {
	b := g.blocks.alloc()
	b.code, b.k = c.RET|c.K, v
	b.t.pred, b.f.pred = b, b
	return b
}

// always returns a condition of which the answer is known.
func (g *graph) always(yes bool) cond {
	var v uint32
	if !yes {
		v = 1
	}
	return g.test(g.list(c.LD|c.IMM, v), c.JMP|c.JEQ|c.K, 0)
}

// Codes of jumps on constants.
const (
	jeq  = c.JMP | c.JEQ | c.K
	jgt  = c.JMP | c.JGT | c.K
	jge  = c.JMP | c.JGE | c.K
	jset = c.JMP | c.JSET | c.K
)

// cmp returns the condition that the value at an offset, under a mask,
// compares with v.
func (g *graph) cmp(b base, off uint32, size int32, mask uint32, jump int32, v uint32) cond {
	l := g.load(b, off, size)
	if mask != 0xffffffff {
		g.add(&l, c.ALU|c.AND|c.K, mask)
	}
	return g.test(l, jump, v)
}

// equal returns the condition that the value at an offset is v.
func (g *graph) equal(b base, off uint32, size int32, v uint32) cond {
	return g.cmp(b, off, size, 0xffffffff, jeq, v)
}

// masked returns the condition that the value at an offset is v under a mask.
func (g *graph) masked(b base, off uint32, size int32, v, mask uint32) cond {
	return g.cmp(b, off, size, mask, jeq, v)
}

// bit returns the condition that a bit of the byte at an offset is set.
func (g *graph) bit(b base, off uint32, bits uint32) cond {
	return g.test(g.load(b, off, c.B), jset, bits)
}

// bytes returns the condition that the bytes at an offset are those of v. It
// asks for the last ones first, which differ most often.
func (g *graph) bytes(b base, off uint32, v []byte) cond {
	var all cond
	for n := len(v); n > 0; {
		var part cond
		switch {
		case n >= 4:
			n -= 4
			part = g.equal(b, off+uint32(n), c.W,
				uint32(v[n])<<24|uint32(v[n+1])<<16|uint32(v[n+2])<<8|uint32(v[n+3]))
		case n >= 2:
			n -= 2
			part = g.equal(b, off+uint32(n), c.H, uint32(v[n])<<8|uint32(v[n+1]))
		default:
			n--
			part = g.equal(b, off, c.B, uint32(v[0]))
		}
		if all.head != nil {
			part = and(all, part)
		}
		all = part
	}
	return all
}

// takeSlot returns a free scratch slot.
func (g *graph) takeSlot() int {
	for range c.MemWords {
		if !g.used[g.slot] {
			g.used[g.slot] = true
			return g.slot
		}
		g.slot = (g.slot + 1) % c.MemWords
	}
	g.fail(ErrTooComplex, "too many registers needed to evaluate expression")
	return 0
}

func (g *graph) freeSlot(n int) { g.used[n] = false }

// program is a flow graph that is complete.
type program struct {
	root  *block
	walks uint32
}

// walk begins a walk over the graph, on which each block is visited once.
func (p *program) walk() { p.walks++ }

// visit reports whether the walk comes by b for the first time.
func (p *program) visit(b *block) bool {
	if b.mark == p.walks {
		return false
	}
	b.mark = p.walks
	return true
}

// finish closes the graph of a whole expression, where yes takes the packet and
// no drops it, and returns its root.
func (g *graph) finish(all cond, snaplen int) *block {
	g.prologue(all.head)
	if g.link.typ == PPI {
		l := g.list(c.LD|c.W|c.ABS, 4)
		all = and(g.test(l, jeq, swap32(uint32(IEEE80211))), all)
	}
	all.yes.lead(g.ret(uint32(snaplen)))
	all.no.lead(g.ret(0))
	return all.head
}

func swap32(v uint32) uint32 {
	return v<<24 | v&0xff00<<8 | v>>8&0xff00 | v>>24
}
