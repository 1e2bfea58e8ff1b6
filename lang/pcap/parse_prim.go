package pcap

import "strings"

// primitive parses a primitive whose protocol qualifier, if any, has been
// read; t is its first token.
func (p *parser) primitive(pr proto, t token) operand {
	term := func(n *node) operand { return operand{n, isTerm, noQuals} }
	cur := p.tok
	switch cur.kind {
	case kSrc, kDst, kAddrN, kTyp, kGateway, kProtoWord:
		return p.qualified(pr)
	case kBroadcast, kMulticast:
		p.next()
		k := nBroadcast
		if cur.kind == kMulticast {
			k = nMulticast
		}
		n := p.node(k, uint8(pr), t)
		n.end = cur.end
		return term(n)
	case kType, kSubtype, kDir:
		return term(p.wlan(cur))
	}
	if pr != protoDefault {
		return term(p.node(nProto, uint8(pr), t))
	}

	n := p.node(nProto, cur.val, cur)
	switch cur.kind {
	case kLess:
		p.next()
		n.kind, n.num = nLess, p.number()
	case kGreater:
		p.next()
		n.kind, n.num = nGreater, p.number()
	case kIfindex:
		p.next()
		n.kind, n.num = nIfindex, p.number()
	case kByte:
		p.next()
		n.kind, n.num = nByte, p.number()
		n.val = p.byteOp()
		n.num2 = p.number()
	case kInOut:
		p.next()
		n.kind = nInOut
	case kEncap:
		p.next()
		n.kind = nEncap
		if cur.val != encPPPoED && (p.tok.kind == kNum || p.tok.kind == kLParen) {
			n.has = true
			n.num = p.parenNumber(n)
		}
	case kPF:
		p.next()
		p.pf(n)
	case kLLC:
		p.next()
		p.llc(n)
	case kATM:
		p.next()
		n.kind = nATM
	case kMTP2:
		p.next()
		n.kind = nMTP2
	case kATMField:
		p.next()
		n = p.field(nATMField, cur)
	case kMTP3Field:
		p.next()
		n = p.field(nMTP3, cur)
	default:
		p.expected("a primitive")
	}
	return term(n)
}

// qualified parses [dir] [typ] and the identifier.
func (p *parser) qualified(pr proto) operand {
	q := quals{proto: pr}
	switch t := p.tok; t.kind {
	case kProtoWord:
		p.next()
		q.typ = typ(t.val)
		return p.operandOf(q)
	case kGateway:
		p.next()
		q.typ = typGateway
		return p.operandOf(q)
	case kAddrN:
		p.next()
		q.dir = dir(t.val)
	case kSrc, kDst:
		p.next()
		q.dir = dirSrc
		other := kDst
		if t.kind == kDst {
			q.dir, other = dirDst, kSrc
		}
		if and := p.tok.kind == kAnd; and || p.tok.kind == kOr {
			p.next()
			if q.dir = dirOr; and {
				q.dir = dirAnd
			}
			p.accept(other, "src and dst, or src or dst")
		}
	}
	if p.tok.kind == kTyp {
		q.typ = typ(p.tok.val)
		p.next()
	}
	return p.operandOf(q)
}

// operandOf parses the identifier that qualifiers must be followed by, which makes
// a term with them.
func (p *parser) operandOf(q quals) operand {
	o := p.asID(p.id(q))
	o.form = isTerm
	return o
}

// parenNumber takes a number that may stand in parentheses.
func (p *parser) parenNumber(n *node) uint32 {
	depth := 0
	for p.tok.kind == kLParen {
		p.next()
		depth++
	}
	n.end = p.tok.end
	v := p.number()
	for range depth {
		p.accept(kRParen, "')'")
	}
	return v
}

func (p *parser) byteOp() uint8 {
	t := p.tok
	p.next()
	switch {
	case t.kind == kRel && relation(t.val) == relEQ:
		return byteEQ
	case t.kind == kRel && relation(t.val) == relLT:
		return byteLT
	case t.kind == kRel && relation(t.val) == relGT:
		return byteGT
	case t.kind == kArith && arithOp(t.val) == opAnd:
		return byteAnd
	case t.kind == kArith && arithOp(t.val) == opOr:
		return byteOr
	}
	p.tok = t
	p.expected("one of = < > & |")
	return 0
}

// field parses the value of an ATM or MTP3 field: a number, a comparison with
// one, or several numbers in parentheses with "or" between them.
func (p *parser) field(k nodeKind, f token) *node {
	one := func() *node {
		n := p.node(k, f.val, f)
		n.num2 = uint32(relEQ)
		if p.tok.kind == kRel {
			n.num2 = uint32(p.tok.val)
			p.next()
		}
		n.end = p.tok.end
		n.num = p.number()
		return n
	}
	if p.tok.kind != kLParen {
		return one()
	}
	p.next()
	value := func() *node {
		if p.tok.kind != kNum {
			p.expected("a number")
		}
		return one()
	}
	l := value()
	for p.tok.kind == kOr {
		t := p.tok
		p.next()
		l = p.binary(t, l, value())
	}
	p.accept(kRParen, "')'")
	return l
}

// named takes a name of the table and returns its value.
func (p *parser) named(what string, table []named) uint32 {
	t, ok := p.accept(kName, what)
	if !ok {
		return 0
	}
	return p.lookup(t, what, table)
}

func (p *parser) lookup(t token, what string, table []named) uint32 {
	name := strings.TrimPrefix(p.text(t), `\`)
	for _, row := range table {
		if strings.EqualFold(row.name, name) {
			return row.value
		}
	}
	p.fail(t, "unknown %s \"%s\"", what, name)
	return 0
}

// fail notes a fault other than of syntax.
func (p *parser) fail(t token, format string, args ...any) {
	if p.fault == nil {
		p.fault = newError(ErrMeaning, t.pos, t.end, format, args...)
	}
	p.tok.kind = kEOF
}

// pf parses the value of a field of pflog's header.
func (p *parser) pf(n *node) {
	n.kind = nPF
	n.end = p.tok.end
	switch n.val {
	case pfIfname, pfRuleset:
		t, _ := p.accept(kName, "a name")
		n.text = strings.TrimPrefix(p.text(t), `\`)
	case pfRulenum, pfSubrulenum:
		n.num = p.number()
	case pfReason:
		if p.tok.kind == kNum {
			n.num = p.number()
			break
		}
		n.num = p.named("PF reason", pfReasons)
	case pfAction:
		n.num = p.named("PF action", pfActions)
	}
}

// llc parses what may follow "llc".
func (p *parser) llc(n *node) {
	n.kind, n.val = nLLC, llcAny
	switch t := p.tok; {
	case t.kind == kPF && t.val == pfRulenum: // rnr is a word of pf's too
		p.next()
		n.val, n.num = llcSub, llcRNR
	case t.kind == kName:
		p.next()
		n.end = t.end
		switch strings.ToLower(strings.TrimPrefix(p.text(t), `\`)) {
		case "i":
			n.val = llcI
		case "s":
			n.val = llcS
		case "u":
			n.val = llcU
		default:
			name := strings.TrimPrefix(p.text(t), `\`)
			for _, row := range llcSubtypes {
				if strings.EqualFold(row.name, name) {
					n.val, n.num = llcUSub, row.value
					if row.value&3 == llcFormatS {
						n.val = llcSub
					}
					return
				}
			}
			p.fail(t, "unknown LLC type name \"%s\"", name)
		}
	}
}

// wlan parses type, subtype and dir of 802.11.
func (p *parser) wlan(t token) *node {
	p.next()
	n := p.node(nWlanType, 0, t)
	n.end = p.tok.end
	switch t.kind {
	case kDir:
		n.kind = nWlanDir
		if p.tok.kind == kNum {
			n.num = p.number()
			return n
		}
		d, ok := p.accept(kName, "nods, tods, fromds, dstods or a number")
		if ok {
			n.num = p.lookup(d, "802.11 direction", wlanDirs)
		}
	case kSubtype:
		n.num2 = wlanTypeMask | wlanSubtypeMask
		s, ok := p.accept(kName, "the name of a subtype")
		if !ok {
			break
		}
		name := strings.TrimPrefix(p.text(s), `\`)
		for typ, subs := range wlanSubtypes {
			for _, sub := range subs {
				if strings.EqualFold(sub.name, name) {
					n.num = uint32(typ)<<2 | sub.value
					return n
				}
			}
		}
		p.fail(s, "unknown 802.11 type name \"%s\"", name)
	case kType:
		n.num2 = wlanTypeMask
		n.num = p.wlanField("type", wlanTypeMask, wlanTypes)
		if p.tok.kind == kSubtype {
			p.next()
			n.end = p.tok.end
			n.num2 |= wlanSubtypeMask
			if n.num>>2 >= uint32(len(wlanSubtypes)) && p.tok.kind == kName {
				p.fail(p.tok, "unknown 802.11 type")
				break
			}
			var subs []named
			if p.tok.kind == kName {
				subs = wlanSubtypes[n.num>>2]
			}
			n.num |= p.wlanField("subtype", wlanSubtypeMask, subs)
		}
	}
	return n
}

// wlanField takes a name, or a number of no bits but those of mask.
func (p *parser) wlanField(what string, mask uint32, table []named) uint32 {
	t := p.tok
	if t.kind == kNum {
		if t.num&^mask != 0 {
			p.fail(t, "invalid 802.11 %s value 0x%02x", what, t.num)
		}
		return p.number()
	}
	n, ok := p.accept(kName, "a name or a number")
	if !ok {
		return 0
	}
	return p.lookup(n, "802.11 "+what+" name", table)
}
