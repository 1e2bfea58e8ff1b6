package arm64

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"

	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/codetest"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

func TestGolden(t *testing.T) {
	codetest.Compiler{Compile: Compile, Disassemble: disassemble}.Golden(t)
}

func disassemble(code []byte, pc int) (string, int) {
	word := opcode(binary.LittleEndian.Uint32(code))
	if text, ok := disassembleLSE(word); ok {
		return text, 4
	}
	ins, err := arm64asm.Decode(code)
	if err != nil {
		return fmt.Sprintf("%v %08x", err, word), 4
	}
	for i, arg := range ins.Args {
		if rel, ok := arg.(arm64asm.PCRel); ok {
			ins.Args[i] = arm64asm.Imm{Imm: uint32(pc + int(rel))}
		}
	}
	return strings.ToLower(ins.String()), 4
}

// disassembleLSE knows the instructions that arm64asm does not.
func disassembleLSE(word opcode) (string, bool) {
	const operands = 31<<16 | 31<<5 | 31 | 3<<30
	for name, o := range map[string]opcode{
		"stadd": opLdadd, "stclr": opLdclr, "steor": opLdeor, "stset": opLdset,
		"ldaddal": opLdadd | opOrder, "ldclral": opLdclr | opOrder, "ldeoral": opLdeor | opOrder, "ldsetal": opLdset | opOrder,
		"swpal": opSwpal, "casal": opCasal,
	} {
		if word&^operands != o {
			continue
		}
		register := func(shift int) string {
			r := word >> shift & 31
			if word>>30 == 3 {
				return fmt.Sprintf("x%d", r)
			}
			return fmt.Sprintf("w%d", r)
		}
		if o&opOrder == 0 { // ST…: no result
			return fmt.Sprintf("%s %s, [x%d]", name, register(16), word>>5&31), word&31 == 31
		}
		return fmt.Sprintf("%s %s, %s, [x%d]", name, register(16), register(0), word>>5&31), true
	}
	return "", false
}

func TestUnknownInstruction(t *testing.T) {
	for _, ins := range []isa.Instruction{{Op: 0x8d}, {Op: 0x18, Src: 9}, {Op: 0x06, Imm: 40}} {
		_, err := Compile(&rewrite.Program{Insns: append(isa.Program(ins), isa.ExitInsn())}, code.Options{})
		if !errors.Is(err, code.ErrUnknown) {
			t.Errorf("%v: %v, want ErrUnknown", ins, err)
		}
	}
}

// Where conditional branches do not reach they jump over one that does.
func TestFarBranches(t *testing.T) {
	const n = 32000 // of nine instructions each, over a megabyte
	insns := isa.Program(isa.JmpImm(isa.Jeq, isa.R1, 0, n+1), isa.JmpImm(isa.Jgt, isa.R1, 7, n))
	for range n {
		insns = append(insns, isa.Atomic(isa.AtomicCmpXch, isa.DW, isa.R1, isa.R2, 5001))
	}
	insns = append(insns, isa.ExitInsn())
	p := &rewrite.Program{Insns: insns}
	obj, err := Compile(p, code.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(obj.Text) < 1<<20 {
		t.Fatalf("only %d bytes of code", len(obj.Text))
	}
	target := func(at int) int {
		ins, err := arm64asm.Decode(obj.Text[at:])
		if err != nil {
			t.Fatal(err)
		}
		for _, arg := range ins.Args {
			if rel, ok := arg.(arm64asm.PCRel); ok {
				return at + int(rel)
			}
		}
		t.Fatalf("%v is no branch", ins)
		return 0
	}
	want := obj.Slots[len(insns)-1]
	for slot := range 2 {
		at := obj.Slots[slot+1] - 8
		if over, to := target(at), target(at+4); over != obj.Slots[slot+1] || to != want {
			t.Errorf("slot %d goes over a branch to %#x and with it to %#x, want %#x", slot, over, to, want)
		}
	}
}
