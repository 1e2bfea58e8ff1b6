package isa

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// grammar is a tree of all templates of all rows: a path from its root is the
// beginning of an instruction's text, branching where texts differ.
//
//	{dst} ─ = ─┬─ {imm}                        mov64_imm
//	           ├─ {src}                        mov64_reg
//	           ├─ be16 ─ {dst}                 be16
//	           └─ * ─ ( ─┬─ u8 ─ …             ldx_u8
//	                     └─ s8 ─ …             ldx_s8
type grammar struct {
	edges []edge
	ends  []ending // rows whose text ends here
}

// edge is a step: over a literal token, or over a blank.
type edge struct {
	text string // if blank is blankNone
	blank
	to *grammar
}

type ending struct {
	row *Row
	// hinted texts are ambiguous without the kernel's opcode prefix: its
	// `(18) r1 = 0x5` takes two slots, `r1 = 0x5` alone is a move.
	hinted bool
}

// assembly is the grammar of all rows, made when first asked for: programs that
// only run others never do.
var assembly = sync.OnceValue(func() *grammar {
	root := new(grammar)
	for _, rows := range [][]Row{Table, Rewritten, foreign} {
		for i := range rows {
			for d := range rows[i].text {
				root.add(&rows[i], Dialect(d))
			}
		}
	}
	return root
})

func (g *grammar) add(r *Row, d Dialect) {
	for _, p := range r.text[d] {
		if p.blank != blankNone {
			g = g.step("", p.blank)
			continue
		}
		for _, t := range scan(p.text) {
			if t.kind != tokEnd {
				g = g.step(t.text, blankNone)
			}
		}
	}
	if !slices.ContainsFunc(g.ends, func(e ending) bool { return e.row == r }) {
		g.ends = append(g.ends, ending{r, d == Kernel && r.Op == LoadImm64})
	}
}

// step returns the node behind an edge, making both if need be.
func (g *grammar) step(text string, b blank) *grammar {
	for _, e := range g.edges {
		if e.text == text && e.blank == b {
			return e.to
		}
	}
	e := edge{text, b, new(grammar)}
	g.edges = append(g.edges, e)
	return e.to
}

// reading is what has been understood of an instruction so far.
type reading struct {
	dst, src       Register
	hasDst, hasSrc bool
	off            int16
	imm, hi        int32
	label          *token // the place a jump or call goes to, if it is a name
	labelIs        blank
}

// matcher matches one line against the grammar and remembers how far any try
// got, for the error message.
type matcher struct {
	tokens  []token
	symbols *Symbols
	hint    Opcode // from the kernel's prefix
	hinted  bool

	furthest int
	expected []string // there
	wrong    string   // there: a word of the right kind with a bad value
	mismatch bool     // the text is an instruction, but none of the hinted opcode
}

// match walks the grammar depth first from token i on; the first path that
// reaches the end of the line wins.
func (m *matcher) match(g *grammar, i int, r reading) (*Row, reading, bool) {
	if m.tokens[i].kind == tokEnd {
		for _, e := range g.ends {
			if m.hinted && m.hint == e.row.Op || !m.hinted && !e.hinted {
				return e.row, r, true
			}
			m.mismatch = m.mismatch || m.hinted
		}
	}
	for _, e := range g.edges {
		if e.blank == blankNone {
			if m.tokens[i].text == e.text {
				if row, r, ok := m.match(e.to, i+1, r); ok {
					return row, r, true
				}
			} else {
				m.missed(i, e.text)
			}
			continue
		}
		filled := r
		next, ok := m.read(e.blank, i, &filled)
		if !ok {
			continue
		}
		if row, r, ok := m.match(e.to, next, filled); ok {
			return row, r, true
		}
	}
	if len(g.ends) > 0 && m.tokens[i].kind != tokEnd {
		m.missed(i, "end of line")
	}
	return nil, reading{}, false
}

// missed notes that token i is not what a path wanted.
func (m *matcher) missed(i int, want string) {
	if i > m.furthest {
		m.furthest, m.expected, m.wrong = i, nil, ""
	}
	if i == m.furthest && !slices.Contains(m.expected, want) {
		m.expected = append(m.expected, want)
	}
}

// refuse notes that token i is of the right kind, but its value will not do.
func (m *matcher) refuse(i int, format string, args ...any) {
	m.missed(i, "")
	if i == m.furthest && m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

// complaint words what is wrong with the line, and where.
func (m *matcher) complaint() (msg string, pos int) {
	if m.mismatch {
		return fmt.Sprintf("this is not an instruction of opcode %02x", uint8(m.hint)), m.tokens[0].pos
	}
	t := m.tokens[m.furthest]
	if m.wrong != "" {
		return m.wrong, t.pos
	}
	found := "end of line"
	if t.kind != tokEnd {
		found = "'" + t.text + "'"
	}
	if len(m.expected) == 1 && m.expected[0] == "=" {
		if m.tokens[0].text == "*" && len(t.text) > 1 && strings.HasSuffix(t.text, "=") {
			return fmt.Sprintf("'%s' on memory is atomic, and begins with lock: lock *(u64 *)(r1 + 0) %s r2", t.text, t.text), t.pos
		}
		return "expected '=', found " + found, t.pos
	}
	return "expected " + alternatives(m.expected, m.furthest == 0) + ", found " + found, t.pos
}

// alternatives makes a readable list of what could stand in a place.
func alternatives(want []string, start bool) string {
	if start {
		return "an instruction"
	}
	var list []string
	for _, w := range want {
		switch {
		case w == "=" || len(w) > 1 && strings.HasSuffix(w, "=") && !slices.Contains([]string{"==", "!=", ">=", "<=", "s>=", "s<="}, w):
			w = "an assignment (=, +=, …)"
		case slices.Contains([]string{"==", "!=", ">", "<", ">=", "<=", "s>", "s<", "s>=", "s<=", "&"}, w):
			w = "a comparison (==, s>, …)"
		case !strings.Contains(w, " "):
			w = "'" + w + "'"
		}
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	if last := len(list) - 1; last > 0 {
		return strings.Join(list[:last], ", ") + " or " + list[last]
	}
	return list[0]
}

// read fills a blank from the tokens at i and returns the index of the next.
func (m *matcher) read(b blank, i int, r *reading) (next int, ok bool) {
	switch b {
	case blankDst, blankWDst:
		return m.register(i, b == blankWDst, &r.dst, &r.hasDst)
	case blankSrc, blankWSrc:
		return m.register(i, b == blankWSrc, &r.src, &r.hasSrc)
	case blankImm, blankCmp, blankLo:
		return m.number32(i, &r.imm)
	case blankHi:
		return m.number32(i, &r.hi)
	case blankImm64:
		v, next, ok := m.number(i, math.MinInt64, math.MaxUint64, "a 64-bit number")
		r.imm, r.hi = int32(uint32(v)), int32(uint32(v>>32))
		return next, ok
	case blankOff:
		v, next, ok := m.displacement(i, math.MinInt16, math.MaxInt16, "a 16-bit offset")
		r.off = int16(v)
		return next, ok
	case blankInd:
		v, next, ok := m.displacement(i, math.MinInt32, math.MaxUint32, "a 32-bit offset")
		r.imm = int32(uint32(v))
		return next, ok
	case blankTo, blankFrom:
		v, next, ok := m.number(i, 0, math.MaxUint16, "an address space")
		if b == blankTo {
			v <<= 16
		}
		r.imm |= int32(uint32(v))
		return next, ok
	case blankJump, blankJump32:
		return m.jumpTarget(b, i, r)
	case blankFunc:
		return m.callTarget(i, r)
	case blankTarget:
		if m.isName(i) {
			return m.label(b, i, r)
		}
		v, next, ok := m.signed(i, math.MinInt32, math.MaxInt32, "a 32-bit distance in slots")
		r.imm = int32(uint32(v))
		return next, ok
	case blankHelper:
		return m.helper(i, r)
	case blankKfunc:
		return m.kfunc(i, r)
	case blankMap:
		if m.isName(i) && m.symbols.Map != nil {
			// Which kind of reference it is stands before the bracket: map_fd[…].
			if ref, ok := m.symbols.Map(m.tokens[i-2].text, m.tokens[i].text); ok {
				r.imm = ref
				return i + 1, true
			}
			m.refuse(i, "unknown map '%s'", m.tokens[i].text)
			return i, false
		}
		return m.number32(i, &r.imm)
	}
	panic("BUG: a blank without a reader")
}

// register reads rN or wN. A blank that stands twice in a text must be filled
// with the same register twice.
func (m *matcher) register(i int, narrow bool, reg *Register, have *bool) (int, bool) {
	letter, kind := "r", "a register (r0–r10)"
	if narrow {
		letter, kind = "w", "a 32-bit register (w0–w10)"
	}
	digits, isReg := strings.CutPrefix(m.tokens[i].text, letter)
	n, err := strconv.ParseUint(digits, 10, 8)
	switch {
	case m.tokens[i].kind != tokWord || !isReg || err != nil:
		m.missed(i, kind)
		return i, false
	case n > uint64(AX): // which only rewritten programs may use, but that is for Check to say
		m.refuse(i, "no register %s: there are %s0–%s10", m.tokens[i].text, letter, letter)
		return i, false
	case *have && *reg != Register(n):
		m.missed(i, letter+strconv.Itoa(int(*reg)))
		return i, false
	}
	*reg, *have = Register(n), true
	return i + 1, true
}

// number reads a number, perhaps negative, and returns it in two's complement.
func (m *matcher) number(i int, low int64, high uint64, kind string) (v uint64, next int, ok bool) {
	start, negative := i, m.tokens[i].text == "-"
	if negative {
		i++
	}
	t := m.tokens[i]
	if t.kind != tokNumber {
		m.missed(i, "a number")
		return 0, i, false
	}
	v, err := strconv.ParseUint(t.text, 0, 64)
	switch {
	case err != nil && !strings.Contains(err.Error(), "range"):
		m.refuse(i, "malformed number '%s'", t.text)
		return 0, i, false
	case err != nil, !negative && v > high, negative && v > uint64(-low):
		sign := map[bool]string{true: "-"}[negative]
		m.refuse(start, "%s%s is not %s", sign, t.text, kind)
		return 0, start, false
	case negative:
		v = -v
	}
	return v, i + 1, true
}

// signed reads a number that may have a sign, or, as in `r1 + -4`, two.
func (m *matcher) signed(i int, low int64, high uint64, kind string) (uint64, int, bool) {
	if m.tokens[i].text == "+" {
		i++
	}
	return m.number(i, low, high, kind)
}

// displacement reads the second part of an address, which may be left out.
func (m *matcher) displacement(i int, low int64, high uint64, kind string) (uint64, int, bool) {
	if t := m.tokens[i].text; t != "+" && t != "-" {
		m.missed(i, "an offset")
		return 0, i, true
	}
	return m.signed(i, low, high, kind)
}

// number32 takes all that fits 32 bits, as a signed or as an unsigned number.
func (m *matcher) number32(i int, to *int32) (int, bool) {
	v, next, ok := m.number(i, math.MinInt32, math.MaxUint32, "a 32-bit number")
	*to = int32(uint32(v))
	return next, ok
}

// isName reports whether token i is a word, and so can name something.
func (m *matcher) isName(i int) bool { return m.tokens[i].kind == tokWord }

func (m *matcher) label(b blank, i int, r *reading) (int, bool) {
	r.label, r.labelIs = &m.tokens[i], b
	return i + 1, true
}

// jumpTarget reads +3, pc+3, 3 or a label; a note <like+0x8> may follow.
func (m *matcher) jumpTarget(b blank, i int, r *reading) (next int, ok bool) {
	if m.tokens[i].text == "pc" {
		i++
	} else if m.isName(i) {
		return m.label(b, i, r)
	}
	var v uint64
	if b == blankJump {
		v, next, ok = m.signed(i, math.MinInt16, math.MaxInt16, "a 16-bit distance in slots; gotol has 32 bits")
		r.off = int16(v)
	} else {
		v, next, ok = m.signed(i, math.MinInt32, math.MaxInt32, "a 32-bit distance in slots")
		r.imm = int32(uint32(v))
	}
	if ok && m.tokens[next].text == "<" {
		for m.tokens[next].kind != tokEnd && m.tokens[next].text != ">" {
			next++
		}
		if m.tokens[next].kind == tokEnd {
			m.missed(next, "a closing '>'")
			return next, false
		}
		next++
	}
	return next, ok
}

// callTarget reads pc+3 or a label.
func (m *matcher) callTarget(i int, r *reading) (int, bool) {
	if m.tokens[i].text == "pc" {
		v, next, ok := m.signed(i+1, math.MinInt32, math.MaxInt32, "a 32-bit distance in slots")
		r.imm = int32(uint32(v))
		return m.skipNote(next), ok
	}
	if !m.isName(i) {
		m.missed(i, "a subprogram")
		return i, false
	}
	return m.label(blankFunc, i, r)
}

// skipNote passes over a name that clings to a number: pc+3#name.
func (m *matcher) skipNote(i int) int {
	if m.tokens[i].text == "#" && m.tokens[i+1].kind == tokWord {
		return i + 2
	}
	return i
}

// helper reads 1, name#1, or a name the symbols know.
func (m *matcher) helper(i int, r *reading) (int, bool) {
	if !m.isName(i) {
		return m.number32(i, &r.imm)
	}
	name := m.tokens[i].text
	numbered := m.tokens[i+1].text == "#"
	if m.symbols.Helper != nil {
		if id, ok := m.symbols.Helper(name); ok && !numbered {
			r.imm = id
			return i + 1, true
		} else if !ok && numbered && m.knowsKfunc(name) {
			return i, false
		}
	}
	if numbered {
		return m.number32(i+2, &r.imm)
	}
	m.missed(i, "a helper")
	return i, false
}

func (m *matcher) knowsKfunc(name string) bool {
	if m.symbols.Kfunc == nil {
		return false
	}
	_, _, ok := m.symbols.Kfunc(name)
	return ok
}

// kfunc reads kfunc[1234], kfunc[1234][2], the kernel's name#1234, or a name
// the symbols know.
func (m *matcher) kfunc(i int, r *reading) (next int, ok bool) {
	switch name := m.tokens[i].text; {
	case name == "kfunc" && m.tokens[i+1].text == "[":
		if next, ok = m.index(i+1, math.MinInt32, math.MaxInt32, func(v uint64) { r.imm = int32(uint32(v)) }); !ok {
			return next, false
		}
		if m.tokens[next].text == "[" {
			if next, ok = m.index(next, math.MinInt16, math.MaxInt16, func(v uint64) { r.off = int16(v) }); !ok {
				return next, false
			}
		}
		return m.skipNote(next), true
	case name == "kernel" && m.tokens[i+1].text == "-":
		if m.tokens[i+2].text != "function" || m.tokens[i+3].text != "#" {
			break
		}
		return m.number32(i+4, &r.imm)
	case m.isName(i) && m.knowsKfunc(name):
		r.imm, r.off, _ = m.symbols.Kfunc(name)
		if m.tokens[i+1].text == "#" {
			return m.number32(i+2, &r.imm)
		}
		return i + 1, true
	}
	m.missed(i, "a kernel function")
	return i, false
}

// index reads a number in brackets.
func (m *matcher) index(i int, low int64, high uint64, set func(uint64)) (int, bool) {
	v, next, ok := m.number(i+1, low, high, "a "+strconv.Itoa(bitsOf(high)+1)+"-bit number")
	if !ok {
		return next, false
	}
	if m.tokens[next].text != "]" {
		m.missed(next, "]")
		return next, false
	}
	set(v)
	return next + 1, true
}

func bitsOf(v uint64) int { return len(strconv.FormatUint(v, 2)) }
