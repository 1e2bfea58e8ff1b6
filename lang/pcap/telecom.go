package pcap

import c "github.com/skep-bpf/skep/classic"

// SunATM's header of 4 bytes: direction and type, VPI, VCI.
const (
	atmTypeLANE = 0x01
	atmTypeLLC  = 0x02

	atmProtoAt = 0
	atmVPIAt   = 1
	atmVCIAt   = 2
	atmPayload = 4
	atmMsgAt   = atmPayload + 5 // Q.2931 message type
)

// Circuits of signalling and maintenance, on VPI 0.
const (
	vciMeta  = 1
	vciBcast = 2
	vciOAMSC = 3
	vciOAMEC = 4
	vciPoint = 5
	vciILMI  = 16
)

// Q.2931 messages of call control.
const (
	msgCallProceed = 0x02
	msgSetup       = 0x05
	msgConnect     = 0x07
	msgConnectAck  = 0x0f
	msgRelease     = 0x4d
	msgReleaseDone = 0x5a
)

// isATM reports whether the packets are raw ATM, also once lane has made
// Ethernet of what they carry.
func (g *graph) isATM() bool { return g.link.outermost == SunATM }

// atmField returns the condition that a field compares with v.
func (g *graph) atmField(field uint8, v uint32, rel relation) cond {
	if !g.isATM() && (field == atmVPI || field == atmVCI) {
		return g.fail(ErrLinkType, "'%s' supported only on raw ATM", [...]string{atmVPI: "vpi", atmVCI: "vci"}[field])
	}
	off, size, mask := uint32(atmProtoAt), int32(c.B), uint32(0x0f)
	switch field {
	case atmVPI:
		off, mask = atmVPIAt, 0xffffffff
	case atmVCI:
		off, size, mask = atmVCIAt, c.H, 0xffffffff
	case atmMsgType:
		off, mask = atmMsgAt, 0xffffffff
	}
	return g.relCmp(fromHdr, off, size, mask, rel, v)
}

// relCmp is cmp with a relation. libpcap negates only jgt and jge: != of a
// field asks what = does.
func (g *graph) relCmp(b base, off uint32, size int32, mask uint32, rel relation, v uint32) cond {
	is := g.cmp(b, off, size, mask, c.JMP|c.K|relCodes[rel], v)
	if rel == relLE || rel == relLT {
		is = not(is)
	}
	return is
}

// atmLLC returns the condition that the circuit carries LLC. What follows
// looks at the header before again.
func (g *graph) atmLLC() cond {
	is := g.atmField(atmProtoType, atmTypeLLC, relEQ)
	g.link.typ = g.link.prev
	return is
}

// circuit returns the condition on VPI 0 and a VCI.
func (g *graph) circuit(vci uint32) cond {
	vpi := g.atmField(atmVPI, 0, relEQ)
	return and(vpi, g.atmField(atmVCI, vci, relEQ))
}

var atmNames = [...]string{
	atmLANE: "lane", atmMetaC: "metac", atmBCC: "bcc", atmOAMF4EC: "oam4ec", atmOAMF4SC: "oam4sc",
	atmSC: "sc", atmILMIC: "ilmic", atmOAM: "oam", atmOAMF4: "oamf4", atmConnectMsg: "connectmsg",
	atmMetaConnect: "metaconnect",
}

// atm returns the condition that a circuit, or what it carries, is of a type.
func (g *graph) atm(which uint8) cond {
	if !g.isATM() {
		return g.fail(ErrLinkType, "'%s' supported only on raw ATM", atmNames[which])
	}
	switch which {
	case atmMetaC:
		return g.circuit(vciMeta)
	case atmBCC:
		return g.circuit(vciBcast)
	case atmOAMF4SC:
		return g.circuit(vciOAMSC)
	case atmOAMF4EC:
		return g.circuit(vciOAMEC)
	case atmSC:
		return g.circuit(vciPoint)
	case atmILMIC:
		return g.circuit(vciILMI)
	case atmOAM, atmOAMF4:
		sc := g.atmField(atmVCI, vciOAMSC, relEQ)
		either := or(sc, g.atmField(atmVCI, vciOAMEC, relEQ))
		return and(g.atmField(atmVPI, 0, relEQ), either)
	case atmConnectMsg:
		some := g.messages(msgSetup, msgCallProceed, msgConnect, msgConnectAck, msgRelease, msgReleaseDone)
		return and(g.circuit(vciPoint), some)
	case atmMetaConnect:
		some := g.messages(msgSetup, msgCallProceed, msgConnect, msgRelease, msgReleaseDone)
		return and(g.circuit(vciMeta), some)
	}
	// LAN emulation: 2 bytes of header, then Ethernet.
	is := g.atmField(atmProtoType, atmTypeLANE, relEQ)
	s := &g.link
	s.push(Ethernet, varOffset{atmPayload + 2, false, noSlot})
	s.linkType.constant = s.hdr.constant + 12
	s.payload.constant = s.hdr.constant + 14
	s.net, s.netNoSNAP = 0, 3
	return is
}

// messages returns the condition on one of several messages.
func (g *graph) messages(types ...uint32) cond {
	some := g.atmField(atmMsgType, types[0], relEQ)
	for i, t := range types[1:] {
		if is := g.atmField(atmMsgType, t, relEQ); i == 0 {
			some = or(some, is)
		} else {
			some = or(is, some)
		}
	}
	return some
}

// SS7: where the length indicator and the routing label of MTP2 and MTP3 are,
// on a link type; on high speed links the length takes two bytes more, what
// follows it is 3 bytes farther on.
type ss7 struct{ length, sio, opc, dpc, sls uint32 }

// ss7Offsets returns them, and false where the link type has no SS7.
func (g *graph) ss7Offsets() (ss7, bool) {
	at := uint32(0)
	switch g.link.outermost {
	case MTP2:
	case MTP2WithHeader:
		at = 4
	case ERF:
		at = 20
	default:
		return ss7{}, false
	}
	return ss7{at + 2, at + 3, at + 4, at + 4, at + 7}, true
}

var (
	mtp2Names = [...]string{
		mtpFISU: "'fisu' supported only on MTP2", mtpLSSU: "'lssu' supported only on MTP2",
		mtpMSU: "'msu' supported only on MTP2", mtpHFISU: "'hfisu' supported only on MTP2_HSL",
		mtpHLSSU: "'hlssu' supported only on MTP2_HSL", mtpHMSU: "'hmsu' supported only on MTP2_HSL",
	}
	mtp3Names = [...]string{mtpSIO: "sio", mtpOPC: "opc", mtpDPC: "dpc", mtpSLS: "sls"}
	mtp3Max   = [...]uint32{mtpSIO: 255, mtpOPC: 16383, mtpDPC: 16383, mtpSLS: 15}
)

// signalUnit returns the condition on the kind of an MTP2 signal unit: its
// length is 0 in fill-in, 1 or 2 in link status, more in message units.
func (g *graph) signalUnit(which uint8) cond {
	at, ok := g.ss7Offsets()
	if !ok {
		return g.fail(ErrLinkType, "%s", mtp2Names[which])
	}
	off, size, mask, two := at.length, int32(c.B), uint32(0x3f), uint32(2)
	if which >= mtpHFISU {
		off, size, mask, two = at.length+2, c.H, 0xff80, 0x0100
	}
	switch which {
	case mtpFISU, mtpHFISU:
		return g.cmp(fromPacket, off, size, mask, jeq, 0)
	case mtpLSSU, mtpHLSSU:
		short := not(g.cmp(fromPacket, off, size, mask, jgt, two))
		return and(g.cmp(fromPacket, off, size, mask, jgt, 0), short)
	}
	return g.cmp(fromPacket, off, size, mask, jgt, two)
}

// mtp3 returns the condition that a field of the routing label compares with
// v. The label is little-endian, its fields not at byte boundaries.
func (g *graph) mtp3(field uint8, v uint32, rel relation) cond {
	at, ok := g.ss7Offsets()
	more := uint32(0)
	if field >= mtpHigh {
		field, more = field-mtpHigh, 3
	}
	name := mtp3Names[field]
	if !ok {
		return g.fail(ErrLinkType, "'%s' supported only on SS7", name)
	}
	if limit := mtp3Max[field]; v > limit {
		return g.fail(ErrMeaning, "%s value %d too big; max value = %d", name, v, limit)
	}
	switch field {
	case mtpSIO:
		return g.relCmp(fromPacket, at.sio+more, c.B, 0xffffffff, rel, v)
	case mtpOPC:
		v = v&0x3c00>>10 + v&0x03fc<<6 + v&0x0003<<22
		return g.relCmp(fromPacket, at.opc+more, c.W, 0x00c0ff0f, rel, v)
	case mtpDPC:
		v = v&0x00ff<<24 + v&0x3f00<<8
		return g.relCmp(fromPacket, at.dpc+more, c.W, 0xff3f0000, rel, v)
	}
	return g.relCmp(fromPacket, at.sls+more, c.B, 0xf0, rel, v<<4)
}

// pflog's header:
//
//	 0      1     2        3        4          20          36     40        60
//	┌──────┬─────┬────────┬────────┬──────────┬───────────┬──────┬─────────┬─────┐
//	│length│ af  │ action │ reason │ interface│ rule set  │ rule │ subrule │ dir │
//	└──────┴─────┴────────┴────────┴──────────┴───────────┴──────┴─────────┴─────┘
const (
	pflogAF      = 1
	pflogAction  = 2
	pflogReason  = 3
	pflogIfname  = 4
	pflogRuleset = 20
	pflogRule    = 36
	pflogSubrule = 40
	pflogDir     = 60

	pflogNameLen = 16 // bytes of a name, with the zero at its end
)

// pf returns the condition on a field of pflog's header.
func (g *graph) pf(field uint8, v uint32, name string) cond {
	words := [...]string{pfIfname: "ifname", pfRuleset: "ruleset", pfRulenum: "rnr",
		pfSubrulenum: "srnr", pfReason: "reason", pfAction: "action"}
	if g.link.typ != PFLog {
		return g.fail(ErrLinkType, "%s supported only on PF linktype", words[field])
	}
	switch field {
	case pfIfname, pfRuleset:
		off, what := uint32(pflogIfname), "ifname interface names"
		if field == pfRuleset {
			off, what = pflogRuleset, "ruleset names"
		}
		if len(name) >= pflogNameLen {
			return g.fail(ErrMeaning, "%s can only be %d characters", what, pflogNameLen-1)
		}
		return g.bytes(fromHdr, off, []byte(name))
	case pfRulenum:
		return g.equal(fromHdr, pflogRule, c.W, v)
	case pfSubrulenum:
		return g.equal(fromHdr, pflogSubrule, c.W, v)
	case pfReason:
		return g.equal(fromHdr, pflogReason, c.B, v)
	}
	return g.equal(fromHdr, pflogAction, c.B, v)
}
