package isa

import "strings"

// Rewritten holds the forms that only rewriting passes make, in bit patterns
// that the kernel's uapi leaves free. [Lookup] and [Check] do not know them: no
// program may come in with them. They are the accesses of Table, with a mode of
// their own, written `*(probe u32 *)` and `*(arena u32 *)`.
var Rewritten = withTemplates(rewrittenRows())

var rewrittenByOp = indexRows(Rewritten)

// LookupRewritten is [Lookup] for programs that may have been rewritten.
func LookupRewritten(ins Instruction) *Row {
	if r := Lookup(ins); r != nil {
		return r
	}
	return findRow(rewrittenByOp[ins.Op], ins)
}

// foreign holds what clang emits for other machines than Linux.
var foreign = withTemplates([]Row{
	{Name: "callx", Op: Opcode(ClassJMP) | Call | SrcX, Dst: Read, Uses: Regs(R1, R2, R3, R4, R5), Sets: Regs(R0, R1, R2, R3, R4, R5),
		CPU: CPUv1, Group: GroupBase64, Syntax: "callx {dst}", Doc: "call the subprogram a register points to"},
})

var foreignByOp = indexRows(foreign)

func rewrittenRows() (rows []Row) {
	modes := []struct {
		class    Class
		of, mode Opcode
		name     string
		doc      string
	}{
		{ClassLDX, ModeMEM, ModeProbeMEM, "probe", "0 where the address is bad"},
		{ClassLDX, ModeMEMSX, ModeProbeMEMSX, "probe", "0 where the address is bad"},
		{ClassLDX, ModeMEM, ModeArenaMEM, "arena", "in the arena"},
		{ClassST, ModeMEM, ModeArenaMEM, "arena", "in the arena"},
		{ClassSTX, ModeMEM, ModeArenaMEM, "arena", "in the arena"},
		{ClassSTX, ModeATOMIC, ModeArenaAtom, "arena", "in the arena"},
	}
	for _, m := range modes {
		for _, r := range Table {
			if r.Op.Class() != m.class || r.Op.Mode() != m.of {
				continue
			}
			// Of the texts, the kernel's always has the type of what is accessed.
			text := r.Syntax
			if !strings.Contains(text, " *)(") {
				text = r.Kernel
			}
			for _, s := range memSizes {
				text = strings.Replace(text, "("+s.u+" *)", "("+m.name+" "+s.u+" *)", 1)
				text = strings.Replace(text, "("+s.s+" *)", "("+m.name+" "+s.s+" *)", 1)
			}
			rows = append(rows, Row{
				Name: m.name + "_" + r.Name, Op: r.Op&^0xe0 | m.mode, Dst: r.Dst, Src: r.Src, Off: r.Off, Imm: r.Imm,
				Uses: r.Uses, Sets: r.Sets, Width: r.Width, CPU: CPUKernel, Group: GroupLinux,
				Syntax: text, Sem: r.Sem, Doc: r.Doc + ", " + m.doc,
			})
		}
	}
	return append(rows, Row{
		Name: "nospec", Op: OpNospec, CPU: CPUKernel, Group: GroupLinux, Syntax: "nospec", Kernel: "nospec",
		Doc: "nothing behind it is begun before all before it is done",
	})
}
