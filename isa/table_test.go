package isa

import (
	"math"
	"regexp"
	"testing"
)

// kernelOpcodes are the opcodes Linux 6.18 knows; TestKernelOpcodes asks the
// live kernel whether the list holds.
var kernelOpcodes = func() map[Opcode]bool {
	known := map[Opcode]bool{LoadImm64: true}
	for _, class := range []Class{ClassALU, ClassALU64} {
		for op := Add; op <= Arsh; op += 0x10 {
			known[Opcode(class)|op|SrcK] = true
			known[Opcode(class)|op|SrcX] = op != Neg
		}
		known[Opcode(class)|End] = true
	}
	known[Opcode(ClassALU)|End|SrcX] = true
	for _, class := range []Class{ClassJMP, ClassJMP32} {
		for op := Jeq; op <= Jsle; op += 0x10 {
			if op != Call && op != Exit {
				known[Opcode(class)|op|SrcK] = true
				known[Opcode(class)|op|SrcX] = true
			}
		}
		known[Opcode(class)|Ja] = true
	}
	for _, op := range []Opcode{Call, Exit, Jcond} {
		known[Opcode(ClassJMP)|op] = true
	}
	for _, size := range []Opcode{B, H, W, DW} {
		narrow := size != DW
		known[Opcode(ClassLDX)|ModeMEM|size] = true
		known[Opcode(ClassLDX)|ModeMEMSX|size] = narrow
		known[Opcode(ClassST)|ModeMEM|size] = true
		known[Opcode(ClassSTX)|ModeMEM|size] = true
		known[Opcode(ClassSTX)|ModeATOMIC|size] = true
		known[Opcode(ClassLD)|ModeABS|size] = narrow
		known[Opcode(ClassLD)|ModeIND|size] = narrow
	}
	return known
}()

func TestTableCoversEveryOpcode(t *testing.T) {
	for i := range 256 {
		op := Opcode(i)
		if got := len(byOp[op]) > 0; got != kernelOpcodes[op] {
			t.Errorf("opcode %02x: has rows: %v, want %v", i, got, kernelOpcodes[op])
		}
	}
}

func TestTableRows(t *testing.T) {
	names := map[string]bool{}
	for i := range Table {
		r := &Table[i]
		if names[r.Name] {
			t.Errorf("%s: two rows of that name", r.Name)
		}
		names[r.Name] = true
		if r.Name == "" || r.Doc == "" || r.Syntax == "" || r.Group == "" || r.CPU == 0 {
			t.Errorf("%s: a column is empty: %+v", r.Name, *r)
		}
		if r.Op.Class().IsALU() && r.Sem == nil && r.Name != "addr_space_cast" {
			t.Errorf("%s: arithmetic without semantics", r.Name)
		}
		if conditional := r.IsJump() && r.Dst == Read; conditional != (r.Test != nil) {
			t.Errorf("%s: conditional %v, has a test %v", r.Name, conditional, r.Test != nil)
		}
		for _, ins := range instances(r) {
			if got := Lookup(ins); got != r {
				t.Errorf("%s: Lookup(%+v) = %v", r.Name, ins, got)
			}
			if err := Check(ins); err != nil {
				t.Errorf("%s: Check(%+v) = %v", r.Name, ins, err)
			}
		}
	}
}

func TestRewrittenRows(t *testing.T) {
	names := map[string]bool{}
	for i := range Rewritten {
		r := &Rewritten[i]
		if names[r.Name] {
			t.Errorf("%s: two rows of that name", r.Name)
		}
		names[r.Name] = true
		for _, ins := range instances(r) {
			if LookupRewritten(ins) != r || Lookup(ins) != nil || Check(ins) == nil {
				t.Errorf("%s: %+v is taken for %v, Check: %v", r.Name, ins, LookupRewritten(ins), Check(ins))
			}
		}
	}
	if len(Rewritten) < 40 {
		t.Errorf("only %d rows", len(Rewritten))
	}
}

// instances returns instructions of a row: registers, offsets and immediates
// at their bounds and in between.
func instances(r *Row) (out []Instruction) {
	offs, imms := r.Off.Values(), r.Imm.Values()
	if offs == nil {
		offs = []int32{0, 1, -1, 4, -8, math.MaxInt16, math.MinInt16}
	}
	if imms == nil {
		imms = []int32{0, 1, -1, 10, -123456, math.MaxInt32, math.MinInt32}
	}
	for i, off := range offs {
		for j, imm := range imms {
			ins := Instruction{Op: r.Op, Off: int16(off), Imm: imm}
			if r.Dst != Reserved {
				ins.Dst = Register((3*i + j) % 11)
			}
			switch {
			case r.Src == Selector:
				ins.Src = r.SrcIs
			case r.Src != Reserved:
				ins.Src = Register((i + 5*j + 2) % 11)
			}
			out = append(out, ins)
		}
	}
	return out
}

func TestReadsWrites(t *testing.T) {
	for _, tc := range []struct {
		ins           Instruction
		reads, writes RegSet
	}{
		{ALU64Reg(Add, R1, R2), Regs(R1, R2), Regs(R1)},
		{Mov64Imm(R7, 1), 0, Regs(R7)},
		{Mov64Reg(R7, R8), Regs(R8), Regs(R7)},
		{Neg64(R3), Regs(R3), Regs(R3)},
		{LoadMem(W, R1, R2, 0), Regs(R2), Regs(R1)},
		{StoreMem(W, R1, R2, 0), Regs(R1, R2), 0},
		{StoreImm(W, R1, 0, 1), Regs(R1), 0},
		{Atomic(AtomicAdd, W, R1, R2, 0), Regs(R1, R2), 0},
		{Atomic(AtomicAdd|Fetch, W, R1, R2, 0), Regs(R1, R2), Regs(R2)},
		{Atomic(AtomicCmpXch, DW, R1, R2, 0), Regs(R0, R1, R2), Regs(R0)},
		{LoadAcq(B, R1, R2, 0), Regs(R2), Regs(R1)},
		{StoreRel(B, R1, R2, 0), Regs(R1, R2), 0},
		{JmpReg(Jeq, R1, R2, 0), Regs(R1, R2), 0},
		{JmpImm(Jeq, R1, 5, 0), Regs(R1), 0},
		{HelperCall(1), Regs(R1, R2, R3, R4, R5), Regs(R0, R1, R2, R3, R4, R5)},
		{LoadInd(B, R7, 0), Regs(R6, R7), Regs(R0, R1, R2, R3, R4, R5)},
		{ExitInsn(), Regs(R0), 0},
		{LdMapFD(R1, 3)[0], 0, Regs(R1)},
	} {
		r := Lookup(tc.ins)
		if got := r.Reads(tc.ins); got != tc.reads {
			t.Errorf("%v reads %011b, want %011b", tc.ins, got, tc.reads)
		}
		if got := r.Writes(tc.ins); got != tc.writes {
			t.Errorf("%v writes %011b, want %011b", tc.ins, got, tc.writes)
		}
	}
}

func TestSemantics(t *testing.T) {
	minus := func(v int64) uint64 { return uint64(-v) }
	for _, tc := range []struct {
		row        string
		a, b, want uint64
	}{
		{"add64_reg", math.MaxUint64, 2, 1},
		{"add32_reg", 0xffff_ffff_ffff_ffff, 2, 1},
		{"sub64_imm", 1, 2, math.MaxUint64},
		{"sub32_imm", 1, 2, 0xffff_ffff},
		{"mul32_reg", 0x1_0000_0003, 5, 15},
		{"div64_reg", 7, 0, 0},
		{"div32_reg", 0x5_0000_0007, 0x5_0000_0002, 3},
		{"sdiv64_reg", minus(7), 2, minus(3)},
		{"sdiv64_reg", 1 << 63, minus(1), 1 << 63},
		{"sdiv32_reg", 1 << 31, minus(1), 1 << 31},
		{"mod64_reg", 7, 0, 7},
		{"mod32_reg", 0x5_0000_0007, 0, 7},
		{"smod64_reg", minus(7), 2, minus(1)},
		{"smod64_reg", 1 << 63, minus(1), 0},
		{"smod32_imm", 0xffff_fff9, 2, 0xffff_ffff},
		{"or64_imm", 5, 2, 7},
		{"and32_reg", minus(1), 0xf0, 0xf0},
		{"lsh64_reg", 1, 65, 2},
		{"lsh32_reg", 1, 33, 2},
		{"rsh32_reg", minus(1), 4, 0x0fff_ffff},
		{"arsh64_imm", 1 << 63, 63, math.MaxUint64},
		{"arsh32_imm", 1 << 31, 31, 0xffff_ffff},
		{"neg64", 1, 0, math.MaxUint64},
		{"neg32", 1, 0, 0xffff_ffff},
		{"mov32_imm", 9, minus(1), 0xffff_ffff},
		{"mov64_imm", 9, minus(1), math.MaxUint64},
		{"movs8_64", 0, 0x80, minus(128)},
		{"movs16_64", 0, 0x8000, minus(1 << 15)},
		{"movs32_64", 0, 0x8000_0000, minus(1 << 31)},
		{"movs8_32", 0, 0x80, 0xffff_ff80},
		{"movs16_32", 0, 0x18000, 0xffff_8000},
		{"le16", 0x11_2233, 0, 0x2233},
		{"be16", 0x11_2233, 0, 0x3322},
		{"be32", 0x11_2233_4455, 0, 0x5544_3322},
		{"be64", 0x0102, 0, 0x0201 << 48},
		{"bswap32", 0x11_2233_4455, 0, 0x5544_3322},
		{"ldx_s8", 0x1ff, 0, math.MaxUint64},
		{"ldx_u8", 0x1ff, 0, 0xff},
		{"atomic_add32", 0xffff_ffff, 2, 1},
		{"atomic_fetch_xor64", 6, 3, 5},
		{"xchg32", 6, 0x1_0000_0003, 3},
	} {
		if got := rowNamed(t, tc.row).Sem(tc.a, tc.b); got != tc.want {
			t.Errorf("%s(%#x, %#x) = %#x, want %#x", tc.row, tc.a, tc.b, got, tc.want)
		}
	}
	for _, tc := range []struct {
		row  string
		a, b uint64
		want bool
	}{
		{"jgt64_reg", minus(1), 1, true},
		{"jsgt64_reg", minus(1), 1, false},
		{"jslt32_imm", 0xffff_ffff, 0, true},
		{"jlt32_imm", 0xffff_ffff, 0, false},
		{"jeq32_reg", 0x1_0000_0005, 5, true},
		{"jeq64_reg", 0x1_0000_0005, 5, false},
		{"jset64_imm", 6, 2, true},
		{"jset32_imm", 6, 1, false},
		{"jle64_imm", 5, 5, true},
		{"jsle64_imm", minus(9), minus(9), true},
	} {
		if got := rowNamed(t, tc.row).Test(tc.a, tc.b); got != tc.want {
			t.Errorf("%s(%#x, %#x) = %v, want %v", tc.row, tc.a, tc.b, got, tc.want)
		}
	}
}

func rowNamed(t *testing.T, name string) *Row {
	t.Helper()
	for i := range Table {
		if Table[i].Name == name {
			return &Table[i]
		}
	}
	t.Fatalf("no row %s", name)
	return nil
}

// encodingErrors matches every message of Check, CheckValue and CheckProgram.
var encodingErrors = regexp.MustCompile(`reserved fields|^unknown opcode|^invalid atomic|invalid atomic opcode|` +
	`^R1[1-5] is invalid|^div by zero|^invalid shift|ld_imm64 insn|^invalid may_goto|addr_space_cast insn can only convert`)
