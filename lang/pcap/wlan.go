package pcap

import c "github.com/skep-bpf/skep/classic"

// 802.11: where source and destination are depends on the frame's type and on
// the direction bits; see pcap-filter(7) on wlan.
//
//	type     To DS  From DS   destination  source
//	mgt        –       –        addr1       addr2
//	data       0       0        addr1       addr2
//	data       0       1        addr1       addr3
//	data       1       0        addr3       addr2
//	data       1       1        addr3       addr4
const (
	wlanAddr1 = 4
	wlanAddr2 = 10
	wlanAddr3 = 16
	wlanAddr4 = 24

	fcData   = 0x08 // in the first byte of frame control
	fcCtl    = 0x04
	fcToDS   = 0x01 // in the second
	fcFromDS = 0x02
)

// wlanData returns the condition that the frame is one of data.
func (g *graph) wlanData() cond {
	data := g.bit(fromHdr, 0, fcData)
	ctl := not(g.bit(fromHdr, 0, fcCtl))
	return and(ctl, data)
}

// ifBit returns "if the bit is set then yes, else no".
func (g *graph) ifBit(off, bit uint32, yes cond, no func() cond) cond {
	yes = and(g.bit(fromHdr, off, bit), yes)
	clear := not(g.bit(fromHdr, off, bit))
	return or(and(clear, no()), yes)
}

// wlanSrc returns the condition that one says of the source address.
func (g *graph) wlanSrc(one func(off uint32) cond) cond {
	addr := func(off uint32) func() cond { return func() cond { return one(off) } }

	toDS := g.bit(fromHdr, 1, fcToDS)
	src := and(toDS, one(wlanAddr4))
	clear := not(g.bit(fromHdr, 1, fcToDS))
	src = or(and(clear, one(wlanAddr3)), src)
	src = g.ifBit(1, fcFromDS, src, addr(wlanAddr2))
	src = g.ifBit(0, fcData, src, addr(wlanAddr2))
	return and(not(g.bit(fromHdr, 0, fcCtl)), src)
}

// wlanDst returns the condition that one says of the destination address.
func (g *graph) wlanDst(one func(off uint32) cond) cond {
	addr := func(off uint32) func() cond { return func() cond { return one(off) } }
	toDS := g.bit(fromHdr, 1, fcToDS)
	dst := and(toDS, one(wlanAddr3))
	clear := not(g.bit(fromHdr, 1, fcToDS))
	dst = or(and(clear, one(wlanAddr1)), dst)
	dst = g.ifBit(0, fcData, dst, addr(wlanAddr1))
	return and(not(g.bit(fromHdr, 0, fcCtl)), dst)
}

// wlanMAC returns the condition on an address of an 802.11 frame.
func (g *graph) wlanMAC(mac []byte, d dir) cond {
	is := func(off uint32) cond { return g.bytes(fromHdr, off, mac) }
	notCtl := func() cond { return not(g.masked(fromHdr, 0, c.B, wlanTypeCtl, wlanTypeMask)) }
	// Control frames but CTS and ACK have an addr2.
	hasAddr2 := func() cond {
		frame := notCtl()
		cts := not(g.masked(fromHdr, 0, c.B, wlanCTS, wlanSubtypeMask))
		ack := not(g.masked(fromHdr, 0, c.B, wlanACK, wlanSubtypeMask))
		return or(frame, and(cts, ack))
	}
	switch d {
	case dirAddr1:
		return is(wlanAddr1)
	case dirAddr2:
		has := hasAddr2()
		return and(has, is(wlanAddr2))
	case dirAddr3:
		has := notCtl()
		return and(has, is(wlanAddr3))
	case dirAddr4:
		has := g.masked(fromHdr, 1, c.B, wlanDirDSToDS, wlanDirMask)
		return and(has, is(wlanAddr4))
	case dirRA:
		data := g.bit(fromHdr, 0, fcData)
		return and(data, is(wlanAddr1))
	case dirTA:
		has := hasAddr2()
		has = and(g.bit(fromHdr, 0, fcData), has)
		return and(has, is(wlanAddr2))
	}
	return either(d, func(d dir) cond {
		if d == dirSrc {
			return g.wlanSrc(is)
		}
		return g.wlanDst(is)
	})
}

// has80211 reports whether the link type has 802.11's type and direction.
func (g *graph) has80211() bool {
	switch g.link.typ {
	case IEEE80211, Prism, IEEE80211AVS, IEEE80211Radio:
		return true
	}
	return false
}

// frameType returns the condition on the first byte of frame control.
func (g *graph) frameType(v, mask uint32) cond {
	if !g.has80211() {
		return g.fail(ErrLinkType, "802.11 link-layer types supported only on 802.11")
	}
	return g.masked(fromHdr, 0, c.B, v, mask)
}

// frameDir returns the condition on the direction bits.
func (g *graph) frameDir(v uint32) cond {
	if !g.has80211() {
		return g.fail(ErrLinkType, "frame direction supported only with 802.11 headers")
	}
	return g.masked(fromHdr, 1, c.B, v, wlanDirMask)
}
