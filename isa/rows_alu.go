package isa

import "math/bits"

// arith is an arithmetic operation before it is spread over width (32, 64) and
// second operand (immediate, register).
type arith struct {
	op     Opcode
	off    Field // what tells signed from unsigned division
	name   string
	symbol string
	cpu    CPU
	divmul bool // conformance groups divmul32 and divmul64
	sem64  func(a, b uint64) uint64
	sem32  func(a, b uint32) uint32
	doc    string
}

// arithmetic lists them. Division by zero gives zero, modulo by zero leaves
// the dividend (RFC 9669, section 4.1), the least number divided by −1 is
// itself, as in Go. Shift counts are taken modulo the width.
var arithmetic = []arith{
	{op: Add, name: "add", symbol: "+=", cpu: CPUv1, doc: "add",
		sem64: func(a, b uint64) uint64 { return a + b },
		sem32: func(a, b uint32) uint32 { return a + b }},
	{op: Sub, name: "sub", symbol: "-=", cpu: CPUv1, doc: "subtract",
		sem64: func(a, b uint64) uint64 { return a - b },
		sem32: func(a, b uint32) uint32 { return a - b }},
	{op: Mul, name: "mul", symbol: "*=", cpu: CPUv1, divmul: true, doc: "multiply",
		sem64: func(a, b uint64) uint64 { return a * b },
		sem32: func(a, b uint32) uint32 { return a * b }},
	{op: Div, name: "div", symbol: "/=", cpu: CPUv1, divmul: true, doc: "divide, unsigned; by zero gives 0",
		sem64: div[uint64], sem32: div[uint32]},
	{op: Div, off: is(1), name: "sdiv", symbol: "s/=", cpu: CPUv4, divmul: true, doc: "divide, signed, towards zero; by zero gives 0",
		sem64: func(a, b uint64) uint64 { return uint64(div(int64(a), int64(b))) },
		sem32: func(a, b uint32) uint32 { return uint32(div(int32(a), int32(b))) }},
	{op: Or, name: "or", symbol: "|=", cpu: CPUv1, doc: "bitwise or",
		sem64: func(a, b uint64) uint64 { return a | b },
		sem32: func(a, b uint32) uint32 { return a | b }},
	{op: And, name: "and", symbol: "&=", cpu: CPUv1, doc: "bitwise and",
		sem64: func(a, b uint64) uint64 { return a & b },
		sem32: func(a, b uint32) uint32 { return a & b }},
	{op: Lsh, name: "lsh", symbol: "<<=", cpu: CPUv1, doc: "shift left",
		sem64: func(a, b uint64) uint64 { return a << (b & 63) },
		sem32: func(a, b uint32) uint32 { return a << (b & 31) }},
	{op: Rsh, name: "rsh", symbol: ">>=", cpu: CPUv1, doc: "shift right, filling with zeroes",
		sem64: func(a, b uint64) uint64 { return a >> (b & 63) },
		sem32: func(a, b uint32) uint32 { return a >> (b & 31) }},
	{op: Mod, name: "mod", symbol: "%=", cpu: CPUv1, divmul: true, doc: "modulo, unsigned; by zero changes nothing",
		sem64: mod[uint64], sem32: mod[uint32]},
	{op: Mod, off: is(1), name: "smod", symbol: "s%=", cpu: CPUv4, divmul: true, doc: "modulo, signed as the dividend; by zero changes nothing",
		sem64: func(a, b uint64) uint64 { return uint64(mod(int64(a), int64(b))) },
		sem32: func(a, b uint32) uint32 { return uint32(mod(int32(a), int32(b))) }},
	{op: Xor, name: "xor", symbol: "^=", cpu: CPUv1, doc: "bitwise exclusive or",
		sem64: func(a, b uint64) uint64 { return a ^ b },
		sem32: func(a, b uint32) uint32 { return a ^ b }},
	{op: Arsh, name: "arsh", symbol: "s>>=", cpu: CPUv1, doc: "shift right, filling with the sign",
		sem64: func(a, b uint64) uint64 { return uint64(int64(a) >> (b & 63)) },
		sem32: func(a, b uint32) uint32 { return uint32(int32(a) >> (b & 31)) }},
}

type integer interface {
	int32 | int64 | uint32 | uint64
}

func div[T integer](a, b T) T {
	if b == 0 {
		return 0
	}
	return a / b
}

func mod[T integer](a, b T) T {
	if b == 0 {
		return a
	}
	return a % b
}

// in32 lifts an operation on low halves to registers; the high half becomes zero.
func in32(f func(a, b uint32) uint32) func(a, b uint64) uint64 {
	return func(a, b uint64) uint64 { return uint64(f(uint32(a), uint32(b))) }
}

func aluRows() (rows []Row) {
	for _, a := range arithmetic {
		wide := Row{
			Name: a.name + "64", Op: Opcode(ClassALU64) | a.op, Dst: ReadWrite, Off: a.off,
			Width: 64, CPU: a.cpu, Group: GroupBase64, Sem: a.sem64, Doc: "64-bit " + a.doc,
		}
		// clang uses the 32-bit registers from v3 on; signed division came later.
		narrow := Row{
			Name: a.name + "32", Op: Opcode(ClassALU) | a.op, Dst: ReadWrite, Off: a.off,
			Width: 32, CPU: max(a.cpu, CPUv3), Group: GroupBase32, Sem: in32(a.sem32),
			Doc: "32-bit " + a.doc + "; the high half becomes 0",
		}
		if a.divmul {
			wide.Group, narrow.Group = GroupDivMul64, GroupDivMul32
		}
		rows = append(rows,
			wide.withImm("{dst} "+a.symbol+" {imm}"), wide.withReg("{dst} "+a.symbol+" {src}"),
			narrow.withImm("{wdst} "+a.symbol+" {imm}"), narrow.withReg("{wdst} "+a.symbol+" {wsrc}"))
	}
	return append(rows,
		Row{Name: "neg64", Op: Opcode(ClassALU64) | Neg, Dst: ReadWrite, Width: 64, CPU: CPUv1, Group: GroupBase64,
			Syntax: "{dst} = -{dst}", Sem: func(a, _ uint64) uint64 { return -a }, Doc: "64-bit negate"},
		Row{Name: "neg32", Op: Opcode(ClassALU) | Neg, Dst: ReadWrite, Width: 32, CPU: CPUv3, Group: GroupBase32,
			Syntax: "{wdst} = -{wdst}", Sem: in32(func(a, _ uint32) uint32 { return -a }), Doc: "32-bit negate; the high half becomes 0"})
}

// withImm completes a row into the form whose second operand is the immediate.
func (r Row) withImm(syntax string) Row {
	r.Name += "_imm"
	r.Op |= SrcK
	r.Imm = anything
	r.Syntax = syntax
	return r
}

// withReg completes a row into the form whose second operand is a register.
func (r Row) withReg(syntax string) Row {
	r.Name += "_reg"
	r.Op |= SrcX
	r.Src = Read
	r.Syntax = syntax
	return r
}

func moveRows() []Row {
	second := func(_, b uint64) uint64 { return b }
	low := in32(func(_, b uint32) uint32 { return b })
	mov64 := Row{Name: "mov64", Op: Opcode(ClassALU64) | Mov, Dst: Write, Width: 64, CPU: CPUv1, Group: GroupBase64,
		Sem: second, Doc: "64-bit move; an immediate is sign-extended"}
	mov32 := Row{Name: "mov32", Op: Opcode(ClassALU) | Mov, Dst: Write, Width: 32, CPU: CPUv3, Group: GroupBase32,
		Sem: low, Doc: "32-bit move; the high half becomes 0"}
	// extend makes the sign-extending moves; Off holds the source's width.
	extend := func(r Row, from int32, name, syntax string, sem func(a, b uint64) uint64) Row {
		r = r.withReg(syntax)
		r.Name, r.Off, r.CPU, r.Sem = name, is(from), CPUv4, sem
		r.Doc = "move with sign extension"
		return r
	}
	return []Row{
		mov64.withImm("{dst} = {imm}"),
		mov64.withReg("{dst} = {src}"),
		mov32.withImm("{wdst} = {imm}"),
		mov32.withReg("{wdst} = {wsrc}"),
		extend(mov64, 8, "movs8_64", "{dst} = (s8){src}", func(_, b uint64) uint64 { return uint64(int8(b)) }),
		extend(mov64, 16, "movs16_64", "{dst} = (s16){src}", func(_, b uint64) uint64 { return uint64(int16(b)) }),
		extend(mov64, 32, "movs32_64", "{dst} = (s32){src}", func(_, b uint64) uint64 { return uint64(int32(b)) }),
		extend(mov32, 8, "movs8_32", "{wdst} = (s8){wsrc}", in32(func(_, b uint32) uint32 { return uint32(int8(b)) })),
		extend(mov32, 16, "movs16_32", "{wdst} = (s16){wsrc}", in32(func(_, b uint32) uint32 { return uint32(int16(b)) })),
		{Name: "addr_space_cast", Op: Opcode(ClassALU64) | Mov | SrcX, Dst: Write, Src: Read, Off: is(1), Imm: among(1, 1<<16),
			Width: 64, CPU: CPUKernel, Group: GroupLinux, Syntax: "{dst} = addr_space_cast({src}, {to}, {from})",
			Doc: "convert a pointer between the arena's address space (1) and the program's (0)"},
	}
}

func swapRows() (rows []Row) {
	// Results are what a little-endian machine computes.
	swap := map[int32]func(a, _ uint64) uint64{
		16: func(a, _ uint64) uint64 { return uint64(bits.ReverseBytes16(uint16(a))) },
		32: func(a, _ uint64) uint64 { return uint64(bits.ReverseBytes32(uint32(a))) },
		64: func(a, _ uint64) uint64 { return bits.ReverseBytes64(a) },
	}
	cut := map[int32]func(a, _ uint64) uint64{
		16: func(a, _ uint64) uint64 { return uint64(uint16(a)) },
		32: func(a, _ uint64) uint64 { return uint64(uint32(a)) },
		64: func(a, _ uint64) uint64 { return a },
	}
	kinds := []struct {
		name string
		op   Opcode
		cpu  CPU
		sem  map[int32]func(a, _ uint64) uint64
		doc  string
	}{
		{"le", Opcode(ClassALU) | End | SrcK, CPUv1, cut, "to little-endian byte order, dropping higher bits"},
		{"be", Opcode(ClassALU) | End | SrcX, CPUv1, swap, "to big-endian byte order, dropping higher bits"},
		{"bswap", Opcode(ClassALU64) | End, CPUv4, swap, "reverse the bytes, dropping higher bits"},
	}
	for _, k := range kinds {
		for _, w := range []int32{16, 32, 64} {
			r := Row{Name: k.name + decimal(w), Op: k.op, Dst: ReadWrite, Imm: is(w), Width: int(w), CPU: k.cpu,
				Group: GroupBase32, Syntax: "{dst} = " + k.name + decimal(w) + " {dst}", Sem: k.sem[w], Doc: k.doc}
			if w == 64 {
				r.Group = GroupBase64
			}
			rows = append(rows, r)
		}
	}
	return rows
}
