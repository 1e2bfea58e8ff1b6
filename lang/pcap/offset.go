package pcap

import c "github.com/skep-bpf/skep/classic"

// varOffset is an offset that is partly known only from the packet: then its
// variable part is in a scratch slot.
type varOffset struct {
	constant uint32
	variable bool
	slot     int // noSlot until something needs it
}

const noSlot = -1

// linkState says where the headers are, as far as the primitives compiled so
// far have moved them.
type linkState struct {
	outermost, prev, typ LinkType

	outerHdr, prevHdr, hdr varOffset // the link headers
	payload, linkType      varOffset // see offsets
	net, netNoSNAP         uint32    // added to payload

	labels, tags int  // mpls labels and vlan tags so far
	geneve       bool // typ is that of a Geneve tunnel's inner packet
	vlanSlots    bool // vlan has made payload and linkType variable
}

// base is what an offset is relative to.
type base uint8

const (
	fromPacket base = iota
	fromHdr         // link header
	fromPrevHdr
	fromLLC        // end of the link header
	fromLabel      // the last mpls label
	fromLinkType   // protocol field of the link header
	fromNet        // network layer
	fromNetNoSNAP  // network layer behind LLC without SNAP
	fromTransport  // behind an IPv4 header with its options
	fromTransport6 // behind an IPv6 header without extensions
)

// start prepares the state for a link type.
func (g *graph) start(l LinkType) {
	row := l.row()
	s := &g.link
	fixed := varOffset{slot: noSlot}
	*s = linkState{
		outermost: l, prev: l, typ: l,
		hdr: fixed, payload: fixed, linkType: fixed,
	}
	o := row.offsets
	if o == nil {
		if l < minMatching || l > maxLink {
			g.fail(ErrLinkType, "unknown data link type %d (min %d, max %d)", int(l), int(minMatching), int(maxLink))
		}
		o = &offsets{unset, unset, unset, unset}
	}
	s.linkType.constant, s.payload.constant, s.net, s.netNoSNAP = o.linkType, o.payload, o.net, o.netNoSNAP
	switch l {
	case NetAnalyzer:
		s.hdr.constant = 4
	case NetAnalyzerTrans:
		s.hdr.constant = 12
	case Prism, IEEE80211AVS, IEEE80211Radio, PPI:
		s.hdr.variable = true
	}
	s.payload.variable = row.family == family80211 || row.family == familyPFLOG
	s.outerHdr, s.prevHdr = s.hdr, s.hdr
}

// push makes a new link header the current one.
func (s *linkState) push(l LinkType, hdr varOffset) {
	s.prev, s.prevHdr = s.typ, s.hdr
	s.typ, s.hdr = l, hdr
	s.geneve = false
}

// varPart returns what loads the variable part of an offset into X: nothing
// where there is none.
func (g *graph) varPart(o *varOffset) list {
	if !o.variable {
		return list{}
	}
	if o.slot == noSlot {
		o.slot = g.takeSlot()
	}
	return g.list(c.LDX|c.MEM, uint32(o.slot))
}

// loadFrom returns what loads into A the value at off from o.
func (g *graph) loadFrom(o *varOffset, off uint32, size int32) list {
	l := g.varPart(o)
	if l.head == nil {
		return g.list(c.LD|c.ABS|size, o.constant+off)
	}
	g.add(&l, c.LD|c.IND|size, o.constant+off)
	return l
}

// load returns what loads into A the value at off from b.
func (g *graph) load(b base, off uint32, size int32) list {
	s := &g.link
	switch b {
	case fromHdr:
		return g.loadFrom(&s.hdr, off, size)
	case fromPrevHdr:
		return g.loadFrom(&s.prevHdr, off, size)
	case fromLLC:
		return g.loadFrom(&s.payload, off, size)
	case fromLabel:
		return g.loadFrom(&s.payload, s.net-4+off, size)
	case fromNet:
		return g.loadFrom(&s.payload, s.net+off, size)
	case fromNetNoSNAP:
		return g.loadFrom(&s.payload, s.netNoSNAP+off, size)
	case fromLinkType:
		return g.loadFrom(&s.linkType, off, size)
	case fromTransport:
		l := g.headerLen()
		g.add(&l, c.LD|c.IND|size, s.payload.constant+s.net+off)
		return l
	case fromTransport6:
		return g.loadFrom(&s.payload, s.net+40+off, size)
	}
	return g.list(c.LD|c.ABS|size, off)
}

// headerLen returns what loads into X the length of the IPv4 header, and of
// the variable part of what is before it.
func (g *graph) headerLen() list {
	s := &g.link
	at := s.payload.constant + s.net
	l := g.varPart(&s.payload)
	if l.head == nil {
		return g.list(c.LDX|c.MSH|c.B, at)
	}
	g.add(&l, c.LD|c.IND|c.B, at)
	g.add(&l, c.ALU|c.AND|c.K, 0xf)
	g.add(&l, c.ALU|c.LSH|c.K, 2)
	g.add(&l, c.ALU|c.ADD|c.X, 0)
	g.add(&l, c.MISC|c.TAX, 0)
	return l
}

// prologue puts before the first block what finds out the variable parts that
// something in the graph has asked for.
func (g *graph) prologue(b *block) {
	s := &g.link
	if s.payload.slot != noSlot && s.hdr.variable && s.hdr.slot == noSlot {
		s.hdr.slot = g.takeSlot()
	}
	var l list
	switch s.outermost {
	case Prism:
		l = g.prismLen()
	case IEEE80211AVS:
		if s.hdr.slot != noSlot {
			l = g.list(c.LD|c.W|c.ABS, 4)
			g.keep(&l, s.hdr.slot)
		}
	case IEEE80211Radio, PPI:
		if s.hdr.slot != noSlot {
			// Little-endian, so byte by byte.
			l = g.list(c.LD|c.B|c.ABS, 3)
			g.add(&l, c.ALU|c.LSH|c.K, 8)
			g.add(&l, c.MISC|c.TAX, 0)
			g.add(&l, c.LD|c.B|c.ABS, 2)
			g.add(&l, c.ALU|c.OR|c.X, 0)
			g.keep(&l, s.hdr.slot)
		}
	}
	switch s.outermost.row().family {
	case family80211:
		l = g.wlanHeaderLen(l, b.stmts.head)
	case familyPFLOG:
		if s.payload.slot != noSlot {
			// The header's length rounded up to a multiple of 4.
			l = g.list(c.LD|c.B|c.ABS, 0)
			g.add(&l, c.ALU|c.ADD|c.K, 3)
			g.add(&l, c.ALU|c.AND|c.K, 0xfffffffc)
			g.keep(&l, s.payload.slot)
		}
	}
	if l.head == nil && s.vlanSlots {
		if s.payload.slot == noSlot {
			s.payload.slot = g.takeSlot()
		}
		if s.linkType.slot == noSlot {
			s.linkType.slot = g.takeSlot()
		}
		l = g.list(c.LD|c.W|c.IMM, 0)
		g.add(&l, c.ST, uint32(s.payload.slot))
		g.add(&l, c.ST, uint32(s.linkType.slot))
	}
	l.add(b.stmts)
	b.stmts = l
}

// keep stores A in a slot and leaves it in X too.
func (g *graph) keep(l *list, slot int) {
	g.add(l, c.ST, uint32(slot))
	g.add(l, c.MISC|c.TAX, 0)
}

// prismLen returns what finds the length of a Prism header, or of an AVS
// header, which may stand there instead and is told by its magic number.
func (g *graph) prismLen() list {
	g.asIs = true
	if g.link.hdr.slot == noSlot {
		return list{}
	}
	l := g.list(c.LD|c.W|c.ABS, 0)
	g.add(&l, c.ALU|c.AND|c.K, 0xfffff000)
	avs := g.add(&l, jeq, 0x80211000)
	avs.jt = g.add(&l, c.LD|c.W|c.ABS, 4)
	over := g.add(&l, c.JMP|c.JA, 1)
	avs.jf = g.add(&l, c.LD|c.W|c.IMM, 144)
	over.jf = g.add(&l, c.ST, uint32(g.link.hdr.slot))
	g.add(&l, c.MISC|c.TAX, 0)
	return l
}

// wlanHeaderLen appends to l, which leaves the radio header's length in X,
// what finds the length of an 802.11 header:
//
//	24, in data frames of a QoS subtype 26; with radiotap's "pad to 4 bytes"
//	flag set rounded up. In frames other than data it is of no interest.
//
// next is what comes after.
func (g *graph) wlanHeaderLen(l list, next *stmt) list {
	slot := uint32(g.link.payload.slot)
	if g.link.payload.slot == noSlot {
		return l
	}
	g.asIs = true
	if l.head == nil {
		l = g.list(c.LDX|c.IMM, g.link.outerHdr.constant)
	}
	g.add(&l, c.MISC|c.TXA, 0)
	g.add(&l, c.ALU|c.ADD|c.K, 24)
	g.add(&l, c.ST, slot)

	g.add(&l, c.LD|c.IND|c.B, 0)
	data := g.add(&l, jset, 0x08)
	ctl := g.add(&l, jset, 0x04)
	data.jt, data.jf = ctl, next
	qos := g.add(&l, jset, 0x80)
	ctl.jt, ctl.jf = next, qos

	qos.jt = g.add(&l, c.LD|c.MEM, slot)
	g.add(&l, c.ALU|c.ADD|c.K, 2)
	g.add(&l, c.ST, slot)
	if g.link.typ != IEEE80211Radio {
		qos.jf = next
		return l
	}

	// Radiotap's present word, little-endian: flags, extension, TSFT.
	qos.jf = g.add(&l, c.LD|c.ABS|c.W, 4)
	flags := g.add(&l, jset, swap32(0x00000002))
	flags.jf = next
	ext := g.add(&l, jset, swap32(0x80000000))
	flags.jt, ext.jt = ext, next
	tsft := g.add(&l, jset, swap32(0x00000001))
	ext.jf = tsft
	tsft.jt = g.add(&l, c.LD|c.ABS|c.B, 16)
	pad1 := g.add(&l, jset, 0x20)
	tsft.jf = g.add(&l, c.LD|c.ABS|c.B, 8)
	pad2 := g.add(&l, jset, 0x20)
	round := g.add(&l, c.LD|c.MEM, slot)
	g.add(&l, c.ALU|c.ADD|c.K, 3)
	g.add(&l, c.ALU|c.AND|c.K, 0xfffffffc)
	g.add(&l, c.ST, slot)
	pad1.jt, pad1.jf = round, next
	pad2.jt, pad2.jf = round, next
	return l
}
