package pcap

import (
	"net/netip"
	"strings"
)

// scanner splits an expression into tokens. At each place the longest match
// wins, and among equally long ones the more special: 1.2.3.4 is an address,
// 1.2.3.4a a name, 8000-8100 a name too (portrange takes it apart), and
// 5-3 is one name, not a difference.
type scanner struct {
	src string
	off int
	err *Error // why the last token is invalid, if there is more to say than that
}

// next returns the next token, kEOF at the end, kInvalid where none starts.
func (s *scanner) next() token {
	src := s.src
	i := s.off
	for i < len(src) && isSpace(src[i]) {
		i++
	}
	t := token{pos: int32(i)}
	if i == len(src) {
		s.off, t.end = i, t.pos
		return t
	}
	n := 0
	switch c := src[i]; {
	case classes[c]&(alpha|digit) != 0:
		n = s.word(&t, src[i:])
	case c == '\\':
		// A backslash makes a name of what follows, whatever it is.
		for n = 1; i+n < len(src) && !strings.ContainsRune(" !()\n\t", rune(src[i+n])); n++ {
		}
		if t.kind = kName; n == 1 {
			t.kind = kInvalid
		}
	case c == '$':
		for n = 1; n < 3 && i+n < len(src) && isHex(src[i+n]); n++ {
		}
		if t.kind = kARC; n == 1 {
			t.kind = kInvalid
		}
	case c == ':' && strings.HasPrefix(src[i:], "::"):
		if n = matchAddr6(src[i:]); n > 0 {
			s.addr6(&t, src[i:i+n])
			break
		}
		n = operator(&t, src[i:])
	default:
		n = operator(&t, src[i:])
	}
	s.off = i + n
	t.end = int32(s.off)
	return t
}

// operator scans punctuation, one or two characters of it.
func operator(t *token, src string) int {
	var c1 byte
	if len(src) > 1 {
		c1 = src[1]
	}
	set := func(k kind, val uint8, n int) int {
		t.kind, t.val = k, val
		return n
	}
	switch c := src[0]; c {
	case '(':
		return set(kLParen, 0, 1)
	case ')':
		return set(kRParen, 0, 1)
	case '[':
		return set(kLBrack, 0, 1)
	case ']':
		return set(kRBrack, 0, 1)
	case ':':
		return set(kColon, 0, 1)
	case '/':
		return set(kSlash, uint8(opDiv), 1)
	case '!':
		if c1 == '=' {
			return set(kRel, uint8(relNE), 2)
		}
		return set(kNot, 0, 1)
	case '&':
		if c1 == '&' {
			return set(kAnd, 0, 2)
		}
		return set(kArith, uint8(opAnd), 1)
	case '|':
		if c1 == '|' {
			return set(kOr, 0, 2)
		}
		return set(kArith, uint8(opOr), 1)
	case '=':
		if c1 == '=' {
			return set(kRel, uint8(relEQ), 2)
		}
		return set(kRel, uint8(relEQ), 1)
	case '<', '>':
		switch {
		case c == '<' && c1 == '<':
			return set(kArith, uint8(opLsh), 2)
		case c == '>' && c1 == '>':
			return set(kArith, uint8(opRsh), 2)
		case c == '<' && c1 == '=':
			return set(kRel, uint8(relLE), 2)
		case c == '>' && c1 == '=':
			return set(kRel, uint8(relGE), 2)
		case c == '<':
			return set(kRel, uint8(relLT), 1)
		}
		return set(kRel, uint8(relGT), 1)
	case '+':
		return set(kArith, uint8(opAdd), 1)
	case '-':
		return set(kArith, uint8(opSub), 1)
	case '*':
		return set(kArith, uint8(opMul), 1)
	case '%':
		return set(kArith, uint8(opMod), 1)
	case '^':
		return set(kArith, uint8(opXor), 1)
	}
	return set(kInvalid, 0, 1)
}

// word scans what starts with a letter or a digit: a keyword, a named
// constant, a number, an address of one of four kinds, or a name.
func (s *scanner) word(t *token, src string) int {
	n := matchName(src)
	numeric := classes[src[0]]&digit != 0
	if !numeric && classes[src[0]]&hexDigit == 0 {
		// A letter no address can start with.
		name(t, src[:n])
		return n
	}

	// Candidates in the order in which they win over equally long ones.
	best, k := 0, kName
	try := func(kd kind, length int) {
		if length > best {
			best, k = length, kd
		}
	}
	if w, ok := keywords[src[:n]]; ok {
		best, k = n, w.kind
	}
	try(kMAC, matchMAC(src))
	if numeric {
		num := matchNumber(src)
		try(kNum, num)
		if num < len(src) && src[num] == '.' {
			try(kAddr4, matchAddr4(src))
		}
	}
	if strings.IndexByte(src[:min(len(src), 6)], ':') > 0 {
		try(kAddr6, matchAddr6(src))
		if b := matchBogusMAC(src); b > best {
			t.kind = kInvalid
			s.fail(t, b, "bogus ethernet address %s", src[:b])
			return b
		}
	}
	if n > best {
		name(t, src[:n])
		return n
	}

	switch t.kind = k; k {
	case kNum:
		s.number(t, src[:best])
	case kAddr6:
		s.addr6(t, src[:best])
	case kMAC, kAddr4:
	default:
		t.val = keywords[src[:n]].val
	}
	return best
}

// name makes a keyword, a number or a name of a word.
func name(t *token, w string) {
	if kw, ok := keywords[w]; ok {
		t.kind, t.val = kw.kind, kw.val
	} else if v, ok := constants[w]; ok {
		t.kind, t.num = kNum, v
	} else {
		t.kind = kName
	}
}

// number evaluates a decimal, octal (0…) or hexadecimal (0x…) number.
func (s *scanner) number(t *token, text string) {
	base, digits := uint64(10), text
	switch {
	case len(text) > 1 && (text[1] == 'x' || text[1] == 'X'):
		base, digits = 16, text[2:]
	case text[0] == '0':
		base, digits = 8, text[1:]
	}
	var v uint64
	for i := range len(digits) {
		d := uint64(unhex(digits[i]))
		if d >= base {
			t.kind = kInvalid
			s.fail(t, len(text), "number %s contains non-octal digit", text)
			return
		}
		if v = v*base + d; v > 0xffffffff {
			t.kind = kInvalid
			s.fail(t, len(text), "number %s overflows 32 bits", text)
			return
		}
	}
	t.num = uint32(v)
}

// addr6 checks what looks like an IPv6 address.
func (s *scanner) addr6(t *token, text string) {
	t.kind = kAddr6
	if _, err := netip.ParseAddr(text); err != nil {
		t.kind = kInvalid
		s.fail(t, len(text), "bogus IPv6 address %s", text)
	}
}

func (s *scanner) fail(t *token, n int, format string, args ...any) {
	s.err = newError(ErrSyntax, t.pos, t.pos+int32(n), format, args...)
}

// Classes of characters.
const (
	alpha    = 1 << iota
	digit    // 0-9
	hexDigit // 0-9 a-f A-F
	inner    // - _: in a name, but not at its end
	dot      // .: in a name, but not at its start
)

var classes = func() (c [256]uint8) {
	for b := 'a'; b <= 'z'; b++ {
		c[b], c[b-'a'+'A'] = alpha, alpha
	}
	for b := 'a'; b <= 'f'; b++ {
		c[b], c[b-'a'+'A'] = alpha|hexDigit, alpha|hexDigit
	}
	for b := '0'; b <= '9'; b++ {
		c[b] = digit | hexDigit
	}
	c['-'], c['_'], c['.'] = inner, inner, dot
	return c
}()

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func isHex(c byte) bool   { return classes[c]&hexDigit != 0 }

// unhex returns the value of a digit.
func unhex(c byte) uint8 {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

// The matchers return the length of the longest prefix they know, 0 for none.

// matchName matches [A-Za-z0-9]([-_.A-Za-z0-9]*[.A-Za-z0-9])?
func matchName(s string) int {
	last := 1
	for i := 1; i < len(s) && classes[s[i]] != 0; i++ {
		if classes[s[i]]&inner == 0 {
			last = i + 1
		}
	}
	return last
}

// matchNumber matches [0-9]+ or 0x[0-9a-f]+
func matchNumber(s string) int {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && isHex(s[2]) {
		n := 3
		for n < len(s) && isHex(s[n]) {
			n++
		}
		return n
	}
	n := 0
	for n < len(s) && classes[s[n]]&digit != 0 {
		n++
	}
	return n
}

// matchAddr4 matches two to four numbers with dots between them.
func matchAddr4(s string) int {
	n, parts := matchNumber(s), 1
	for parts < 4 && n+1 < len(s) && s[n] == '.' {
		m := matchNumber(s[n+1:])
		if m == 0 {
			break
		}
		n += 1 + m
		parts++
	}
	if parts < 2 {
		return 0
	}
	return n
}

// matchHex matches at most limit hexadecimal digits.
func matchHex(s string, limit int) int {
	n := 0
	for n < limit && n < len(s) && isHex(s[n]) {
		n++
	}
	return n
}

// matchMAC matches aa:bb:cc:dd:ee:ff with : or - or . between the bytes (a
// digit of a byte may be left out), aabb.ccdd.eeff and aabbccddeeff.
func matchMAC(s string) int {
	best := 0
	if run := matchHex(s, 12); run == 12 {
		best = 12
	} else if run >= 4 && len(s) >= 14 && s[4] == '.' && s[9] == '.' &&
		matchHex(s[5:], 4) == 4 && matchHex(s[10:], 4) == 4 {
		best = 14
	}
	n := matchHex(s, 2)
	if n == len(s) || n == 0 {
		return best
	}
	sep := s[n]
	if sep != ':' && sep != '-' && sep != '.' {
		return best
	}
	for range 5 {
		if n >= len(s) || s[n] != sep {
			return best
		}
		m := matchHex(s[n+1:], 2)
		if m == 0 {
			return best
		}
		n += 1 + m
	}
	return max(best, n)
}

// matchBogusMAC matches two or more bytes, one or more colons after each:
// the beginning of an Ethernet address that does not go on as one.
func matchBogusMAC(s string) int {
	n, parts := 0, 0
	for {
		m := matchHex(s[n:], 2)
		if m == 0 || n+m >= len(s) || s[n+m] != ':' {
			break
		}
		for n += m; n < len(s) && s[n] == ':'; n++ {
		}
		parts++
	}
	if parts < 2 {
		return 0
	}
	return n
}

// matchAddr6 matches eight groups, or fewer with one :: among them, of which
// the last two may be written as an IPv4 address.
func matchAddr6(s string) int {
	best, n, groups, elided := 0, 0, 0, false
	if strings.HasPrefix(s, "::") {
		n, elided, best = 2, true, 2
	}
	for {
		// A group, or an IPv4 tail, may start at n.
		if room := 6 - groups; elided && room > 0 || room == 0 {
			if m, dots := matchTail4(s[n:]); dots == 3 {
				best = max(best, n+m)
			}
		}
		m := matchHex(s[n:], 4)
		if m == 0 || groups == 8 || elided && groups == 7 {
			return best
		}
		n += m
		groups++
		if elided || groups == 8 {
			best = max(best, n)
		}
		switch {
		case strings.HasPrefix(s[n:], "::") && !elided && groups < 8:
			n, elided = n+2, true
			best = max(best, n)
		case strings.HasPrefix(s[n:], ":"):
			n++
		default:
			return best
		}
	}
}

// matchTail4 matches four numbers with dots between them.
func matchTail4(s string) (n, dots int) {
	n = matchNumber(s)
	for n > 0 && dots < 3 && n+1 < len(s) && s[n] == '.' {
		m := matchNumber(s[n+1:])
		if m == 0 {
			break
		}
		n += 1 + m
		dots++
	}
	return n, dots
}
