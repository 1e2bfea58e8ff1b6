package isa

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Symbols resolves names in assembly text that are not labels. A nil function
// knows no names.
type Symbols struct {
	// Helper finds a helper's number: call bpf_map_lookup_elem.
	Helper func(name string) (id int32, ok bool)
	// Kfunc finds a kernel function's BTF id, and the place of its module's
	// BTF in fd_array (0: the kernel itself).
	Kfunc func(name string) (btfID int32, fdIdx int16, ok bool)
	// Map finds what stands for a map in a pseudo load. kind is the load's:
	// map_fd, map_value, map_idx or map_idx_value.
	Map func(kind, name string) (ref int32, ok bool)
}

// SyntaxError is a fault in assembly text. Lines and columns count from 1,
// columns in bytes.
type SyntaxError struct {
	File      string
	Line, Col int
	Msg       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// Assemble turns text into a program. It takes every dialect that [Printer]
// writes, also mixed, and ignores what the tools put around instructions: slot
// numbers, llvm-objdump's raw bytes, the kernel's (opcode) and register state.
//
//	start:                          // a label
//		r1 = map_fd[3] ll       ; a pseudo load
//		call bpf_map_lookup_elem
//		if r0 == 0 goto out
//		.insn 0xb7, 0, 0, 0, 1  # op, dst, src, off, imm: any slot whatever
//	out:	exit
//
// file only names the text in errors, which are [*SyntaxError]s; the first
// fault ends the work. What is written is assembled, sensible or not: see
// [Check].
func Assemble(file, text string, symbols Symbols) ([]Instruction, error) {
	a := &assembler{file: file, symbols: &symbols, labels: map[string]int{}}
	for n, line := range strings.Split(text, "\n") {
		if err := a.line(n+1, line); err != nil {
			return nil, err
		}
	}
	if err := a.link(); err != nil {
		return nil, err
	}
	return a.prog, nil
}

type assembler struct {
	file    string
	symbols *Symbols
	prog    []Instruction
	labels  map[string]int // to slots
	links   []link
}

// link is a reference to a label, resolved once all are known.
type link struct {
	slot  int
	field blank
	name  string
	line  int
	pos   int
}

func (a *assembler) errorf(line, pos int, format string, args ...any) error {
	return &SyntaxError{a.file, line, pos + 1, fmt.Sprintf(format, args...)}
}

// rawBytes is what llvm-objdump shows before an instruction: slot and bytes.
var rawBytes = regexp.MustCompile(`^\s*[0-9]+:\s+([0-9a-f]{2} ){7}[0-9a-f]{2}(( [0-9a-f]{2}){8})?\s`)

func (a *assembler) line(n int, text string) error {
	indent := len(rawBytes.FindString(text))
	tokens := scan(text[indent:])
	for i := range tokens {
		tokens[i].pos += indent
	}
	tokens, err := a.prefixes(n, tokens)
	if err != nil {
		return err
	}
	m := matcher{tokens: tokens, symbols: a.symbols}
	if op, ok := opcodePrefix(tokens); ok {
		m.tokens, m.hint, m.hinted = tokens[3:], op, true
	}
	switch {
	case m.tokens[0].kind == tokEnd:
		if m.hinted {
			return a.errorf(n, m.tokens[0].pos, "expected an instruction after its opcode")
		}
		return nil
	case m.tokens[0].text == ".insn":
		return a.raw(n, &m)
	}
	row, r, ok := m.match(assembly(), 0, reading{})
	if !ok {
		msg, pos := m.complaint()
		return a.errorf(n, pos, "%s", msg)
	}
	a.emit(n, row, r)
	return nil
}

// prefixes takes labels, and slot numbers that tools print, off a line's front.
func (a *assembler) prefixes(n int, tokens []token) ([]token, error) {
	for {
		if len(tokens) >= 5 && tokens[0].kind == tokNumber && tokens[1].text == "<" && tokens[3].text == ">" && tokens[4].text == ":" {
			tokens = append(tokens[2:3:3], tokens[4:]...) // llvm-objdump: 0000000000000010 <name>:
		}
		if len(tokens) < 3 || tokens[1].text != ":" {
			return tokens, nil
		}
		switch t := tokens[0]; t.kind {
		case tokNumber:
		case tokWord:
			if _, twice := a.labels[t.text]; twice {
				return nil, a.errorf(n, t.pos, "label '%s' is defined twice", t.text)
			}
			a.labels[t.text] = len(a.prog)
		default:
			return nil, a.errorf(n, t.pos, "expected a label before ':', found '%s'", t.text)
		}
		tokens = tokens[2:]
	}
}

// opcodePrefix recognises the kernel's opcode in parentheses: (b7) r0 = 1.
func opcodePrefix(tokens []token) (Opcode, bool) {
	if len(tokens) < 4 || tokens[0].text != "(" || tokens[2].text != ")" || len(tokens[1].text) != 2 {
		return 0, false
	}
	op, err := strconv.ParseUint(tokens[1].text, 16, 8)
	return Opcode(op), err == nil
}

// raw assembles `.insn op, dst, src, off, imm`.
func (a *assembler) raw(n int, m *matcher) error {
	var v [5]uint64
	i := 1
	for f, bound := range [5]struct {
		low  int64
		high uint64
		kind string
	}{
		{0, math.MaxUint8, "an opcode"}, {0, 15, "a 4-bit register"}, {0, 15, "a 4-bit register"},
		{math.MinInt16, math.MaxUint16, "a 16-bit number"}, {math.MinInt32, math.MaxUint32, "a 32-bit number"},
	} {
		ok := true
		if f > 0 {
			if ok = m.tokens[i].text == ","; ok {
				i++
			} else {
				m.missed(i, ",")
			}
		}
		if ok {
			v[f], i, ok = m.number(i, bound.low, bound.high, bound.kind)
		}
		if !ok {
			msg, pos := m.complaint()
			return a.errorf(n, pos, "%s", msg)
		}
	}
	if m.tokens[i].kind != tokEnd {
		return a.errorf(n, m.tokens[i].pos, "expected end of line, found '%s'", m.tokens[i].text)
	}
	a.prog = append(a.prog, Instruction{Opcode(v[0]), Register(v[1]), Register(v[2]), int16(v[3]), int32(uint32(v[4]))})
	return nil
}

// emit appends the instruction that was read.
func (a *assembler) emit(n int, row *Row, r reading) {
	ins := Instruction{Op: row.Op, Dst: r.dst, Src: r.src, Off: r.off, Imm: r.imm}
	if row.Src == Selector {
		ins.Src = row.SrcIs
	}
	if row.Off.kind == fieldSelects {
		ins.Off = int16(row.Off.values[0])
	}
	if row.Imm.kind == fieldSelects {
		ins.Imm = row.Imm.values[0]
	}
	if r.label != nil {
		a.links = append(a.links, link{len(a.prog), r.labelIs, r.label.text, n, r.label.pos})
	}
	a.prog = append(a.prog, ins)
	if row.Slots() == 2 {
		a.prog = append(a.prog, Instruction{Imm: r.hi})
	}
}

// link puts the distances to labels into the instructions.
func (a *assembler) link() error {
	for _, l := range a.links {
		slot, ok := a.labels[l.name]
		if !ok {
			what := "label"
			if l.field == blankFunc {
				what = "helper, kernel function or label"
			}
			return a.errorf(l.line, l.pos, "unknown %s '%s'", what, l.name)
		}
		delta := slot - (l.slot + 1)
		if l.field != blankJump {
			a.prog[l.slot].Imm = int32(delta)
			continue
		}
		if delta != int(int16(delta)) {
			return a.errorf(l.line, l.pos, "label '%s' is %d slots away, more than 16 bits hold; gotol has 32", l.name, delta)
		}
		a.prog[l.slot].Off = int16(delta)
	}
	return nil
}
