package pcap

import c "github.com/skep-bpf/skep/classic"

// network is IPv4 or IPv6, as ports see it.
type network struct {
	ether     uint32
	protoAt   uint32 // offset of the protocol number in its header
	transport base
}

var networks = [...]network{
	{etherIP, 9, fromTransport},
	{etherIP6, 6, fromTransport6},
}

// ports returns the condition on ports from lo to hi, of a transport protocol
// or anyTransport, in IPv6 or IPv4.
func (g *graph) ports(lo, hi uint32, ranged bool, transport int32, d dir) cond {
	v4 := g.portsOver(&networks[0], lo, hi, ranged, transport, d)
	v6 := g.portsOver(&networks[1], lo, hi, ranged, transport, d)
	return or(v6, v4)
}

// portsOver is ports for one network protocol.
func (g *graph) portsOver(n *network, lo, hi uint32, ranged bool, transport int32, d dir) cond {
	link := g.linkProto(n.ether)
	if transport != anyTransport {
		return and(link, g.portsOf(n, lo, hi, ranged, uint32(transport), d))
	}
	tcp := g.portsOf(n, lo, hi, ranged, ipTCP, d)
	some := or(tcp, g.portsOf(n, lo, hi, ranged, ipUDP, d))
	some = or(g.portsOf(n, lo, hi, ranged, ipSCTP, d), some)
	return and(link, some)
}

// portsOf is ports for one network and one transport protocol. Only a first
// fragment of IPv4 has ports.
func (g *graph) portsOf(n *network, lo, hi uint32, ranged bool, transport uint32, d dir) cond {
	is := g.equal(fromNet, n.protoAt, c.B, transport)
	if n.ether == etherIP {
		is = and(is, g.firstFragment())
	}
	return and(is, either(d, func(d dir) cond {
		off := uint32(0)
		if d == dirDst {
			off = 2
		}
		if !ranged {
			return g.equal(n.transport, off, c.H, lo)
		}
		from := g.cmp(n.transport, off, c.H, 0xffffffff, jge, min(lo, hi))
		return and(from, not(g.cmp(n.transport, off, c.H, 0xffffffff, jgt, max(lo, hi))))
	}))
}

// firstFragment returns the condition that the fragment offset is 0.
func (g *graph) firstFragment() cond {
	return not(g.test(g.load(fromNet, 6, c.H), jset, 0x1fff))
}

// abbrev returns the condition that a protocol, named alone, is there.
func (g *graph) abbrev(pr proto) cond {
	row := &protocols[pr]
	switch {
	case pr == protoLink:
		return g.fail(ErrMeaning, "link layer applied in wrong context")
	case pr == protoRadio:
		return g.fail(ErrMeaning, "'radio' is not a valid protocol type")
	case row.link != 0:
		return g.linkProto(row.link)
	}
	all := g.protocol(row.numbers[0], row.over)
	for i, v := range row.numbers[1:] {
		if next := g.protocol(v, row.over); i == 0 {
			all = or(all, next)
		} else {
			all = or(next, all)
		}
	}
	return all
}

// protocol returns the condition that the header of over says v comes next.
func (g *graph) protocol(v uint32, over proto) cond {
	switch over {
	case protoDefault:
		v4 := g.protocol(v, protoIP)
		return or(v4, g.protocol(v, protoIP6))
	case protoLink:
		return g.linkProto(v)
	case protoIP:
		link := g.linkProto(etherIP)
		return and(link, g.equal(fromNet, 9, c.B, v))
	case protoIP6:
		// Next to the header, or behind a fragment header next to it.
		link := g.linkProto(etherIP6)
		frag := g.equal(fromNet, 6, c.B, ipFragment)
		behind := and(frag, g.equal(fromNet, 40, c.B, v))
		some := or(g.equal(fromNet, 6, c.B, v), behind)
		return and(link, some)
	case protoISO:
		switch g.link.typ {
		case FrameRelay:
			return g.equal(fromHdr, 2, c.H, 0x03<<8|v)
		case CHDLC, HDLC:
			link := g.linkProto(sapISO<<8 | sapISO)
			return and(link, g.equal(fromNetNoSNAP, 1, c.B, v))
		}
		link := g.linkProto(sapISO)
		return and(link, g.equal(fromNetNoSNAP, 0, c.B, v))
	case protoISIS:
		isis := g.protocol(isoISIS, protoISO)
		return and(isis, g.equal(fromNetNoSNAP, 4, c.B, v))
	}
	panic("BUG: protocol over " + protocols[over].name)
}
