package amd64

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"os"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/arch/x86/x86asm"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compiles the programs of testdata: BPF in, machine code out. The
// archive's comment has a line per case:
//
//	name: features and facts
//
// with features among bmi2, movbe and poll, and facts such as "func 5 16" (a
// function begins at slot 5, with 16 bytes of stack), "callback 5 16" or "hash 3 4 8"
// (at slot 3 a hash map with keys of 4 and values of 8 bytes).
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for i := range ar.Files {
				f := &ar.Files[i]
				in, want, _ := strings.Cut(string(f.Data), "---\n")
				got := compile(t, f.Name, in)
				if *update {
					f.Data = []byte(in + "---\n" + got)
				} else if got != want {
					t.Errorf("%s:\ngot:\n%swant:\n%s", f.Name, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(ar), 0o666); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// compile makes code of a program in text form; lines with a # say what is known of it.
func compile(t *testing.T, name, text string) string {
	t.Helper()
	var o code.Options
	p := &rewrite.Program{Source: &verifier.Program{}}
	var lines []string
	var facts [][]string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
			continue
		}
		facts = append(facts, strings.Fields(line[1:]))
	}
	var err error
	if p.Insns, err = isa.Assemble(name, strings.Join(lines, ""), isa.Symbols{}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p.Subprogs = []verifier.Subprog{{End: len(p.Insns)}}
	p.Facts = &verifier.Result{Insns: make([]verifier.InsnFacts, len(p.Insns))}
	for pc := range p.Insns {
		p.Orig = append(p.Orig, int32(pc))
	}
	for _, f := range facts {
		var a, b, c int
		fmt.Sscan(strings.Join(f[1:], " "), &a, &b, &c)
		switch f[0] {
		case "bmi2":
			o.BMI2 = true
		case "movbe":
			o.MOVBE = true
		case "poll":
			o.Poll = true
		case "stack":
			p.Subprogs[0].StackDepth = a
		case "func", "callback":
			p.Subprogs[len(p.Subprogs)-1].End = a
			p.Subprogs = append(p.Subprogs, verifier.Subprog{Start: a, End: len(p.Insns), StackDepth: b, Callback: f[0] == "callback"})
		case "percpu_array", "hash", "lru_hash", "percpu_hash":
			p.Facts.Insns[a].Map = &catalog.MapDef{
				Type: catalog.MapKindByName(f[0]).Type, KeySize: uint32(b), ValueSize: uint32(c), MaxEntries: 4, Ptr: 1,
			}
			o.Layout = func(*catalog.MapDef) (code.Layout, bool) {
				return code.Layout{
					Base: 0x7f0000001000, CPUStride: 4096, ElemSize: 32, Buckets: 0x7f0000002000, Mask: 3,
					Seed: 7, ValueOff: 24, PerCPU: 0x7f0000003000,
				}, true
			}
		default:
			t.Fatalf("%s: unknown fact %q", name, f[0])
		}
	}
	obj, err := Compile(p, o)
	if err != nil {
		return err.Error() + "\n"
	}
	return listing(obj)
}

// listing prints code with the slot each piece was made of and the sites' resume points.
func listing(obj *code.Object) string {
	var out strings.Builder
	marks := map[int]string{}
	for pc, off := range obj.Slots {
		if pc+1 < len(obj.Slots) && obj.Slots[pc+1] == off {
			continue // fused into the next, or the first half of a load
		}
		marks[off] = fmt.Sprint(pc)
	}
	for i := exec.SiteOwn; i < len(obj.Sites); i++ {
		marks[obj.Sites[i].Resume] += fmt.Sprintf(" <%d", i)
	}
	for at := 0; at < len(obj.Text); {
		text, n := disassemble(obj.Text[at:], at)
		fmt.Fprintf(&out, "%-6s %3x  %s\n", marks[at], at, text)
		at += n
	}
	return out.String()
}

func disassemble(code []byte, pc int) (string, int) {
	if code[0] == 0xc4 {
		return disassembleVEX(code)
	}
	ins, err := x86asm.Decode(code, 64)
	if err != nil {
		return fmt.Sprintf("%v % x", err, code[:min(8, len(code))]), 1
	}
	return strings.ToLower(x86asm.IntelSyntax(ins, uint64(pc), nil)), ins.Len
}

// disassembleVEX knows the five instructions that x86asm does not.
func disassembleVEX(code []byte) (string, int) {
	names := map[vexOp]string{opShlx: "shlx", opSarx: "sarx", opShrx: "shrx", opMulx: "mulx", opRorx: "rorx"}
	op := vexOp{code[2] & 3, code[1] & 31, code[3]}
	set := x86asm.EAX
	if code[2]&0x80 != 0 {
		set = x86asm.RAX
	}
	name := func(n byte) string { return strings.ToLower((set + x86asm.Reg(n)).String()) }
	r := name(code[4]>>3&7 | ^code[1]>>7<<3)
	rm := name(code[4]&7 | ^code[1]>>5&1<<3)
	v := name(^code[2] >> 3 & 15)
	switch op {
	case opRorx:
		return fmt.Sprintf("rorx %s, %s, %#x", r, rm, code[5]), 6
	case opMulx:
		return fmt.Sprintf("mulx %s, %s, %s", r, v, rm), 5
	}
	return fmt.Sprintf("%s %s, %s, %s", names[op], r, rm, v), 5
}

func TestUnknownInstruction(t *testing.T) {
	for _, ins := range []isa.Instruction{{Op: 0x8d}, {Op: 0x18, Src: 9}, {Op: 0x06, Imm: 40}} {
		_, err := Compile(&rewrite.Program{Insns: append(isa.Program(ins), isa.ExitInsn())}, code.Options{})
		if !errors.Is(err, code.ErrUnknown) {
			t.Errorf("%v: %v, want ErrUnknown", ins, err)
		}
	}
}

// A program of many jumps over growing distances: each arrives.
func TestJumpsConverge(t *testing.T) {
	var insns []isa.Instruction
	for i := range 3000 {
		insns = append(insns, isa.JmpImm(isa.Jeq, isa.R1, int32(i), int16((3000-i)*2/(1+i%7))), isa.Mov64Imm(isa.R0, int32(i)))
	}
	insns = append(insns, make([]isa.Instruction, 12000)...)
	for i := 6000; i < len(insns)-1; i++ {
		insns[i] = isa.Mov64Imm(isa.R0, 7)
	}
	insns[len(insns)-1] = isa.ExitInsn()
	obj, err := Compile(&rewrite.Program{Insns: insns}, code.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for pc, ins := range insns {
		if ins.Op != isa.Opcode(isa.ClassJMP)|isa.Jeq {
			continue
		}
		end := obj.Slots[pc+1]
		code := obj.Text[obj.Slots[pc]:end]
		to := end + int(int8(code[len(code)-1]))
		if n := len(code); n >= 6 && code[n-6] == 0x0f && code[n-5] == 0x84 {
			to = end + int(int32(binary.LittleEndian.Uint32(code[n-4:])))
		}
		if want := obj.Slots[pc+1+int(ins.Off)]; to != want {
			t.Fatalf("slot %d jumps to %#x, want %#x", pc, to, want)
		}
	}
}
