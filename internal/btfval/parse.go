package btfval

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// ErrSyntax is wrapped by every error of [Parse].
var ErrSyntax = errors.New("cannot read value")

// ParseError says where in a text the trouble is.
type ParseError struct {
	Text   string
	Offset int // bytes into Text
	Reason string
}

// Error quotes the text from the spot on: `cannot read value: at column 6, "x }": not a number`.
func (e *ParseError) Error() string {
	rest := e.Text[e.Offset:]
	if len(rest) > 32 {
		rest = rest[:32] + "…"
	}
	if rest == "" {
		return fmt.Sprintf("%v: at the end of %q: %s", ErrSyntax, e.Text, e.Reason)
	}
	return fmt.Sprintf("%v: at column %d, %q: %s", ErrSyntax, e.Offset+1, rest, e.Reason)
}

// Unwrap returns [ErrSyntax].
func (e *ParseError) Unwrap() error { return ErrSyntax }

// maxParsed bounds the values that text is turned into, in bytes.
const maxParsed = 64 << 20

// Parse reads a value of type t, of size bytes, from text. It takes what
// [Format] and [JSON] write, and more:
//
//	integers       12  -3  0x1f  0b101  'a'  true
//	enums          TCP_SYN_SENT, or a number
//	addresses      10.0.0.1 and 2001:db8::1 for anything of 4 or 16 bytes, 02:00:5e:10:00:01 for 6
//	               10.0.0.0/8 for the key of an LPM trie: a struct of prefixlen and address
//	structs        { .a = 1, .b = { 1, 2 } }  { 1, 2 }  { "a": 1, "b": [1, 2] }  members left out are zero
//	arrays         { 1, 2 }  [1, 2]  "text" of char arrays
//	bytes          0x0a 00 00 01 of anything of that many bytes
//
// Numbers of the types __be16 … __be64 are turned into network order, addresses
// always lie in it. Without a type (nil) numbers are of size bytes.
func Parse(t btf.Type, size int, text string, order binary.ByteOrder) ([]byte, error) {
	if t == nil {
		t = untyped(size)
	}
	p := &parser{text: text, order: order, left: maxNodes(len(text))}
	if n, ok := sizeOf(t); !ok || n != size || size > maxParsed {
		return nil, p.fail("%s has no value of %d bytes", cName(t), size)
	}
	out := make([]byte, size)
	p.space()
	if err := p.value(t, out, 0); err != nil {
		return nil, err
	}
	if p.space(); p.pos < len(p.text) {
		return nil, p.fail("unexpected")
	}
	return out, nil
}

// untyped is the type of bytes of which only the size is known.
func untyped(size int) btf.Type {
	switch size {
	case 1, 2, 4, 8:
		return &btf.Int{Name: "unsigned", Size: uint32(size)}
	}
	return &btf.Array{Index: &btf.Int{Size: 4}, Type: &btf.Int{Name: "byte", Size: 1}, Nelems: uint32(max(size, 0))}
}

// parser reads one text from left to right.
type parser struct {
	text  string
	pos   int
	order binary.ByteOrder
	left  int // values that may still be read
}

func (p *parser) fail(format string, args ...any) error {
	return &ParseError{Text: p.text, Offset: min(p.pos, len(p.text)), Reason: fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// peek returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

// accept skips space and then s, if it stands there.
func (p *parser) accept(s string) bool {
	p.space()
	if strings.HasPrefix(p.text[p.pos:], s) {
		p.pos += len(s)
		return true
	}
	return false
}

// word returns what stands before the next delimiter and does not move.
func (p *parser) word() string {
	rest := p.text[p.pos:]
	if i := strings.IndexAny(rest, " \t\r\n,{}[]=\""); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

// value reads one value of type t into out, which has its size.
func (p *parser) value(t btf.Type, out []byte, depth int) error {
	if p.left--; p.left < 0 || depth > maxDepth {
		return p.fail("nested too deep")
	}
	p.space()
	under := btf.UnderlyingType(t)
	if v, ok := under.(*btf.Var); ok {
		return p.value(v.Type, out, depth+1)
	}
	switch p.peek() {
	case '{':
		return p.braces(under, out, depth)
	case '[':
		arr, ok := under.(*btf.Array)
		if !ok {
			return p.fail("a list, but the type is %s", cName(t))
		}
		p.pos++
		return p.elements(arr, out, "]", depth)
	case '"':
		return p.quoted(t, out, depth)
	case 0:
		return p.fail("a value is missing")
	}
	if n, ok := p.hexBytes(out); ok {
		p.pos += n
		return nil
	}
	word := p.word()
	if word == "" {
		return p.fail("unexpected")
	}
	if err := p.scalar(t, word, out, depth); err != nil {
		return err
	}
	p.pos += len(word)
	return nil
}

// braces reads { … } of a struct, union, data section or array.
func (p *parser) braces(t btf.Type, out []byte, depth int) error {
	if arr, ok := t.(*btf.Array); ok {
		p.pos++
		return p.elements(arr, out, "}", depth)
	}
	list, ok := members(t)
	if !ok {
		return p.fail("a list of members, but the type is %s", cName(t))
	}
	p.pos++
	for next := 0; ; next++ {
		if p.accept("}") {
			return nil
		}
		m, i, err := p.member(list, next)
		if err != nil {
			return err
		}
		next = i
		if err := p.intoMember(m, out, depth); err != nil {
			return err
		}
		if !p.accept(",") {
			if p.accept("}") {
				return nil
			}
			return p.fail("expected , or }")
		}
	}
}

// member reads ".name =", "name =", `"name":` or nothing, which means the next
// member, and returns the member with its index. Members of anonymous structs
// and unions are found as if they were the outer one's; index is then that of the anonymous one.
func (p *parser) member(list []btf.Member, next int) (btf.Member, int, error) {
	p.space()
	start := p.pos
	dot := p.accept(".")
	var name string
	if !dot && p.peek() == '"' {
		s, length, err := p.unquote()
		if err != nil {
			return btf.Member{}, 0, err
		}
		name = s
		p.pos += length
	} else {
		for p.pos < len(p.text) && isIdent(p.text[p.pos]) {
			p.pos++
		}
		name = strings.TrimPrefix(p.text[start:p.pos], ".")
	}
	if name != "" && (p.accept("=") || p.accept(":") && !strings.HasPrefix(p.text[p.pos:], ":")) {
		if m, i, ok := find(list, name, 0); ok {
			return m, i, nil
		}
		p.pos = start
		return btf.Member{}, 0, p.fail("no member %q, only %s", name, names(list))
	}
	p.pos = start
	if dot {
		return btf.Member{}, 0, p.fail("expected .member =")
	}
	if next >= len(list) {
		return btf.Member{}, 0, p.fail("there are only %d members", len(list))
	}
	return list[next], next, nil
}

func isIdent(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func find(list []btf.Member, name string, depth int) (btf.Member, int, bool) {
	for i, m := range list {
		if m.Name == name {
			return m, i, true
		}
		if m.Name != "" || depth > maxDepth {
			continue
		}
		inner, _ := members(btf.UnderlyingType(m.Type))
		if found, _, ok := find(inner, name, depth+1); ok {
			found.Offset += m.Offset
			return found, i, true
		}
	}
	return btf.Member{}, 0, false
}

// names lists members for messages.
func names(list []btf.Member) string {
	var all []string
	for _, m := range list {
		if m.Name != "" {
			all = append(all, m.Name)
		}
		if len(all) == 12 {
			all = append(all, "…")
			break
		}
	}
	return strings.Join(all, ", ")
}

func (p *parser) intoMember(m btf.Member, out []byte, depth int) error {
	if m.BitfieldSize == 0 {
		part, ok := slice(m, out)
		if !ok {
			return p.fail("member %s does not lie in its struct", m.Name)
		}
		return p.value(m.Type, part, depth+1)
	}
	off, bits := int(m.Offset), int(m.BitfieldSize)
	if bits > 64 || off+bits > 8*len(out) {
		return p.fail("member %s does not lie in its struct", m.Name)
	}
	p.space()
	word := p.word()
	length := len(word)
	if p.peek() == '"' {
		var err error
		if word, length, err = p.unquote(); err != nil {
			return err
		}
	}
	n, err := p.integer(m.Type, word, bits)
	if err != nil {
		return err
	}
	p.pos += length
	writeBits(out, off, bits, p.order, n)
	return nil
}

// elements reads the elements of an array up to end. Those left out are zero;
// "..." stands for them.
func (p *parser) elements(t *btf.Array, out []byte, end string, depth int) error {
	size, ok := sizeOf(t.Type)
	if !ok || size == 0 {
		if p.accept(end) {
			return nil
		}
		return p.fail("elements of type %s have no size", cName(t.Type))
	}
	for {
		if p.accept(end) {
			return nil
		}
		if p.accept("...") {
			if p.accept(end) {
				return nil
			}
			return p.fail("expected %s after ...", end)
		}
		if len(out) < size {
			return p.fail("there are only %d elements", t.Nelems)
		}
		if err := p.element(t.Type, out[:size], depth); err != nil {
			return err
		}
		out = out[size:]
		if !p.accept(",") {
			if p.accept(end) {
				return nil
			}
			return p.fail("expected , or %s", end)
		}
	}
}

// element reads one element. In lists of bytes bpftool's JSON has strings like "0x0a".
func (p *parser) element(t btf.Type, out []byte, depth int) error {
	p.space()
	if len(out) == 1 && p.peek() == '"' && !isChar(t) {
		return p.quoted(t, out, depth)
	}
	return p.value(t, out, depth+1)
}

// quoted reads a string: the content of a char array, or any other value as JSON may quote it.
func (p *parser) quoted(t btf.Type, out []byte, depth int) error {
	s, length, err := p.unquote()
	if err != nil {
		return err
	}
	if arr, ok := btf.UnderlyingType(t).(*btf.Array); ok && isChar(arr.Type) {
		if len(s) >= len(out) && !(len(s) == len(out) && len(s) > 0) {
			return p.fail("%d bytes do not fit %d", len(s), len(out))
		}
		clear(out)
		copy(out, s)
		p.pos += length
		return nil
	}
	if err := p.scalar(t, s, out, depth); err != nil {
		return err
	}
	p.pos += length
	return nil
}

// unquote returns the string that begins here and its length in the text; it does not move.
func (p *parser) unquote() (string, int, error) {
	quoted, err := strconv.QuotedPrefix(p.text[p.pos:])
	if err != nil {
		return "", 0, p.fail("string without end")
	}
	s, err := strconv.Unquote(quoted)
	if err != nil {
		return "", 0, p.fail("%v", err)
	}
	return s, len(quoted), nil
}

// hexBytes recognises "0x" and two digits for each byte of out, with single
// spaces between the bytes, and returns its length. One byte alone is a number.
func (p *parser) hexBytes(out []byte) (int, bool) {
	rest, ok := strings.CutPrefix(p.text[p.pos:], "0x")
	if !ok || len(out) < 2 || len(rest) < 3*len(out)-1 {
		return 0, false
	}
	var data bytes.Buffer
	for i := range out {
		if i > 0 {
			if rest[3*i-1] != ' ' {
				return 0, false
			}
		}
		b, err := strconv.ParseUint(rest[3*i:3*i+2], 16, 8)
		if err != nil {
			return 0, false
		}
		data.WriteByte(byte(b))
	}
	n := 3*len(out) - 1
	if n < len(rest) && isIdent(rest[n]) {
		return 0, false
	}
	copy(out, data.Bytes())
	return n + len("0x"), true
}
