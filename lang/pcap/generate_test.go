package pcap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// generator makes expressions at random by walking the grammar. A sober one
// keeps to what has a meaning on the link type; one that is not takes any
// word anywhere.
type generator struct {
	*rand.Rand
	link  LinkType
	sober bool
}

// query returns an expression to compare.
func (g generator) query(links []LinkType) query {
	q := query{link: Ethernet, snaplen: 262144}
	if g.chance(60) {
		q.link = links[g.IntN(len(links))]
	}
	q.opts.NoOptimize = g.chance(35)
	q.opts.Netmask = 0xffffff00
	g.link, g.sober = q.link, g.chance(85)
	q.expr = g.expr(1 + g.IntN(1+g.IntN(7)))
	if g.chance(1) {
		q.expr = g.expr(30 + g.IntN(40)) // far jumps
	}
	if g.chance(12) {
		if s := g.garble(q.expr); subset(names(s), names(q.expr)) {
			q.expr = s // no new names: libpcap would ask the network for them
		}
	}
	return q
}

// names returns the names in an expression.
func names(expr string) map[string]bool {
	found := map[string]bool{}
	s := scanner{src: expr}
	for {
		switch t := s.next(); t.kind {
		case kEOF:
			return found
		case kName:
			found[expr[t.pos:t.end]] = true
		}
	}
}

func subset(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// comparedLinks returns the link types of which something is known, and two of
// which nothing is.
func comparedLinks() []LinkType {
	var all []LinkType
	for i := range links {
		if links[i].offsets != nil {
			all = append(all, LinkType(i))
		}
	}
	return append(all, 249, 267)
}

func (g generator) pick(of ...string) string { return of[g.IntN(len(of))] }
func (g generator) words(s string) string    { return g.pick(strings.Fields(s)...) }
func (g generator) chance(percent int) bool  { return g.IntN(100) < percent }
func (g generator) small(n int) string       { return fmt.Sprint(g.IntN(n)) }

// proto returns a protocol: one of the words, or if g is not sober any.
func (g generator) proto(words string) string {
	if !g.sober && g.chance(40) {
		var all []string
		for w, k := range keywords {
			if k.kind == kProto {
				all = append(all, w)
			}
		}
		slices.Sort(all)
		return g.pick(all...)
	}
	return g.words(words)
}

// odd returns one of the words, those after the bar only if g is not sober.
func (g generator) odd(words string) string {
	good, bad, _ := strings.Cut(words, "|")
	if !g.sober && bad != "" && g.chance(50) {
		return g.words(bad)
	}
	return g.words(good)
}

// number returns one of the kind that finds mistakes.
func (g generator) number() string {
	switch g.IntN(7) {
	case 0:
		return g.odd("0 1 2 3 4 5 6 7 8 0x0f 0x1fff 017 255 256 1500 1501 4095 65535 | 65536 0xffffffff 0x80000000 4294967296 08")
	case 1:
		return fmt.Sprintf("%#x", g.Uint32N(1<<16))
	case 2:
		return g.words("tcpflags tcp-syn tcp-fin tcp-ack icmptype icmp-echo icmp6type icmp6-echo")
	case 3:
		if g.chance(30) {
			return fmt.Sprint(g.Uint32())
		}
	}
	return fmt.Sprint(g.IntN(70))
}

// expr returns an expression of about n primitives.
func (g generator) expr(n int) string {
	if n <= 1 {
		return g.term()
	}
	k := 1 + g.IntN(n-1)
	l, op := g.expr(k), g.pick(" and ", " or ", " && ", " || ", " and ", " or ")
	var r string
	switch {
	case !g.sober && g.chance(12):
		r = g.id(g.anything)
	case g.chance(25):
		r = "(" + g.expr(n-k) + ")"
	default:
		r = g.expr(n - k)
	}
	if g.chance(15) {
		r = g.pick("not ", "! ", "!") + r
	}
	if g.chance(20) {
		l = "(" + l + ")"
	}
	return l + op + r
}

// term returns a primitive.
func (g generator) term() string {
	family := g.link.row().family
	switch g.IntN(30) {
	case 0, 1:
		return g.odd("arp rarp ip sctp tcp udp icmp igmp igrp pim vrrp carp atalk aarp decnet lat sca moprc mopdl ip6 icmp6 ah esp iso esis isis clnp stp ipx netbeui | radio ether link")
	case 2:
		return g.odd("ip tcp udp ip6 l1 l2 iih lsp snp csnp psnp iso isis esis")
	case 3, 4, 5, 6:
		return g.hosts()
	case 7, 8, 9, 10:
		return g.ports()
	case 11:
		if g.link.hasMACs() || !g.sober {
			return g.proto("ether wlan link tr fddi") + " " + g.wlanDir() + g.pick("", "host ") + g.id(g.mac)
		}
	case 12:
		return g.proto("ip ip6") + " proto " + g.id(g.protocol)
	case 13:
		return g.pick("proto "+g.protocol(), "ether proto "+g.pick(g.number(), g.words(`\ip \ip6 \arp \rarp \stp \ipx \netbeui \iso \atalk \aarp \decnet \lat \loopback`)), "iso proto "+g.words(`\esis \clnp \isis 129 5`))
	case 14:
		if g.chance(30) {
			return g.proto("ip ip6") + " protochain " + g.protocol()
		}
	case 15, 16, 17, 18, 19:
		return g.relation()
	case 20:
		return g.pick("ip ", "ip6 ", g.proto("ip")+" ", g.proto("ip")+" ") + g.pick("broadcast", "multicast")
	case 21:
		if g.link.hasMACs() || !g.sober {
			return g.pick("", "ether ", "link ") + g.pick("broadcast", "multicast")
		}
	case 22:
		return g.pick("less "+g.number(), "greater "+g.number(), "inbound", "outbound", "ifindex "+g.small(9),
			"byte "+g.small(40)+" "+g.pick("=", "<", ">", "&", "|")+" "+g.small(256))
	case 23, 24:
		if family == familyEthernet || !g.sober {
			return g.encap()
		}
		if family == familyHDLC || g.link == PPP {
			return g.pick("mpls", "mpls "+g.small(1<<20))
		}
		return g.pick("pppoes", "pppoed", "geneve", "geneve "+g.small(1<<24), "pppoes "+g.small(1<<16))
	case 25:
		if family == family80211 || !g.sober {
			return g.wlan()
		}
	case 26:
		switch g.link {
		case Ethernet, SunATM, IEEE8025, FDDI, ATMRFC1483, IEEE80211, Prism, IEEE80211Radio, PPI:
			return "llc" + g.pick("", " i", " s", " u", " rr", " rnr", " rej", " ui", " ua", " disc", " dm", " sabme", " test", " xid", " frmr")
		}
	case 27, 28:
		if g.link == SunATM || g.link == MTP2 || g.link == MTP2WithHeader || g.link == ERF || !g.sober {
			return g.telecom()
		}
		if g.link == PFLog {
			return g.pf()
		}
	case 29:
		if !g.sober {
			return g.pick(g.telecom(), g.pf())
		}
		if g.link == ARCNET || g.link == ARCNETLinux {
			return "link " + g.dir() + g.pick("", "host ") + g.pick("$2a", "$f", "$0")
		}
	}
	return g.pick("ip", "tcp", "udp", "ip6")
}

// hosts returns a primitive on addresses.
func (g generator) hosts() string {
	switch g.IntN(6) {
	case 0:
		return g.proto("ip6") + " " + g.dir() + "host " + g.id(g.addr6)
	case 1:
		return g.pick("", "ip6 ") + g.dir() + "net " + g.id(func() string {
			return g.odd("2001:db8::/32 fe80::/10 ::/0 2001:db8::/33 2001:db8::1/128 ff00::/8 | 2001:db8::1/64 ::1/129")
		})
	case 2:
		return g.proto("ip arp rarp ip decnet") + " " + g.dir() + "net " + g.id(g.net4)
	case 3:
		return g.dir() + "net " + g.id(g.net4)
	case 4:
		return "decnet " + g.dir() + "host " + g.id(func() string { return g.words("1.2 10.15 63.1023 1.2.3") })
	}
	if g.chance(4) {
		return g.pick("", "ip ", "ip6 ") + g.dir() + "host localhost"
	}
	if g.chance(30) {
		return g.proto("ip arp rarp decnet") + " " + g.dir() + "host " + g.id(g.addr4)
	}
	return g.dir() + g.pick("", "host ", "host ", "host ") + g.id(func() string {
		if !g.sober && g.chance(20) {
			return g.anything()
		}
		if g.chance(20) {
			return g.addr6()
		}
		return g.addr4()
	})
}

// ports returns a primitive on ports.
func (g generator) ports() string {
	over := g.proto("tcp udp sctp tcp udp") + " "
	if g.chance(50) {
		over = ""
	}
	if g.chance(25) {
		return over + g.dir() + "portrange " + g.id(func() string {
			return g.odd("80-90 8000-8100 100-50 0-65535 53 ssh-telnet 22-telnet 6000 | 1-70000 80-x ssh-xx")
		})
	}
	return over + g.dir() + "port " + g.id(func() string {
		return g.odd("80 443 53 22 8080 68 123 0 65535 http https domain ssh telnet | nosuchport syslog bootps 65536 10.0.0.1 ::1")
	})
}

func (g generator) dir() string {
	if !g.sober && g.chance(10) {
		return g.words("ra ta addr1 address4") + " "
	}
	return g.pick("", "", "", "src ", "dst ", "src or dst ", "src and dst ", "dst or src ", "dst and src ")
}

func (g generator) wlanDir() string {
	if g.link.row().family == family80211 || !g.sober {
		return g.pick("", "src ", "dst ", "src or dst ", "src and dst ", "addr1 ", "addr2 ", "address3 ", "addr4 ", "ra ", "ta ")
	}
	return g.dir()
}

func (g generator) mac() string {
	return g.odd("ff:ff:ff:ff:ff:ff 01-02-03-04-05-06 aabb.ccdd.eeff 001122334455 1:2:3:4:5:6 0.1.2.3.4.5 00:11:22:33:44:55 | $2a $f 1:2:3")
}

func (g generator) addr4() string {
	if g.chance(70) {
		return g.odd("10.0.0.1 10.0.0.2 127.0.0.1 192.168.1.1 1.2.3.4 255.255.255.255 0.0.0.0 224.0.0.1 10 192.168 | 1.2.3.256 0x1.2.3.4")
	}
	return fmt.Sprintf("%d.%d.%d.%d", g.IntN(256), g.IntN(256), g.IntN(256), g.IntN(256))
}

func (g generator) net4() string {
	return g.odd("10 10.1 10.0.0.0/8 192.168.0.0/16 172.16.0.0/12 1.2.3.4/32 0.0.0.0/0 224.0.0.0/4 loopback 300 | 10.0.0.1/8 10.0.0.0/33 nosuchnet") +
		g.pick("", "", "", "")
}

func (g generator) addr6() string {
	return g.words("::1 :: fe80::1 2001:db8::1 2001:db8:0:1:2:3:4:5 ::ffff:1.2.3.4 1:2:3:4:5:6:7:8 ff02::1:ff00:0 1:2:3:4:5:6:7::")
}

func (g generator) protocol() string {
	return g.pick(g.small(256), g.number(), g.odd(`6 17 1 58 \tcp \udp \icmp \ah \esp gre ospf pim vrrp \sctp | 0x800 \ip \arp \esis nosuch vrrp2 1.2.3.4`))
}

func (g generator) anything() string {
	return g.pick(g.addr4(), g.addr6(), g.number(), g.mac(), "http", g.addr4(), "10.0.0.0/8", "80", `\tcp`)
}

// id returns identifiers: one, or several that share what qualifies them.
func (g generator) id(one func() string) string {
	switch g.IntN(12) {
	case 0:
		return "(" + one() + " or " + one() + ")"
	case 1:
		return "not " + one()
	case 2:
		return "(" + one() + " and (" + one() + " or not " + one() + "))"
	case 3:
		return one() + g.pick(" or ", " and ", " and not ") + one()
	case 4:
		return one() + " or (" + one() + " or " + one() + ")"
	}
	return one()
}

func (g generator) relation() string {
	if g.chance(50) {
		// What people write.
		return g.pick(
			"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] & 2 != 0", "ip[0] & 0xf > 5",
			"ip[6:2] & 0x1fff = 0", "tcp[12] & 0xf0 >> 2 > 20", "icmp[icmptype] = icmp-echo",
			"icmp6[icmp6type] == icmp6-echo", "udp[4:2] > 100", "ether[0] & 1 = 0", "ip6[6] = 6", "len > 100",
			"tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "ip[8] < 64", "ip[2:2] - ((ip[0]&0xf)<<2) != 0",
			"ether[12:2] = 0x800", "arp[6:2] = 1", "ip[0:4] >= 0x45000000", "sctp[0:2] = 80")
	}
	return g.arith(2) + " " + g.pick("=", "==", "!=", "<", ">", "<=", ">=") + " " + g.arith(1)
}

// arith returns arithmetic of a depth.
func (g generator) arith(depth int) string {
	if depth == 0 || g.chance(30) {
		return g.pick(g.number(), g.number(), "len", g.small(40))
	}
	switch g.IntN(6) {
	case 0, 1, 2:
		size := g.odd(": :1 :2 :4 | :3 :0")
		return g.proto("ether ip ip tcp udp icmp ip6 icmp6 arp rarp sctp igmp pim vrrp carp igrp decnet link tcp ip udp atalk lat sca moprc mopdl") +
			"[" + g.arith(depth-1) + strings.TrimSuffix(size, ":") + "]"
	case 3:
		return g.pick("(", "-(", "-(-") + g.arith(depth-1) + ")"
	case 4:
		return g.arith(depth-1) + " " + g.words("<< >> / %") + " " + fmt.Sprint(1+g.IntN(31))
	}
	return g.arith(depth-1) + " " + g.words("+ - * & | ^ & + % /") + " " + g.arith(depth-1)
}

func (g generator) encap() string {
	if !g.sober && g.chance(20) {
		return g.pick("vlan 5000", "mpls 1048576", "pppoes 65536", "geneve 16777216")
	}
	return g.pick("vlan", "vlan "+g.small(4096), "vlan", "mpls", "mpls "+g.small(1<<20), "vlan", "vlan and vlan "+g.small(4096),
		"pppoed", "pppoes", "pppoes "+g.small(1<<16), "geneve", "geneve "+g.small(1<<24), "vlan (("+g.small(100)+"))")
}

func (g generator) wlan() string {
	if !g.sober && g.chance(30) {
		return g.pick("type 3", "type mgt subtype rts", "dir upwards", "type 0xc subtype ack", "subtype 5", "type nosuch")
	}
	return g.pick("", "wlan ", "", "") + g.pick("type mgt", "type ctl", "type data", "type 8",
		"type mgt subtype beacon", "type data subtype qos-data", "type ctl subtype rts", "subtype ack", "subtype probe-req",
		"type data subtype 0x80", "type 4 subtype ps-poll", "type management subtype deauth",
		"dir nods", "dir tods", "dir fromds", "direction dstods", "dir 3", "radio[2] > 5")
}

func (g generator) telecom() string {
	if g.sober && g.link == SunATM || !g.sober && g.chance(50) {
		return g.pick(g.words("lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic connectmsg metaconnect llc"),
			g.words("vpi vci")+" "+g.value())
	}
	return g.pick(g.words("fisu lssu lsu msu hfisu hlssu hmsu"), g.words("sio opc dpc sls hsio hopc hdpc hsls")+" "+g.value())
}

func (g generator) value() string {
	v := g.small(16)
	if !g.sober {
		v = g.small(70000)
	}
	return g.pick(v, "> "+v, "< "+v, "= 3", "!= 4", ">= 5", "<= 6", "(1 or 2 or "+v+")", "(("+v+")")
}

func (g generator) pf() string {
	return strings.ReplaceAll(g.odd("on#en0 ifname#abcde rset#myrules ruleset#x rnr#5 srnr#6 rulenum#7 reason#match reason#state-limit reason#3 action#pass action#block action#scrub ifname#abcdefghijklmno"+
		"| reason#nosuch action#nosuch ifname#abcdefghijklmnopq"), "#", " ")
}

// garble damages an expression.
func (g generator) garble(s string) string {
	if len(s) < 2 {
		return s
	}
	i := g.IntN(len(s))
	switch g.IntN(4) {
	case 0:
		return s[:i] + s[i+1:]
	case 1:
		return s[:i] + g.pick("(", ")", "[", "]", " not ", ":", "!", " and ", " 5 ", "\\", "$", "#", "-", "::", "/8 ", " host ") + s[i:]
	case 2:
		j := g.IntN(len(s))
		return s[:min(i, j)] + s[max(i, j):]
	}
	return s[:i]
}
