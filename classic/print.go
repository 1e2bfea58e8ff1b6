package classic

import (
	"fmt"
	"strconv"
)

// Format is a way to write a whole program down.
type Format uint8

// The formats.
const (
	Assembly Format = iota // bpf_asm's grammar, a label before each instruction, as bpf_dbg shows it
	Listing                // tcpdump -d
	CArray                 // tcpdump -dd
	Decimal                // tcpdump -ddd: the count, then code, jt, jf and k of each
	AsmC                   // bpf_asm -c
	AsmLine                // bpf_asm: the same as Decimal in one line, as xt_bpf takes it
)

// AppendProgram appends the program in a format. Any instruction can be
// written, of the machine or not.
func AppendProgram(b []byte, prog []Instruction, f Format) []byte {
	switch f {
	case Decimal:
		b = fmt.Appendf(b, "%d\n", len(prog))
	case AsmLine:
		b = fmt.Appendf(b, "%d,", len(prog))
	}
	for pc, ins := range prog {
		switch f {
		case Assembly:
			b = fmt.Appendf(b, "l%d:\t", pc)
			b = append(appendText(b, prog, pc), '\n')
		case Listing:
			b = appendListing(b, pc, ins)
		case CArray:
			b = fmt.Appendf(b, "{ %#x, %d, %d, 0x%08x },\n", ins.Code, ins.Jt, ins.Jf, ins.K)
		case Decimal:
			b = fmt.Appendf(b, "%d %d %d %d\n", ins.Code, ins.Jt, ins.Jf, ins.K)
		case AsmC:
			b = fmt.Appendf(b, "{ %s, %2d, %2d, %s },\n", paddedHex(uint32(ins.Code), 4), ins.Jt, ins.Jf, paddedHex(ins.K, 10))
		case AsmLine:
			b = fmt.Appendf(b, "%d %d %d %d,", ins.Code, ins.Jt, ins.Jf, ins.K)
		}
	}
	if f == AsmLine {
		b = append(b, '\n')
	}
	return b
}

// paddedHex is C's %#0<width>x, which gives zero no prefix.
func paddedHex(v uint32, width int) string {
	if v == 0 {
		return fmt.Sprintf("%0*d", width, 0)
	}
	return fmt.Sprintf("0x%0*x", width-2, v)
}

// Text returns the instruction at pc in bpf_asm's grammar; jumps name their
// targets l0, l1, ….
func Text(prog []Instruction, pc int) string { return string(appendText(nil, prog, pc)) }

// String returns the instruction in bpf_asm's grammar, as if it were the
// program's first.
func (i Instruction) String() string { return Text([]Instruction{i}, 0) }

func appendText(b []byte, prog []Instruction, pc int) []byte {
	ins := prog[pc]
	row := ins.Row()
	if row == nil || !row.tellsAll(ins) {
		return fmt.Appendf(b, "%s %#x, %d, %d, %#x", rawMnemonic, ins.Code, ins.Jt, ins.Jf, ins.K)
	}
	b = append(b, row.Name...)
	if row.Form != FormNone {
		b = append(b, ' ')
	}
	k := int32(ins.K)
	switch row.Form {
	case FormX, FormCondX:
		b = append(b, 'x')
	case FormA:
		b = append(b, 'a')
	case FormAbs:
		if anc := ancillaryOf(ins.K); anc != nil {
			b = append(b, anc.Name...)
		} else {
			b = fmt.Appendf(b, "[%d]", k)
		}
	case FormInd:
		b = fmt.Appendf(b, "[x + %d]", k)
	case FormMem:
		b = fmt.Appendf(b, "M[%d]", k)
	case FormImm:
		if row.decimal() {
			b = fmt.Appendf(b, "#%d", ins.K)
		} else {
			b = fmt.Appendf(b, "#%#x", ins.K)
		}
	case FormCondK:
		b = fmt.Appendf(b, "#%#x", ins.K)
	case FormMSH:
		b = fmt.Appendf(b, "4*([%d]&0xf)", k)
	case FormLabel:
		b = fmt.Appendf(b, "l%d", jumpTarget(pc, ins.K))
	case FormLen:
		b = append(b, "#len"...)
	}
	if row.conditional() {
		b = fmt.Appendf(b, ", l%d, l%d", pc+1+int(ins.Jt), pc+1+int(ins.Jf))
	}
	return b
}

// tellsAll reports whether the instruction's text in bpf_asm's grammar holds
// every field that is set: assembled, it gives the same instruction.
func (r *Row) tellsAll(ins Instruction) bool {
	if !r.conditional() && (ins.Jt != 0 || ins.Jf != 0) {
		return false
	}
	switch r.Form {
	case FormNone, FormX, FormCondX, FormA, FormLen:
		return ins.K == 0
	}
	return true
}

// decimal reports whether constants of the instruction are shown as numbers
// rather than as bits.
func (r *Row) decimal() bool {
	switch r.Code &^ SrcMask {
	case ALU | ADD, ALU | SUB, ALU | MUL, ALU | DIV, ALU | MOD, ALU | LSH, ALU | RSH, RET:
		return true
	}
	return false
}

// appendListing appends a line of tcpdump -d.
//
//	(001) jeq      #0x800           jt 2	jf 5
func appendListing(b []byte, pc int, ins Instruction) []byte {
	name, operand := "unimp", fmt.Sprintf("%#x", ins.Code)
	row := ins.Row()
	if row != nil && row.In != 0 {
		name, operand = row.Name, row.pcapOperand(pc, ins)
	}
	if ins.Class() == JMP && ins.Code&OpMask != JA {
		return fmt.Appendf(b, "(%03d) %-8s %-16s jt %d\tjf %d\n", pc, name, operand, pc+1+int(ins.Jt), pc+1+int(ins.Jf))
	}
	return fmt.Appendf(b, "(%03d) %-8s %s\n", pc, name, operand)
}

// pcapOperand is the operand as libpcap's bpf_image shows it.
func (r *Row) pcapOperand(pc int, ins Instruction) string {
	k := int32(ins.K)
	switch r.Form {
	case FormX, FormCondX:
		return "x"
	case FormAbs:
		if anc := ancillaryOf(ins.K); anc != nil {
			return "[" + anc.Pcap + "]"
		}
		return fmt.Sprintf("[%d]", k)
	case FormInd:
		return fmt.Sprintf("[x + %d]", k)
	case FormMem:
		return fmt.Sprintf("M[%d]", k)
	case FormImm, FormCondK:
		if r.decimal() {
			return fmt.Sprintf("#%d", k)
		}
		return fmt.Sprintf("#%#x", ins.K)
	case FormMSH:
		return fmt.Sprintf("4*([%d]&0xf)", k)
	case FormLabel:
		return strconv.Itoa(int(int32(uint32(pc+1) + ins.K)))
	case FormLen:
		return "#pktlen"
	}
	return "" // nothing, or A, which libpcap leaves out
}
