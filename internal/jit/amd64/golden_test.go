package amd64

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/codetest"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

func TestGolden(t *testing.T) {
	codetest.Compiler{Compile: Compile, Disassemble: disassemble}.Golden(t)
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
