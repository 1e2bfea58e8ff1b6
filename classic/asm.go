package classic

import (
	"fmt"
	"strings"
)

// rawMnemonic writes an instruction as its four fields, which every
// instruction can be written as.
const rawMnemonic = ".insn"

// aliases are mnemonics that stand for another one.
var aliases = map[string]struct {
	name   string
	invert bool // the targets change places
	imm    bool // the operand is a constant, with # or without
}{
	"jmp":  {name: "ja"},
	"jne":  {name: "jeq", invert: true},
	"jneq": {name: "jeq", invert: true},
	"jlt":  {name: "jge", invert: true},
	"jle":  {name: "jgt", invert: true},
	"ldi":  {name: "ld", imm: true},
	"ldxi": {name: "ldx", imm: true},
}

// shape is a mnemonic with an operand's form; rows are found by it.
type shape struct {
	name string
	form Form
}

var rowByShape = func() map[shape]*Row {
	m := make(map[shape]*Row, len(Rows))
	for i := range Rows {
		m[shape{Rows[i].Name, Rows[i].Form}] = &Rows[i]
	}
	m[shape{"ldx", FormMSH}] = rowOf[LDX|B|MSH]
	return m
}()

// mnemonics are the names rows and aliases have.
var mnemonics = func() map[string]bool {
	m := map[string]bool{rawMnemonic: true}
	for _, r := range Rows {
		m[r.Name] = true
	}
	for name := range aliases {
		m[name] = true
	}
	return m
}()

// Assemble turns text in bpf_asm's grammar into a program. It also takes what
// tcpdump -d prints (numbers before instructions, jt and jf behind them),
// constants by name (#ETHERTYPE_IP), ancillary data by libpcap's names, and
// ".insn code, jt, jf, k" for what has no other text. symbols nil means
// [DefaultSymbols].
//
// file only names the text in errors, which are [*SyntaxError]s; the first
// fault ends the work. Whether a machine takes the program is for [Check] to
// say.
func Assemble(file, text string, symbols Symbols) ([]Instruction, error) {
	if symbols == nil {
		symbols = defaultSymbols
	}
	tokens, err := scan(file, text)
	if err != nil {
		return nil, err
	}
	a := &assembler{file: file, tokens: tokens, symbols: symbols, labels: map[string]int{}}
	for a.next().kind != tokEnd {
		if err := a.statement(); err != nil {
			return nil, err
		}
	}
	if len(a.prog) == 0 {
		return nil, a.errorAt(a.next(), "no instruction in the text")
	}
	if err := a.link(); err != nil {
		return nil, err
	}
	return a.prog, nil
}

type assembler struct {
	file    string
	tokens  []token
	at      int
	symbols Symbols
	prog    []Instruction
	labels  map[string]int // label → index of the instruction behind it
	links   []link
}

// target is where a jump goes: a label, or an instruction by its index.
type target struct {
	tok   token
	index int // where tok is a number
}

// link is a target that is put into an instruction once all labels are known.
type link struct {
	target target
	insn   int
	field  linkField
}

type linkField uint8

const (
	linkK linkField = iota
	linkJt
	linkJf
)

func (a *assembler) errorAt(t token, format string, args ...any) error {
	return &SyntaxError{a.file, t.line, t.col, fmt.Sprintf(format, args...)}
}

func (a *assembler) next() token { return a.tokens[a.at] }

// peek returns the token n places on.
func (a *assembler) peek(n int) token { return a.tokens[min(a.at+n, len(a.tokens)-1)] }

// accept takes the next token if it is the word or mark.
func (a *assembler) accept(text string) bool {
	if !a.next().is(text) {
		return false
	}
	a.at++
	return true
}

// expect takes marks, one after the other.
func (a *assembler) expect(marks ...string) error {
	for _, m := range marks {
		if !a.accept(m) {
			return a.errorAt(a.next(), "%q expected, not %v", m, a.next())
		}
	}
	return nil
}

// statement takes labels, numbers that tcpdump prints, or an instruction.
func (a *assembler) statement() error {
	t := a.next()
	switch {
	case t.is("(") && a.peek(1).kind == tokNumber && a.peek(2).is(")"):
		a.at += 3
		return nil
	case t.kind == tokWord && a.peek(1).is(":"):
		if _, taken := a.labels[t.text]; taken {
			return a.errorAt(t, "label %s is there twice", t.text)
		}
		a.labels[t.text] = len(a.prog)
		a.at += 2
		return nil
	case t.kind != tokWord || !mnemonics[strings.ToLower(t.text)]:
		return a.errorAt(t, "an instruction or a label expected, not %v", t)
	case len(a.prog) == MaxInstructions:
		return a.errorAt(t, "more than %d instructions", MaxInstructions)
	}
	a.at++
	if t.is(rawMnemonic) {
		return a.raw()
	}
	return a.instruction(t)
}

// raw takes the fields of .insn.
func (a *assembler) raw() error {
	var v [4]uint32
	for i, max := range [...]uint32{0xffff, 0xff, 0xff, 0xffffffff} {
		if i > 0 {
			if err := a.expect(","); err != nil {
				return err
			}
		}
		t := a.next()
		n, err := a.number()
		if err != nil {
			return err
		}
		if n > max {
			return a.errorAt(t, "%d is more than the field holds, %d", n, max)
		}
		v[i] = n
	}
	a.prog = append(a.prog, Instruction{uint16(v[0]), uint8(v[1]), uint8(v[2]), v[3]})
	return nil
}

// operand is what stands behind a mnemonic.
type operand struct {
	form   Form
	k      uint32
	target target // of FormLabel
}

// instruction takes the operand and targets of the mnemonic t.
func (a *assembler) instruction(t token) error {
	name := strings.ToLower(t.text)
	alias, isAlias := aliases[name]
	if isAlias {
		name = alias.name
	}
	at := a.next()
	op, err := a.operand(name, alias.imm)
	if err != nil {
		return err
	}
	switch {
	case conditional[name] && op.form == FormImm:
		op.form = FormCondK
	case conditional[name] && op.form == FormX:
		op.form = FormCondX
	case name == "ret" && op.form == FormNone: // as tcpdump writes it
		op.form = FormA
	}
	row := rowByShape[shape{name, op.form}]
	if row == nil {
		return a.errorAt(at, "%s takes %s", t.text, operandsOf(name))
	}
	insn := len(a.prog)
	a.prog = append(a.prog, Instruction{Code: row.Code, K: op.k})
	if row.Form == FormLabel {
		a.links = append(a.links, link{op.target, insn, linkK})
	}
	if row.conditional() {
		return a.targets(insn, alias.invert)
	}
	return nil
}

// conditional has the mnemonics of conditional jumps.
var conditional = func() map[string]bool {
	m := map[string]bool{}
	for i := range Rows {
		if Rows[i].conditional() {
			m[Rows[i].Name] = true
		}
	}
	return m
}()

// operand takes an operand in any form.
func (a *assembler) operand(name string, imm bool) (op operand, err error) {
	t := a.next()
	loads := strings.HasPrefix(name, "ld")
	switch {
	case t.kind == tokWord && a.peek(1).is(":"): // the next instruction's label
	case a.accept("%"):
		switch {
		case a.accept("x"):
			op.form = FormX
		case a.accept("a"):
			op.form = FormA
		default:
			err = a.errorAt(a.next(), "x or a expected behind %%, not %v", a.next())
		}
	case a.accept("#"):
		op.form, op.k, err = a.constant(loads)
	case a.accept("["):
		op.form = FormAbs
		a.accept("%")
		if a.accept("x") {
			op.form = FormInd
			if a.next().is("]") {
				break
			}
			if !a.next().is("-") {
				if err := a.expect("+"); err != nil {
					return op, err
				}
			}
		}
		if anc := ancillaryByName(strings.ToLower(a.next().text)); anc != nil && op.form == FormAbs {
			op.k = anc.ID.K()
			a.at++
		} else {
			op.k, err = a.number()
		}
	case t.is("M") && a.peek(1).is("["):
		a.at += 2
		op.form = FormMem
		op.k, err = a.number()
	case t.kind == tokNumber && a.peek(1).is("*"):
		return a.headerLength()
	case t.kind == tokNumber || t.is("-"):
		if name == "ja" && t.kind == tokNumber {
			a.at++
			return operand{form: FormLabel, target: target{tok: t, index: int(t.value)}}, nil
		}
		if !imm {
			return op, a.errorAt(t, "%s takes %s", name, operandsOf(name))
		}
		op.form = FormImm
		op.k, err = a.number()
	case t.is("x") && name != "ja":
		a.at++
		op.form = FormX
	case t.is("a") && name != "ja":
		a.at++
		op.form = FormA
	case t.kind == tokWord && loads && ancillaryByName(strings.ToLower(t.text)) != nil:
		a.at++
		op.form, op.k = FormAbs, ancillaryByName(strings.ToLower(t.text)).ID.K()
	case t.is("len") && loads || t.is("pktlen") && loads:
		a.at++
		op.form = FormLen
	case name == "ja" && t.kind == tokWord:
		a.at++
		op.form, op.target = FormLabel, target{tok: t}
	}
	if err == nil && (op.form == FormAbs && t.is("[") || op.form == FormInd || op.form == FormMem) {
		err = a.expect("]")
	}
	return op, err
}

// constant takes what follows #: a number, a symbol, and behind loads also the
// length of the packet or the name of ancillary data.
func (a *assembler) constant(loads bool) (Form, uint32, error) {
	t := a.next()
	if t.kind != tokWord {
		k, err := a.number()
		return FormImm, k, err
	}
	a.at++
	name := strings.ToLower(t.text)
	if loads {
		if name == "len" || name == "pktlen" {
			return FormLen, 0, nil
		}
		if anc := ancillaryByName(name); anc != nil {
			return FormAbs, anc.ID.K(), nil
		}
	}
	if k, ok := a.symbols[t.text]; ok {
		return FormImm, k, nil
	}
	return 0, 0, a.errorAt(t, "no constant is called %s", t.text)
}

// number takes a number with its sign, or fails.
func (a *assembler) number() (uint32, error) {
	negative := a.accept("-")
	if !negative {
		a.accept("+")
	}
	t := a.next()
	if t.kind != tokNumber {
		return 0, a.errorAt(t, "a number expected, not %v", t)
	}
	a.at++
	if !negative {
		return t.value, nil
	}
	if t.value > 1<<31 {
		return 0, a.errorAt(t, "-%s does not fit into 32 bits", t.text)
	}
	return -t.value, nil
}

// headerLength takes 4*([k]&0xf).
func (a *assembler) headerLength() (op operand, err error) {
	t := a.next()
	four, err := a.number()
	if err == nil {
		err = a.expect("*", "(", "[")
	}
	if err == nil {
		op.k, err = a.number()
	}
	if err == nil {
		err = a.expect("]", "&")
	}
	var mask uint32
	if err == nil {
		mask, err = a.number()
	}
	if err == nil {
		err = a.expect(")")
	}
	if err == nil && (four != 4 || mask != 0xf) {
		err = a.errorAt(t, "only 4*([k]&0xf) can be loaded")
	}
	op.form = FormMSH
	return op, err
}

// targets takes where a conditional jump goes: ", yes, no", ", yes" or
// tcpdump's "jt 2 jf 5". Where one is missing the program goes on behind it.
func (a *assembler) targets(insn int, invert bool) error {
	first, second := linkJt, linkJf
	if invert {
		first, second = second, first
	}
	if a.accept("jt") {
		if err := a.target(insn, first); err != nil {
			return err
		}
		if err := a.expect("jf"); err != nil {
			return err
		}
		return a.target(insn, second)
	}
	if err := a.expect(","); err != nil {
		return err
	}
	if err := a.target(insn, first); err != nil || !a.accept(",") {
		return err
	}
	return a.target(insn, second)
}

// target takes a label or the index of an instruction.
func (a *assembler) target(insn int, field linkField) error {
	t := a.next()
	if t.kind != tokWord && t.kind != tokNumber {
		return a.errorAt(t, "a label expected, not %v", t)
	}
	a.at++
	a.links = append(a.links, link{target{t, int(t.value)}, insn, field})
	return nil
}

// link puts distances into jumps.
func (a *assembler) link() error {
	for _, l := range a.links {
		to, t := l.target.index, l.target.tok
		if t.kind == tokWord {
			var ok bool
			if to, ok = a.labels[t.text]; !ok {
				return a.errorAt(t, "there is no label %s", t.text)
			}
		}
		distance := to - l.insn - 1
		ins := &a.prog[l.insn]
		if l.field == linkK {
			ins.K = uint32(distance)
			continue
		}
		if distance < 0 || distance > 255 {
			return a.errorAt(t, "%s is %d instructions on; a conditional jump goes 0 to 255", t.text, distance)
		}
		if l.field == linkJt {
			ins.Jt = uint8(distance)
		} else {
			ins.Jf = uint8(distance)
		}
	}
	return nil
}

// formTexts show what operands look like.
var formTexts = [...]string{
	FormNone: "nothing", FormX: "x", FormAbs: "[12]", FormInd: "[x + 12]", FormMem: "M[3]", FormImm: "#12",
	FormMSH: "4*([14]&0xf)", FormLabel: "a label", FormCondK: "#12, yes, no", FormCondX: "x, yes, no",
	FormA: "a", FormLen: "#len",
}

// operandsOf lists the operands a mnemonic takes.
func operandsOf(name string) string {
	var forms []string
	for i := range Rows {
		if Rows[i].Name == name {
			forms = append(forms, formTexts[Rows[i].Form])
		}
	}
	return strings.Join(forms, " or ")
}
