package isa_test

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/skep-bpf/skep/isa"
)

func ExampleAssemble() {
	prog, err := isa.Assemble("count.s", `
		r1 = 10
		w0 = 0
	again:
		w0 += w1
		r1 += -1
		if r1 != 0 goto again
		exit
	`, isa.Symbols{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% x\n", isa.Encode(prog[:1], binary.LittleEndian))
	kernel := isa.Printer{Dialect: isa.Kernel}
	kernel.Listing(os.Stdout, prog)
	// Output:
	// b7 01 00 00 0a 00 00 00
	// 0: (b7) r1 = 10
	// 1: (b4) w0 = 0
	// 2: (0c) w0 += w1
	// 3: (07) r1 += -1
	// 4: (55) if r1 != 0x0 goto pc-3
	// 5: (95) exit
}

func ExampleAssemble_error() {
	_, err := isa.Assemble("wrong.s", "r0 = *(u24 *)(r1 + 4)", isa.Symbols{})
	fmt.Println(err)
	_, err = isa.Assemble("wrong.s", "exit\nif r1 = 5 goto +1", isa.Symbols{})
	fmt.Println(err)
	// Output:
	// wrong.s:1:8: expected 'u8', 'u16', 'u32', 'u64', 's8', 's16', 's32', 'probe' or 'arena', found 'u24'
	// wrong.s:2:7: expected a comparison (==, s>, …), found '='
}

func ExamplePrinter_Listing() {
	prog := isa.Program(
		isa.Mov64Imm(isa.R0, 1),
		isa.LoadMem(isa.W, isa.R2, isa.R1, 0),
		isa.JmpImm(isa.Jsgt, isa.R2, 64, 2),
		isa.LdImm64(isa.R0, 0x1234567890),
		isa.ExitInsn(),
	)
	new(isa.Printer).Listing(os.Stdout, prog)
	// Output:
	// 	r0 = 1
	// 	r2 = *(u32 *)(r1 + 0)
	// 	if r2 s> 64 goto L5
	// 	r0 = 0x1234567890 ll
	// L5:
	// 	exit
}

func ExampleCheck() {
	fmt.Println(isa.Check(isa.Instruction{Op: 0x07, Dst: isa.R1, Off: 4})) // r1 += 0
	fmt.Println(isa.Check(isa.Instruction{Op: 0x8d}))
	// Output:
	// BPF_ALU uses reserved fields
	// unknown opcode 8d
}
