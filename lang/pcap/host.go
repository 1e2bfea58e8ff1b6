package pcap

import (
	"net/netip"

	c "github.com/skep-bpf/skep/classic"
)

// either makes of a condition on one address that on source, destination,
// both, or one of them.
func either(d dir, one func(dir) cond) cond {
	switch d {
	case dirAnd:
		src := one(dirSrc)
		return and(src, one(dirDst))
	case dirDefault, dirOr:
		src := one(dirSrc)
		return or(src, one(dirDst))
	}
	return one(d)
}

// host4 returns the condition on an IPv4 address or net, in the headers of a
// protocol, or of any that has IPv4 addresses.
func (g *graph) host4(addr, mask uint32, pr proto, d dir) cond {
	in := func(ether, src, dst uint32) cond {
		return either(d, func(d dir) cond {
			off := src
			if d == dirDst {
				off = dst
			}
			link := g.linkProto(ether)
			return and(link, g.masked(fromNet, off, c.W, addr, mask))
		})
	}
	switch pr {
	case protoARP:
		return in(etherARP, 14, 24)
	case protoRARP:
		return in(etherRARP, 14, 24)
	case protoIP:
		return in(etherIP, 12, 16)
	}
	some := in(etherIP, 12, 16)
	if g.link.labels == 0 {
		arp := or(some, in(etherARP, 14, 24))
		some = or(arp, in(etherRARP, 14, 24))
	}
	return some
}

// host6 returns the condition on an IPv6 address or net.
func (g *graph) host6(addr netip.Addr, mask [4]uint32, d dir) cond {
	a := addr.As16()
	return either(d, func(d dir) cond {
		off := uint32(8)
		if d == dirDst {
			off = 24
		}
		var all cond
		for i := 3; i >= 0; i-- {
			word := uint32(a[4*i])<<24 | uint32(a[4*i+1])<<16 | uint32(a[4*i+2])<<8 | uint32(a[4*i+3])
			part := g.masked(fromNet, off+4*uint32(i), c.W, word, mask[i])
			if all.head == nil {
				all = part
			} else {
				all = and(part, all)
			}
		}
		link := g.linkProto(etherIP6)
		return and(link, all)
	})
}

// hosts returns the condition on any of the addresses of a name.
func (g *graph) hosts(name string, addrs []netip.Addr, pr proto, d dir) cond {
	p4, p6 := pr, pr
	if g.link.linkType.constant == unset && pr == protoDefault {
		p4, p6 = protoIP, protoIP6
	}
	var all cond
	for _, a := range addrs {
		var one cond
		if a.Is4() {
			if p4 == protoIP6 {
				continue
			}
			v := a.As4()
			one = g.host4(uint32(v[0])<<24|uint32(v[1])<<16|uint32(v[2])<<8|uint32(v[3]), 0xffffffff, p4, d)
		} else {
			if p6 == protoIP {
				continue
			}
			one = g.host6(a, mask128, d)
		}
		if all.head != nil {
			one = or(all, one)
		}
		all = one
	}
	if all.head == nil {
		return g.fail(ErrMeaning, "unknown host '%s' for specified address family", name)
	}
	return all
}

var mask128 = [4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}

// decnet returns the condition on a DECnet address, in the four shapes of its
// routing header: long and short, with a byte of padding and without.
func (g *graph) decnet(addr uint32, d dir) cond {
	a := addr&0xff<<8 | addr>>8&0xff // little-endian in the packet
	return either(d, func(d dir) cond {
		short, long := uint32(3), uint32(15)
		if d == dirDst {
			short, long = 1, 7
		}
		link := g.linkProto(etherDECnet)
		shape := func(off uint32, size int32, v, mask, at uint32) cond {
			is := g.masked(fromNet, off, size, v, mask)
			return and(is, g.equal(fromNet, at, c.H, a))
		}
		some := shape(2, c.H, 0x8106, 0xff07, 2+1+long)
		some = or(shape(2, c.B, 0x06, 0x07, 2+long), some)
		some = or(shape(2, c.H, 0x8102, 0xff07, 2+1+short), some)
		some = or(shape(2, c.B, 0x02, 0x07, 2+short), some)
		return and(link, some)
	})
}

// wlanOnly are the words for directions that only 802.11 has.
var wlanOnly = map[dir]string{
	dirAddr1: "'addr1' and 'address1' are", dirAddr2: "'addr2' and 'address2' are",
	dirAddr3: "'addr3' and 'address3' are", dirAddr4: "'addr4' and 'address4' are",
	dirRA: "'ra' is", dirTA: "'ta' is",
}

// hasMACs reports whether link-layer addresses are of Ethernet's kind.
func (l LinkType) hasMACs() bool {
	switch l {
	case Ethernet, NetAnalyzer, NetAnalyzerTrans, FDDI, IEEE8025, IPOverFC,
		IEEE80211, Prism, IEEE80211AVS, IEEE80211Radio, PPI:
		return true
	}
	return false
}

// mac returns the condition on a link-layer address, as the link type has it.
func (g *graph) mac(mac []byte, d dir) cond {
	src, dst := uint32(0), uint32(0)
	var tunnel cond
	where := "802.11"
	switch t := g.link.typ; t {
	case Ethernet, NetAnalyzer, NetAnalyzerTrans:
		tunnel = g.innerFrame()
		dst, src = 0, 6
		where = "802.11 with 802.11 headers"
	case FDDI:
		dst, src = 1, 7
	case IEEE8025:
		dst, src = 2, 8
	case IPOverFC:
		dst, src = 2, 10
	case IEEE80211, Prism, IEEE80211AVS, IEEE80211Radio, PPI:
		return g.wlanMAC(mac, d)
	default:
		return g.fail(ErrLinkType, "ethernet addresses supported only on ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel")
	}
	if w := wlanOnly[d]; w != "" {
		return g.fail(ErrLinkType, "%s only supported on %s", w, where)
	}
	return after(tunnel, either(d, func(d dir) cond {
		if d == dirSrc {
			return g.bytes(fromHdr, src, mac)
		}
		return g.bytes(fromHdr, dst, mac)
	}))
}

// arcnet returns the condition on an ARCNET address, of one byte.
func (g *graph) arcnet(a byte, d dir) cond {
	if w := wlanOnly[d]; w != "" {
		return g.fail(ErrLinkType, "%s only supported on 802.11", w)
	}
	return either(d, func(d dir) cond {
		if d == dirSrc {
			return g.bytes(fromHdr, 0, []byte{a})
		}
		return g.bytes(fromHdr, 1, []byte{a})
	})
}

// broadcast returns the condition that the packet is for all, of the link or,
// given the netmask, of an IPv4 net.
func (g *graph) broadcast(pr proto) cond {
	switch pr {
	case protoDefault, protoLink:
		switch t := g.link.typ; {
		case t == ARCNET || t == ARCNETLinux:
			return g.arcnet(0, dirDst)
		case t.hasMACs():
			return g.mac([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, dirDst)
		}
		return g.fail(ErrLinkType, "not a broadcast link")
	case protoIP:
		if g.opts.Netmask == NetmaskUnknown {
			return g.fail(ErrMeaning, "netmask not known, so 'ip broadcast' not supported")
		}
		link := g.linkProto(etherIP)
		hosts := ^g.opts.Netmask
		zeros := g.masked(fromNet, 16, c.W, 0, hosts)
		all := or(zeros, g.masked(fromNet, 16, c.W, hosts, hosts))
		return and(link, all)
	}
	return g.fail(ErrMeaning, "only link-layer/IP broadcast filters supported")
}

// multicast returns the condition that the packet is for a group, of the link,
// IPv4 or IPv6.
func (g *graph) multicast(pr proto) cond {
	group := func(off uint32) cond { return g.bit(fromHdr, off, 1) }
	switch pr {
	case protoDefault, protoLink:
		switch t := g.link.typ; t {
		case ARCNET, ARCNETLinux:
			return g.arcnet(0, dirDst)
		case Ethernet, NetAnalyzer, NetAnalyzerTrans:
			tunnel := g.innerFrame()
			return after(tunnel, group(0))
		case FDDI:
			return group(1)
		case IEEE8025, IPOverFC:
			return group(2)
		case IEEE80211, Prism, IEEE80211AVS, IEEE80211Radio, PPI:
			return g.wlanDst(group)
		}
	case protoIP:
		link := g.linkProto(etherIP)
		return and(link, g.cmp(fromNet, 16, c.B, 0xffffffff, jge, 224))
	case protoIP6:
		link := g.linkProto(etherIP6)
		return and(link, g.equal(fromNet, 24, c.B, 255))
	}
	return g.fail(ErrLinkType, "link-layer multicast filters supported only on ethernet/FDDI/token ring/ARCNET/802.11/ATM LANE/Fibre Channel")
}
