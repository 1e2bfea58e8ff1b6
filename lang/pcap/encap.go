package pcap

import c "github.com/skep-bpf/skep/classic"

// Ancillary data of Linux, at offsets no packet has.
const (
	adOff            = 0xfffff000 // SKF_AD_OFF
	adPacketType     = adOff + 4
	adIfindex        = adOff + 8
	adVLANTag        = adOff + 44
	adVLANTagPresent = adOff + 48

	packetOutgoing = 4
)

// encap returns the condition that the packet has an encapsulation, of a
// number if has, and moves the headers so that what follows looks inside.
func (g *graph) encap(which uint8, v uint32, has bool) cond {
	switch which {
	case encVLAN:
		return g.vlan(v, has)
	case encMPLS:
		return g.mpls(v, has)
	case encPPPoED:
		return g.linkProto(etherPPPoED)
	case encPPPoES:
		return g.pppoes(v, has)
	}
	return g.geneve(v, has)
}

// vlan: a tag of 4 bytes before the EtherType. On a live Linux interface the
// kernel may have taken the outermost tag off the packet.
func (g *graph) vlan(id uint32, has bool) cond {
	s := &g.link
	if s.labels > 0 {
		return g.fail(ErrMeaning, "no VLAN match after MPLS")
	}
	var all cond
	switch s.typ {
	case Ethernet, NetAnalyzer, NetAnalyzerTrans:
		if g.opts.Source == Live && s.tags == 0 && !s.hdr.variable && s.hdr.constant == s.outerHdr.constant {
			all = g.vlanLive(id, has)
			break
		}
		all = g.vlanInPacket(id, has)
	case IEEE80211, Prism, IEEE80211AVS, IEEE80211Radio:
		all = g.vlanInPacket(id, has)
	default:
		return g.fail(ErrLinkType, "no VLAN support for %s", s.typ.Description())
	}
	s.tags++
	return all
}

// vlanType returns the condition that the EtherType is one of VLAN tags.
func (g *graph) vlanType() cond {
	q := g.linkProto(ether8021Q)
	some := or(q, g.linkProto(ether8021AD))
	return or(some, g.linkProto(ether8021QiQ))
}

// vlanID returns the condition that the tag has an ID.
func (g *graph) vlanID(id uint32) cond {
	if id > 0xfff {
		return g.fail(ErrMeaning, "VLAN tag %d greater than maximum %d", id, 0xfff)
	}
	return g.masked(fromNet, 0, c.H, id, 0x0fff)
}

func (g *graph) vlanInPacket(id uint32, has bool) cond {
	all := g.vlanType()
	if has {
		all = and(all, g.vlanID(id))
	}
	g.link.payload.constant += 4
	g.link.linkType.constant += 4
	return all
}

// vlanLive returns the condition that the tag is in the kernel's ancillary
// data or in the packet. Only in the latter case the headers are 4 bytes
// farther on, which is counted in scratch slots.
func (g *graph) vlanLive(id uint32, has bool) cond {
	s := &g.link
	aside := g.test(g.list(c.LD|c.B|c.ABS, adVLANTagPresent), jeq, 1)
	inside := g.vlanType()
	var tag cond
	if has {
		tag = g.vlanID(id)
	}

	s.vlanSlots = true
	var move list
	for _, o := range []*varOffset{&s.payload, &s.linkType} {
		if o.variable = true; o.slot == noSlot {
			o.slot = g.takeSlot()
		}
		g.add(&move, c.LD|c.MEM, uint32(o.slot))
		g.add(&move, c.ALU|c.ADD|c.K, 4)
		g.add(&move, c.ST, uint32(o.slot))
	}
	move.add(inside.head.stmts)
	inside.head.stmts = move

	all := or(aside, inside)
	if !has {
		return all
	}

	// The ID too is in either place: over the load of the one in the packet.
	b := tag.head
	l := g.list(c.LD|c.B|c.ABS, adVLANTagPresent)
	is := g.add(&l, jeq, 1)
	is.jt = g.add(&l, c.LD|c.B|c.ABS, adVLANTag)
	is.jf = b.stmts.head
	var n uint32
	for i := b.stmts.head; i != nil; i = i.next {
		n++
	}
	g.add(&l, c.JMP|c.JA, n-1)
	l.add(b.stmts)
	b.stmts = l
	return and(all, tag)
}

// mpls: labels of 4 bytes behind the link header, the last of them marked.
func (g *graph) mpls(label uint32, has bool) cond {
	s := &g.link
	var all cond
	switch {
	case s.labels > 0:
		all = g.masked(fromLabel, 2, c.B, 0, 0x01) // the one before was not the last
	case s.typ == CHDLC || s.typ == HDLC || s.typ.row().family == familyEthernet:
		all = g.linkProto(etherMPLS)
	case s.typ == PPP:
		all = g.linkProto(pppMPLS)
	default:
		return g.fail(ErrLinkType, "no MPLS support for %s", s.typ.Description())
	}
	if has {
		if label > 0xfffff {
			return g.fail(ErrMeaning, "MPLS label %d greater than maximum %d", label, 0xfffff)
		}
		all = and(all, g.masked(fromNet, 0, c.W, label<<12, 0xfffff000))
	}
	s.net += 4
	s.netNoSNAP += 4
	s.labels++
	return all
}

// underLabel is linkProto behind mpls: the label is the last, and the IP
// version is the protocol's.
func (g *graph) underLabel(pr uint32) cond {
	var version uint32
	switch pr {
	case etherIP:
		version = 0x40
	case etherIP6:
		version = 0x60
	default:
		return g.fail(ErrMeaning, "unsupported protocol over mpls")
	}
	last := g.masked(fromNet, ^uint32(1), c.B, 0x01, 0x01)
	return and(last, g.masked(fromNet, 0, c.B, version, 0xf0))
}

// pppoes: 6 bytes of PPPoE header, then PPP.
func (g *graph) pppoes(session uint32, has bool) cond {
	s := &g.link
	all := g.linkProto(etherPPPoES)
	if has {
		if session > 0xffff {
			return g.fail(ErrMeaning, "PPPoE session number %d greater than maximum %d", session, 0xffff)
		}
		all = and(all, g.masked(fromNet, 0, c.W, session, 0x0000ffff))
	}
	hdr := s.payload
	hdr.constant += s.net + 6
	s.push(PPP, hdr)
	s.linkType = s.hdr
	s.payload.constant = s.hdr.constant + 2
	s.net, s.netNoSNAP = 0, 0
	return all
}

// geneve: a UDP port, 8 bytes of header, options, then Ethernet or what the
// header's protocol field says:
//
//	 0                   2                   4               7
//	┌───┬───────┬───────┬───────────────────┬───────────┬─────┐
//	│ver│opt len│ flags │ protocol          │ VNI       │  0  │
//	└───┴───────┴───────┴───────────────────┴───────────┴─────┘
func (g *graph) geneve(vni uint32, has bool) cond {
	v4 := g.geneveOver(&networks[0], vni, has)
	l := g.headerLen()
	g.add(&l, c.MISC|c.TXA, 0)
	v4 = and(v4, g.test(l, c.JMP|c.JEQ|c.X, 0)) // A == X always: leave the length in A

	v6 := g.geneveOver(&networks[1], vni, has)
	l = g.varPart(&g.link.payload)
	g.add(&l, c.LD|c.IMM, 40)
	if l.head != l.tail {
		g.add(&l, c.ALU|c.ADD|c.X, 0)
	}
	g.add(&l, c.MISC|c.TAX, 0)
	v6 = and(v6, g.test(l, c.JMP|c.JEQ|c.X, 0))

	tunnel := or(v4, v6)
	inner := g.geneveOffsets()
	last := g.always(true)
	inner.add(last.head.stmts)
	last.head.stmts = inner
	g.link.geneve = true
	return and(tunnel, last)
}

// geneveOver returns the condition that a Geneve header of version 0 is there,
// of a VNI if has.
func (g *graph) geneveOver(n *network, vni uint32, has bool) cond {
	const port = 6081
	all := g.portsOver(n, port, port, false, ipUDP, dirDst)
	all = and(all, g.masked(n.transport, 8, c.B, 0, 0xc0))
	if has {
		if vni > 0xffffff {
			return g.fail(ErrMeaning, "Geneve VNI %d greater than maximum %d", vni, 0xffffff)
		}
		all = and(all, g.masked(n.transport, 12, c.W, vni<<8, 0xffffff00))
	}
	return all
}

// geneveOffsets returns what finds, from the length of the headers before in
// A, where the inner packet's headers are. Without an Ethernet header its
// payload is where that header would be.
func (g *graph) geneveOffsets() list {
	s := &g.link
	l := g.list(c.ALU|c.ADD|c.K, s.payload.constant+s.net+8)
	g.add(&l, c.MISC|c.TAX, 0)
	g.add(&l, c.ALU|c.ADD|c.K, 2)
	s.linkType = varOffset{0, true, g.takeSlot()}
	g.add(&l, c.ST, uint32(s.linkType.slot))
	g.add(&l, c.LD|c.IND|c.B, 0)
	g.add(&l, c.ALU|c.AND|c.K, 0x3f)
	g.add(&l, c.ALU|c.MUL|c.K, 4)
	g.add(&l, c.ALU|c.ADD|c.K, 8)
	g.add(&l, c.ALU|c.ADD|c.X, 0)
	s.push(Ethernet, varOffset{0, true, g.takeSlot()})
	g.add(&l, c.ST, uint32(s.hdr.slot))

	g.asIs = true
	g.add(&l, c.LD|c.IND|c.H, 2)
	g.add(&l, c.LDX|c.MEM, uint32(s.hdr.slot))
	bridged := g.add(&l, jeq, etherTEB)
	bridged.jt = g.add(&l, c.MISC|c.TXA, 0)
	g.add(&l, c.ALU|c.ADD|c.K, 12)
	g.add(&l, c.ST, uint32(s.linkType.slot))
	g.add(&l, c.ALU|c.ADD|c.K, 2)
	g.add(&l, c.MISC|c.TAX, 0)
	s.payload = varOffset{0, true, g.takeSlot()}
	bridged.jf = g.add(&l, c.STX, uint32(s.payload.slot))
	s.net = 0
	return l
}

// innerFrame returns the condition, if any, that a tunnel's inner packet is an
// Ethernet frame.
func (g *graph) innerFrame() cond {
	s := &g.link
	switch {
	case s.geneve:
		// The payload does not begin where the header does.
		l := g.list(c.LD|c.MEM, uint32(s.hdr.slot))
		g.add(&l, c.LDX|c.MEM, uint32(s.payload.slot))
		return not(g.test(l, c.JMP|c.JEQ|c.X, 0))
	case s.prev == SunATM:
		return not(g.equal(fromPrevHdr, 4, c.H, 0xff00)) // LANE control frame
	}
	return cond{}
}

// direction returns the condition that the packet came in, or went out.
func (g *graph) direction(out bool) cond {
	flag := func(b base, off uint32, size int32, v uint32) cond {
		is := g.equal(b, off, size, v)
		if !out {
			is = not(is)
		}
		return is
	}
	pick := func(yes, no uint32) uint32 {
		if out {
			return yes
		}
		return no
	}
	switch t := g.link.typ; {
	case t == SLIP:
		zero := g.constant(0)
		at := g.loadAt(protoLink, g.constant(0), 1)
		rel := relEQ
		if out {
			rel = relNE
		}
		return g.relation(rel, at, zero)
	case t == IPNet:
		return g.equal(fromHdr, 2, c.H, pick(1, 2))
	case t == LinuxSLL:
		return flag(fromHdr, 0, c.H, packetOutgoing)
	case t == LinuxSLL2:
		return flag(fromHdr, 10, c.B, packetOutgoing)
	case t == PFLog:
		return g.equal(fromHdr, pflogDir, c.B, pick(2, 1))
	case t == PPPD:
		return g.equal(fromHdr, 0, c.B, pick(1, 0))
	case t.row().family == familyJuniper:
		return g.masked(fromHdr, 3, c.B, pick(0, 1), 0x01)
	case g.opts.Source.isFile():
		return g.fail(ErrLinkType, "inbound/outbound not supported on %s when reading savefiles", t.Description())
	}
	return flag(fromHdr, adPacketType, c.H, packetOutgoing)
}

// ifindex returns the condition on the interface's number.
func (g *graph) ifindex(v uint32) cond {
	switch {
	case g.link.typ == LinuxSLL2:
		return g.equal(fromHdr, 4, c.W, v)
	case g.opts.Source.isFile():
		return g.fail(ErrLinkType, "ifindex not supported on %s when reading savefiles", g.link.typ.Description())
	}
	return g.equal(fromHdr, adIfindex, c.W, v)
}
