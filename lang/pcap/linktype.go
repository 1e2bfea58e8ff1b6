package pcap

import c "github.com/skep-bpf/skep/classic"

// PPP's protocol numbers.
const (
	pppIP     = 0x0021
	pppISO    = 0x0023
	pppNS     = 0x0025
	pppDECnet = 0x0027
	pppAtalk  = 0x0029
	pppIPX    = 0x002b
	pppVJC    = 0x002d // IP with Van Jacobson's compressed headers
	pppVJNC   = 0x002f // and not compressed ones
	pppSTP    = 0x0031
	pppIP6    = 0x0057
	pppMPLS   = 0x0281
)

// pppType returns PPP's number of a protocol, or pr where it has none.
func pppType(pr uint32) uint32 {
	switch pr {
	case etherIP:
		return pppIP
	case etherIP6:
		return pppIP6
	case etherDECnet:
		return pppDECnet
	case etherAtalk:
		return pppAtalk
	case etherNS:
		return pppNS
	case sapISO:
		return pppISO
	case sapSTP:
		return pppSTP
	case sapIPX:
		return pppIPX
	}
	return pr
}

// linkProto returns the condition that the packet's network layer is pr: an
// EtherType, or an LLC SAP.
func (g *graph) linkProto(pr uint32) cond {
	s := &g.link
	if s.labels > 0 {
		return g.underLabel(pr)
	}
	row := s.typ.row()
	switch row.family {
	case familyEthernet:
		var tunnel cond
		if !s.geneve {
			tunnel = g.innerFrame()
		}
		return after(tunnel, g.etherProto(pr))
	case family80211:
		data := g.wlanData()
		return and(data, g.llcProto(pr))
	case familyLLC:
		return g.llcProto(pr)
	case familySunATM:
		llc := g.atmField(atmProtoType, atmTypeLLC, relEQ)
		return and(llc, g.llcProto(pr))
	case familySLL:
		return g.sllProto(pr)
	case familyHDLC:
		if pr == sapISO {
			pr = sapISO<<8 | sapISO
		}
		return g.equal(fromLinkType, 0, c.H, pr)
	case familyPPP:
		return g.equal(fromLinkType, 0, c.H, pppType(pr))
	case familyPPPBSD:
		if pr != etherIP {
			return g.equal(fromLinkType, 0, c.H, pppType(pr))
		}
		plain := g.equal(fromLinkType, 0, c.H, pppIP)
		vj := or(plain, g.equal(fromLinkType, 0, c.H, pppVJC))
		return or(vj, g.equal(fromLinkType, 0, c.H, pppVJNC))
	case familyRaw:
		switch pr {
		case etherIP:
			return g.masked(fromHdr, 0, c.B, 0x40, 0xf0)
		case etherIP6:
			return g.masked(fromHdr, 0, c.B, 0x60, 0xf0)
		}
		return g.always(false)
	case familyIPv4:
		return g.always(pr == etherIP)
	case familyIPv6:
		return g.always(pr == etherIP6)
	case familyLoopback:
		return g.loopbackProto(pr)
	case familyPFLOG:
		switch pr {
		case etherIP:
			return g.equal(fromHdr, pflogAF, c.B, afInet)
		case etherIP6:
			return g.equal(fromHdr, pflogAF, c.B, afInet6Linux)
		}
		return g.always(false)
	case familyARCNET:
		return g.arcnetProto(pr)
	case familyLocalTalk:
		return g.always(pr == etherAtalk)
	case familyFrameRelay:
		return g.frameRelayProto(pr)
	case familyJuniper:
		return g.masked(fromHdr, 0, c.W, 0x4d474300, 0xffffff00)
	case familyBACnet:
		return g.masked(fromHdr, 0, c.W, 0x55ff0000, 0xffff0000)
	case familyIPNET:
		switch pr {
		case etherIP:
			return g.equal(fromLinkType, 0, c.B, afInet)
		case etherIP6:
			return g.equal(fromLinkType, 0, c.B, afInet6Solaris)
		}
		return g.always(false)
	}
	what := row.noLink
	if what == "" {
		if s.linkType.constant != unset {
			return g.equal(fromLinkType, 0, c.H, pr)
		}
		what = s.typ.Description()
	}
	return g.fail(ErrLinkType, "%s link-layer type filtering not implemented", what)
}

// Address families, as link headers have them.
const (
	afInet         = 2
	afInet6Linux   = 10
	afInet6BSD     = 24
	afInet6Solaris = 26
	afInet6FreeBSD = 28
	afInet6Darwin  = 30
)

// after returns "first and c", or c where there is no first.
func after(first, then cond) cond {
	if first.head == nil {
		return then
	}
	return and(first, then)
}

// snap returns the condition that an LLC header and a SNAP header are there,
// of an organisation's protocol.
func (g *graph) snap(org, pr uint32) cond {
	return g.bytes(fromLLC, 0, []byte{sapSNAP, sapSNAP, 0x03,
		byte(org >> 16), byte(org >> 8), byte(org), byte(pr >> 8), byte(pr)})
}

// etherProto is linkProto for Ethernet: the field is an EtherType, or up to
// 1500 the length of an LLC frame.
func (g *graph) etherProto(pr uint32) cond {
	is8023 := func() cond { return not(g.cmp(fromLinkType, 0, c.H, 0xffffffff, jgt, etherMTU)) }
	switch {
	case pr == sapISO || pr == sapIP || pr == sapNetBEUI:
		llc := is8023()
		return and(llc, g.equal(fromLLC, 0, c.H, pr<<8|pr))
	case pr == sapIPX:
		// In one of four framings.
		llc := g.equal(fromLLC, 0, c.B, sapIPX)
		ipx := or(llc, g.equal(fromLLC, 0, c.H, 0xffff))
		ipx = or(g.snap(0x000000, etherIPX), ipx)
		ipx = and(is8023(), ipx)
		return or(g.equal(fromLinkType, 0, c.H, etherIPX), ipx)
	case pr == etherAtalk || pr == etherAARP:
		org := uint32(0x080007)
		if pr == etherAARP {
			org = 0x000000
		}
		llc := is8023()
		snap := and(llc, g.snap(org, pr))
		return or(g.equal(fromLinkType, 0, c.H, pr), snap)
	case pr <= etherMTU:
		llc := is8023()
		return and(llc, g.equal(fromLinkType, 2, c.B, pr))
	}
	return g.equal(fromLinkType, 0, c.H, pr)
}

// sllProto is linkProto for Linux's cooked capture, where two codes stand for
// 802.3 and 802.2.
func (g *graph) sllProto(pr uint32) cond {
	const p8023, p8022 = 0x0001, 0x0004
	switch {
	case pr == sapISO || pr == sapIP || pr == sapNetBEUI:
		llc := g.equal(fromLinkType, 0, c.H, p8022)
		return and(llc, g.equal(fromLLC, 0, c.H, pr<<8|pr))
	case pr == sapIPX:
		llc := g.equal(fromLLC, 0, c.B, sapIPX)
		ipx := or(llc, g.snap(0x000000, etherIPX))
		ipx = and(g.equal(fromLinkType, 0, c.H, p8022), ipx)
		ipx = or(g.equal(fromLinkType, 0, c.H, p8023), ipx)
		return or(g.equal(fromLinkType, 0, c.H, etherIPX), ipx)
	case pr == etherAtalk || pr == etherAARP:
		org := uint32(0x080007)
		if pr == etherAARP {
			org = 0x000000
		}
		llc := g.equal(fromLinkType, 0, c.H, p8022)
		snap := and(llc, g.snap(org, pr))
		return or(g.equal(fromLinkType, 0, c.H, pr), snap)
	case pr <= etherMTU:
		llc := g.equal(fromLinkType, 0, c.H, p8022)
		return and(llc, g.equal(fromHdr, g.link.payload.constant, c.B, pr))
	}
	return g.equal(fromLinkType, 0, c.H, pr)
}

// llcProto is linkProto behind an LLC header.
func (g *graph) llcProto(pr uint32) cond {
	switch {
	case pr == sapIP || pr == sapISO || pr == sapNetBEUI:
		return g.equal(fromLLC, 0, c.H, pr<<8|pr)
	case pr == etherAtalk:
		return g.snap(0x080007, etherAtalk)
	case pr <= etherMTU:
		return g.equal(fromLLC, 0, c.B, pr)
	}
	return g.equal(fromLLC, 6, c.H, pr)
}

// loopbackProto is linkProto for BSD's loopback: an address family, of which
// IPv6's differs between systems, in the byte order of the capturing machine.
func (g *graph) loopbackProto(pr uint32) cond {
	af := func(v uint32) cond {
		if g.link.typ == Null || g.link.typ == Enc {
			if g.opts.Source != SwappedFile {
				v = swap32(v)
			}
		}
		return g.equal(fromHdr, 0, c.W, v)
	}
	switch pr {
	case etherIP:
		return af(afInet)
	case etherIP6:
		if !g.opts.Source.isFile() {
			return af(afInet6Linux)
		}
		bsd := af(afInet6BSD)
		known := or(bsd, af(afInet6FreeBSD))
		return or(af(afInet6Darwin), known)
	}
	return g.always(false)
}

// arcnetProto is linkProto for ARCNET, which has old and new codes.
func (g *graph) arcnetProto(pr uint32) cond {
	code := func(v uint32) cond { return g.equal(fromLinkType, 0, c.B, v) }
	switch pr {
	case etherIP6:
		return code(196)
	case etherIP:
		ip := code(212)
		return or(ip, code(240))
	case etherARP:
		arp := code(213)
		return or(arp, code(241))
	case etherRARP:
		return code(214)
	case etherAtalk:
		return code(221)
	}
	return g.always(false)
}

// frameRelayProto is linkProto for Frame Relay: a control byte and an NLPID.
func (g *graph) frameRelayProto(pr uint32) cond {
	nlpid := func(v uint32) cond { return g.equal(fromHdr, 2, c.H, 0x03<<8|v) }
	switch pr {
	case etherIP:
		return nlpid(0xcc)
	case etherIP6:
		return nlpid(0x8e)
	case sapISO:
		clnp := nlpid(isoCLNP)
		esis := nlpid(isoESIS)
		both := or(esis, nlpid(isoISIS))
		return or(clnp, both)
	}
	return g.always(false)
}

// llc returns the condition that the packet has an LLC header, of a form.
func (g *graph) llc(form uint8, sub uint32) cond {
	s := &g.link
	var has cond
	switch s.typ {
	case Ethernet:
		short := not(g.cmp(fromLinkType, 0, c.H, 0xffffffff, jgt, etherMTU))
		has = and(short, not(g.equal(fromLLC, 0, c.H, 0xffff))) // not Novell's raw IPX
	case SunATM:
		has = g.atmLLC()
	case IEEE8025, FDDI, ATMRFC1483:
		has = g.always(true)
	case IEEE80211, Prism, IEEE80211Radio, IEEE80211AVS, PPI:
		has = g.wlanData()
	default:
		return g.fail(ErrLinkType, "'llc' not supported for %s", s.typ.Description())
	}
	switch form {
	case llcI:
		return and(has, not(g.bit(fromLLC, 2, 0x01)))
	case llcS:
		return and(has, g.masked(fromLLC, 2, c.B, llcFormatS, 0x03))
	case llcU:
		return and(has, g.masked(fromLLC, 2, c.B, llcFormatU, 0x03))
	case llcSub:
		return and(has, g.masked(fromLLC, 2, c.B, sub, llcMaskS))
	case llcUSub:
		return and(has, g.masked(fromLLC, 2, c.B, sub, llcMaskU))
	}
	return has
}
