// Package disasm is the machine code of the JIT as text, in the syntax of the
// GNU tools.
package disasm

import (
	"fmt"
	"strings"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// Text returns the first instruction of code, which lies at addr, and its length
// in bytes. arch is Go's name of the architecture. What is no instruction is
// shown as data.
func Text(arch string, code []byte, addr uint64) (text string, size int) {
	switch arch {
	case "amd64":
		if len(code) >= 5 && code[0] == 0xc4 {
			if text, size := vex(code); size > 0 {
				return text, size
			}
		}
		if ins, err := x86asm.Decode(code, 64); err == nil {
			text := strings.ReplaceAll(x86asm.GNUSyntax(ins, addr, nil), ",%riz", "") // no index
			return spaced(text), ins.Len
		}
		return fmt.Sprintf(".byte 0x%02x", code[0]), 1
	case "arm64":
		if len(code) < 4 {
			break
		}
		if ins, err := arm64asm.Decode(code); err == nil {
			return spaced(arm64asm.GNUSyntax(ins)), 4
		}
		return fmt.Sprintf(".inst 0x%02x%02x%02x%02x", code[3], code[2], code[1], code[0]), 4
	}
	return fmt.Sprintf(".byte 0x%02x", code[0]), 1
}

// spaced pads the mnemonic as objdump does.
func spaced(text string) string {
	name, rest, ok := strings.Cut(text, " ")
	if !ok {
		return text
	}
	return fmt.Sprintf("%-6s %s", name, rest)
}

// vex decodes the few instructions of the VEX encoding that the JIT makes:
//
//	┌──────┬────────────┬────────────┬────────┬───────┐
//	│ 0xc4 │ RXB mmmmm  │ W vvvv L pp│ opcode │ ModRM │   R, X, B and vvvv inverted
//	└──────┴────────────┴────────────┴────────┴───────┘
func vex(code []byte) (string, int) {
	type op struct{ pp, mmmmm, op byte }
	name := map[op]string{
		{1, 2, 0xf7}: "shlx", {2, 2, 0xf7}: "sarx", {3, 2, 0xf7}: "shrx", {3, 2, 0xf6}: "mulx", {3, 3, 0xf0}: "rorx",
	}[op{code[2] & 3, code[1] & 31, code[3]}]
	if name == "" || code[4]>>6 != 3 {
		return "", 0
	}
	set := x86asm.EAX
	if code[2]&0x80 != 0 {
		set = x86asm.RAX
	}
	reg := func(n byte) string {
		text := x86asm.GNUSyntax(x86asm.Inst{Op: x86asm.PUSH, Args: x86asm.Args{set + x86asm.Reg(n)}}, 0, nil)
		return text[strings.IndexByte(text, '%'):]
	}
	r := reg(code[4]>>3&7 | ^code[1]>>7<<3)
	rm := reg(code[4]&7 | ^code[1]>>5&1<<3)
	v := reg(^code[2] >> 3 & 15)
	switch name {
	case "rorx":
		if len(code) < 6 {
			return "", 0
		}
		return spaced(fmt.Sprintf("rorx $0x%x,%s,%s", code[5], rm, r)), 6
	case "mulx":
		return spaced(fmt.Sprintf("mulx %s,%s,%s", rm, v, r)), 5
	}
	return spaced(fmt.Sprintf("%s %s,%s,%s", name, v, rm, r)), 5
}
