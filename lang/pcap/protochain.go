package pcap

import c "github.com/skep-bpf/skep/classic"

// chain returns the condition that v is among the protocols whose headers
// follow one another. It is a loop, and so the one thing in this language that
// Linux refuses: X is at the next header, A is its protocol.
//
//	       ┌──────────────────────────────────────────┐
//	       ▼                                          │
//	A == v or none left? ─no─► extension header? ─yes─┤ skip it
//	       │yes                        │no            │
//	       │                          AH? ─────yes────┘ skip it
//	       ▼                           │no
//	   A == v?◄────────────────────────┘
func (g *graph) chain(v uint32, pr proto) cond {
	tmp := g.takeSlot()
	switch pr {
	case protoDefault:
		v4 := g.chain(v, protoIP)
		return or(v4, g.chain(v, protoIP6))
	case protoIP, protoIP6:
	default:
		return g.fail(ErrMeaning, "bad protocol applied for 'protochain'")
	}
	if g.link.payload.variable {
		return g.fail(ErrLinkType, "'protochain' not supported with variable length headers")
	}
	g.asIs = true
	at := g.link.payload.constant + g.link.net

	var l list
	pos := 0
	add := func(code int32, k uint32) *stmt {
		pos++
		return g.add(&l, code, k)
	}
	var link cond
	if pr == protoIP {
		link = g.linkProto(etherIP)
		add(c.LD|c.ABS|c.B, at+9)
		add(c.LDX|c.MSH|c.B, at)
	} else {
		link = g.linkProto(etherIP6)
		add(c.LD|c.ABS|c.B, at+6)
		add(c.LDX|c.IMM, 40)
	}
	again := pos
	loop := func() { add(c.JMP|c.JA, uint32(again-pos-1)) }

	found := add(jeq, v)
	none := add(jeq, ipNone)
	found.jf = none
	var notExt *stmt // where it is none of the extension headers
	if pr == protoIP6 {
		var ext [4]*stmt
		for i, h := range [...]uint32{ipHopOpts, ipDstOpts, ipRouting, ipFragment} {
			ext[i] = add(jeq, h)
			if i > 0 {
				ext[i-1].jf = ext[i]
			}
		}
		none.jf, notExt = ext[0], ext[3]
		skip := add(c.LD|c.IND|c.B, at)
		for _, e := range ext {
			e.jt = skip
		}
		add(c.ST, uint32(tmp))
		add(c.LD|c.IND|c.B, at+1)
		add(c.ALU|c.ADD|c.K, 1)
		add(c.ALU|c.MUL|c.K, 8)
		add(c.ALU|c.ADD|c.X, 0)
		add(c.MISC|c.TAX, 0)
		add(c.LD|c.MEM, uint32(tmp))
		loop()
	} else {
		none.jf = add(c.ALU|c.ADD|c.K, 0)
	}

	ah := add(jeq, ipAH)
	if notExt != nil {
		notExt.jf = ah
	}
	ah.jt = add(c.MISC|c.TXA, 0)
	add(c.LD|c.IND|c.B, at)
	add(c.ST, uint32(tmp))
	add(c.MISC|c.TXA, 0)
	add(c.ALU|c.ADD|c.K, 1)
	add(c.MISC|c.TAX, 0)
	add(c.LD|c.IND|c.B, at)
	add(c.ALU|c.ADD|c.K, 2)
	add(c.ALU|c.MUL|c.K, 4)
	add(c.MISC|c.TAX, 0)
	add(c.LD|c.MEM, uint32(tmp))
	loop()

	end := add(c.ALU|c.ADD|c.K, 0)
	found.jt, none.jt, ah.jf = end, end, end
	is := g.test(l, jeq, v)
	g.freeSlot(tmp)
	return and(link, is)
}
