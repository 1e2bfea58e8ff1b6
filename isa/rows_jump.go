package isa

import "strconv"

func decimal(v int32) string { return strconv.Itoa(int(v)) }

// compare is a conditional jump before it is spread over width and operand.
type compare struct {
	op     Opcode
	name   string
	symbol string
	cpu    CPU
	test64 func(a, b uint64) bool
	test32 func(a, b uint32) bool
	doc    string
}

var comparisons = []compare{
	{Jeq, "jeq", "==", CPUv1,
		func(a, b uint64) bool { return a == b }, func(a, b uint32) bool { return a == b }, "equal"},
	{Jgt, "jgt", ">", CPUv1,
		func(a, b uint64) bool { return a > b }, func(a, b uint32) bool { return a > b }, "greater, unsigned"},
	{Jge, "jge", ">=", CPUv1,
		func(a, b uint64) bool { return a >= b }, func(a, b uint32) bool { return a >= b }, "greater or equal, unsigned"},
	{Jset, "jset", "&", CPUv1,
		func(a, b uint64) bool { return a&b != 0 }, func(a, b uint32) bool { return a&b != 0 }, "a common bit is set"},
	{Jne, "jne", "!=", CPUv1,
		func(a, b uint64) bool { return a != b }, func(a, b uint32) bool { return a != b }, "not equal"},
	{Jsgt, "jsgt", "s>", CPUv1,
		func(a, b uint64) bool { return int64(a) > int64(b) }, func(a, b uint32) bool { return int32(a) > int32(b) }, "greater, signed"},
	{Jsge, "jsge", "s>=", CPUv1,
		func(a, b uint64) bool { return int64(a) >= int64(b) }, func(a, b uint32) bool { return int32(a) >= int32(b) }, "greater or equal, signed"},
	{Jlt, "jlt", "<", CPUv2,
		func(a, b uint64) bool { return a < b }, func(a, b uint32) bool { return a < b }, "less, unsigned"},
	{Jle, "jle", "<=", CPUv2,
		func(a, b uint64) bool { return a <= b }, func(a, b uint32) bool { return a <= b }, "less or equal, unsigned"},
	{Jslt, "jslt", "s<", CPUv2,
		func(a, b uint64) bool { return int64(a) < int64(b) }, func(a, b uint32) bool { return int32(a) < int32(b) }, "less, signed"},
	{Jsle, "jsle", "s<=", CPUv2,
		func(a, b uint64) bool { return int64(a) <= int64(b) }, func(a, b uint32) bool { return int32(a) <= int32(b) }, "less or equal, signed"},
}

func jumpRows() []Row {
	rows := []Row{
		{Name: "ja", Op: Opcode(ClassJMP) | Ja, Off: anything, CPU: CPUv1, Group: GroupBase32,
			Syntax: "goto {jump}", Doc: "jump"},
		{Name: "gotol", Op: Opcode(ClassJMP32) | Ja, Imm: anything, CPU: CPUv4, Group: GroupBase32,
			Syntax: "gotol {jump32}", Doc: "jump by a 32-bit offset"},
		{Name: "may_goto", Op: Opcode(ClassJMP) | Jcond, Off: anything, CPU: CPUKernel, Group: GroupLinux,
			Syntax: "may_goto {jump}", Doc: "jump once the run's loop budget is spent"},
	}
	for _, c := range comparisons {
		wide := Row{Name: c.name + "64", Op: Opcode(ClassJMP) | c.op, Dst: Read, Off: anything, Width: 64,
			CPU: c.cpu, Group: GroupBase64, Test: c.test64, Doc: "jump if " + c.doc}
		narrow := Row{Name: c.name + "32", Op: Opcode(ClassJMP32) | c.op, Dst: Read, Off: anything, Width: 32,
			CPU: CPUv3, Group: GroupBase32, Doc: "jump if the low halves: " + c.doc,
			Test: func(a, b uint64) bool { return c.test32(uint32(a), uint32(b)) }}
		rows = append(rows,
			wide.withImm("if {dst} "+c.symbol+" {cmp} goto {jump}"), wide.withReg("if {dst} "+c.symbol+" {src} goto {jump}"),
			narrow.withImm("if {wdst} "+c.symbol+" {cmp} goto {jump}"), narrow.withReg("if {wdst} "+c.symbol+" {wsrc} goto {jump}"))
	}
	return rows
}

func callRows() []Row {
	args, scratch := Regs(R1, R2, R3, R4, R5), Regs(R0, R1, R2, R3, R4, R5)
	call := func(src Register, name string) Row {
		return Row{Name: name, Op: Opcode(ClassJMP) | Call, Src: Selector, SrcIs: src, Imm: anything,
			Uses: args, Sets: scratch, CPU: CPUv1, Group: GroupBase32}
	}
	helper, local, kfunc := call(CallHelper, "call_helper"), call(CallLocal, "call_local"), call(CallKfunc, "call_kfunc")
	helper.Syntax, helper.Doc = "call {helper}", "call a helper by its number"
	local.Syntax, local.Doc = "call {func}", "call a subprogram; Imm counts slots from the next one"
	kfunc.Syntax, kfunc.Doc = "call {kfunc}", "call a kernel function by its BTF id; Off finds its BTF in fd_array"
	kfunc.Off = anything
	return []Row{
		helper, kfunc, local,
		// The kernel never looks at the offset of an exit.
		{Name: "exit", Op: Opcode(ClassJMP) | Exit, Off: noCare, Uses: Regs(R0), CPU: CPUv1, Group: GroupBase32,
			Syntax: "exit", Doc: "return R0 to the caller, or leave the program"},
	}
}
