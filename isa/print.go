package isa

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Names gives names to what instructions refer to by number. A nil function,
// or an empty answer, leaves the number.
type Names struct {
	// Helper names a helper: bpf_map_lookup_elem.
	Helper func(id int32) string
	// Kfunc names a kernel function by BTF id and place in fd_array.
	Kfunc func(btfID int32, fdIdx int16) string
	// Func names the subprogram that starts at a slot.
	Func func(slot int) string
	// Label names the slot a jump goes to.
	Label func(slot int) string
	// Map names the map of a pseudo load; src says whether ref is a file
	// descriptor or an index into fd_array.
	Map func(src Register, ref int32) string
	// Imm64 replaces the kernel dialect's text of a 64-bit immediate.
	Imm64 func(ins Instruction, imm uint64) string
}

// Printer writes instructions as text. The zero Printer writes [Assembly]
// without names.
type Printer struct {
	Dialect Dialect
	Names   Names
	// Source gives what Listing writes as a comment before the instruction at a
	// slot, a line each; nil: nothing.
	Source func(slot int) []string
}

// String returns the instruction in the [Assembly] dialect. Of a 64-bit load it
// knows the first slot only; [Printer.Append] sees both.
func (ins Instruction) String() string {
	prog := []Instruction{ins, {}}
	text, _ := new(Printer).Append(nil, prog, 0)
	return string(text)
}

// Text returns the text of the instruction that starts at slot pc.
func (p *Printer) Text(prog []Instruction, pc int) string {
	text, _ := p.Append(nil, prog, pc)
	return string(text)
}

// Append appends the text of the instruction that starts at slot pc, and
// returns how many slots it takes.
//
// An illegal instruction has a text as well: `.insn op, dst, src, off, imm` in
// Assembly (the assembler takes it back), `<unknown>` in LLVM, and in the
// kernel's dialect what the kernel's log shows before the verdict.
func (p *Printer) Append(b []byte, prog []Instruction, pc int) ([]byte, int) {
	ins := prog[pc]
	w := writer{p: p, prog: prog, pc: pc, ins: ins, row: p.rowOf(ins)}
	if ins.IsLoadImm64() && !pairAt(prog, pc) {
		w.row = nil // half of a load is not an instruction
	}
	switch {
	case p.Dialect == Kernel:
		if w.row == nil && (!ins.IsLoadImm64() || pairAt(prog, pc)) {
			w.row = kernelRow(ins)
		}
		if w.row == nil {
			return append(b, kernelUnknown(ins)...), 1
		}
		b = fmt.Appendf(b, "(%02x) ", uint8(ins.Op))
	case p.Dialect == Assembly && (w.row == nil || w.row.loses(prog, pc)):
		return fmt.Appendf(b, ".insn 0x%02x, %d, %d, %d, %d", uint8(ins.Op), ins.Dst, ins.Src, ins.Off, ins.Imm), 1
	case w.row == nil:
		return append(b, "<unknown>"...), 1
	}
	for _, piece := range w.row.text[p.Dialect] {
		if piece.blank == blankNone {
			b = append(b, piece.text...)
		} else {
			b = w.fill(b, piece.blank)
		}
	}
	return b, w.row.Slots()
}

// rowOf finds the row of what the dialect has a text for, the kernel's refused
// forms left aside.
func (p *Printer) rowOf(ins Instruction) *Row {
	r := Lookup(ins)
	if r == nil && p.Dialect != Kernel {
		r = findRow(foreignByOp[ins.Op], ins)
	}
	if r == nil && p.Dialect == Assembly {
		r = findRow(rewrittenByOp[ins.Op], ins)
	}
	return r
}

// pairAt reports whether a well-formed 64-bit load starts at slot pc: its
// second slot has an immediate and nothing else.
func pairAt(prog []Instruction, pc int) bool {
	return pc+1 < len(prog) && prog[pc+1] == Instruction{Imm: prog[pc+1].Imm}
}

// loses reports whether the instruction at pc has something its text would not
// show: a field nobody looks at, or a register that does not exist.
func (r *Row) loses(prog []Instruction, pc int) bool {
	ins := prog[pc]
	if r.Slots() == 2 && prog[pc+1].Imm != 0 && !r.showsBoth() {
		return true
	}
	return r.Off.kind == fieldIgnored && ins.Off != 0 ||
		r.Dst != Reserved && ins.Dst > AX || r.Src&ReadWrite != 0 && ins.Src > AX
}

// showsBoth reports whether a 64-bit load's text has its second immediate.
func (r *Row) showsBoth() bool {
	return slices.ContainsFunc(r.text[Assembly], func(p piece) bool { return p.blank == blankHi || p.blank == blankImm64 })
}

// writer fills the blanks of one instruction.
type writer struct {
	p    *Printer
	prog []Instruction
	pc   int
	ins  Instruction
	row  *Row
}

func (w *writer) fill(b []byte, what blank) []byte {
	ins, d := w.ins, w.p.Dialect
	switch what {
	case blankDst, blankWDst:
		return register(b, what == blankWDst, ins.Dst)
	case blankSrc, blankWSrc:
		return register(b, what == blankWSrc, ins.Src)
	case blankImm, blankLo:
		return w.number(b, int64(ins.Imm))
	case blankCmp:
		if d == Kernel {
			return fmt.Appendf(b, "0x%x", uint32(ins.Imm))
		}
		return w.number(b, int64(ins.Imm))
	case blankOff:
		return w.displacement(b, int64(ins.Off))
	case blankInd:
		if ins.Imm == 0 {
			return b
		}
		return w.displacement(b, int64(ins.Imm))
	case blankTo:
		return w.number(b, int64(uint32(ins.Imm)>>16))
	case blankFrom:
		return w.number(b, int64(uint16(ins.Imm)))
	case blankJump:
		return w.jumpTo(b, int(ins.Off))
	case blankJump32:
		return w.jumpTo(b, int(ins.Imm))
	case blankHelper:
		return w.helper(b)
	case blankKfunc:
		return w.kfunc(b)
	case blankFunc:
		return w.call(b)
	case blankTarget:
		if name := w.funcName(); name != "" {
			return append(b, name...)
		}
		return fmt.Appendf(b, "%+d", ins.Imm)
	case blankImm64:
		return w.wide(b)
	case blankHi:
		return w.number(b, int64(w.prog[w.pc+1].Imm))
	case blankMap:
		if w.p.Names.Map != nil {
			if name := w.p.Names.Map(ins.Src, ins.Imm); name != "" {
				return append(b, name...)
			}
		}
		return w.number(b, int64(ins.Imm))
	}
	panic("BUG: a blank without a writer")
}

func register(b []byte, narrow bool, r Register) []byte {
	if narrow {
		return strconv.AppendUint(append(b, 'w'), uint64(r), 10)
	}
	return strconv.AppendUint(append(b, 'r'), uint64(r), 10)
}

// number writes v in the dialect's base: LLVM's is 16.
func (w *writer) number(b []byte, v int64) []byte {
	if w.p.Dialect == Assembly || w.p.Dialect == Kernel {
		return strconv.AppendInt(b, v, 10)
	}
	if v < 0 {
		b = append(b, '-')
		v = -v // the least int64 stays itself, and prints right as unsigned
	}
	return strconv.AppendUint(append(b, "0x"...), uint64(v), 16)
}

// displacement writes the second part of an address: ` + 4`, or the kernel's ` +4`.
func (w *writer) displacement(b []byte, v int64) []byte {
	sign := " + "
	if v < 0 {
		sign, v = " - ", -v
	}
	if w.p.Dialect == Kernel {
		sign = sign[:2]
	}
	return w.number(append(b, sign...), v)
}

func (w *writer) jumpTo(b []byte, delta int) []byte {
	name := ""
	if w.p.Names.Label != nil {
		name = w.p.Names.Label(w.pc + 1 + delta)
	}
	switch {
	case w.p.Dialect == Kernel:
		return fmt.Appendf(b, "pc%+d", delta)
	case w.p.Dialect == Assembly && name != "":
		return append(b, name...)
	}
	if delta >= 0 {
		b = append(b, '+')
	}
	b = w.number(b, int64(delta))
	if name != "" {
		b = fmt.Appendf(b, " <%s>", name)
	}
	return b
}

func (w *writer) helper(b []byte) []byte {
	name := ""
	if w.p.Names.Helper != nil && w.ins.Src == CallHelper {
		name = w.p.Names.Helper(w.ins.Imm)
	}
	if name == "" && w.p.Dialect != Kernel {
		return w.number(b, int64(w.ins.Imm))
	}
	return fmt.Appendf(b, "%s#%d", cmp.Or(name, "unknown"), w.ins.Imm)
}

func (w *writer) kfunc(b []byte) []byte {
	name := ""
	if w.p.Names.Kfunc != nil {
		name = w.p.Names.Kfunc(w.ins.Imm, w.ins.Off)
	}
	switch w.p.Dialect {
	case Kernel:
		return fmt.Appendf(b, "%s#%d", cmp.Or(name, "kernel-function"), w.ins.Imm)
	case LLVM, LLVMALU32:
		return w.number(b, int64(w.ins.Imm))
	}
	b = fmt.Appendf(b, "kfunc[%d]", w.ins.Imm)
	if w.ins.Off != 0 {
		b = fmt.Appendf(b, "[%d]", w.ins.Off)
	}
	if name != "" {
		b = append(append(b, '#'), name...)
	}
	return b
}

// call writes the target of a local call.
func (w *writer) call(b []byte) []byte {
	name := w.funcName()
	switch {
	case w.p.Dialect == Kernel && name != "":
		return fmt.Appendf(b, "pc%+d#%s", w.ins.Imm, name)
	case name != "":
		return append(b, name...)
	case w.p.Dialect == Kernel || w.p.Dialect == Assembly:
		return fmt.Appendf(b, "pc%+d", w.ins.Imm)
	}
	return w.number(b, int64(w.ins.Imm))
}

func (w *writer) funcName() string {
	if w.p.Names.Func == nil {
		return ""
	}
	return w.p.Names.Func(w.pc + 1 + int(w.ins.Imm))
}

func (w *writer) wide(b []byte) []byte {
	v := Imm64(w.prog, w.pc)
	switch w.p.Dialect {
	case Kernel:
		if w.p.Names.Imm64 != nil {
			if text := w.p.Names.Imm64(w.ins, v); text != "" {
				return append(b, text...)
			}
		}
	case LLVM, LLVMALU32:
		return w.number(b, int64(v))
	}
	return fmt.Appendf(b, "0x%x", v)
}

// Listing writes a whole program, a line per instruction: in Assembly with
// labels at the targets of jumps, calls and function addresses, ready to be
// assembled again; in the other dialects with slot numbers as their tools do.
func (p *Printer) Listing(out io.Writer, prog []Instruction) error {
	q := *p
	labels := map[int]string{}
	if p.Dialect == Assembly {
		labels = p.labels(prog)
		name := func(slot int) string { return labels[slot] }
		q.Names.Label, q.Names.Func = name, name
	}
	var line []byte
	for pc := 0; pc < len(prog); {
		line = line[:0]
		if name, ok := labels[pc]; ok {
			line = append(append(line, name...), ":\n"...)
		}
		if p.Source != nil {
			for _, text := range p.Source(pc) {
				line = append(append(append(line, "; "...), text...), '\n')
			}
		}
		switch p.Dialect {
		case Assembly:
			line = append(line, '\t')
		case Kernel:
			line = fmt.Appendf(line, "%d: ", pc)
		default:
			line = fmt.Appendf(line, "%8d:\t", pc)
		}
		var width int
		line, width = q.Append(line, prog, pc)
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
		pc += width
	}
	return nil
}

// labels names every slot that something in prog points to, provided an
// instruction starts there: with p's names for subprograms and labels, else
// as F12 or L12.
func (p *Printer) labels(prog []Instruction) map[int]string {
	starts := map[int]bool{}
	for pc := 0; pc < len(prog); pc += slotsAt(prog, pc) {
		starts[pc] = true
	}
	labels := map[int]string{}
	mark := func(slot int, given func(int) string, letter string) {
		if !starts[slot] || labels[slot] != "" {
			return
		}
		if given != nil {
			labels[slot] = given(slot)
		}
		if labels[slot] == "" {
			labels[slot] = letter + strconv.Itoa(slot)
		}
	}
	// Subprograms first: a loop back to a function's start keeps its name.
	for pc := range starts {
		ins := prog[pc]
		if ins.IsLocalCall() || ins.IsLoadImm64() && ins.Src == PseudoFunc {
			mark(pc+1+int(ins.Imm), p.Names.Func, "F")
		}
	}
	for pc := range starts {
		if r := Lookup(prog[pc]); r != nil && r.IsJump() {
			mark(pc+1+prog[pc].JumpOffset(), p.Names.Label, "L")
		}
	}
	return labels
}

// slotsAt returns how many slots the instruction at pc takes.
func slotsAt(prog []Instruction, pc int) int {
	if prog[pc].IsLoadImm64() && Lookup(prog[pc]) != nil && pairAt(prog, pc) {
		return 2
	}
	return 1
}
