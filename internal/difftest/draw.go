package difftest

import (
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// instance draws an instruction of the given form; not ok where the form does
// not fit the shape. left is how many units follow it.
func (g *generator) instance(row *isa.Row, left int) (u unit, ok bool) {
	ins := isa.Instruction{Op: row.Op, Imm: g.field(row.Imm, g.imm()), Off: int16(g.field(row.Off, 0))}
	if row.Dst&isa.ReadWrite != 0 {
		ins.Dst = g.scalar()
	}
	switch {
	case row.Src == isa.Selector:
		ins.Src = row.SrcIs
	case row.Src&isa.ReadWrite != 0:
		ins.Src = g.scalar()
	}
	class := row.Op.Class()
	switch {
	case row.Name == "addr_space_cast" || row.Op == isa.LoadImm64 || class == isa.ClassLD:
		return unit{}, false
	case class.IsALU():
		return unit{code: []isa.Instruction{ins}}, isa.CheckValue(ins) == nil
	case row.IsJump():
		// A goto over code would leave it unreachable, which verifiers refuse.
		if row.Op == isa.Opcode(isa.ClassJMP32)|isa.Ja {
			ins.Imm = 0
		}
		u = unit{code: []isa.Instruction{ins}}
		if row.Test != nil || row.Op == isa.Opcode(isa.ClassJMP)|isa.Jcond {
			u.skip = g.rng.IntN(min(left, 5) + 1)
		}
		return u, true
	case class.IsJump():
		return unit{}, false // calls and exits have their own places
	}
	return g.access(ins, row)
}

// access aims a load, store or atomic at memory the program owns.
func (g *generator) access(ins isa.Instruction, row *isa.Row) (unit, bool) {
	size := row.Width / 8
	base, off := g.base, g.off
	if g.rng.IntN(2) == 0 {
		base, off = isa.RFP, -memSize
	}
	align := 1
	if base == isa.RFP || ins.Op.Mode() == isa.ModeATOMIC {
		align = size
	}
	ins.Off = off + int16(g.rng.IntN((memSize-size)/align+1)*align)
	if ins.Op.Class() == isa.ClassLDX || ins.Op.Mode() == isa.ModeATOMIC && ins.Imm == isa.LoadAcquire {
		ins.Src = base
	} else {
		ins.Dst = base
	}
	return unit{code: []isa.Instruction{ins}}, true
}

// boundedAccess reaches map memory at an offset that only a range bounds:
//
//	t = some number, bent by an operation or two
//	if t is not small enough goto out        or t &= mask
//	p = r9 + t
//	load or store at p
//	out:
func (g *generator) boundedAccess() unit {
	size := g.size()
	t := g.scalar()
	p := g.scalar(t)
	units := []unit{{code: isa.Program(isa.Mov64Reg(t, g.scalar()))}}
	for range g.rng.IntN(3) {
		row := &isa.Table[g.rng.IntN(len(isa.Table))]
		if row.Sem == nil || !row.Op.Class().IsALU() {
			continue
		}
		if u, ok := g.instance(row, 1); ok {
			u.code[0].Dst = t
			units = append(units, u)
		}
	}
	limit := g.almost(int32(memSize - size.bytes()))
	switch g.rng.IntN(5) {
	case 0:
		units = append(units, unit{code: isa.Program(isa.ALU64Imm(isa.And, t, limit))})
	case 1:
		narrow := isa.Program(isa.Mov32Reg(t, t), isa.Jmp32Imm(isa.Jgt, t, limit, 0))
		units = append(units, unit{code: narrow[g.rng.IntN(8)/7:], skip: 1})
	case 2:
		units = append(units,
			unit{code: isa.Program(isa.JmpImm(isa.Jsgt, t, limit, 0)), skip: 2},
			unit{code: isa.Program(isa.JmpImm(isa.Jslt, t, 0, 0)), skip: 1})
	case 3:
		units = append(units, unit{code: isa.Program(isa.ALU32Imm(isa.And, t, 63), isa.JmpImm(isa.Jge, t, limit+1, 0)), skip: 1})
	default:
		units = append(units, unit{code: isa.Program(isa.JmpImm(isa.Jgt, t, limit, 0)), skip: 1})
	}
	use := isa.Program(isa.Mov64Reg(p, memReg), isa.ALU64Reg(isa.Add, p, t), g.touch(size, p, 0, t, p), g.constant(p))
	return unit{inner: append(units, unit{code: use})}
}

// packetAccess reaches the packet, mostly behind a proof that it is long enough:
//
//	p = data; end = data_end
//	q = some number, small; p += q         or nothing
//	q = p + n
//	if q > end goto out
//	load or store below p + n
//	out: p, end, q = numbers
func (g *generator) packetAccess() unit {
	p := g.scalar()
	end := g.scalar(p)
	q := g.scalar(p, end)
	code := isa.Program(
		isa.LoadMem(isa.DW, p, isa.RFP, ctxSlot),
		isa.LoadMem(isa.W, end, p, g.fieldOff("data_end")), isa.LoadMem(isa.W, p, p, g.fieldOff("data")))
	if g.rng.IntN(2) == 0 {
		mask := []int32{7, 15, 63, 255, 0xffff}[g.rng.IntN(5)]
		code = append(code, isa.Mov64Reg(q, g.scalar(p, end)), isa.ALU64Imm(isa.And, q, mask), isa.ALU64Reg(isa.Add, p, q))
	}
	n := int32(1 + g.rng.IntN(40))
	checks := []isa.Instruction{
		isa.JmpReg(isa.Jgt, q, end, 0), isa.JmpReg(isa.Jlt, end, q, 0),
		isa.JmpReg(isa.Jge, q, end, 0), isa.JmpReg(isa.Jle, end, q, 0),
	}
	code = append(code, isa.Mov64Reg(q, p), isa.ALU64Imm(isa.Add, q, n), checks[g.rng.IntN(len(checks))])
	var use []isa.Instruction
	for range 1 + g.rng.IntN(3) {
		size := g.size()
		if off := g.almost(n) - int32(size.bytes()); off >= 0 {
			use = append(use, g.touch(size, p, int16(g.rng.IntN(int(off)+1)), p, end, q))
		}
	}
	return unit{inner: []unit{
		{code: code, skip: 1}, {code: use},
		{code: isa.Program(g.constant(p), g.constant(end), g.constant(q))},
	}}
}

// fieldOff is where a context field lies in the uapi struct.
func (g *generator) fieldOff(name string) int16 {
	for _, f := range g.prog.Ctx.Fields {
		if f.Name == name {
			return int16(f.Off)
		}
	}
	panic("BUG: difftest: no context field " + name)
}

// contextAccess loads or stores a number of the context, at a width and an
// offset that the field may allow. What holds pointers is left alone, as is
// what the kernel's test run fills in from its own state.
func (g *generator) contextAccess() unit {
	f := g.prog.Ctx.Fields[g.rng.IntN(len(g.prog.Ctx.Fields))]
	if f.Kind != catalog.FieldScalar || f.Name == "hash" || f.Name == "napi_id" {
		return unit{}
	}
	ctx := g.scalar()
	size := g.size()
	off := int16(f.Off)
	if g.rng.IntN(3) == 0 {
		off += int16(g.rng.IntN(f.Size))
	}
	code := isa.Program(isa.LoadMem(isa.DW, ctx, isa.RFP, ctxSlot))
	if f.Write.Has(g.prog.Type) && g.rng.IntN(2) == 0 {
		code = append(code, isa.StoreMem(isa.Opcode(size), ctx, g.scalar(ctx), off), g.constant(ctx))
	} else {
		code = append(code, isa.LoadMem(isa.Opcode(size), ctx, ctx, off))
	}
	return unit{code: code}
}

// legacyLoad reads the packet as classic BPF does; where it is too short the
// program ends with 0.
func (g *generator) legacyLoad() unit {
	size := []isa.Opcode{isa.B, isa.H, isa.W}[g.rng.IntN(3)]
	load := isa.LoadAbs(size, int32(g.rng.IntN(20)))
	code := isa.Program(isa.LoadMem(isa.DW, isa.R6, isa.RFP, ctxSlot))
	if g.rng.IntN(2) == 0 {
		r := g.scalar(isa.R6)
		code = append(code, isa.ALU64Imm(isa.And, r, 15))
		load = isa.LoadInd(size, r, int32(g.rng.IntN(8)))
	}
	return unit{code: append(append(code, load, isa.Mov64Reg(isa.R6, isa.R0)), renew()...)}
}

// lookup reaches a value of map table, which may not be there: through r0, a
// copy of it, or a copy that was on the stack meanwhile. The check is made on r0
// or on the copy, and says the same of all of them.
func (g *generator) lookup() unit {
	saved := []isa.Register{isa.R6, isa.R7, isa.R8}
	key, cp, reg := g.scalar(), saved[g.rng.IntN(3)], saved[g.rng.IntN(3)]
	code := isa.Program(
		isa.ALU64Imm(isa.And, key, 7),
		isa.StoreMem(isa.W, isa.RFP, key, keySlot),
		isa.LdMapIdx(isa.R1, tableIdx), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, keySlot),
		isa.HelperCall(int32(catalog.FnMapLookupElem)),
		isa.Mov64Reg(cp, isa.R0), isa.StoreMem(isa.DW, isa.RFP, isa.R0, ptrSlot))
	checked := []isa.Register{isa.R0, cp}[g.rng.IntN(2)]
	code = append(code, isa.JmpImm(isa.Jeq, checked, 0, 0))
	var use []isa.Instruction
	if g.rng.IntN(3) == 0 {
		use = isa.Program(isa.LoadMem(isa.DW, isa.R0, isa.RFP, ptrSlot))
	}
	size := g.size()
	off := int16(g.rng.IntN(int(max(0, g.almost(tableValue)-int32(size.bytes()))) + 1))
	at := []isa.Register{isa.R0, cp}[g.rng.IntN(2)]
	switch {
	case reg == cp || g.rng.IntN(2) == 0:
		use = append(use, isa.LoadMem(isa.Opcode(size), cp, at, off))
	default:
		use = append(use, isa.StoreMem(isa.Opcode(size), at, reg, off))
	}
	return unit{inner: []unit{
		{code: code, skip: 1}, {code: use},
		{code: append(isa.Program(g.constant(isa.R0), g.constant(cp), isa.StoreImm(isa.DW, isa.RFP, ptrSlot, 0)), renew()...)},
	}}
}

// spilledPointer keeps the address of map memory on the stack over some code,
// with an offset that may be known only as a range.
func (g *generator) spilledPointer() unit {
	p := g.scalar()
	t := g.scalar(p)
	code := isa.Program(isa.Mov64Reg(p, memReg))
	room := int32(memSize)
	if g.rng.IntN(2) == 0 {
		code = append(code, isa.ALU64Imm(isa.And, t, 15), isa.ALU64Reg(isa.Add, p, t))
		room -= 15
	}
	code = append(code, isa.StoreMem(isa.DW, isa.RFP, p, ptrSlot), g.constant(p))
	size := g.size()
	off := int16(g.rng.IntN(int(max(0, g.almost(room)-int32(size.bytes()))) + 1))
	units := append([]unit{{code: code}}, g.body(g.rng.IntN(3), false)...)
	return unit{inner: append(units, unit{code: isa.Program(
		isa.LoadMem(isa.DW, p, isa.RFP, ptrSlot), g.touch(size, p, off, p), g.constant(p),
		isa.StoreImm(isa.DW, isa.RFP, ptrSlot, 0))})}
}

// record reserves a record of the ring, writes into it, and mostly gives it back.
func (g *generator) record() unit {
	const size = 16
	access := g.size()
	off := int16(g.rng.IntN(int(max(0, g.almost(size)-int32(access.bytes()))) + 1))
	write := isa.Program(isa.StoreMem(isa.Opcode(access), isa.R0, isa.R6, off))
	giveBack := isa.Program(isa.Mov64Reg(isa.R1, isa.R0), isa.Mov64Imm(isa.R2, 0),
		isa.HelperCall(int32([]catalog.HelperID{catalog.FnRingBufSubmit, catalog.FnRingBufDiscard}[g.rng.IntN(2)])))
	if g.rng.IntN(20) > 0 {
		write = append(write, giveBack...)
	}
	return unit{inner: []unit{
		{code: isa.Program(
			isa.LdMapIdx(isa.R1, ringIdx), isa.Mov64Imm(isa.R2, size), isa.Mov64Imm(isa.R3, 0),
			isa.HelperCall(int32(catalog.FnRingBufReserve)), isa.JmpImm(isa.Jeq, isa.R0, 0, 0)), skip: 1},
		{code: write},
		{code: append(renew(), g.constant(isa.R0))},
	}}
}

// countdown runs a few units as often as a register says, which is known as a
// range only.
func (g *generator) countdown() unit {
	n := g.scalar()
	return unit{
		code:  isa.Program(isa.ALU64Imm(isa.And, n, 7), isa.ALU64Imm(isa.Add, n, 1), isa.StoreMem(isa.DW, isa.RFP, n, loopSlot)),
		inner: g.body(1+g.rng.IntN(2), false),
		again: isa.Program(
			isa.LoadMem(isa.DW, n, isa.RFP, loopSlot),
			isa.ALU64Imm(isa.Add, n, -1),
			isa.StoreMem(isa.DW, isa.RFP, n, loopSlot),
			isa.JmpImm([]isa.Opcode{isa.Jne, isa.Jgt, isa.Jsgt}[g.rng.IntN(3)], n, 0, 0)),
	}
}

// callTo calls subprogram i, a callback a few times or as often as a range says.
func (g *generator) callTo(i int) unit {
	switch g.subs[i] {
	case subNumbers:
		return unit{call: 1 + i, loops: isa.RFP}
	case subTail:
		return unit{code: isa.Program(isa.LoadMem(isa.DW, isa.R1, isa.RFP, ctxSlot)), call: 1 + i, loops: isa.RFP}
	}
	n := g.scalar()
	times := isa.Program(isa.ALU64Imm(isa.And, n, 7))
	if g.rng.IntN(2) == 0 {
		times = isa.Program(isa.Mov64Imm(n, int32(g.rng.IntN(5))))
	}
	return unit{code: times, call: 1 + i, loops: n}
}

// tailCall goes to the program in the program array, if it hits its index.
func (g *generator) tailCall() unit {
	r := g.scalar()
	code := isa.Program(
		isa.ALU64Imm(isa.And, r, 3), isa.Mov64Reg(isa.R3, r),
		isa.LoadMem(isa.DW, isa.R1, isa.RFP, ctxSlot), isa.LdMapIdx(isa.R2, jumpsIdx),
		isa.HelperCall(int32(catalog.FnTailCall)))
	for r := isa.R0; r <= isa.R5; r++ {
		code = append(code, g.constant(r))
	}
	return unit{code: code}
}

// loop runs a few units a few times, counted in a stack slot of its own.
func (g *generator) loop() unit {
	counter := g.scalar()
	return unit{
		code:  isa.Program(isa.StoreImm(isa.DW, isa.RFP, loopSlot, int32(1+g.rng.IntN(4)))),
		inner: g.body(1+g.rng.IntN(3), false),
		again: isa.Program(
			isa.LoadMem(isa.DW, counter, isa.RFP, loopSlot),
			isa.ALU64Imm(isa.Sub, counter, 1),
			isa.StoreMem(isa.DW, isa.RFP, counter, loopSlot),
			isa.JmpImm(isa.Jne, counter, 0, 0)),
	}
}

// accessSize is the size bits of a load or store.
type accessSize isa.Opcode

func (s accessSize) bytes() int { return isa.Opcode(s).Bytes() }

func (g *generator) size() accessSize {
	return accessSize([]isa.Opcode{isa.B, isa.H, isa.W, isa.DW}[g.rng.IntN(4)])
}

// touch is a load or store at p + off that keeps pointers, which differ from
// engine to engine, out of memory and out of the registers it does not name.
func (g *generator) touch(size accessSize, p isa.Register, off int16, pointers ...isa.Register) isa.Instruction {
	reg := g.scalar(pointers...)
	if g.rng.IntN(2) == 0 {
		return isa.StoreMem(isa.Opcode(size), p, reg, off)
	}
	return isa.LoadMem(isa.Opcode(size), reg, p, off)
}

// constant puts any number into r.
func (g *generator) constant(r isa.Register) isa.Instruction {
	return isa.Mov64Imm(r, int32(g.rng.Uint32()))
}

// almost is mostly n, sometimes one or more too many: the check that is wrong.
func (g *generator) almost(n int32) int32 {
	switch g.rng.IntN(16) {
	case 0:
		return n + 1
	case 1:
		return n + int32(g.rng.IntN(64))
	}
	return n
}

// scalar draws one of the registers for numbers, but none of not.
func (g *generator) scalar(not ...isa.Register) isa.Register {
	for {
		if r := g.scalars[g.rng.IntN(len(g.scalars))]; !slices.Contains(not, r) {
			return r
		}
	}
}

// field draws a value a field may hold.
func (g *generator) field(f isa.Field, any int32) int32 {
	if v := f.Values(); v != nil {
		return v[g.rng.IntN(len(v))]
	}
	return any
}

// interesting are the numbers at which arithmetic turns.
var interesting = []uint64{
	0, 1, 2, 7, 8, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
	0x100000000, 1<<63 - 1, 1 << 63, ^uint64(0), ^uint64(1), 0xffffffff80000000, 0xffffffff7fffffff,
}

func (g *generator) number() uint64 {
	switch g.rng.IntN(3) {
	case 0:
		return interesting[g.rng.IntN(len(interesting))]
	case 1:
		return g.rng.Uint64() >> g.rng.IntN(64)
	}
	return g.rng.Uint64()
}

func (g *generator) imm() int32 {
	if g.rng.IntN(3) == 0 {
		return int32(g.rng.IntN(65))
	}
	return int32(g.number())
}
