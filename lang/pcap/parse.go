package pcap

// The grammar, without its words:
//
//	expr  = term { ("and"|"or") (term | id) }
//	term  = "not" term | "(" expr ")" | proto | arith relation arith
//	      | [proto] [dir] [typ] id | …                 one of the primitives
//	id    = name | number | address | "not" id | "(" id { ("and"|"or") id } ")"
//	arith = number | "len" | proto "[" arith [":" number] "]" | "-" arith
//	      | arith op arith | "(" arith ")"
//
// "and" and "or" bind equally, to the left. After them, and inside
// parentheses, what follows may be a term or an id or the left side of a
// comparison, and only a later token tells: operand reads it, and its form
// says what it can still be.

// maxDepth bounds nesting, of parentheses, brackets and "not" alike.
const maxDepth = 9900

type parser struct {
	scanner
	tok   token
	nodes *slab[node]
	depth int
	fault *Error
	ops   []pendingOp // operators waiting for their right side
	vals  []*node     // operands before them
}

// pendingOp is an arithmetic operator on the parser's stack.
type pendingOp struct {
	op       arithOp
	pos, end int32
}

// form is what an operand can be.
type form uint8

const (
	isTerm  form = iota // a complete primitive
	isID                // an identifier
	isGroup             // identifiers in parentheses
	isNum               // a number: an identifier, or the beginning of arithmetic
	isArith             // arithmetic without its comparison
)

type operand struct {
	*node
	form form
	q    quals // handed on to what follows
}

// parse returns the syntax tree of an expression, nil for an empty one.
func (p *parser) parse(src string) (*node, *Error) {
	p.scanner = scanner{src: src}
	p.depth, p.fault = 0, nil
	p.ops, p.vals = p.ops[:0], p.vals[:0]
	p.next()
	if p.tok.kind == kEOF {
		return nil, p.fault
	}
	o := p.list(p.operand(noQuals, false))
	if p.fault == nil && p.tok.kind != kEOF {
		p.expected("and, or, or the end")
	}
	return o.node, p.fault
}

// next moves to the next token. After a fault there is nothing but the end,
// which every loop of the parser stops at.
func (p *parser) next() {
	if p.fault != nil {
		return
	}
	if p.tok = p.scanner.next(); p.tok.kind == kInvalid {
		if p.fault = p.scanner.err; p.fault == nil {
			p.expected("")
			return
		}
		p.tok.kind = kEOF
	}
}

// expected notes a syntax error at the current token.
func (p *parser) expected(what string) {
	if p.fault == nil {
		p.fault = newError(ErrSyntax, p.tok.pos, p.tok.end, syntaxError)
		p.fault.Expected = what
	}
	p.tok.kind = kEOF
}

func (p *parser) text(t token) string { return p.src[t.pos:t.end] }

// node makes a node of what stands between t and the current token's start.
func (p *parser) node(k nodeKind, val uint8, t token) *node {
	n := p.nodes.alloc()
	n.kind, n.val, n.pos, n.end = k, val, t.pos, t.end
	return n
}

// accept takes the current token if it is of kind k.
func (p *parser) accept(k kind, what string) (t token, ok bool) {
	if t = p.tok; t.kind != k {
		p.expected(what)
		return t, false
	}
	p.next()
	return t, true
}

// number takes a number.
func (p *parser) number() uint32 {
	t, _ := p.accept(kNum, "a number")
	return t.num
}

// enter notes one level more of nesting, and false where that is too deep.
func (p *parser) enter() bool {
	if p.depth++; p.depth > maxDepth {
		if p.fault == nil {
			p.fault = newError(ErrTooComplex, p.tok.pos, p.tok.end, "expression is nested more than %d deep", maxDepth)
		}
		p.tok.kind = kEOF
		return false
	}
	return true
}

// list parses what may follow a first term: { and|or operand }.
func (p *parser) list(o operand) operand {
	if o.form != isTerm {
		p.expected("a primitive")
		return o
	}
	for p.tok.kind == kAnd || p.tok.kind == kOr {
		t := p.tok
		p.next()
		r := p.operand(o.q, true)
		switch r.form {
		case isNum:
			r = p.asID(r)
		case isArith:
			p.expected("a comparison")
		}
		o = operand{p.binary(t, o.node, r.node), isTerm, r.q}
	}
	return o
}

// idList parses { and|or id }, inside parentheses.
func (p *parser) idList(o operand) operand {
	o = p.asID(o)
	for p.tok.kind == kAnd || p.tok.kind == kOr {
		t := p.tok
		p.next()
		r := p.asID(p.id(o.q))
		o = operand{p.binary(t, o.node, r.node), isID, r.q}
	}
	return o
}

func (p *parser) binary(t token, l, r *node) *node {
	k := nAnd
	if t.kind == kOr {
		k = nOr
	}
	n := p.node(k, 0, t)
	n.l, n.r = l, r
	return n
}

// asID makes an identifier of a number.
func (p *parser) asID(o operand) operand {
	if o.form == isNum {
		n := p.nodes.alloc()
		*n = node{kind: nNumber, quals: o.q, num: o.num, pos: o.pos, end: o.end}
		return operand{n, isID, o.q}
	}
	return o
}

// operand parses a term, or what only later proves to be one. q are the
// qualifiers an identifier would take over, and ids says whether one may
// stand here at all.
func (p *parser) operand(q quals, ids bool) (o operand) {
	if !p.enter() {
		return operand{p.node(nConst, 0, p.tok), isTerm, q}
	}
	defer func() { p.depth-- }()

	switch t := p.tok; t.kind {
	case kNot:
		p.next()
		r := p.operand(q, ids)
		if r.form == isArith || r.form == isNum && !ids {
			p.expected("a comparison")
		}
		r = p.asID(r)
		n := p.node(nNot, 0, t)
		n.l = r.node
		if r.form == isGroup {
			r.form = isID
		}
		return operand{n, r.form, r.q}
	case kLParen:
		p.next()
		if o = p.group(p.operand(q, ids), q, ids); o.form == isNum || o.form == isArith {
			return p.relation(o, q)
		}
		return o
	case kNum, kLen:
		return p.relation(operand{}, q)
	case kArith:
		return p.relation(operand{}, q)
	case kProto:
		p.next()
		if p.tok.kind == kLBrack {
			return p.relation(operand{p.load(t), isArith, q}, q)
		}
		return p.primitive(proto(t.val), t)
	case kName, kAddr4, kAddr6, kMAC, kARC:
		if !ids {
			p.expected("a qualifier such as host, net or port before it")
		}
		return p.id(q)
	default:
		return p.primitive(protoDefault, t)
	}
}

// group parses the rest of "( o … )" up to the parenthesis that closes it.
func (p *parser) group(o operand, q quals, ids bool) operand {
	switch p.tok.kind {
	case kAnd, kOr:
		switch o.form {
		case isTerm:
			o = p.list(o)
		case isID, isNum:
			if !ids {
				p.expected("a comparison")
			}
			o = p.idList(o)
		default:
			p.expected("')'")
		}
	}
	switch o.form {
	case isTerm:
		o.q = q
	case isID:
		o.form = isGroup
	case isGroup:
		p.expected("and or or") // ((a)) is not in the grammar
	}
	p.accept(kRParen, "')'")
	return o
}

// relation parses the rest of arithmetic that begins with o (or here, where o
// is empty), and the comparison after it.
func (p *parser) relation(o operand, q quals) operand {
	n := p.arith(o.node)
	if p.tok.kind != kRel {
		if n.kind == nConst {
			return operand{n, isNum, q}
		}
		return operand{n, isArith, q}
	}
	t := p.tok
	p.next()
	rel := p.node(nRel, t.val, t)
	rel.l = n
	rel.r = p.arith(nil)
	return operand{rel, isTerm, noQuals}
}

// id parses an identifier, or a list of them in parentheses, where nothing
// else can stand.
func (p *parser) id(q quals) operand {
	if !p.enter() {
		return operand{p.node(nConst, 0, p.tok), isID, q}
	}
	defer func() { p.depth-- }()

	t := p.tok
	n := p.node(nName, 0, t)
	n.quals, n.text = q, p.text(t)
	switch t.kind {
	case kNot:
		p.next()
		r := p.asID(p.id(q))
		n.kind, n.l = nNot, r.node
		return operand{n, isID, r.q}
	case kLParen:
		p.next()
		o := p.id(q)
		if p.tok.kind == kAnd || p.tok.kind == kOr {
			if o.form == isGroup {
				p.expected("')'")
			}
			o = p.idList(o)
		} else if o.form == isGroup {
			p.expected("and or or")
		}
		p.accept(kRParen, "')'")
		if o.form == isID {
			o.form = isGroup
		}
		return o
	case kNum:
		p.next()
		n.kind, n.num = nConst, t.num
		return operand{n, isNum, q}
	case kName:
		p.next()
		if p.src[t.pos] == '\\' {
			n.text = n.text[1:]
		}
	case kAddr4:
		p.next()
		n.kind = nAddr4
		switch p.tok.kind {
		case kSlash:
			p.next()
			n.end = p.tok.end
			n.kind, n.num = nNet4, p.number()
		case kMask:
			p.next()
			n.end = p.tok.end
			m, _ := p.accept(kAddr4, "the mask, as in 255.255.0.0")
			n.kind, n.mask = nNetMask4, p.text(m)
		}
	case kAddr6:
		p.next()
		n.kind = nAddr6
		if p.tok.kind == kSlash {
			p.next()
			n.end = p.tok.end
			n.kind, n.num = nNet6, p.number()
		}
	case kMAC:
		p.next()
		n.kind = nMAC
	case kARC:
		p.next()
		n.kind = nARC
	default:
		p.expected("a name, number or address")
	}
	return operand{n, isID, q}
}
