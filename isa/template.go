package isa

import "strings"

// Dialect is a way to write instructions.
type Dialect uint8

// The dialects. The assembler takes them all, mixed.
const (
	// Assembly is skep's own: decimal numbers, LLVM's shapes, and a distinct
	// text for every instruction, so that assembling gives it back exactly.
	Assembly Dialect = iota
	// LLVM is what llvm-objdump -d prints.
	LLVM
	// LLVMALU32 is what llvm-objdump -d --mcpu=v3 and later print: loads and
	// stores of up to 32 bits name the 32-bit registers.
	LLVMALU32
	// Kernel is what the kernel's verifier log and bpftool print.
	Kernel

	dialects = iota
)

// A template is the text of an instruction with blanks for its operands:
//
//	*(u32 *)({dst}{off}) = {wsrc}
//
// The printer fills the blanks, the assembler matches text against them.
type template []piece

// piece is some literal text, or a blank.
type piece struct {
	text string // literal, if blank is blankNone
	blank
}

// blank is an operand in a template.
type blank uint8

const (
	blankNone blank = iota
	blankDst        // register, as rN
	blankSrc
	blankWDst // register, as wN
	blankWSrc
	blankImm    // Imm, signed
	blankCmp    // Imm, as the kernel prints it in comparisons: unsigned hex
	blankOff    // Off, with sign and the space before it
	blankInd    // Imm, with sign; nothing if 0
	blankTo     // Imm's high half
	blankFrom   // Imm's low half
	blankJump   // Off, as a jump target
	blankJump32 // Imm, as a jump target
	blankHelper // Imm, as a helper's name or number
	blankKfunc  // Imm and Off, as a kernel function
	blankFunc   // Imm, as the subprogram a call goes to
	blankTarget // Imm, as the subprogram an address is taken of
	blankImm64  // both immediates of a 64-bit load
	blankLo     // the first of them
	blankHi     // the second
	blankMap    // the first, as a map
)

// blanks names the blanks in templates.
var blanks = map[string]blank{
	"dst": blankDst, "src": blankSrc, "wdst": blankWDst, "wsrc": blankWSrc, "imm": blankImm, "cmp": blankCmp, "off": blankOff, "ind": blankInd,
	"to": blankTo, "from": blankFrom, "jump": blankJump, "jump32": blankJump32, "helper": blankHelper, "kfunc": blankKfunc,
	"func": blankFunc, "target": blankTarget, "imm64": blankImm64, "lo": blankLo, "hi": blankHi, "map": blankMap,
}

// parseTemplate cuts a row's text into pieces.
func parseTemplate(text string) (t template) {
	for text != "" {
		literal, rest, _ := strings.Cut(text, "{")
		if literal != "" {
			t = append(t, piece{text: literal})
		}
		if rest == "" {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		b, ok := blanks[name]
		if !ok {
			panic("BUG: no blank {" + name + "} in an instruction's text")
		}
		t = append(t, piece{blank: b})
		text = after
	}
	return t
}

// withTemplates parses the texts of rows.
func withTemplates(rows []Row) []Row {
	for i := range rows {
		r := &rows[i]
		for d, text := range [dialects]string{r.Syntax, r.LLVM, r.ALU32, r.Kernel} {
			// ALU32 differs from LLVM, LLVM and Kernel differ from Syntax, only where they say so.
			switch {
			case text != "":
				r.text[d] = parseTemplate(text)
			case Dialect(d) == LLVMALU32:
				r.text[d] = r.text[LLVM]
			default:
				r.text[d] = r.text[Assembly]
			}
		}
	}
	return rows
}
