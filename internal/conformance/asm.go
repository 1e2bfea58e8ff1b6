package conformance

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/isa"
)

// The assembly of the vectors is uBPF's: operands after the mnemonic, registers
// with a percent sign, 32-bit forms with a suffix.
//
//	mov32 %r0, 0x1f
//	ldxh %r1, [%r10-8]
//	jne32 %r0, %r1, out
//	lock fetch add [%r10-8], %r1
//	call local f
//	out: exit

var aluNames = map[string]isa.Opcode{
	"add": isa.Add, "sub": isa.Sub, "mul": isa.Mul, "div": isa.Div, "or": isa.Or, "and": isa.And, "lsh": isa.Lsh,
	"rsh": isa.Rsh, "neg": isa.Neg, "mod": isa.Mod, "xor": isa.Xor, "mov": isa.Mov, "arsh": isa.Arsh,
}

var jumpNames = map[string]isa.Opcode{
	"jeq": isa.Jeq, "jgt": isa.Jgt, "jge": isa.Jge, "jset": isa.Jset, "jne": isa.Jne, "jsgt": isa.Jsgt, "jsge": isa.Jsge,
	"jlt": isa.Jlt, "jle": isa.Jle, "jslt": isa.Jslt, "jsle": isa.Jsle,
}

var atomicNames = map[string]int32{
	"add": isa.AtomicAdd, "or": isa.AtomicOr, "and": isa.AtomicAnd, "xor": isa.AtomicXor,
	"xchg": isa.AtomicXchg, "cmpxchg": isa.AtomicCmpXch,
}

var sizeNames = map[string]isa.Opcode{"b": isa.B, "h": isa.H, "w": isa.W, "dw": isa.DW}

// assembler reads one program.
type assembler struct {
	insns  []isa.Instruction
	labels map[string]int
	uses   []use
}

// use is an instruction that names a label.
type use struct {
	pc    int
	label string
	imm   bool // the distance goes into Imm
}

// Assemble reads a program in the assembly of the vectors. Errors name the line.
func Assemble(text string) ([]isa.Instruction, error) {
	a := &assembler{labels: map[string]int{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		for {
			label, rest, ok := strings.Cut(line, ":")
			if !ok {
				break
			}
			a.labels[strings.TrimSpace(label)] = len(a.insns)
			line = strings.TrimSpace(rest)
		}
		if line == "" {
			continue
		}
		if err := a.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n, line, err)
		}
	}
	for _, u := range a.uses {
		to, ok := a.labels[u.label]
		if !ok {
			return nil, fmt.Errorf("no label %q", u.label)
		}
		delta := to - u.pc - 1
		if u.imm {
			a.insns[u.pc].Imm = int32(delta)
		} else {
			a.insns[u.pc].Off = int16(delta)
		}
	}
	return a.insns, nil
}

// line reads one instruction.
func (a *assembler) line(line string) error {
	name, rest, _ := strings.Cut(line, " ")
	var ops []string
	for op := range strings.SplitSeq(rest, ",") {
		if op = strings.TrimSpace(op); op != "" {
			ops = append(ops, op)
		}
	}
	bare, is32 := strings.CutSuffix(name, "32")
	class, jump := isa.ClassALU64, isa.ClassJMP
	if is32 {
		class, jump = isa.ClassALU, isa.ClassJMP32
	}
	signed := strings.TrimPrefix(bare, "s")
	switch {
	case name == "exit":
		return a.want(ops, 0, isa.ExitInsn())
	case bare == "neg":
		return a.unary(ops, isa.Opcode(class)|isa.Neg, 0)
	case (bare == "sdiv" || bare == "smod"):
		return a.alu(ops, isa.Opcode(class)|aluNames[signed], 1)
	case aluNames[bare] != 0 || bare == "add":
		return a.alu(ops, isa.Opcode(class)|aluNames[bare], 0)
	case strings.HasPrefix(name, "movsx"):
		return a.movsx(ops, strings.TrimPrefix(name, "movsx"))
	case bare == "ja":
		return a.branch(ops, 0, isa.Instruction{Op: isa.Opcode(jump) | isa.Ja}, is32)
	case jumpNames[bare] != 0:
		return a.compare(ops, isa.Opcode(jump)|jumpNames[bare])
	case name == "call":
		return a.call(ops)
	case name == "lock":
		return a.lock(rest)
	case name == "lddw":
		return a.lddw(ops)
	case strings.HasPrefix(name, "ldxs") && sizeNames[name[4:]] != isa.DW && known(name[4:]):
		return a.load(ops, isa.Opcode(isa.ClassLDX)|isa.ModeMEMSX|sizeNames[name[4:]])
	case strings.HasPrefix(name, "ldx") && known(name[3:]):
		return a.load(ops, isa.Opcode(isa.ClassLDX)|isa.ModeMEM|sizeNames[name[3:]])
	case strings.HasPrefix(name, "stx") && known(name[3:]):
		return a.store(ops, isa.Opcode(isa.ClassSTX)|isa.ModeMEM|sizeNames[name[3:]])
	case strings.HasPrefix(name, "st") && known(name[2:]):
		return a.store(ops, isa.Opcode(isa.ClassST)|isa.ModeMEM|sizeNames[name[2:]])
	}
	for prefix, op := range map[string]isa.Opcode{
		"be": isa.Opcode(isa.ClassALU) | isa.End | isa.SrcX, "le": isa.Opcode(isa.ClassALU) | isa.End,
		"swap": isa.Opcode(isa.ClassALU64) | isa.End, "bswap": isa.Opcode(isa.ClassALU64) | isa.End,
	} {
		switch name {
		case prefix + "16", prefix + "32", prefix + "64":
			bits, _ := strconv.Atoi(strings.TrimPrefix(name, prefix))
			return a.unary(ops, op, int32(bits))
		}
	}
	return fmt.Errorf("unknown instruction")
}

func known(size string) bool { _, ok := sizeNames[size]; return ok }

func (a *assembler) emit(ins ...isa.Instruction) error {
	a.insns = append(a.insns, ins...)
	return nil
}

func (a *assembler) want(ops []string, n int, ins isa.Instruction) error {
	if len(ops) != n {
		return fmt.Errorf("%d operands, want %d", len(ops), n)
	}
	return a.emit(ins)
}

func (a *assembler) unary(ops []string, op isa.Opcode, imm int32) error {
	if len(ops) != 1 {
		return fmt.Errorf("%d operands, want 1", len(ops))
	}
	dst, err := register(ops[0])
	if err != nil {
		return err
	}
	return a.emit(isa.Instruction{Op: op, Dst: dst, Imm: imm})
}

// operand fills in a register or an immediate as the source.
func operand(ins *isa.Instruction, text string) (err error) {
	if isRegister(text) {
		ins.Op |= isa.SrcX
		ins.Src, err = register(text)
		return err
	}
	ins.Imm, err = immediate(text)
	return err
}

func (a *assembler) alu(ops []string, op isa.Opcode, off int16) error {
	if len(ops) != 2 {
		return fmt.Errorf("%d operands, want 2", len(ops))
	}
	dst, err := register(ops[0])
	if err != nil {
		return err
	}
	ins := isa.Instruction{Op: op, Dst: dst, Off: off}
	if err := operand(&ins, ops[1]); err != nil {
		return err
	}
	return a.emit(ins)
}

// movsx reads "movsx1664 %r1, %r2": from 16 bits to 64.
func (a *assembler) movsx(ops []string, sizes string) error {
	to, ok := map[string]isa.Instruction{
		"832": {Op: isa.Opcode(isa.ClassALU), Off: 8}, "1632": {Op: isa.Opcode(isa.ClassALU), Off: 16},
		"864": {Op: isa.Opcode(isa.ClassALU64), Off: 8}, "1664": {Op: isa.Opcode(isa.ClassALU64), Off: 16},
		"3264": {Op: isa.Opcode(isa.ClassALU64), Off: 32},
	}[sizes]
	if !ok || len(ops) != 2 || !isRegister(ops[1]) {
		return fmt.Errorf("unknown extension")
	}
	return a.alu(ops, to.Op|isa.Mov, to.Off)
}

func (a *assembler) compare(ops []string, op isa.Opcode) error {
	if len(ops) != 3 {
		return fmt.Errorf("%d operands, want 3", len(ops))
	}
	dst, err := register(ops[0])
	if err != nil {
		return err
	}
	ins := isa.Instruction{Op: op, Dst: dst}
	if err := operand(&ins, ops[1]); err != nil {
		return err
	}
	return a.branch(ops, 2, ins, false)
}

// branch adds a jump to the label, or by the distance, in operand n.
func (a *assembler) branch(ops []string, n int, ins isa.Instruction, far bool) error {
	if len(ops) != n+1 {
		return fmt.Errorf("%d operands, want %d", len(ops), n+1)
	}
	if d, err := strconv.ParseInt(ops[n], 0, 32); err == nil {
		if far {
			ins.Imm = int32(d)
		} else if ins.Off = int16(d); int64(ins.Off) != d {
			return fmt.Errorf("%s does not fit 16 bits", ops[n])
		}
		return a.emit(ins)
	}
	a.uses = append(a.uses, use{len(a.insns), ops[n], far})
	return a.emit(ins)
}

// call reads "call 5", "call helper 5", "call local f", "call runtime 7" and "call %r2".
func (a *assembler) call(ops []string) error {
	if len(ops) != 1 {
		return fmt.Errorf("%d operands, want 1", len(ops))
	}
	mode, what, ok := strings.Cut(ops[0], " ")
	if !ok {
		mode, what = "helper", mode
	}
	ins := isa.HelperCall(0)
	switch what = strings.TrimSpace(what); {
	case isRegister(what):
		dst, err := register(what)
		if err != nil {
			return err
		}
		return a.emit(isa.Instruction{Op: ins.Op | isa.SrcX, Dst: dst})
	case mode == "local":
		ins.Src = isa.CallLocal
		a.uses = append(a.uses, use{len(a.insns), what, true})
		return a.emit(ins)
	case mode == "runtime":
		ins.Src = isa.CallKfunc
	case mode != "helper":
		return fmt.Errorf("unknown kind of call")
	}
	var err error
	if ins.Imm, err = immediate(what); err != nil {
		return err
	}
	return a.emit(ins)
}

// lock reads "add [%r10-8], %r1", with fetch before it or 32 behind its name.
func (a *assembler) lock(rest string) error {
	name, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
	fetch := name == "fetch"
	if fetch {
		name, rest, _ = strings.Cut(strings.TrimSpace(rest), " ")
	}
	bare, is32 := strings.CutSuffix(name, "32")
	op, ok := atomicNames[bare]
	where, src, both := strings.Cut(rest, ",")
	if !ok || !both {
		return fmt.Errorf("unknown atomic operation")
	}
	if fetch {
		op |= isa.Fetch
	}
	size := isa.DW
	if is32 {
		size = isa.W
	}
	dst, off, err := memory(strings.TrimSpace(where))
	if err != nil {
		return err
	}
	from, err := register(strings.TrimSpace(src))
	if err != nil {
		return err
	}
	return a.emit(isa.Atomic(op, size, dst, from, off))
}

func (a *assembler) lddw(ops []string) error {
	if len(ops) != 2 {
		return fmt.Errorf("%d operands, want 2", len(ops))
	}
	dst, err := register(ops[0])
	if err != nil {
		return err
	}
	v, err := number(ops[1])
	if err != nil {
		return err
	}
	return a.emit(isa.LdImm64(dst, v)...)
}

func (a *assembler) load(ops []string, op isa.Opcode) error {
	if len(ops) != 2 {
		return fmt.Errorf("%d operands, want 2", len(ops))
	}
	dst, err := register(ops[0])
	if err != nil {
		return err
	}
	src, off, err := memory(ops[1])
	if err != nil {
		return err
	}
	return a.emit(isa.Instruction{Op: op, Dst: dst, Src: src, Off: off})
}

func (a *assembler) store(ops []string, op isa.Opcode) error {
	if len(ops) != 2 {
		return fmt.Errorf("%d operands, want 2", len(ops))
	}
	dst, off, err := memory(ops[0])
	if err != nil {
		return err
	}
	ins := isa.Instruction{Op: op, Dst: dst, Off: off}
	if op.Class() == isa.ClassST {
		ins.Imm, err = immediate(ops[1])
	} else {
		ins.Src, err = register(ops[1])
	}
	if err != nil {
		return err
	}
	return a.emit(ins)
}

func isRegister(text string) bool {
	return strings.HasPrefix(text, "%r") || strings.HasPrefix(text, "r")
}

func register(text string) (isa.Register, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimPrefix(text, "%"), "r"), 10, 8)
	if err != nil || n > 10 || !isRegister(text) {
		return 0, fmt.Errorf("no register %q", text)
	}
	return isa.Register(n), nil
}

// memory reads "[%r1+8]".
func memory(text string) (base isa.Register, off int16, err error) {
	inner, ok := strings.CutPrefix(text, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("%q is no place in memory", text)
	}
	at := strings.IndexAny(inner, "+-")
	name := inner
	if at >= 0 {
		name = inner[:at]
		v, err := strconv.ParseInt(strings.TrimPrefix(strings.ReplaceAll(inner[at:], " ", ""), "+"), 0, 16)
		if err != nil {
			return 0, 0, fmt.Errorf("%q: no such offset", text)
		}
		off = int16(v)
	}
	base, err = register(strings.TrimSpace(name))
	return base, off, err
}

// immediate reads 32 bits, signed or not.
func immediate(text string) (int32, error) {
	v, err := number(text)
	if err == nil && int64(v) > math.MaxUint32 || int64(v) < math.MinInt32 {
		err = fmt.Errorf("%s does not fit 32 bits", text)
	}
	return int32(uint32(v)), err
}

func number(text string) (uint64, error) {
	if strings.HasPrefix(text, "-") {
		v, err := strconv.ParseInt(text, 0, 64)
		return uint64(v), err
	}
	v, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return v, nil
}
