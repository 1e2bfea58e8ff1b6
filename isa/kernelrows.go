package isa

import (
	"fmt"
	"slices"
)

// The kernel's log shows an instruction before it says what is wrong with it.
// So its dialect has texts for illegal instructions too.

// refusedRows are forms that only kernel/bpf/disasm.c knows: it prints them,
// the verifier refuses them.
var refusedRows = withTemplates(slices.Concat([]Row{
	{Name: "le", Op: Opcode(ClassALU) | End | SrcK, Imm: anything, Syntax: "{dst} = le{imm} {dst}"},
	{Name: "be", Op: Opcode(ClassALU) | End | SrcX, Imm: anything, Syntax: "{dst} = be{imm} {dst}"},
	{Name: "bswap", Op: Opcode(ClassALU64) | End, Imm: anything, Syntax: "{dst} = bswap{imm} {dst}"},
	{Name: "movs32_32", Op: Opcode(ClassALU) | Mov | SrcX, Off: is(32), Syntax: "{wdst} = (s32){wsrc}"},
	{Name: "mov_percpu", Op: Opcode(ClassALU64) | Mov | SrcX, Off: is(-1), Syntax: "{dst} = &(void __percpu *)({src})"},
	{Name: "jcond", Op: Opcode(ClassJMP) | Jcond, Syntax: "if {dst} (null) {cmp} goto {jump}"},
}, changeRows(memSizes[0]), changeRows(memSizes[1])))

// kernelRow finds the row whose kernel text fits an illegal instruction, by
// looking only at the fields that kernel/bpf/disasm.c looks at.
func kernelRow(ins Instruction) *Row {
	if ins.Op == Opcode(ClassJMP)|Jcond && ins.Src == 0 {
		return byOp[ins.Op][0]
	}
	for i := range refusedRows {
		if r := &refusedRows[i]; r.Op == ins.Op && r.selected(ins) {
			return r
		}
	}
	var plain *Row
	for _, r := range byOp[ins.Op] {
		switch {
		case !r.selected(ins):
		case r.Off.kind == fieldSelects || r.Imm.kind == fieldSelects:
			return r
		case plain == nil:
			plain = r
		}
	}
	if plain == nil && ins.Op == Opcode(ClassJMP)|Call {
		plain = byOp[ins.Op][0] // whatever Src says, it reads as a helper
	}
	return plain
}

// kernelUnknown is the kernel's text for what it has no form for.
func kernelUnknown(ins Instruction) string {
	switch class := ins.Op.Class(); class {
	case ClassLD, ClassLDX, ClassST:
		return fmt.Sprintf("BUG_%s_%02x", [...]string{"ld", "ldx", "st"}[class], uint8(ins.Op))
	}
	return fmt.Sprintf("BUG_%02x", uint8(ins.Op))
}
