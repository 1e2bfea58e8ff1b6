package isa_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// kernelText prints as the kernel's log does.
var kernelText = isa.Printer{Dialect: isa.Kernel, Names: isa.Names{
	Helper: func(id int32) string {
		if id == 0 {
			return "bpf_unspec"
		}
		if h := catalog.HelperByID(catalog.HelperID(id)); h != nil {
			return "bpf_" + h.Name
		}
		return ""
	},
}}

// load asks the live kernel for its verdict and its log of every instruction.
func load(prog []isa.Instruction) (log string, err error) {
	p, err := linux.Load(&linux.Prog{Type: catalog.ProgSocketFilter, Insns: prog, License: "GPL", LogLevel: 2})
	if err == nil {
		defer p.Close()
		return p.Log, nil
	}
	if e := (*linux.Error)(nil); errors.As(err, &e) {
		return e.Log, err
	}
	return "", err
}

func needKernel(t *testing.T) {
	t.Helper()
	_, err := load(isa.Program(isa.Mov64Imm(isa.R0, 0), isa.ExitInsn()))
	oracle.Need(t, "bpf(2)", err)
}

// at is the slot of the instruction under test in what surround makes.
const at = 14

// surround makes a program in which ins is reached with every register
// readable, R8 and R10 pointing into the stack, and every slot reachable
// whatever ins does: the branch in front of it leads past it.
func surround(ins ...isa.Instruction) []isa.Instruction {
	prog := isa.Program(
		isa.Mov64Reg(isa.R6, isa.R1),
		isa.LoadMem(isa.W, isa.R7, isa.R1, 0),
		isa.StoreImm(isa.DW, isa.R10, -8, 0),
		isa.StoreImm(isa.DW, isa.R10, -16, 0),
		isa.Mov64Imm(isa.R0, 0), isa.Mov64Imm(isa.R1, 1), isa.Mov64Imm(isa.R2, 2), isa.Mov64Imm(isa.R3, 3),
		isa.Mov64Imm(isa.R4, 4), isa.Mov64Imm(isa.R5, 5), isa.Mov64Imm(isa.R9, 9),
		isa.Mov64Reg(isa.R8, isa.R10),
		isa.ALU64Imm(isa.Add, isa.R8, -16),
		isa.JmpImm(isa.Jeq, isa.R7, 42, int16(len(ins))),
	)
	prog = append(prog, ins...)
	for range 40 { // somewhere to jump to
		prog = append(prog, isa.Mov64Imm(isa.R0, 0))
	}
	return append(prog, isa.ExitInsn())
}

// refusal returns the log's last complaint.
func refusal(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if !strings.HasPrefix(lines[i], "processed ") && !strings.HasPrefix(lines[i], "verification time") {
			return lines[i]
		}
	}
	return ""
}

// shown finds the instruction at a slot as the log shows it, without the
// registers' state.
func shown(log string, slot int) (text string, ok bool) {
	m := regexp.MustCompile(fmt.Sprintf(`(?m)^%d: ([^;\n]*)`, slot)).FindAllStringSubmatch(log, -1)
	for _, m := range m {
		if text = strings.TrimSpace(m[1]); strings.HasPrefix(text, "(") || strings.HasPrefix(text, "BUG") {
			return text, true
		}
	}
	return "", false
}

// TestKernelOpcodes loads each of the 256 opcodes.
func TestKernelOpcodes(t *testing.T) {
	needKernel(t)
	for i := range 256 {
		ins := isa.Instruction{Op: isa.Opcode(i)}
		prog := surround(ins, isa.Instruction{})
		if ins.Op != isa.LoadImm64 {
			prog = surround(ins)
		}
		log, _ := load(prog)
		why := refusal(log)
		unknown := strings.HasPrefix(why, "unknown opcode") || strings.HasPrefix(why, "BPF_LDX uses reserved")
		if unknown == isa.KernelOpcodes[ins.Op] {
			t.Errorf("opcode %02x: known to us: %v, kernel: %q", i, !unknown, why)
		}
		if slot, err := isa.CheckProgram(prog); unknown && (err == nil || err.Error() != why || slot != at) {
			t.Errorf("opcode %02x: CheckProgram = %d, %v; kernel: %q", i, slot, err, why)
		}
	}
}

// pokes are values that a field may not like.
var pokes = struct {
	regs []isa.Register
	offs []int16
	imms []int32
}{
	regs: []isa.Register{0, 1, 2, 4, 5, 6, 7, 10, 11, 15},
	offs: []int16{0, 1, 8, 32, -1, -8},
	imms: []int32{0, 1, 5, 16, 32, 64, -1, 0x41, 0xa0, 0xe0, 0xe1, 0xf1, 0x100, 0x101, 0x110, 1 << 16},
}

// poked returns variants of an opcode's instruction: one register, or offset
// and immediate, off their plain values, which are legal ones or zero.
func poked(op isa.Opcode) (out []isa.Instruction) {
	plain := isa.Instruction{Op: op, Dst: 3, Src: 1}
	switch op.Class() {
	case isa.ClassST, isa.ClassSTX:
		plain.Dst = 8
	case isa.ClassLDX:
		plain.Src = 8
	}
	seen := map[isa.Instruction]bool{}
	add := func(ins isa.Instruction) {
		if !seen[ins] {
			seen[ins] = true
			out = append(out, ins)
		}
	}
	for _, base := range []isa.Instruction{plain, {Op: op}, {Op: op, Dst: plain.Dst}, {Op: op, Src: plain.Src}} {
		for _, r := range pokes.regs {
			a, b := base, base
			a.Dst, b.Src = r, r
			add(a)
			add(b)
		}
	}
	legal := plain
	if isa.Lookup(plain) == nil {
		legal.Src = 0 // of the register fields, most opcodes without a source have a destination
	}
	for i := range isa.Table {
		if r := &isa.Table[i]; r.Op == op && r.Src != isa.Selector {
			for _, off := range append(r.Off.Values(), 0)[:1] {
				for _, imm := range append(r.Imm.Values(), 0)[:1] {
					ins := legal
					ins.Off, ins.Imm = int16(off), imm
					add(ins)
				}
			}
		}
	}
	for _, base := range []isa.Instruction{legal, {Op: op}} {
		for _, off := range pokes.offs {
			base.Off = off
			add(base)
		}
		for _, imm := range pokes.imms {
			for _, base.Off = range []int16{0, 1} {
				base.Imm = imm
				add(base)
			}
		}
	}
	return out
}

// TestKernelChecks gives the kernel thousands of instructions with fields it
// may not like and compares its words with those of CheckProgram, Check and
// CheckValue, and its text of them with the printer's.
func TestKernelChecks(t *testing.T) {
	needKernel(t)
	reached, refused := 0, 0
	rows := map[*isa.Row]bool{}
	for i := range 256 {
		if !isa.KernelOpcodes[isa.Opcode(i)] {
			continue
		}
		for _, ins := range poked(isa.Opcode(i)) {
			prog := surround(ins)
			if ins.IsLoadImm64() {
				prog = surround(ins, isa.Instruction{})
			}
			log, _ := load(prog)
			why := refusal(log)
			text, visited := shown(log, at)
			if _, err := isa.CheckProgram(prog); err != nil {
				refused++
				if visited || why != err.Error() {
					t.Errorf("%+v: CheckProgram = %v, kernel: %q", fields(ins), err, why)
				}
				continue
			}
			if !visited {
				// The kernel had another reason before it came to look at ins.
				if isa.EncodingErrors.MatchString(why) {
					t.Errorf("%+v: passes CheckProgram, kernel: %q", fields(ins), why)
				}
				continue
			}
			reached++
			rows[isa.Lookup(ins)] = true
			if got := kernelText.Text(prog, at); got != text && !resolved(ins) {
				t.Errorf("%+v: printed as\n  %s, kernel:\n  %s", fields(ins), got, text)
			}
			err := isa.Check(ins)
			if err == nil {
				err = isa.CheckValue(ins)
			}
			switch {
			case err != nil:
				refused++
				if why != err.Error() {
					t.Errorf("%+v: Check = %v, kernel: %q", fields(ins), err, why)
				}
			case isa.EncodingErrors.MatchString(why):
				t.Errorf("%+v: passes Check, kernel: %q", fields(ins), why)
			}
		}
	}
	for i := range isa.Table {
		// Calls to places that exist and pseudo loads have TestKernelPrograms.
		if r := &isa.Table[i]; !rows[r] && r.Src != isa.Selector {
			t.Errorf("%s: the kernel was not asked", r.Name)
		}
	}
	t.Logf("%d instructions reached, %d refused in the same words", reached, refused)
	if reached < 10000 || refused < 7000 {
		t.Errorf("only %d reached and %d refused: the programs around them are wrong", reached, refused)
	}
}

// resolved reports whether the kernel's text shows what the kernel found for a
// number: an address, a name in its BTF.
func resolved(ins isa.Instruction) bool {
	return ins.IsLoadImm64() && ins.Src != 0 || ins.IsKfuncCall()
}

// fields shows an instruction without interpreting it.
func fields(ins isa.Instruction) string {
	return fmt.Sprintf("{op %02x dst %d src %d off %d imm %#x}", uint8(ins.Op), ins.Dst, ins.Src, ins.Off, ins.Imm)
}

// TestKernelPrograms assembles whole programs, has the kernel show them, and
// compares with our text: what refers to other places, or to the kernel's things.
func TestKernelPrograms(t *testing.T) {
	needKernel(t)
	m, err := linux.NewMap(&catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 16, MaxEntries: 1}, nil)
	oracle.Need(t, "a map", err)
	defer m.Close()
	for _, text := range []string{
		"call f\nexit\nf: r0 = 0\nexit",
		"r1 = map_fd[m] ll\nr0 = 0\nexit",
		"r1 = map_value[m][8] ll\nr0 = *(u32 *)(r1 + 0)\nexit",
		"r1 = 0x123456789abcdef ll\nr0 = 0\nexit",
		"r1 = -1 ll\nr0 = 0\nexit",
		"if w1 == 0 goto x\ngotol out\nx: r0 = 1\nout: r0 = 0\nexit",
		"again: may_goto out\ngoto again\nout: r0 = 0\nexit",
		"r6 = r1\nr0 = *(u8 *)skb[23]\nr0 = *(u16 *)skb[r0 + 14]\nr0 = *(u32 *)skb[-1]\nexit",
	} {
		prog, err := isa.Assemble("test", text, isa.Symbols{Map: func(string, string) (int32, bool) { return int32(m.FD()), true }})
		if err != nil {
			t.Fatal(err)
		}
		log, err := load(prog)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
		}
		for pc := 0; pc < len(prog); pc++ {
			got := kernelText.Text(prog, pc)
			want, ok := shown(log, pc)
			if resolved(prog[pc]) {
				got, want = got[:len("(18) r1 = 0x")], want[:len("(18) r1 = 0x")]
			}
			if ok && got != want {
				t.Errorf("slot %d: %s\n  kernel: %s", pc, got, want)
			}
			pc += slots(prog[pc]) - 1
		}
	}
}
