package isa

// memSize is a width of memory access.
type memSize struct {
	bits     Opcode
	width    int
	u, s     string
	unsigned func(a, _ uint64) uint64
	signed   func(a, _ uint64) uint64
}

var memSizes = []memSize{
	{B, 8, "u8", "s8", func(a, _ uint64) uint64 { return uint64(uint8(a)) }, func(a, _ uint64) uint64 { return uint64(int8(a)) }},
	{H, 16, "u16", "s16", func(a, _ uint64) uint64 { return uint64(uint16(a)) }, func(a, _ uint64) uint64 { return uint64(int16(a)) }},
	{W, 32, "u32", "s32", func(a, _ uint64) uint64 { return uint64(uint32(a)) }, func(a, _ uint64) uint64 { return uint64(int32(a)) }},
	{DW, 64, "u64", "", func(a, _ uint64) uint64 { return a }, nil},
}

// baseGroup is base64 for 8-byte accesses (RFC 9669, section 5), else base32.
func (s memSize) baseGroup() Group {
	if s.width == 64 {
		return GroupBase64
	}
	return GroupBase32
}

func loadRows() (rows []Row) {
	for _, s := range memSizes {
		r := Row{Name: "ldx_" + s.u, Op: Opcode(ClassLDX) | ModeMEM | s.bits, Dst: Write, Src: Read, Off: anything,
			Width: s.width, CPU: CPUv1, Group: s.baseGroup(), Syntax: "{dst} = *(" + s.u + " *)({src}{off})",
			Sem: s.unsigned, Doc: "load, zero-extended"}
		if s.width < 64 {
			r.ALU32 = "{wdst} = *(" + s.u + " *)({src}{off})"
		}
		rows = append(rows, r)
	}
	for _, s := range memSizes[:3] {
		rows = append(rows, Row{Name: "ldx_" + s.s, Op: Opcode(ClassLDX) | ModeMEMSX | s.bits, Dst: Write, Src: Read, Off: anything,
			Width: s.width, CPU: CPUv4, Group: s.baseGroup(), Syntax: "{dst} = *(" + s.s + " *)({src}{off})",
			Sem: s.signed, Doc: "load, sign-extended to 64 bits"})
	}
	// The legacy packet loads work on the skb behind R6 and end the program,
	// returning 0, where the packet is too short. They clobber like a call.
	for _, s := range memSizes[:3] {
		abs := Row{Name: "ld_abs_" + s.u, Op: Opcode(ClassLD) | ModeABS | s.bits, Imm: anything,
			Uses: Regs(R6), Sets: Regs(R0, R1, R2, R3, R4, R5), Width: s.width, CPU: CPUv1, Group: GroupPacket,
			Syntax: "r0 = *(" + s.u + " *)skb[{imm}]", Doc: "legacy load of big-endian packet data at a fixed offset"}
		ind := abs
		ind.Name, ind.Op, ind.Src = "ld_ind_"+s.u, Opcode(ClassLD)|ModeIND|s.bits, Read
		ind.Syntax, ind.Kernel = "r0 = *("+s.u+" *)skb[{src}{ind}]", "r0 = *("+s.u+" *)skb[{src} + {imm}]"
		ind.Doc = "legacy load of big-endian packet data at a register plus a fixed offset"
		rows = append(rows, abs, ind)
	}
	return append(rows, wideRows()...)
}

// wideRows are the 64-bit immediate loads. llvm-objdump prints the pseudo ones
// without their second immediate, the kernel after it has resolved them: only
// our own syntax is faithful.
func wideRows() (rows []Row) {
	kinds := []struct {
		src              Register
		name, value, doc string
	}{
		{0, "ld_imm64", "{imm64}", "load a 64-bit immediate"},
		{PseudoMapFD, "ld_map_fd", "map_fd[{map}]", "load a map, given by file descriptor"},
		{PseudoMapValue, "ld_map_value", "map_value[{map}][{hi}]", "load the address of a byte in a map's first value, map given by file descriptor"},
		{PseudoBTFID, "ld_btf_id", "btf_id[{lo}][{hi}]", "load the address of a kernel variable, given by BTF id and BTF object"},
		{PseudoFunc, "ld_func", "func[{target}]", "load the address of a subprogram, for a callback"},
		{PseudoMapIdx, "ld_map_idx", "map_idx[{map}]", "load a map, given by its place in fd_array"},
		{PseudoMapIdxValue, "ld_map_idx_value", "map_idx_value[{map}][{hi}]", "load the address of a byte in a map's first value, map given by its place in fd_array"},
	}
	for _, k := range kinds {
		r := Row{Name: k.name, Op: LoadImm64, Dst: Write, Src: Selector, SrcIs: k.src, Imm: anything,
			Width: 64, CPU: CPUKernel, Group: GroupBase64, Doc: k.doc,
			Syntax: "{dst} = " + k.value + " ll", Kernel: "{dst} = {imm64}"}
		if k.src == 0 {
			r.CPU, r.Sem = CPUv1, func(_, b uint64) uint64 { return b }
		} else {
			r.LLVM = "ld_pseudo\t{dst}, 0x" + decimal(int32(k.src)) + ", {lo}"
		}
		rows = append(rows, r)
	}
	return rows
}

func storeRows() (rows []Row) {
	for _, s := range memSizes {
		r := Row{Name: "stx_" + s.u, Op: Opcode(ClassSTX) | ModeMEM | s.bits, Dst: Read, Src: Read, Off: anything,
			Width: s.width, CPU: CPUv1, Group: s.baseGroup(), Syntax: "*(" + s.u + " *)({dst}{off}) = {src}",
			Doc: "store a register's low bits"}
		if s.width < 64 {
			r.ALU32 = "*(" + s.u + " *)({dst}{off}) = {wsrc}"
		}
		rows = append(rows, r)
	}
	for _, s := range memSizes {
		rows = append(rows, Row{Name: "st_" + s.u, Op: Opcode(ClassST) | ModeMEM | s.bits, Dst: Read, Off: anything, Imm: anything,
			Width: s.width, CPU: CPUv4, Group: s.baseGroup(), Syntax: "*(" + s.u + " *)({dst}{off}) = {imm}",
			Doc: "store an immediate, sign-extended"})
	}
	return rows
}

func atomicRows() (rows []Row) {
	rows = append(changeRows(memSizes[2]), changeRows(memSizes[3])...)
	for _, s := range memSizes {
		rows = append(rows,
			Row{Name: "load_acquire_" + s.u, Op: Opcode(ClassSTX) | ModeATOMIC | s.bits, Dst: Write, Src: Read, Off: anything, Imm: is(LoadAcquire),
				Width: s.width, CPU: CPUv4, Group: GroupLinux, Syntax: "{dst} = load_acquire((" + s.u + " *)({src}{off}))",
				Sem: s.unsigned, Doc: "load, zero-extended, before every later access"},
			Row{Name: "store_release_" + s.u, Op: Opcode(ClassSTX) | ModeATOMIC | s.bits, Dst: Read, Src: Read, Off: anything, Imm: is(StoreRelease),
				Width: s.width, CPU: CPUv4, Group: GroupLinux, Syntax: "store_release((" + s.u + " *)({dst}{off}), {src})",
				Doc: "store after every earlier access"})
	}
	return rows
}

// changeRows are the atomic read-modify-write operations of one width.
func changeRows(s memSize) (rows []Row) {
	ops := []struct {
		imm    int32
		name   string
		symbol string
		sem    func(a, b uint64) uint64
	}{
		{AtomicAdd, "add", "+=", func(a, b uint64) uint64 { return a + b }},
		{AtomicOr, "or", "|=", func(a, b uint64) uint64 { return a | b }},
		{AtomicAnd, "and", "&=", func(a, b uint64) uint64 { return a & b }},
		{AtomicXor, "xor", "^=", func(a, b uint64) uint64 { return a ^ b }},
	}
	// The names and registers differ with the width: r/w, atomic64_/atomic_, _64/32_32.
	reg, r0, kernel, llvm, group := "{src}", "r0", "atomic64", "_64", GroupAtomic64
	sem := func(f func(a, b uint64) uint64) func(a, b uint64) uint64 {
		return func(a, b uint64) uint64 { return s.unsigned(f(a, b), 0) }
	}
	if s.width < 64 {
		reg, r0, kernel, llvm, group = "{wsrc}", "w0", "atomic", "32_32", GroupAtomic32
	}
	place := "(" + s.u + " *)({dst}{off})"
	row := func(imm int32, name string) Row {
		return Row{Name: name + decimal(int32(s.width)), Op: Opcode(ClassSTX) | ModeATOMIC | s.bits,
			Dst: Read, Src: ReadWrite, Off: anything, Imm: is(imm), Width: s.width, CPU: CPUv3, Group: group}
	}
	for _, op := range ops {
		r := row(op.imm, "atomic_"+op.name)
		r.Src, r.Sem = Read, sem(op.sem)
		r.Syntax = "lock *" + place + " " + op.symbol + " " + reg
		r.Kernel = "lock *" + place + " " + op.symbol + " {src}"
		r.LLVM, r.ALU32 = r.Kernel, r.Syntax
		if op.imm == AtomicAdd {
			r.CPU = CPUv1
		}
		r.Doc = "atomically change memory"
		rows = append(rows, r)
	}
	for _, op := range ops {
		r := row(op.imm|Fetch, "atomic_fetch_"+op.name)
		r.Sem = sem(op.sem)
		r.Syntax = reg + " = atomic_fetch_" + op.name + "(" + place + ", " + reg + ")"
		r.Kernel = "{src} = " + kernel + "_fetch_" + op.name + "(" + place + ", {src})"
		r.Doc = "atomically change memory; the source register gets the old value"
		rows = append(rows, r)
	}
	xchg := row(AtomicXchg, "xchg")
	xchg.Sem = sem(func(_, b uint64) uint64 { return b })
	xchg.Syntax = reg + " = xchg" + llvm + "({dst}{off}, " + reg + ")"
	xchg.Kernel = "{src} = " + kernel + "_xchg(" + place + ", {src})"
	xchg.Doc = "atomically swap memory and the source register"
	cmp := row(AtomicCmpXch, "cmpxchg")
	cmp.Src, cmp.Uses, cmp.Sets = Read, Regs(R0), Regs(R0)
	cmp.Syntax = r0 + " = cmpxchg" + llvm + "({dst}{off}, " + r0 + ", " + reg + ")"
	cmp.Kernel = "r0 = " + kernel + "_cmpxchg(" + place + ", r0, {src})"
	cmp.Doc = "atomically store the source register if memory equals R0; R0 gets the old value"
	return append(rows, xchg, cmp)
}
