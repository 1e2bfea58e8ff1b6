package difftest

import (
	"math/rand/v2"
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// A random program has this shape, so that most draws are accepted and every
// difference shows:
//
//	r0–r8 = unknown numbers from map args; r9 = value of map mem, 64 bytes
//	the upper 64 bytes of the stack = those numbers
//	body: units drawn from isa's rows, forward jumps between them, bounded loops
//	map out = r0–r8, the stack's 64 bytes
//	exit
//
// Subprograms of the same make follow: numbers in r1–r5, a number in r0.

// Sizes of the shape.
const (
	memSize  = 64 // of map mem's value and of the stack in use
	outRegs  = 9  // r0–r8
	memReg   = isa.R9
	maxUnits = 40
	maxSubs  = 2
	subUnits = 8
)

// unit is a piece of code that is never jumped into.
type unit struct {
	code []isa.Instruction
	// skip is how many of the following units a jump at the end of code skips.
	skip int
	// call is the number of the subprogram a call after code goes to, from 1.
	call int
	// loop is run between code and again, and again jumps back to its start.
	loop  []unit
	again []isa.Instruction
}

// function is units and the code they all lead to, which ends with an exit.
type function struct {
	body []unit
	end  []isa.Instruction
}

// generator draws one program.
type generator struct {
	rng *rand.Rand
	// scalars are the registers free for numbers, base the one that points at
	// memory of memSize bytes from off on.
	scalars []isa.Register
	base    isa.Register
	off     int16
	subs    int // subprograms there will be
}

// Generate draws the program that seed stands for, as a case without
// expectations.
func Generate(seed uint64) *Case {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0))}
	c := &Case{Name: "random", Type: catalog.ProgXDP, Packet: make([]byte, 64)}
	g.subs = g.rng.IntN(maxSubs + 1)

	var args, mem []byte
	for range outRegs {
		args = appendLE(args, g.number())
	}
	for range memSize / 8 {
		mem = appendLE(mem, g.number())
	}
	array := func(name string, value []byte) *Map {
		return &Map{
			Def: catalog.MapDef{Name: name, Type: catalog.MapArray, KeySize: 4, ValueSize: uint32(len(value)), MaxEntries: 1},
			Put: []Entry{{make([]byte, 4), value}},
		}
	}
	c.Maps = []*Map{array("args", args), array("mem", mem), array("out", make([]byte, 8*outRegs+memSize))}

	g.scalars = []isa.Register{isa.R0, isa.R1, isa.R2, isa.R3, isa.R4, isa.R5, isa.R6, isa.R7, isa.R8}
	g.base = memReg
	main := append([]unit{{code: g.prologue()}}, g.body(1+g.rng.IntN(maxUnits), true)...)
	for i := range g.subs { // a function nobody calls is unreachable, which verifiers refuse
		main = slices.Insert(main, 1+g.rng.IntN(len(main)), unit{call: 1 + i})
	}
	functions := []function{{main, g.epilogue()}}

	g.scalars = []isa.Register{isa.R0, isa.R1, isa.R2, isa.R3, isa.R4, isa.R5}
	g.base, g.off = isa.RFP, -memSize
	calls := g.subs
	g.subs = 0 // subprograms call none
	for range calls {
		body := append([]unit{{code: g.enterSub()}}, g.body(1+g.rng.IntN(subUnits), true)...)
		functions = append(functions, function{body, isa.Program(isa.ExitInsn())})
	}
	c.Insns = layout(functions)
	return c
}

func appendLE(b []byte, v uint64) []byte {
	for range 8 {
		b, v = append(b, byte(v)), v>>8
	}
	return b
}

// prologue fills registers and stack.
func (g *generator) prologue() []isa.Instruction {
	code := isa.Program(isa.LdMapIdxValue(memReg, 0, 0))
	for r := isa.R0; r < outRegs; r++ {
		code = append(code, isa.LoadMem(isa.DW, r, memReg, 8*int16(r)))
	}
	for i := range int16(memSize / 8) {
		code = append(code, isa.StoreMem(isa.DW, isa.RFP, isa.Register(i), -memSize+8*i))
	}
	return append(code, isa.Program(isa.LdMapIdxValue(memReg, 1, 0))...)
}

// epilogue leaves everything in map out. R9 is needed no more.
func (g *generator) epilogue() []isa.Instruction {
	code := isa.Program(isa.LdMapIdxValue(memReg, 2, 0))
	for r := isa.R0; r < outRegs; r++ {
		code = append(code, isa.StoreMem(isa.DW, memReg, r, 8*int16(r)))
	}
	for i := range int16(memSize / 8) {
		code = append(code,
			isa.LoadMem(isa.DW, isa.R1, isa.RFP, -memSize+8*i),
			isa.StoreMem(isa.DW, memReg, isa.R1, 8*outRegs+8*i))
	}
	return append(code, isa.ExitInsn())
}

// enterSub fills R0 and the stack of a subprogram.
func (g *generator) enterSub() []isa.Instruction {
	code := isa.Program(isa.Mov64Reg(isa.R0, isa.R1))
	for i := range int16(memSize / 8) {
		code = append(code, isa.StoreMem(isa.DW, isa.RFP, isa.R1+isa.Register(i%5), -memSize+8*i))
	}
	return code
}

// body draws n units, with loops among them or without.
func (g *generator) body(n int, loops bool) (units []unit) {
	for len(units) < n {
		switch k := g.rng.IntN(100); {
		case k < 8 && g.base == memReg:
			units = append(units, g.boundedAccess()...)
		case k < 12 && g.subs > 0:
			units = append(units, g.call())
		case k < 15 && loops:
			units = append(units, g.loop())
		case k < 19:
			units = append(units, unit{code: isa.Program(isa.LdImm64(g.scalar(), g.number()))})
		default:
			if u, ok := g.instance(&isa.Table[g.rng.IntN(len(isa.Table))], n-len(units)); ok {
				units = append(units, u)
			}
		}
	}
	return units
}

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
func (g *generator) boundedAccess() []unit {
	size := []isa.Opcode{isa.B, isa.H, isa.W, isa.DW}[g.rng.IntN(4)]
	width := (isa.Opcode(isa.ClassLDX) | size).Bytes()
	t, p := g.scalar(), g.scalar()
	if t == p {
		return nil
	}
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
	// Mostly the bound is right, sometimes off by one or of the wrong kind.
	limit := int32(memSize - width)
	switch g.rng.IntN(12) {
	case 0:
		limit++
	case 1:
		limit += int32(g.rng.IntN(64))
	}
	aim := isa.Program(isa.Mov64Reg(p, memReg), isa.ALU64Reg(isa.Add, p, t))
	access := isa.LoadMem(size, t, p, 0)
	if g.rng.IntN(2) == 0 {
		access = isa.StoreMem(size, p, g.otherThan(p), 0)
	}
	use := unit{code: append(aim, access, isa.Mov64Imm(p, int32(g.rng.Uint32())))}
	switch g.rng.IntN(5) {
	case 0:
		mask := unit{code: isa.Program(isa.ALU64Imm(isa.And, t, limit&^(limit+1)))}
		return append(units, mask, use)
	case 1:
		narrow := isa.Program(isa.Mov32Reg(t, t), isa.Jmp32Imm(isa.Jgt, t, limit, 0))
		return append(units, unit{code: narrow[g.rng.IntN(8)/7:], skip: 1}, use)
	case 2:
		return append(units,
			unit{code: isa.Program(isa.JmpImm(isa.Jsgt, t, limit, 0)), skip: 2},
			unit{code: isa.Program(isa.JmpImm(isa.Jslt, t, 0, 0)), skip: 1}, use)
	case 3:
		return append(units, unit{code: isa.Program(isa.ALU32Imm(isa.And, t, 31), isa.JmpImm(isa.Jge, t, limit+1, 0)), skip: 1}, use)
	}
	return append(units, unit{code: isa.Program(isa.JmpImm(isa.Jgt, t, limit, 0)), skip: 1}, use)
}

// call calls a subprogram.
func (g *generator) call() unit { return unit{call: 1 + g.rng.IntN(g.subs)} }

// loop runs a few units a few times, counted in the stack slot below those in use.
func (g *generator) loop() unit {
	const slot = -memSize - 8
	counter := g.scalar()
	return unit{
		code: isa.Program(isa.StoreImm(isa.DW, isa.RFP, slot, int32(1+g.rng.IntN(4)))),
		loop: g.body(1+g.rng.IntN(3), false),
		again: isa.Program(
			isa.LoadMem(isa.DW, counter, isa.RFP, slot),
			isa.ALU64Imm(isa.Sub, counter, 1),
			isa.StoreMem(isa.DW, isa.RFP, counter, slot),
			isa.JmpImm(isa.Jne, counter, 0, 0)),
	}
}

func (g *generator) scalar() isa.Register { return g.scalars[g.rng.IntN(len(g.scalars))] }

// otherThan draws a number's register that is not r.
func (g *generator) otherThan(r isa.Register) isa.Register {
	for {
		if s := g.scalar(); s != r {
			return s
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

// builder strings units together.
type builder struct {
	prog  []isa.Instruction
	calls map[int]int // slots of calls, and the function each goes to
}

// layout makes a program of functions.
func layout(functions []function) []isa.Instruction {
	b := &builder{calls: map[int]int{}}
	var starts []int
	for _, f := range functions {
		starts = append(starts, len(b.prog))
		b.units(f.body)
		b.prog = append(b.prog, f.end...)
	}
	for pc, f := range b.calls {
		b.prog[pc].Imm = int32(starts[f] - pc - 1)
	}
	return b.prog
}

// units appends a list of units and then aims the jumps between them.
func (b *builder) units(list []unit) {
	at := make([]int, 0, len(list)+1) // where each unit begins
	skips := map[int]int{}            // slots of jumps, and the unit each goes to
	for i, u := range list {
		at = append(at, len(b.prog))
		b.prog = append(b.prog, u.code...)
		if u.skip > 0 {
			skips[len(b.prog)-1] = min(i+1+u.skip, len(list))
		}
		if u.call != 0 {
			b.call(u.call)
		}
		if u.loop != nil {
			top := len(b.prog)
			b.units(u.loop)
			b.prog = append(b.prog, u.again...)
			last := len(b.prog) - 1
			b.prog[last].Off = int16(top - last - 1)
		}
	}
	at = append(at, len(b.prog))
	for pc, to := range skips {
		b.prog[pc].Off = int16(at[to] - pc - 1)
	}
}

// call appends a call and gives R1–R5, which it leaves without values, new ones.
func (b *builder) call(function int) {
	b.calls[len(b.prog)] = function
	b.prog = append(b.prog, isa.LocalCall(0),
		isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Reg(isa.R2, isa.R7), isa.Mov64Reg(isa.R3, isa.R8),
		isa.Mov64Reg(isa.R4, isa.R0), isa.Mov64Imm(isa.R5, 5))
}
