package pcap

import (
	"strconv"
	"strings"
)

// name resolves a name.
func (k *checker) name(n *node, t *target) {
	q := n.quals
	switch q.typ {
	case typNet:
		net, ok := k.resolver.Net(n.text)
		if !ok || net == 0 {
			k.fail(n, "unknown network '%s'", n.text)
			return
		}
		t.kind = tHost4
		t.addr4, t.mask4 = classful(net)
		k.host4(n)
	case typDefault, typHost:
		switch q.proto {
		case protoLink:
			t.kind = tMACName
			t.mac, t.found = k.resolver.Ether(n.text)
		case protoDECnet:
			k.fail(n, "decnet name support not included, '%s' cannot be translated", n.text)
		default:
			var err error
			if t.addrs, err = k.resolver.Host(n.text); err != nil || len(t.addrs) == 0 {
				k.fail(n, "unknown host '%s'", n.text)
				return
			}
			t.kind = tHostName
			for _, a := range t.addrs {
				switch {
				case a.Is4() && q.proto != protoIP6:
					k.host4(n)
				case !a.Is4() && q.proto != protoIP:
					k.host6(n)
				}
			}
		}
	case typPort, typPortRange:
		k.portName(n, t)
	case typGateway:
		k.fail(n, "'gateway' not supported in this configuration")
	case typProto, typProtoChain:
		v, ok := k.protoNumber(n)
		if !ok {
			return
		}
		t.lo = v
		k.proto(n, t)
	default:
		k.fail(n, "syntax error in filter expression")
	}
}

// portName resolves a port's name, or a range of names or numbers.
func (k *checker) portName(n *node, t *target) {
	if !k.transport(n, t) {
		return
	}
	what := "port"
	var real int32
	var ok bool
	if n.quals.typ == typPortRange {
		what = "port in range"
		t.kind = tPortRange
		t.lo, t.hi, real, ok = k.portRange(n.text)
	} else {
		t.kind = tPort
		t.lo, real, ok = k.port(n.text)
		t.hi = t.lo
	}
	if !ok {
		k.fail(n, "unknown %s '%s'", what, n.text)
		return
	}
	switch {
	case t.transport == anyTransport:
		t.transport = real
	case real != anyTransport && real != t.transport:
		k.fail(n, "%s '%s' is %s", what, n.text, map[int32]string{ipTCP: "tcp", ipUDP: "udp", ipSCTP: "sctp"}[real])
		return
	}
	for _, v := range []uint32{t.lo, t.hi} {
		switch {
		case int32(v) < 0:
			k.fail(n, "illegal port number %d < 0", int32(v))
		case v > 65535:
			k.fail(n, "illegal port number %d > 65535", v)
		}
	}
	k.portDirection(n)
}

// port resolves a port's name. The transport is the one that has it, or
// anyTransport where tcp and udp have the same.
func (k *checker) port(name string) (v uint32, transport int32, ok bool) {
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return uint32(n), anyTransport, true
	}
	tcp, isTCP := k.resolver.Port(name, "tcp")
	udp, isUDP := k.resolver.Port(name, "udp")
	switch {
	case isTCP && isUDP && tcp == udp:
		return uint32(tcp), anyTransport, true
	case isTCP:
		return uint32(tcp), ipTCP, true
	case isUDP:
		return uint32(udp), ipUDP, true
	}
	return 0, 0, false
}

// portRange resolves "from-to".
func (k *checker) portRange(s string) (lo, hi uint32, transport int32, ok bool) {
	from, to, found := strings.Cut(s, "-")
	if !found {
		return 0, 0, 0, false
	}
	digits := to[:len(to)-len(strings.TrimLeft(to, "0123456789"))]
	if a, err := strconv.ParseUint(from, 10, 32); err == nil && digits != "" {
		if b, err := strconv.ParseUint(digits, 10, 32); err == nil {
			return uint32(a), uint32(b), anyTransport, true
		}
	}
	lo, t1, ok1 := k.port(from)
	hi, t2, ok2 := k.port(to)
	if t1 != t2 {
		t2 = anyTransport
	}
	return lo, hi, t2, ok1 && ok2
}

// protoNumber resolves a protocol's name.
func (k *checker) protoNumber(n *node) (uint32, bool) {
	switch n.quals.proto {
	case protoDefault, protoIP, protoIP6:
		if v, ok := k.resolver.Proto(n.text); ok {
			return uint32(v), true
		}
		k.fail(n, "unknown ip proto '%s'", n.text)
	case protoLink:
		for _, e := range etherProtos {
			if e.name == n.text {
				return e.value, true
			}
		}
		k.fail(n, "unknown ether proto '%s'", n.text)
	case protoISO:
		switch n.text {
		case "esis":
			return isoESIS, true
		case "isis":
			return isoISIS, true
		case "clnp":
			return isoCLNP, true
		}
		k.fail(n, "unknown osi proto '%s'", n.text)
	default:
		k.fail(n, "unknown protocol: %s", n.text)
	}
	return 0, false
}
