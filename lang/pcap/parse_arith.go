package pcap

// precedence of the operators of arithmetic; a higher one binds more tightly.
// % and ^ have none, as in libpcap's grammar: whatever follows their right
// side, or stands before them, they take it, so that "a * b % c" is
// a * (b % c).
var precedence = [...]uint8{
	opOr:  1,
	opAnd: 2,
	opLsh: 3, opRsh: 3,
	opAdd: 4, opSub: 4,
	opMul: 5, opDiv: 5,
	opNeg: 6,
	opMod: 0, opXor: 0,
}

// arith parses arithmetic whose first operand is first, or stands here.
func (p *parser) arith(first *node) *node {
	ops, vals := len(p.ops), len(p.vals)
	if first == nil {
		first = p.arithOperand()
	}
	p.vals = append(p.vals, first)
	for p.tok.kind == kArith || p.tok.kind == kSlash {
		op := arithOp(p.tok.val)
		for len(p.ops) > ops && p.reduces(op) {
			p.reduce()
		}
		p.ops = append(p.ops, pendingOp{op, p.tok.pos, p.tok.end})
		p.next()
		p.vals = append(p.vals, p.arithOperand())
	}
	for len(p.ops) > ops {
		p.reduce()
	}
	n := p.vals[vals]
	p.vals = p.vals[:vals]
	return n
}

// reduces reports whether the operator on the stack comes before op.
func (p *parser) reduces(op arithOp) bool {
	top := precedence[p.ops[len(p.ops)-1].op]
	return top != 0 && precedence[op] != 0 && top >= precedence[op]
}

// reduce makes a node of the operator on the stack.
func (p *parser) reduce() {
	o := p.ops[len(p.ops)-1]
	p.ops = p.ops[:len(p.ops)-1]
	n := p.nodes.alloc()
	n.kind, n.val, n.pos, n.end = nArith, uint8(o.op), o.pos, o.end
	last := len(p.vals) - 1
	if o.op == opNeg {
		n.l = p.vals[last]
	} else {
		n.l, n.r = p.vals[last-1], p.vals[last]
		p.vals, last = p.vals[:last], last-1
	}
	p.vals[last] = n
}

// arithOperand parses a number, len, a load, a parenthesis, or any of them
// after minus signs, which wait on the stack.
func (p *parser) arithOperand() *node {
	for p.tok.kind == kArith && arithOp(p.tok.val) == opSub {
		p.ops = append(p.ops, pendingOp{opNeg, p.tok.pos, p.tok.end})
		p.next()
	}
	n := p.node(nConst, 0, p.tok)
	switch t := p.tok; t.kind {
	case kNum:
		n.num = t.num
		p.next()
	case kLen:
		n.kind = nLen
		p.next()
	case kProto:
		p.next()
		if p.tok.kind != kLBrack {
			p.expected("'['")
		}
		return p.load(t)
	case kLParen:
		if !p.enter() {
			break
		}
		p.next()
		n = p.arith(nil)
		p.accept(kRParen, "')'")
		p.depth--
	default:
		p.expected("a number, len, or proto[offset]")
	}
	return n
}

// load parses the rest of "proto [ offset : size ]".
func (p *parser) load(pr token) *node {
	n := p.node(nLoad, pr.val, pr)
	n.num = 1
	p.accept(kLBrack, "'['")
	if !p.enter() {
		n.l = p.node(nConst, 0, p.tok)
		return n
	}
	n.l = p.arith(nil)
	if p.tok.kind == kColon {
		p.next()
		n.num = p.number()
	}
	n.end = p.tok.end
	p.accept(kRBrack, "']'")
	p.depth--
	return n
}
