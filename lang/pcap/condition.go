package pcap

import c "github.com/skep-bpf/skep/classic"

// condition returns the flow graph of a syntax node. What and and or join is
// compiled from left to right, as vlan and its like move what comes after.
func (g *graph) condition(n *node) cond {
	if g.err != nil {
		return g.always(false)
	}
	switch n.kind {
	case nAnd, nOr:
		// The tree is deep on its left side where the expression is long.
		l := g.condition(n.l)
		r := g.condition(n.r)
		if n.kind == nAnd {
			return and(l, r)
		}
		return or(l, r)
	case nNot:
		return not(g.condition(n.l))
	case nRel:
		l := g.arith(n.l)
		r := g.arith(n.r)
		g.at = n
		return g.relation(relation(n.val), l, r)
	}
	g.at = n
	switch n.kind {
	case nProto:
		return g.abbrev(proto(n.val))
	case nBroadcast:
		return g.broadcast(proto(n.val))
	case nMulticast:
		return g.multicast(proto(n.val))
	case nLess:
		return not(g.test(g.list(c.LD|c.LEN, 0), jgt, n.num))
	case nGreater:
		return g.test(g.list(c.LD|c.LEN, 0), jge, n.num)
	case nByte:
		return g.byteOp(n)
	case nInOut:
		return g.direction(n.val != 0)
	case nIfindex:
		return g.ifindex(n.num)
	case nEncap:
		return g.encap(n.val, n.num, n.has)
	case nPF:
		return g.pf(n.val, n.num, n.text)
	case nWlanType:
		return g.frameType(n.num, n.num2)
	case nWlanDir:
		return g.frameDir(n.num)
	case nLLC:
		return g.llc(n.val, n.num)
	case nATM:
		return g.atm(n.val)
	case nATMField:
		return g.atmField(n.val, n.num, relation(n.num2))
	case nMTP2:
		return g.signalUnit(n.val)
	case nMTP3:
		return g.mtp3(n.val, n.num, relation(n.num2))
	}
	return g.identifier(n)
}

// identifier returns the condition on what an identifier means.
func (g *graph) identifier(n *node) cond {
	t, q := n.target, n.quals
	switch t.kind {
	case tNone:
		if g.err == nil {
			g.err = g.refused
		}
		return g.always(false)
	case tHost4:
		if q.proto == protoDECnet {
			return g.decnet(t.addr4, q.dir) // a net is taken for an address
		}
		return g.host4(t.addr4, t.mask4, q.proto, q.dir)
	case tHost6:
		return g.host6(t.addr6, t.mask6, q.dir)
	case tHostName:
		return g.hosts(n.text, t.addrs, q.proto, q.dir)
	case tDECnet:
		return g.decnet(t.addr4, q.dir)
	case tMAC:
		return g.mac(t.mac[:], q.dir)
	case tMACName:
		if !g.link.typ.hasMACs() {
			return g.fail(ErrLinkType, "only ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel supports link-level host name")
		}
		if !t.found {
			return g.fail(ErrMeaning, "unknown ether host '%s'", n.text)
		}
		return g.mac(t.mac[:], q.dir)
	case tARC:
		switch {
		case g.link.typ != ARCNET && g.link.typ != ARCNETLinux:
			return g.fail(ErrLinkType, "aid supported only on ARCnet")
		case q.typ > typHost || q.proto != protoLink:
			return g.fail(ErrMeaning, "ARCnet address used in non-arc expression")
		}
		return g.arcnet(t.mac[0], q.dir)
	case tPort, tPortRange:
		return g.ports(t.lo, t.hi, t.kind == tPortRange, t.transport, q.dir)
	case tProto:
		return g.protocol(t.lo, q.proto)
	case tProtoChain:
		return g.chain(t.lo, q.proto)
	}
	panic("BUG: identifier that was not checked")
}

// byteOp returns the condition on one byte of the link header. With & and |
// libpcap forgets to load it, and so do we.
func (g *graph) byteOp(n *node) cond {
	switch n.val {
	case byteLT:
		return not(g.cmp(fromHdr, n.num, c.B, 0xffffffff, jge, n.num2))
	case byteGT:
		return g.cmp(fromHdr, n.num, c.B, 0xffffffff, jgt, n.num2)
	case byteAnd:
		return not(g.test(g.list(c.ALU|c.AND|c.K, n.num2), jeq, 0))
	case byteOr:
		return not(g.test(g.list(c.ALU|c.OR|c.K, n.num2), jeq, 0))
	}
	return g.equal(fromHdr, n.num, c.B, n.num2)
}
