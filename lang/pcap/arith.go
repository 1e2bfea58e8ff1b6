package pcap

import c "github.com/skep-bpf/skep/classic"

// value is arithmetic: instructions that leave its value in a scratch slot,
// and the condition under which it has one.
type value struct {
	code  list
	slot  int
	guard cond // no head: always
}

// Codes of the operators of arithmetic and comparison.
var (
	aluCodes = [...]int32{
		opAdd: c.ADD, opSub: c.SUB, opMul: c.MUL, opDiv: c.DIV, opMod: c.MOD,
		opAnd: c.AND, opOr: c.OR, opXor: c.XOR, opLsh: c.LSH, opRsh: c.RSH,
	}
	// A relation is a jump, or its negation.
	relCodes = [...]int32{
		relGT: c.JGT, relGE: c.JGE, relEQ: c.JEQ, relLE: c.JGT, relLT: c.JGE, relNE: c.JEQ,
	}
)

// negated reports whether a relation is the negation of its jump.
func (r relation) negated() bool { return r >= relLE }

// arith returns the value of a syntax node.
func (g *graph) arith(n *node) value {
	outer := g.at
	defer func() { g.at = outer }()
	switch n.kind {
	case nConst:
		g.at = n
		return g.constant(n.num)
	case nLen:
		g.at = n
		return g.store(g.list(c.LD|c.LEN, 0), g.takeSlot())
	case nLoad:
		at := g.arith(n.l)
		g.at = n
		return g.loadAt(proto(n.val), at, n.num)
	}
	l := g.arith(n.l)
	if arithOp(n.val) == opNeg {
		g.add(&l.code, c.LD|c.MEM, uint32(l.slot))
		g.add(&l.code, c.ALU|c.NEG, 0)
		g.add(&l.code, c.ST, uint32(l.slot))
		return l
	}
	r := g.arith(n.r)
	g.at = n
	return g.binary(arithOp(n.val), l, r)
}

// store returns the value the code leaves in A, kept in a slot.
func (g *graph) store(l list, slot int) value {
	g.add(&l, c.ST, uint32(slot))
	return value{code: l, slot: slot}
}

func (g *graph) constant(v uint32) value {
	return g.store(g.list(c.LD|c.IMM, v), g.takeSlot())
}

// isConstant reports whether the value begins with a constant, which is what
// libpcap takes for being one.
func (v *value) isConstant() bool { return v.code.head.code == c.LD|c.IMM }

func (g *graph) binary(op arithOp, l, r value) value {
	if r.isConstant() {
		switch k := r.code.head.k; {
		case op == opDiv && k == 0:
			g.fail(ErrMeaning, "division by zero")
		case op == opMod && k == 0:
			g.fail(ErrMeaning, "modulus by zero")
		case (op == opLsh || op == opRsh) && k > 31:
			g.fail(ErrMeaning, "shift by more than 31 bits")
		}
	}
	l.code.add(r.code)
	g.add(&l.code, c.LDX|c.MEM, uint32(r.slot))
	g.add(&l.code, c.LD|c.MEM, uint32(l.slot))
	g.add(&l.code, c.ALU|c.X|aluCodes[op], 0)
	g.freeSlot(l.slot)
	g.freeSlot(r.slot)
	l.slot = g.takeSlot()
	g.add(&l.code, c.ST, uint32(l.slot))
	return l
}

// loadAt returns the value of size bytes at an offset into a protocol's
// header, which must be there.
func (g *graph) loadAt(pr proto, at value, size uint32) value {
	slot := g.takeSlot()
	g.freeSlot(at.slot)
	var sz int32
	switch size {
	case 1:
		sz = c.B
	case 2:
		sz = c.H
	case 4:
		sz = c.W
	default:
		g.fail(ErrMeaning, "data size must be 1, 2, or 4")
	}
	s := &g.link
	// indexed appends the load from o, the offset and k.
	indexed := func(o *varOffset, k uint32) {
		if l := g.varPart(o); l.head != nil {
			at.code.add(l)
			g.add(&at.code, c.LD|c.MEM, uint32(at.slot))
			g.add(&at.code, c.ALU|c.ADD|c.X, 0)
			g.add(&at.code, c.MISC|c.TAX, 0)
		} else {
			g.add(&at.code, c.LDX|c.MEM, uint32(at.slot))
		}
		g.add(&at.code, c.LD|c.IND|sz, k)
	}
	switch pr {
	case protoRadio:
		if t := s.typ; t != IEEE80211AVS && t != IEEE80211Radio && t != Prism {
			g.fail(ErrLinkType, "radio information not present in capture")
		}
		indexed(&varOffset{}, 0)
	case protoLink:
		indexed(&s.hdr, s.hdr.constant)
	case protoIP, protoARP, protoRARP, protoAtalk, protoDECnet, protoSCA, protoLAT,
		protoMOPRC, protoMOPDL, protoIP6:
		indexed(&s.payload, s.payload.constant+s.net)
		at.guard = after(at.guard, g.abbrev(pr))
	case protoSCTP, protoTCP, protoUDP, protoICMP, protoIGMP, protoIGRP, protoPIM,
		protoVRRP, protoCARP:
		at.code.add(g.headerLen())
		g.add(&at.code, c.LD|c.MEM, uint32(at.slot))
		g.add(&at.code, c.ALU|c.ADD|c.X, 0)
		g.add(&at.code, c.MISC|c.TAX, 0)
		g.add(&at.code, c.LD|c.IND|sz, s.payload.constant+s.net)
		is := g.abbrev(pr)
		is = after(at.guard, and(is, g.firstFragment()))
		ip := g.abbrev(protoIP)
		at.guard = and(ip, is)
	case protoICMP6:
		at.guard = after(at.guard, g.abbrev(protoIP6))
		at.guard = and(at.guard, g.equal(fromNet, 6, c.B, ipICMP6))
		indexed(&s.payload, s.payload.constant+s.net+40)
	default:
		g.fail(ErrMeaning, "unsupported index operation")
	}
	at.slot = slot
	g.add(&at.code, c.ST, uint32(slot))
	return at
}

// relation returns the condition that two values compare.
func (g *graph) relation(rel relation, l, r value) cond {
	code := l.code
	code.add(r.code)
	g.add(&code, c.LDX|c.MEM, uint32(r.slot))
	g.add(&code, c.LD|c.MEM, uint32(l.slot))
	jump := c.JMP | relCodes[rel]
	if relCodes[rel] == c.JEQ {
		g.add(&code, c.ALU|c.SUB|c.X, 0)
	} else {
		jump |= c.X
	}
	is := g.test(code, jump, 0)
	if rel.negated() {
		is = not(is)
	}
	g.freeSlot(l.slot)
	g.freeSlot(r.slot)
	guard := l.guard
	switch {
	case guard.head == nil:
		guard = r.guard
	case r.guard.head != nil:
		guard = and(guard, r.guard)
	}
	return after(guard, is)
}
