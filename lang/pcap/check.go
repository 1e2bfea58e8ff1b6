package pcap

import (
	"net/netip"
	"strconv"
	"strings"
)

// checker finds out what identifiers mean under their qualifiers, and refuses
// the combinations that mean nothing on any link type.
type checker struct {
	resolver Resolver
	targets  *slab[target]
	err      *Error
}

// check resolves all identifiers below n, in the order in which they stand.
func (k *checker) check(n *node) {
	for ; n != nil && k.err == nil; n = n.r {
		switch n.kind {
		case nAnd, nOr, nNot, nRel, nArith, nLoad:
			k.check(n.l)
		case nName, nNumber, nAddr4, nNet4, nNetMask4, nAddr6, nNet6, nMAC, nARC:
			n.target = k.targets.alloc()
			if k.identifier(n, n.target); k.err != nil {
				n.target.kind = tNone
			}
		}
	}
}

func (k *checker) fail(n *node, format string, args ...any) {
	if k.err == nil {
		k.err = newError(ErrMeaning, n.pos, n.end, format, args...)
	}
}

func (k *checker) identifier(n *node, t *target) {
	q := n.quals
	switch n.kind {
	case nName:
		k.name(n, t)
	case nNumber, nAddr4:
		k.number(n, t)
	case nNet4, nNetMask4:
		k.net4(n, t)
	case nAddr6, nNet6:
		k.addr6(n, t)
	case nMAC:
		if q.typ > typHost || q.proto != protoLink {
			k.fail(n, "ethernet address used in non-ether expression")
		}
		t.kind = tMAC
		parseMAC(n.text, &t.mac)
	case nARC:
		// Whether it can be used at all depends on the link type. libpcap
		// takes the $ for a digit, of the value 0xd.
		t.kind = tARC
		parseMAC("d"+n.text[1:], &t.mac)
	}
}

// parseMAC reads one or two digits a byte, separators between bytes or none.
func parseMAC(s string, mac *[6]byte) {
	for i := range mac {
		if s != "" && (s[0] == ':' || s[0] == '.' || s[0] == '-') {
			s = s[1:]
		}
		n := matchHex(s, 2)
		for _, d := range []byte(s[:n]) {
			mac[i] = mac[i]<<4 | unhex(d)
		}
		s = s[n:]
	}
}

// classful returns a net given by its leading bytes alone, as 10 or 172.16,
// with the mask that goes with them.
func classful(net uint32) (addr, mask uint32) {
	mask = 0xffffffff
	for net != 0 && net&0xff000000 == 0 {
		net <<= 8
		mask <<= 8
	}
	return net, mask
}

// number gives meaning to a number or to the bytes of an IPv4 address.
func (k *checker) number(n *node, t *target) {
	q := n.quals
	v, bits := n.num, 32
	if n.kind == nAddr4 {
		switch q.typ {
		case typPort, typPortRange, typProto, typProtoChain:
			word := map[typ]string{typPort: "port", typPortRange: "portrange", typProto: "proto", typProtoChain: "protochain"}[q.typ]
			k.fail(n, "'%s' modifier applied to ip host", word)
			return
		}
		ok := false
		if q.proto == protoDECnet {
			if v, ok = parseDECnet(n.text); !ok {
				k.fail(n, "malformed decnet address '%s'", n.text)
				return
			}
		} else if v, bits, ok = parseAddr4(n.text); !ok {
			k.fail(n, "invalid IPv4 address '%s'", n.text)
			return
		}
	}
	switch q.typ {
	case typDefault, typHost, typNet:
		switch {
		case q.proto == protoDECnet:
			t.kind, t.addr4 = tDECnet, v
			k.direction(n, "addresses other than 802.11 MAC addresses")
			return
		case q.proto == protoLink:
			k.fail(n, "illegal link layer address")
			return
		case n.kind == nNumber && q.typ == typNet:
			t.addr4, t.mask4 = classful(v)
		default:
			t.addr4, t.mask4 = v<<(32-bits), 0xffffffff<<(32-bits)
		}
		t.kind = tHost4
		k.host4(n)
	case typPort, typPortRange:
		if !k.transport(n, t) {
			return
		}
		if v > 65535 {
			k.fail(n, "illegal port number %d > 65535", v)
		}
		t.kind, t.lo, t.hi = tPort, v, v
		if q.typ == typPortRange {
			t.kind = tPortRange
		}
		k.portDirection(n)
	case typGateway:
		k.fail(n, "'gateway' requires a name")
	case typProto, typProtoChain:
		t.lo = v
		k.proto(n, t)
	default:
		k.fail(n, "syntax error in filter expression")
	}
}

// net4 gives meaning to an IPv4 net with its mask.
func (k *checker) net4(n *node, t *target) {
	net, bits, ok := parseAddr4(n.text)
	if !ok {
		k.fail(n, "invalid IPv4 address '%s'", n.text)
		return
	}
	net <<= 32 - bits
	var mask uint32
	if n.kind == nNetMask4 {
		m, bits, ok := parseAddr4(n.mask)
		if !ok {
			k.fail(n, "invalid IPv4 address '%s'", n.mask)
			return
		}
		if mask = m << (32 - bits); net&^mask != 0 {
			k.fail(n, "non-network bits set in \"%s mask %s\"", n.text, n.mask)
			return
		}
	} else {
		if n.num > 32 {
			k.fail(n, "mask length must be <= 32")
			return
		}
		if mask = uint32(uint64(0xffffffff00000000) >> n.num); net&^mask != 0 {
			k.fail(n, "non-network bits set in \"%s/%d\"", n.text, n.num)
			return
		}
	}
	if n.quals.typ != typNet {
		k.fail(n, "Mask syntax for networks only")
		return
	}
	t.kind, t.addr4, t.mask4 = tHost4, net, mask
	k.host4(n)
}

// addr6 gives meaning to an IPv6 address or net.
func (k *checker) addr6(n *node, t *target) {
	addr, err := netip.ParseAddr(n.text)
	if err != nil {
		k.fail(n, "bogus IPv6 address %s", n.text)
		return
	}
	bits := uint32(128)
	if n.kind == nNet6 {
		bits = n.num
	}
	if bits > 128 {
		k.fail(n, "mask length must be <= 128")
		return
	}
	if p, _ := addr.Prefix(int(bits)); p.Addr() != addr {
		k.fail(n, "non-network bits set in \"%s/%d\"", n.text, bits)
		return
	}
	switch n.quals.typ {
	case typDefault, typHost:
		if bits != 128 {
			k.fail(n, "Mask syntax for networks only")
			return
		}
	case typNet:
	default:
		k.fail(n, "invalid qualifier against IPv6 address")
		return
	}
	t.kind, t.addr6 = tHost6, addr
	for i := range t.mask6 {
		if have := int(bits) - 32*i; have > 0 {
			t.mask6[i] = uint32(uint64(0xffffffff00000000) >> min(have, 32))
		}
	}
	k.host6(n)
}

// parseAddr4 reads one to four decimal bytes, and how many bits they are.
func parseAddr4(s string) (v uint32, bits int, ok bool) {
	for {
		part, rest, more := strings.Cut(s, ".")
		b, err := strconv.ParseUint(part, 10, 32)
		if err != nil || b > 255 {
			return 0, 0, false
		}
		v, bits = v<<8|uint32(b), bits+8
		if !more {
			return v, bits, true
		}
		s = rest
	}
}

// parseDECnet reads area.node.
func parseDECnet(s string) (uint32, bool) {
	area, node, _ := strings.Cut(s, ".")
	node, _, _ = strings.Cut(node, ".")
	a, err1 := strconv.ParseUint(area, 10, 32)
	n, err2 := strconv.ParseUint(node, 10, 32)
	return uint32(a)<<10&0xfc00 | uint32(n)&0x3ff, err1 == nil && err2 == nil
}

// host4 refuses protocols and directions that have no IPv4 addresses.
func (k *checker) host4(n *node) {
	what := "host"
	if n.quals.typ == typNet {
		what = "net"
	}
	switch pr := n.quals.proto; pr {
	case protoDefault, protoIP, protoARP, protoRARP, protoDECnet:
		k.direction(n, "addresses other than 802.11 MAC addresses")
	default:
		k.refuse(n, protocols[pr].noHost, "'"+protocols[pr].name+"' modifier applied to %s", what)
	}
}

// host6 refuses protocols and directions that have no IPv6 addresses.
func (k *checker) host6(n *node) {
	what := "host"
	if n.quals.typ == typNet {
		what = "net"
	}
	switch pr := n.quals.proto; pr {
	case protoDefault, protoIP6:
		k.direction(n, "addresses other than 802.11 MAC addresses")
	default:
		k.refuse(n, protocols[pr].noHost6, "'"+protocols[pr].name+"' modifier applied to ip6 %s", what)
	}
}

// refuse fails with the special message, or with the usual one where there is
// none, what filled in.
func (k *checker) refuse(n *node, special, usual, what string) {
	if special == "" {
		special = usual
	}
	k.fail(n, "%s", strings.Replace(special, "%s", what, 1))
}

// direction refuses directions that only 802.11 addresses have.
func (k *checker) direction(n *node, what string) {
	d := n.quals.dir
	switch w := wlanOnly[d]; {
	case d < dirAddr1:
	case d == dirRA || d == dirTA:
		k.fail(n, "%s not a valid qualifier for %s", w, what)
	default:
		k.fail(n, "%s not valid qualifiers for %s", w, what)
	}
}

func (k *checker) portDirection(n *node) {
	if n.quals.typ == typPortRange {
		k.direction(n, "port ranges")
	} else {
		k.direction(n, "ports")
	}
}

// transport takes the transport protocol from the qualifier.
func (k *checker) transport(n *node, t *target) bool {
	switch n.quals.proto {
	case protoDefault:
		t.transport = anyTransport
	case protoTCP:
		t.transport = ipTCP
	case protoUDP:
		t.transport = ipUDP
	case protoSCTP:
		t.transport = ipSCTP
	default:
		word := "port"
		if n.quals.typ == typPortRange {
			word = "portrange"
		}
		k.fail(n, "illegal qualifier of '%s'", word)
		return false
	}
	return true
}

// proto refuses protocols that say nothing of what they carry.
func (k *checker) proto(n *node, t *target) {
	if n.quals.typ == typProtoChain {
		t.kind = tProtoChain
		return
	}
	t.kind = tProto
	if n.quals.dir != dirDefault {
		k.fail(n, "direction applied to 'proto'")
	}
	switch pr := n.quals.proto; pr {
	case protoDefault, protoLink, protoIP, protoIP6, protoISO, protoISIS:
	default:
		k.refuse(n, protocols[pr].noProto, "'%s proto' is bogus", protocols[pr].name)
	}
}
