package pcap

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes expressions at random by walking the grammar. Most mean
// something; some are refused, on this link type or on any, and a few are not
// of the language at all.
type generator struct{ *rand.Rand }

func (g generator) pick(of ...string) string { return of[g.IntN(len(of))] }
func (g generator) words(s string) string    { return g.pick(strings.Fields(s)...) }
func (g generator) chance(percent int) bool  { return g.IntN(100) < percent }

// number returns one of the kind that finds mistakes.
func (g generator) number() string {
	switch g.IntN(8) {
	case 0:
		return g.words("0 1 2 3 4 5 6 7 8 0x0f 0x1fff 017 255 256 1500 1501 4095 65535 65536 0xffffffff 0x80000000 4294967296 08")
	case 1:
		return fmt.Sprint(g.Uint32())
	case 2:
		return fmt.Sprintf("%#x", g.Uint32N(1<<16))
	case 3:
		return g.words("tcpflags tcp-syn tcp-fin tcp-ack icmptype icmp-echo icmp6type icmp6-echo")
	}
	return fmt.Sprint(g.IntN(70))
}

func (g generator) small(n int) string { return fmt.Sprint(g.IntN(n)) }

// expr returns an expression of about n primitives.
func (g generator) expr(n int) string {
	if n <= 1 {
		return g.term()
	}
	k := 1 + g.IntN(n-1)
	l, op := g.expr(k), g.pick(" and ", " or ", " && ", " || ", " and ", " or ")
	var r string
	switch {
	case g.chance(12):
		r = g.id()
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

const protoWords = "ether link fddi tr wlan ppp slip arp rarp ip sctp tcp udp icmp igmp igrp pim vrrp carp atalk aarp decnet lat sca moprc mopdl ip6 icmp6 ah esp iso esis isis l1 l2 iih lsp snp csnp psnp clnp stp ipx netbeui radio"

// term returns a primitive.
func (g generator) term() string {
	switch g.IntN(26) {
	case 0, 1, 2:
		return g.words(protoWords)
	case 3, 4, 5:
		return g.words("ip ip ip6 arp rarp tcp") + " " + g.dir() + g.host()
	case 6, 7:
		return g.dir() + g.pick("", "host ", "host ") + g.addr()
	case 8, 9, 10:
		return g.pick("", "tcp ", "udp ", "sctp ", "ip ") + g.dir() + g.port()
	case 11:
		return g.pick("ether", "wlan", "link", "tr", "fddi") + " " + g.wlanDir() + g.pick("", "host ") + g.mac()
	case 12:
		return g.pick("", "ip ", "ip6 ", "ether ", "iso ", "isis ", "link ", "tcp ") + "proto " + g.protocol()
	case 13:
		if g.chance(60) {
			return g.words("ip ip6 tcp") + " protochain " + g.protocol()
		}
		return "protochain " + g.protocol()
	case 14, 15, 16, 17:
		return g.relation()
	case 18:
		return g.pick("", "ether ", "ip ", "ip6 ", "link ", "tcp ") + g.pick("broadcast", "multicast")
	case 19:
		return g.pick("less "+g.number(), "greater "+g.number(), "inbound", "outbound", "ifindex "+g.small(9),
			"byte "+g.small(40)+" "+g.pick("=", "<", ">", "&", "|")+" "+g.small(256))
	case 20, 21:
		return g.encap()
	case 22:
		return g.wlan()
	case 23:
		return "llc" + g.pick("", " i", " s", " u", " rr", " rnr", " rej", " ui", " ua", " disc", " dm", " sabme", " test", " xid", " frmr", " zz")
	case 24:
		return g.telecom()
	}
	return g.pf()
}

func (g generator) dir() string {
	return g.pick("", "", "", "src ", "dst ", "src or dst ", "src and dst ", "dst or src ", "dst and src ", "ra ")
}

func (g generator) wlanDir() string {
	return g.pick("", "src ", "dst ", "src or dst ", "src and dst ", "addr1 ", "addr2 ", "address3 ", "addr4 ", "ra ", "ta ")
}

func (g generator) mac() string {
	return g.pick("ff:ff:ff:ff:ff:ff", "01-02-03-04-05-06", "aabb.ccdd.eeff", "001122334455", "1:2:3:4:5:6", "$2a", "$f", "0.1.2.3.4.5")
}

// addr returns an address, of any family.
func (g generator) addr() string {
	switch g.IntN(8) {
	case 0, 1:
		return g.addr6()
	case 2:
		return g.mac()
	}
	return g.addr4()
}

func (g generator) addr4() string {
	if g.chance(70) {
		return g.words("10.0.0.1 10.0.0.2 127.0.0.1 192.168.1.1 1.2.3.4 255.255.255.255 0.0.0.0 224.0.0.1")
	}
	return fmt.Sprintf("%d.%d.%d.%d", g.IntN(260), g.IntN(256), g.IntN(256), g.IntN(256))
}

func (g generator) addr6() string {
	return g.words("::1 :: fe80::1 2001:db8::1 2001:db8:0:1:2:3:4:5 ::ffff:1.2.3.4 1:2:3:4:5:6:7:8 ff02::1:ff00:0")
}

// host returns a host or net with its keyword.
func (g generator) host() string {
	switch g.IntN(10) {
	case 0:
		return "net " + g.words("10 10.1 10.0.0.0/8 192.168.0.0/16 172.16.0.0/12 10.0.0.1/8 1.2.3.4/32 0.0.0.0/0 224.0.0.0/4 10.0.0.0/33")
	case 1:
		return "net " + g.words("10.0.0.0 192.168.0.0 10") + " mask " + g.words("255.0.0.0 255.255.0.0 255.255")
	case 2:
		return "net " + g.words("2001:db8::/32 fe80::/10 ::/0 2001:db8::/33 2001:db8::1/64 2001:db8::1/128 ::1/129 ff00::/8")
	case 3:
		return "net " + g.number()
	case 4:
		return "host " + g.number()
	case 5:
		return g.pick("gateway ", "net ", "") + g.addr4()
	}
	return "host " + g.addr()
}

func (g generator) port() string {
	switch g.IntN(8) {
	case 0:
		return "portrange " + g.words("80-90 8000-8100 100-50 0-65535 1-70000 http-https 80-x 53 22-https")
	case 1:
		return "port " + g.words("http https domain ssh nosuchport syslog bootps")
	case 2:
		return "port " + g.number()
	}
	return "port " + g.words("80 443 53 22 8080 68 123 0 65535")
}

func (g generator) protocol() string {
	return g.pick(g.number(), g.words(`6 17 1 58 0x800 0x86dd 0x806 0x42 0xe0 0xf0 0xfe 0x06 0x600 \tcp \udp \icmp \ip \ip6 \arp \rarp \esis \clnp \isis \stp \ipx \netbeui \iso \atalk \aarp \ah \esp nosuch vrrp2 gre ospf`))
}

// id returns an identifier alone, which takes qualifiers over.
func (g generator) id() string {
	one := func() string {
		return g.pick(g.addr4(), g.addr6(), g.number(), g.mac(), "http", g.addr4(), "10.0.0.0/8", "80")
	}
	switch g.IntN(6) {
	case 0:
		return "(" + one() + " or " + one() + ")"
	case 1:
		return "not " + one()
	case 2:
		return "(" + one() + " and (" + one() + " or not " + one() + "))"
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
	case 0, 1:
		return g.words("ether ip ip tcp udp icmp ip6 icmp6 arp rarp sctp igmp pim vrrp carp igrp radio decnet link tcp iso") +
			"[" + g.arith(depth-1) + g.pick("", "", ":1", ":2", ":4", ":3") + "]"
	case 2:
		return "(" + g.arith(depth-1) + ")"
	case 3:
		return "-" + g.arith(depth-1)
	}
	return g.arith(depth-1) + " " + g.pick("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "&", "+") + " " + g.arith(depth-1)
}

func (g generator) encap() string {
	return g.pick("vlan", "vlan "+g.small(4096), "vlan", "vlan 5000", "mpls", "mpls "+g.small(1<<20), "mpls 1048576",
		"pppoed", "pppoes", "pppoes "+g.small(1<<16), "pppoes 65536", "geneve", "geneve "+g.small(1<<24),
		"vlan (("+g.small(100)+"))", "geneve 16777216")
}

func (g generator) wlan() string {
	return g.pick("", "wlan ", "", "") + g.pick("type mgt", "type ctl", "type data", "type 8", "type 3",
		"type mgt subtype beacon", "type data subtype qos-data", "type ctl subtype rts", "subtype ack", "subtype probe-req",
		"type data subtype 0x80", "type 4 subtype ps-poll", "type mgt subtype rts", "type management subtype deauth",
		"dir nods", "dir tods", "dir fromds", "direction dstods", "dir 3", "dir upwards", "type 0xc subtype ack")
}

func (g generator) telecom() string {
	switch g.IntN(3) {
	case 0:
		return g.words("lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic connectmsg metaconnect llc")
	case 1:
		return g.words("vpi vci sio opc dpc sls hsio hopc hdpc hsls") + " " +
			g.pick(g.small(20), "> "+g.small(20), "< "+g.small(300), "= 3", "!= 4", ">= 5", "<= 6", "(1 or 2 or "+g.small(20000)+")", g.small(70000))
	}
	return g.words("fisu lssu lsu msu hfisu hlssu hmsu")
}

func (g generator) pf() string {
	return g.pick("on en0", "ifname abcdefghijklmnopq", "ifname abcde", "rset myrules", "ruleset x", "rnr 5", "srnr 6", "rulenum 7",
		"reason match", "reason state-limit", "reason 3", "reason nosuch", "action pass", "action block", "action scrub", "action nosuch")
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
