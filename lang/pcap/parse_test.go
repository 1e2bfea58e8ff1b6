package pcap

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestScan names, for each text, the kinds of its tokens.
func TestScan(t *testing.T) {
	names := map[kind]string{
		kInvalid: "invalid", kName: "name", kNum: "num", kAddr4: "addr4", kAddr6: "addr6", kMAC: "mac", kARC: "arc",
		kLParen: "(", kRParen: ")", kLBrack: "[", kRBrack: "]", kColon: ":", kNot: "not", kAnd: "and", kOr: "or", kRel: "rel",
		kArith: "op", kSlash: "/", kProto: "proto", kSrc: "src", kDst: "dst", kTyp: "type", kLen: "len",
	}
	for _, tt := range []struct{ text, want string }{
		{"host", "type"},
		{"hosts", "name"},
		{`\host`, "name"},
		{"src\tor\ndst", "src or dst"},
		{"! && || == >= <= != << >>", "not and or rel rel rel rel op op"},
		{"ip[0:2]&0xf!=5", "proto [ num : num ] op num rel num"},
		{"10", "num"},
		{"0x1F", "num"},
		{"0x", "name"},
		{"017", "num"},
		{"018", "invalid"},
		{"4294967295", "num"},
		{"4294967296", "invalid"},
		{"10.1", "addr4"},
		{"10.1.2.3", "addr4"},
		{"10.1.2.3/24", "addr4 / num"},
		{"10.1.2.3a", "name"},
		{"10.1.2.", "name"},
		{"1.2.3.4.5", "name"},
		{"1.2.3.4.5.6", "mac"},
		{"8000-8100", "name"},
		{"5-3", "name"},
		{"5 -3", "num op num"},
		{"a-", "name op"},
		{"a_b.c", "name"},
		{"www.example.com", "name"},
		{"1:2:3:4:5:6", "mac"},
		{"aa-bb-cc-dd-ee-ff", "mac"},
		{"aabb.ccdd.eeff", "mac"},
		{"aabbccddeeff", "mac"},
		{"123456789012", "mac"},
		{"1:2:3", "invalid"},
		{"1:2", "num : num"},
		{"::", "addr6"},
		{"::1", "addr6"},
		{"fe80::1", "addr6"},
		{"fe80::", "addr6"},
		{"1:2:3:4:5:6:7:8", "addr6"},
		{"1::2:3", "addr6"},
		{"::ffff:1.2.3.4", "addr6"},
		{"1:2:3:4:5:6:1.2.3.4", "addr6"},
		{"::1.2.3.256", "invalid"},
		{"2001:db8::/32", "addr6 / num"},
		{"12345::1", "num addr6"},
		{"$2a", "arc"},
		{"$", "invalid"},
		{"tcp-syn", "num"},
		{"tcp-synx", "name"},
		{"icmp6-echo|tcpflags", "num op num"},
		{"#", "invalid"},
		{"é", "invalid"},
		{"\x00", "invalid"},
	} {
		s := scanner{src: tt.text}
		var got []string
		for {
			tok := s.next()
			if tok.kind == kEOF {
				break
			}
			if got = append(got, names[tok.kind]); tok.kind == kInvalid {
				break
			}
		}
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, g, tt.want)
		}
	}
}

// tree writes a syntax tree with parentheses.
func tree(n *node) string {
	q := func() string {
		dirs := [...]string{"", "src ", "dst ", "src|dst ", "src&dst ", "addr1 ", "addr2 ", "addr3 ", "addr4 ", "ra ", "ta "}
		typs := [...]string{"", "host ", "net ", "port ", "gateway ", "proto ", "protochain ", "portrange "}
		if n.quals.typ == typUndef {
			return "? "
		}
		s := ""
		if n.quals.proto != protoDefault {
			s = protocols[n.quals.proto].name + " "
		}
		return s + dirs[n.quals.dir] + typs[n.quals.typ]
	}
	switch n.kind {
	case nAnd:
		return "(" + tree(n.l) + " and " + tree(n.r) + ")"
	case nOr:
		return "(" + tree(n.l) + " or " + tree(n.r) + ")"
	case nNot:
		return "not " + tree(n.l)
	case nNumber:
		return q() + fmt.Sprint(n.num)
	case nNet4, nNet6:
		return q() + n.text + "/" + fmt.Sprint(n.num)
	case nNetMask4:
		return q() + n.text + " mask " + n.mask
	case nName, nAddr4, nAddr6, nMAC, nARC:
		return q() + n.text
	case nProto:
		return protocols[n.val].name
	case nRel:
		return "(" + tree(n.l) + [...]string{" > ", " >= ", " = ", " <= ", " < ", " != "}[n.val] + tree(n.r) + ")"
	case nConst:
		return fmt.Sprint(n.num)
	case nLen:
		return "len"
	case nLoad:
		return fmt.Sprintf("%s[%s:%d]", protocols[n.val].name, tree(n.l), n.num)
	case nArith:
		if n.r == nil {
			return "-" + tree(n.l)
		}
		return "(" + tree(n.l) + [...]string{"+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"}[n.val] + tree(n.r) + ")"
	}
	return fmt.Sprintf("<%d %d %d %d %q>", n.kind, n.val, n.num, n.num2, n.text)
}

// TestParse shows how expressions are understood; all of it is what libpcap
// does with them.
func TestParse(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"ip", "ip"},
		{"host a", "host a"},
		{"tcp src port 80", "tcp src port 80"},
		{"src or dst net 10", "src|dst net 10"},
		{"dst and src 1.2.3.4", "src&dst 1.2.3.4"},
		// and and or bind equally, to the left.
		{"ip or tcp and udp", "((ip or tcp) and udp)"},
		{"ip or (tcp and udp)", "(ip or (tcp and udp))"},
		{"not ip and tcp", "(not ip and tcp)"},
		{"!!ip", "not not ip"},
		// Qualifiers are handed on.
		{"tcp port 80 or 443", "(tcp port 80 or tcp port 443)"},
		{"host a or b and c", "((host a or host b) and host c)"},
		{"host a or not b", "(host a or not host b)"},
		{"host (a or b)", "(host a or host b)"},
		{"host not a", "not host a"},
		{"port (80 or (443 and not 53))", "(port 80 or (port 443 and not port 53))"},
		{"host a and (b or c)", "(host a and (host b or host c))"},
		{"port ((80))", "port 80"},
		// A parenthesis hands on what was before it.
		{"tcp port 80 and (udp port 53) and 54", "((tcp port 80 and udp port 53) and tcp port 54)"},
		{"ip and a", "(ip and ? a)"},
		// Numbers are identifiers or arithmetic, as what follows says.
		{"port 80 or 443 = 443", "(port 80 or (443 = 443))"},
		{"port 80 or (443) + 1 = 444", "(port 80 or ((443+1) = 444))"},
		{"port 80 or (443 + 1) = 444", "(port 80 or ((443+1) = 444))"},
		{"port 80 or (443 + 1 = 444)", "(port 80 or ((443+1) = 444))"},
		{"port 80 or (443)", "(port 80 or port 443)"},
		{"(ip[0]) = 1", "(ip[0:1] = 1)"},
		// Precedence.
		{"1 + 2 * 3 = 7", "((1+(2*3)) = 7)"},
		{"1 - 2 - 3 = 7", "(((1-2)-3) = 7)"},
		{"1 | 2 & 3 << 4 = 7", "((1|(2&(3<<4))) = 7)"},
		{"1 * 2 + 3 = 7", "(((1*2)+3) = 7)"},
		{"-1 + 2 = 1", "((-1+2) = 1)"},
		{"- -1 = 1", "(--1 = 1)"},
		{"2 - -1 = 3", "((2--1) = 3)"},
		// % and ^ take what follows.
		{"1 * 2 % 3 = 4", "((1*(2%3)) = 4)"},
		{"1 % 2 + 3 = 4", "((1%(2+3)) = 4)"},
		{"-1 ^ 2 * 3 = 4", "(-(1^(2*3)) = 4)"},
		{"tcp[tcp[12] >> 2 : 4] != len", "(tcp[(tcp[12:1]>>2):4] != len)"},
		{"net 10.0.0.0/8", "net 10.0.0.0/8"},
		{"net 10.0.0.0 mask 255.0.0.0", "net 10.0.0.0 mask 255.0.0.0"},
		{`ip proto \tcp`, "ip proto tcp"},
	} {
		k := new(compiler)
		k.parser.nodes = &k.nodes
		n, err := k.parser.parse(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
		} else if got := tree(n); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}

// TestErrors shows the one line and the caret of errors.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		kind       error
		link       LinkType
		expr, want string
	}{
		{ErrSyntax, Ethernet, "tcp port 80 and and udp", `
filter expression: syntax error at "and": expected a primitive
tcp port 80 and and udp
                ^^^`},
		{ErrSyntax, Ethernet, "host", `
filter expression: syntax error at the end: expected a name, number or address
host
    ^`},
		{ErrSyntax, Ethernet, "foo", `
filter expression: syntax error at "foo": expected a qualifier such as host, net or port before it
foo
^^^`},
		{ErrSyntax, Ethernet, "(ip or tcp", `
filter expression: syntax error at the end: expected ')'
(ip or tcp
          ^`},
		{ErrSyntax, Ethernet, "ip[0 = 5", `
filter expression: syntax error at "=": expected ']'
ip[0 = 5
     ^`},
		{ErrSyntax, Ethernet, "host ((a))", `
filter expression: syntax error at ")": expected and or or
host ((a))
         ^`},
		{ErrSyntax, Ethernet, "ether host 1:2:3", `
filter expression: bogus ethernet address 1:2:
ether host 1:2:3
           ^^^^`},
		{ErrSyntax, Ethernet, "port 4294967296", `
filter expression: number 4294967296 overflows 32 bits
port 4294967296
     ^^^^^^^^^^`},
		{ErrSyntax, Ethernet, "\"ip\"", `
filter expression: syntax error at "\""
"ip"
^`},
		{ErrMeaning, Ethernet, "ip and tcp host 1.2.3.4", `
filter expression: 'tcp' modifier applied to host at "1.2.3.4"
ip and tcp host 1.2.3.4
                ^^^^^^^`},
		{ErrMeaning, Ethernet, "net 10.0.0.1/8", `
filter expression: non-network bits set in "10.0.0.1/8"
net 10.0.0.1/8
    ^^^^^^^^^^`},
		{ErrMeaning, Ethernet, "port nosuchport", `
filter expression: unknown port 'nosuchport'
port nosuchport
     ^^^^^^^^^^`},
		{ErrMeaning, Ethernet, "vlan 5000", `
filter expression: VLAN tag 5000 greater than maximum 4095 at "vlan 5000"
vlan 5000
^^^^^^^^^`},
		{ErrMeaning, Ethernet, "ip[0:3] = 5", `
filter expression: data size must be 1, 2, or 4 at "ip[0:3]"
ip[0:3] = 5
^^^^^^^`},
		{ErrLinkType, Raw, "ip and ether host 1:2:3:4:5:6", `
filter expression: ethernet addresses supported only on ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel at "1:2:3:4:5:6"
ip and ether host 1:2:3:4:5:6
                  ^^^^^^^^^^^`},
		{ErrLinkType, 1000, "ip", `
filter expression: unknown data link type 1000 (min 104, max 289)
ip
^`},
		{ErrRejectsAll, Ethernet, "ip and arp", `
filter expression: expression rejects all packets
ip and arp
^`},
		{ErrTooComplex, Ethernet, strings.Repeat("(", 20000) + "ip" + strings.Repeat(")", 20000), `
filter expression: expression is nested more than 9900 deep at "("
… ` + strings.Repeat("(", 121) + ` …
  ` + strings.Repeat(" ", 60) + `^`},
	} {
		_, err := Compile(tt.expr, tt.link, 65535, nil)
		if err == nil {
			t.Errorf("%.40q: no error", tt.expr)
			continue
		}
		if got := fmt.Sprintf("\n%+v", err); got != tt.want {
			t.Errorf("%.40q: got%s\nwant%s", tt.expr, got, tt.want)
		}
		if e := err.(*Error); e.Kind != tt.kind {
			t.Errorf("%.40q: %v, want %v", tt.expr, e.Kind, tt.kind)
		}
	}
}

// TestHugeExpressions are compiled or refused, in a time and on a stack that
// are bounded.
func TestHugeExpressions(t *testing.T) {
	refused := map[string]bool{"longer": true, "too long": true, "open": true, "more not": true, "identifiers": true,
		"field": true, "powers": true}
	for name, expr := range map[string]string{
		"long":           "port 1" + strings.Repeat(" or 2", 300),
		"too long":       strings.Repeat("ip or ", maxExpr/6) + "ip",
		"longer":         strings.Repeat("ip or ", maxExpr/6+1) + "ip",
		"parentheses":    strings.Repeat("(", 9000) + "ip" + strings.Repeat(")", 9000),
		"open":           strings.Repeat("(", 1<<19),
		"not":            strings.Repeat("not ", 9000) + "ip",
		"more not":       strings.Repeat("not ", 1<<17) + "ip",
		"indices":        strings.Repeat("ip[", 1500) + "0" + strings.Repeat("]", 1500) + " = 0",
		"sums":           "len = 1" + strings.Repeat(" + 1", 20000),
		"powers":         "len = 1" + strings.Repeat(" ^ 1", 20000),
		"minuses":        "len = " + strings.Repeat("- ", 20000) + "1",
		"identifiers":    "host (" + strings.Repeat("(", 9000),
		"field":          "vpi (1" + strings.Repeat(" or 1", 5000) + ")",
		"encapsulations": "mpls" + strings.Repeat(" and mpls", 500),
	} {
		for _, opts := range []*Options{nil, {NoOptimize: true}} {
			prog, err := CompileProgram(expr, Ethernet, 65535, opts)
			var e *Error
			switch {
			case err == nil && refused[name]:
				t.Errorf("%s: taken, with %d instructions", name, len(prog))
			case err != nil && !refused[name]:
				t.Errorf("%s: %v", name, err)
			case err != nil && !errors.As(err, &e):
				t.Errorf("%s: %T", name, err)
			}
		}
	}
}
