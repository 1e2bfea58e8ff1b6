package isa

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// helperSymbols know one helper, one kernel function and one map.
var helperSymbols = Symbols{
	Helper: func(name string) (int32, bool) { return 1, name == "bpf_map_lookup_elem" },
	Kfunc:  func(name string) (int32, int16, bool) { return 77, 2, name == "bpf_iter_num_new" },
	Map:    func(kind, name string) (int32, bool) { return 3, kind == "map_fd" && name == "blocked" },
}

func TestAssemble(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []Instruction
	}{
		{"r0 = *(u32 *)(r1 + 4)", Program(LoadMem(W, R0, R1, 4))},
		{"r0 = *(u32 *)(r1 +4)", Program(LoadMem(W, R0, R1, 4))},
		{"w0 = *(u32 *)(r1 - 0x4)", Program(LoadMem(W, R0, R1, -4))},
		{"r0 = *(u32*)(r1)", Program(LoadMem(W, R0, R1, 0))},
		{"r0 = *(s16 *)(r1 + 0)", Program(LoadMemSX(H, R0, R1, 0))},
		{"*(u8 *)(r10 - 1) = w2", Program(StoreMem(B, R10, R2, -1))},
		{"*(u64 *)(r10 - 8) = -1", Program(StoreImm(DW, R10, -8, -1))},
		{"if r1 s> 5 goto +3", Program(JmpImm(Jsgt, R1, 5, 3))},
		{"if w1 s> 0xfffffffb goto pc-1", Program(Jmp32Imm(Jsgt, R1, -5, -1))},
		{"if r1 & r2 goto +0x3 <f+0x20>", Program(JmpReg(Jset, R1, R2, 3))},
		{"if w1 > w2 goto +3", Program(Jmp32Reg(Jgt, R1, R2, 3))},
		{"w0 += w1", Program(ALU32Reg(Add, R0, R1))},
		{"r1 s/= -5", Program(Signed(ALU64Imm(Div, R1, -5)))},
		{"w1 s>>= 3", Program(ALU32Imm(Arsh, R1, 3))},
		{"r1=-5", Program(Mov64Imm(R1, -5))},
		{"r1 = -r1", Program(Neg64(R1))},
		{"r1 = (s8)r2", Program(MovSX64(R1, R2, 8))},
		{"w1 = (s16)w2", Program(MovSX32(R1, R2, 16))},
		{"r0 = be16 r0", Program(ToBE(R0, 16))},
		{"r2 = le32 r2", Program(ToLE(R2, 32))},
		{"r3 = bswap64 r3", Program(Bswap(R3, 64))},
		{"r1 = addr_space_cast(r2, 0, 1)", Program(AddrSpaceCast(R1, R2, 0, 1))},
		{"lock *(u64 *)(r1 + 0) += r2", Program(Atomic(AtomicAdd, DW, R1, R2, 0))},
		{"lock *(u32 *)(r1 + 0) |= w2", Program(Atomic(AtomicOr, W, R1, R2, 0))},
		{"r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)", Program(Atomic(AtomicAdd|Fetch, DW, R1, R2, 0))},
		{"r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)", Program(Atomic(AtomicAdd|Fetch, DW, R1, R2, 0))},
		{"w2 = atomic_fetch_xor((u32 *)(r1 + 0), w2)", Program(Atomic(AtomicXor|Fetch, W, R1, R2, 0))},
		{"r2 = atomic_fetch_xor((u32 *)(r1 +0), r2)", Program(Atomic(AtomicXor|Fetch, W, R1, R2, 0))},
		{"w2 = xchg32_32(r1 + 0, w2)", Program(Atomic(AtomicXchg, W, R1, R2, 0))},
		{"r0 = atomic64_cmpxchg((u64 *)(r1 +8), r0, r2)", Program(Atomic(AtomicCmpXch, DW, R1, R2, 8))},
		{"r1 = load_acquire((u8 *)(r2 + 1))", Program(LoadAcq(B, R1, R2, 1))},
		{"store_release((u64 *)(r1 - 8), r2)", Program(StoreRel(DW, R1, R2, -8))},
		{"r1 = 0x1234 ll", Program(LdImm64(R1, 0x1234))},
		{"r1 = -1 ll", Program(LdImm64(R1, 1<<64-1))},
		{"(18) r1 = 0x5", Program(LdImm64(R1, 5))},
		{"(b7) r1 = 5", Program(Mov64Imm(R1, 5))},
		{"r1 = 0xffffffff", Program(Mov64Imm(R1, -1))},
		{"r1 = map_fd[3] ll", Program(LdMapFD(R1, 3))},
		{"r1 = map_fd[blocked] ll", Program(LdMapFD(R1, 3))},
		{"r1 = map_value[3][16] ll", Program(LdMapValue(R1, 3, 16))},
		{"r1 = map_idx[0] ll", Program(LdMapIdx(R1, 0))},
		{"r1 = map_idx_value[1][8] ll", Program(LdMapIdxValue(R1, 1, 8))},
		{"r1 = btf_id[1234][0] ll", Program(LdBTFID(R1, 1234, 0))},
		{"r1 = func[+5] ll", Program(LdFunc(R1, 5))},
		{"ld_pseudo r1, 0x1, 0x3", Program(LdMapFD(R1, 3))},
		{"r0 = *(u8 *)skb[23]", Program(LoadAbs(B, 23))},
		{"r0 = *(u16 *)skb[r3]", Program(LoadInd(H, R3, 0))},
		{"r0 = *(u16 *)skb[r3 + -5]", Program(LoadInd(H, R3, -5))},
		{"goto -1", Program(Goto(-1))},
		{"gotol +70000", Program(Gotol(70000))},
		{"may_goto 5", Program(MayGoto(5))},
		{"call 1", Program(HelperCall(1))},
		{"call -1", Program(HelperCall(-1))},
		{"call bpf_map_lookup_elem", Program(HelperCall(1))},
		{"call bpf_ktime_get_ns#5", Program(HelperCall(5))},
		{"call pc+5", Program(LocalCall(5))},
		{"call pc-5#helper_name", Program(LocalCall(-5))},
		{"call kfunc[77]", Program(KfuncCall(77, 0))},
		{"call kfunc[77][2]#bpf_iter_num_new", Program(KfuncCall(77, 2))},
		{"call kernel-function#77", Program(KfuncCall(77, 0))},
		{"call bpf_iter_num_new", Program(KfuncCall(77, 2))},
		{"call bpf_iter_num_new#78", Program(KfuncCall(78, 2))},
		{".insn 0x8d, 3, 15, -1, 0xffffffff", []Instruction{{0x8d, 3, 15, -1, -1}}},
		{"callx r3", []Instruction{{Op: 0x8d, Dst: R3}}},
		{"exit", Program(ExitInsn())},
		// What only rewritten programs have.
		{"r11 = *(probe u32 *)(r1 + 4)", []Instruction{{Op: Opcode(ClassLDX) | ModeProbeMEM | W, Dst: AX, Src: R1, Off: 4}}},
		{"r2 = atomic64_xchg((arena u64 *)(r1 + 0), r2)", []Instruction{{Op: Opcode(ClassSTX) | ModeArenaAtom | DW, Dst: R1, Src: R2, Imm: AtomicXchg}}},
		// What the tools put around instructions.
		{"14: (bf) r6 = r1                       ; R1=ctx() R6=ctx()", Program(Mov64Reg(R6, R1))},
		{"       1:\t18 01 00 00 34 12 00 00 00 00 00 00 00 00 00 00\tr1 = 0x1234 ll", Program(LdImm64(R1, 0x1234))},
		{"       0:\tb7 00 00 00 01 00 00 00\tr0 = 0x1", Program(Mov64Imm(R0, 1))},
		{"r1 = 1 # one\n\n; two\nr2 = 2 // two", Program(Mov64Imm(R1, 1), Mov64Imm(R2, 2))},
		// Labels.
		{"a: goto b\nr0 = 1\nb: goto a", Program(Goto(1), Mov64Imm(R0, 1), Goto(-3))},
		{"if r1 == 0 goto out\nr2 = 1 ll\nout:\nexit", Program(JmpImm(Jeq, R1, 0, 2), LdImm64(R2, 1), ExitInsn())},
		{"call f\nexit\nf: exit", Program(LocalCall(1), ExitInsn(), ExitInsn())},
		{"r1 = func[f] ll\nexit\nf: exit", Program(LdFunc(R1, 2), ExitInsn(), ExitInsn())},
		{"gotol x\nx: y: exit", Program(Gotol(0), ExitInsn())},
		{"0000000000000000 <prog>:\ncall prog", Program(LocalCall(-1))},
	} {
		got, err := Assemble("test.s", tc.text, helperSymbols)
		if err != nil {
			t.Errorf("%v", err)
		} else if !slices.Equal(got, tc.want) {
			t.Errorf("%s\n got %+v\nwant %+v", tc.text, got, tc.want)
		}
	}
}

func TestAssembleErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"foo", "x.s:1:1: expected an instruction, found 'foo'"},
		{"*(u32 *)(r1 + 4) 5", "x.s:1:18: expected '=', found '5'"},
		{"*(u64 *)(r0 + 0) += r6", "x.s:1:18: '+=' on memory is atomic, and begins with lock: lock *(u64 *)(r1 + 0) += r2"},
		{"exit\n  r1 5", "x.s:2:6: expected an assignment (=, +=, …), found '5'"},
		{"r1 =", "x.s:1:5: expected "},
		{"r12 = 5", "x.s:1:1: no register r12: there are r0–r10"},
		{"r1 += w2", "x.s:1:7: expected a number or a register (r0–r10), found 'w2'"},
		{"r1 = be16 r2", "x.s:1:11: expected 'r1', found 'r2'"},
		{"r1 = 0x123456789", "x.s:1:17: expected 'll', found end of line"},
		{"r1 += 0x123456789", "x.s:1:7: 0x123456789 is not a 32-bit number"},
		{"r1 += 0x12z", "x.s:1:7: malformed number '0x12z'"},
		{"r0 = *(u32 *)(r1 + 40000)", "x.s:1:20: 40000 is not a 16-bit offset"},
		{"r0 = *(u32 *)(r1 + 4", "x.s:1:21: expected ')', found end of line"},
		{"r0 = *(u24 *)(r1 + 4)", "x.s:1:8: expected 'u8', 'u16', 'u32', 'u64', 's8', 's16', 's32', 'probe' or 'arena', found 'u24'"},
		{"if r1 <> 5 goto +1", "x.s:1:8: expected a number or a register (r0–r10), found '>'"},
		{"if r1 = 5 goto +1", "x.s:1:7: expected a comparison (==, s>, …), found '='"},
		{"if r1 == 5", "x.s:1:11: expected 'goto', found end of line"},
		{"goto 40000", "x.s:1:6: 40000 is not a 16-bit distance in slots; gotol has 32 bits"},
		{"goto nowhere", "x.s:1:6: unknown label 'nowhere'"},
		{"call nowhere", "x.s:1:6: unknown helper, kernel function or label 'nowhere'"},
		{"goto +1 <f", "x.s:1:11: expected a closing '>', found end of line"},
		{"x: exit\nx: exit", "x.s:2:1: label 'x' is defined twice"},
		{"+: exit", "x.s:1:1: expected a label before ':', found '+'"},
		{"(b7) r1 += 5", "x.s:1:6: this is not an instruction of opcode b7"},
		{"(b7)", "x.s:1:5: expected an instruction after its opcode"},
		{"exit exit", "x.s:1:6: expected end of line, found 'exit'"},
		{".insn 256, 0, 0, 0, 0", "x.s:1:7: 256 is not an opcode"},
		{".insn 1, 0, 0", "x.s:1:14: expected ',', found end of line"},
		{".insn 1, 0, 0, 0, 0, 0", "x.s:1:20: expected end of line, found ','"},
		{"r1 = map_fd[nosuch] ll", "x.s:1:13: unknown map 'nosuch'"},
		{"call kfunc[77", "x.s:1:14: expected ']', found end of line"},
		{"a:" + strings.Repeat("exit\n", 40000) + "goto a", "label 'a' is -40001 slots away, more than 16 bits hold; gotol has 32"},
	} {
		_, err := Assemble("x.s", tc.text, helperSymbols)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60q:\n got %v\nwant %s", tc.text, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: error of several lines: %v", tc.text, err)
		}
	}
}

// TestRoundTrip prints and assembles instances of every row, in every dialect
// whose text tells all.
func TestRoundTrip(t *testing.T) {
	rows := slices.Concat(Table, Rewritten, foreign)
	for i := range rows {
		r := &rows[i]
		for _, ins := range instances(r) {
			prog := []Instruction{ins}
			if r.Slots() == 2 {
				prog = append(prog, Instruction{})
				if r.showsBoth() {
					prog[1].Imm = ins.Imm / 3
				}
			}
			for d := range Dialect(dialects) {
				p := Printer{Dialect: d}
				if !faithful(r, prog, d) {
					continue
				}
				text := p.Text(prog, 0)
				back, err := Assemble(r.Name, text, Symbols{})
				if err != nil {
					t.Errorf("%s, dialect %d: %v: %s", r.Name, d, err, text)
				} else if !slices.Equal(back, prog) {
					t.Errorf("%s, dialect %d: %s\n got %+v\nwant %+v", r.Name, d, text, back, prog)
				}
			}
		}
	}
}

// faithful reports whether the text of r's instance, a program of its own,
// tells everything.
func faithful(r *Row, prog []Instruction, d Dialect) bool {
	switch {
	case d == Assembly:
		return true
	case Lookup(prog[0]) == nil: // rewritten
		return false
	case r.loses(prog, 0):
		return false
	case r.Op == LoadImm64: // LLVM leaves an immediate out, the kernel's pseudo loads look alike
		return r.SrcIs == 0
	case r.Op == Opcode(ClassJMP)|Call: // LLVM's calls look alike, the kernel does not show Off
		return r.SrcIs == CallHelper || d == Kernel && prog[0].Off == 0
	}
	return true
}

func FuzzAssemble(f *testing.F) {
	for i := range Table {
		prog := []Instruction{instances(&Table[i])[0], {}}
		for d := range Dialect(dialects) {
			f.Add((&Printer{Dialect: d}).Text(prog, 0))
		}
	}
	f.Add("a: goto b\n\tcall f // x\nf: b: .insn 1, 2, 3, 4, 5\n12: (b7) r0 = 1 ; R0=1")
	f.Fuzz(func(t *testing.T, text string) {
		prog, err := Assemble("fuzz", text, helperSymbols)
		if err != nil {
			if prog != nil || strings.Contains(strings.ReplaceAll(err.Error(), text, ""), "\n") {
				t.Fatalf("%q: %d instructions and the error %v", text, len(prog), err)
			}
			return
		}
		var listing strings.Builder
		if err := new(Printer).Listing(&listing, prog); err != nil {
			t.Fatal(err)
		}
		back, err := Assemble("listing", listing.String(), Symbols{})
		if err != nil || !slices.Equal(back, prog) {
			t.Fatalf("%q:\n%s\nreads back as %v, %v", text, listing.String(), back, err)
		}
	})
}
