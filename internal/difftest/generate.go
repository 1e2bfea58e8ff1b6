package difftest

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// A random program has this shape, so that most draws are accepted and every
// difference shows:
//
//	r0–r8 = unknown numbers from map args; r9 = value of map mem, 64 bytes
//	the upper 64 bytes of the stack = those numbers; below them the context
//	body: units drawn from isa's rows, forward jumps between them, bounded
//	      loops, accesses to map, packet and looked-up values behind checks
//	map out = r0–r8, the stack's 64 bytes
//	exit
//
// Subprograms of the same make follow: numbers in r1–r5, a number in r0. Some
// are callbacks of bpf_loop, which write the 64 bytes of their caller's stack.
//
// This file holds the shape, draw.go what units are drawn.

// Sizes of the shape.
const (
	memSize  = 64 // of map mem's value and of the stack in use
	outRegs  = 9  // r0–r8
	memReg   = isa.R9
	maxUnits = 40
	maxSubs  = 2
	subUnits = 8

	tableEntries, tableValue = 4, 16 // map table, for lookups
)

// Stack slots below the bytes in use.
const (
	loopSlot = -memSize - 8
	ctxSlot  = -memSize - 16
	keySlot  = -memSize - 24
	ptrSlot  = -memSize - 32
)

// Maps of a random program, in the order of fd_array.
const (
	argsIdx = iota
	memIdx
	outIdx
	tableIdx
	ringIdx
	jumpsIdx
)

// unit is a piece of code that is never jumped into.
type unit struct {
	code []isa.Instruction
	// skip is how many of the following units a jump at the end of code skips.
	skip int
	// call is the number of the subprogram called after code, from 1; loops is the
	// register that holds how often, where it is a callback, else R10.
	call  int
	loops isa.Register
	// inner follows code; jumps from outside do not go there. Where again is not
	// nil it jumps back to the start of inner.
	inner []unit
	again []isa.Instruction
}

// function is units and the code they all lead to, which ends with an exit.
type function struct {
	body []unit
	end  []isa.Instruction
}

// subKind is what a subprogram is for.
type subKind int

const (
	subNumbers  subKind = iota // takes numbers in r1–r5
	subCallback                // of bpf_loop
	subTail                    // takes the context in r1 and makes tail calls
	subKinds
)

// generator draws one program.
type generator struct {
	rng *rand.Rand
	// scalars are the registers free for numbers, base the one that points at
	// memory of memSize bytes from off on.
	scalars []isa.Register
	base    isa.Register
	off     int16
	subs    []subKind // subprograms there will be
	sub     subKind   // the one being drawn
	prog    *catalog.ProgKind
}

// Generate draws the program that seed stands for, as a case without
// expectations.
func Generate(seed uint64) *Case {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0))}
	types := []catalog.ProgType{catalog.ProgXDP, catalog.ProgSchedCls, catalog.ProgSocketFilter}
	c := &Case{Name: "random", Type: types[g.rng.IntN(len(types))], Packet: make([]byte, 14+g.rng.IntN(100))}
	g.prog = catalog.ProgKindByType(c.Type)
	for i := range c.Packet {
		c.Packet[i] = byte(g.rng.Uint32())
	}
	if isIP(c.Packet) && len(c.Packet) < 14+40 {
		c.Packet[12] ^= 0x10 // test runs take no IP packet that is cut
	}
	for range g.rng.IntN(maxSubs + 1) {
		g.subs = append(g.subs, subKind(g.rng.IntN(int(subKinds))))
	}

	var args, mem []byte
	for range outRegs {
		args = appendLE(args, g.number())
	}
	for range memSize / 8 {
		mem = appendLE(mem, g.number())
	}
	array := func(name string, values ...[]byte) *Map {
		m := &Map{Def: catalog.MapDef{
			Name: name, Type: catalog.MapArray, KeySize: 4, ValueSize: uint32(len(values[0])), MaxEntries: uint32(len(values)),
		}}
		for i, v := range values {
			m.Put = append(m.Put, Entry{binary.LittleEndian.AppendUint32(nil, uint32(i)), v})
		}
		return m
	}
	table := make([][]byte, tableEntries)
	for i := range table {
		table[i] = appendLE(appendLE(nil, g.number()), g.number())
	}
	c.Maps = []*Map{
		argsIdx: array("args", args), memIdx: array("mem", mem),
		outIdx: array("out", make([]byte, 8*outRegs+memSize)), tableIdx: array("table", table...),
		ringIdx:  {Def: catalog.MapDef{Name: "ring", Type: catalog.MapRingBuf, MaxEntries: 4096}},
		jumpsIdx: {Def: catalog.MapDef{Name: "jumps", Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 2}},
	}

	g.scalars = []isa.Register{isa.R0, isa.R1, isa.R2, isa.R3, isa.R4, isa.R5, isa.R6, isa.R7, isa.R8}
	g.base = memReg
	main := append([]unit{{code: g.prologue()}}, g.body(1+g.rng.IntN(maxUnits), true)...)
	for i := range g.subs { // a function nobody calls is unreachable, which verifiers refuse
		main = slices.Insert(main, 1+g.rng.IntN(len(main)), g.callTo(i))
	}
	functions := []function{{main, g.epilogue()}}

	g.base, g.off = isa.RFP, -memSize
	subs := g.subs
	g.subs = nil // subprograms call none
	for _, g.sub = range subs {
		functions = append(functions, g.subprogram())
	}
	c.Insns = layout(functions)
	c.Tails = []Tail{{Map: "jumps", Key: make([]byte, 4), Case: &Case{
		Type: c.Type, Insns: isa.Program(isa.LdImm64(isa.R0, g.number()), isa.ExitInsn()),
	}}}
	return c
}

// isIP reports whether an Ethernet frame's type is IPv4 or IPv6.
func isIP(frame []byte) bool {
	t := binary.BigEndian.Uint16(frame[12:])
	return t == 0x0800 || t == 0x86dd
}

func appendLE(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

// prologue fills registers and stack.
func (g *generator) prologue() []isa.Instruction {
	code := isa.Program(isa.StoreMem(isa.DW, isa.RFP, isa.R1, ctxSlot), isa.LdMapIdxValue(memReg, argsIdx, 0))
	for r := isa.R0; r < outRegs; r++ {
		code = append(code, isa.LoadMem(isa.DW, r, memReg, 8*int16(r)))
	}
	for i := range int16(memSize / 8) {
		code = append(code, isa.StoreMem(isa.DW, isa.RFP, isa.Register(i), -memSize+8*i))
	}
	return append(code, isa.Program(isa.LdMapIdxValue(memReg, memIdx, 0))...)
}

// epilogue leaves everything in map out. R9 is needed no more.
func (g *generator) epilogue() []isa.Instruction {
	code := isa.Program(isa.LdMapIdxValue(memReg, outIdx, 0))
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

// subprogram draws a function. A callback has its index in r1 and the address of
// its caller's bytes in r2.
func (g *generator) subprogram() function {
	g.scalars = []isa.Register{isa.R0, isa.R1, isa.R2, isa.R3, isa.R4, isa.R5}
	enter := isa.Program(isa.Mov64Reg(isa.R0, isa.R1))
	end := isa.Program(isa.ExitInsn())
	switch g.sub {
	case subTail:
		enter = isa.Program(isa.StoreMem(isa.DW, isa.RFP, isa.R1, ctxSlot))
		for r := isa.R0; r <= isa.R5; r++ {
			enter = append(enter, isa.Mov64Imm(r, g.imm()))
		}
	case subCallback:
		enter = append(enter, isa.StoreMem(isa.DW, isa.RFP, isa.R2, ctxSlot))
		for r := isa.R2; r <= isa.R5; r++ {
			enter = append(enter, isa.Mov64Imm(r, g.imm()))
		}
		end = isa.Program(
			isa.LoadMem(isa.DW, isa.R1, isa.RFP, ctxSlot),
			isa.StoreMem(isa.DW, isa.R1, isa.R2, 8*int16(g.rng.IntN(memSize/8))),
			isa.Atomic(isa.AtomicAdd, isa.DW, isa.R1, isa.R0, 8*int16(g.rng.IntN(memSize/8))),
			isa.ALU64Imm(isa.And, isa.R0, 1), // go on, or not
			isa.ExitInsn())
	}
	for i := range int16(memSize / 8) {
		enter = append(enter, isa.StoreMem(isa.DW, isa.RFP, isa.R1+isa.Register(i%5), -memSize+8*i))
	}
	return function{append([]unit{{code: enter}}, g.body(1+g.rng.IntN(subUnits), g.sub != subCallback)...), end}
}

// body draws n units, with loops among them or without.
func (g *generator) body(n int, loops bool) (units []unit) {
	for len(units) < n {
		switch k := g.rng.IntN(100); {
		case k < 6 && g.base == memReg:
			units = append(units, g.boundedAccess())
		case k < 11 && g.base == memReg && g.prog.Type != catalog.ProgSocketFilter:
			units = append(units, g.packetAccess())
		case k < 11 && g.base == memReg:
			units = append(units, g.legacyLoad())
		case k < 13 && g.base == memReg:
			units = append(units, g.contextAccess())
		case k < 15 && g.base == memReg:
			units = append(units, g.lookup())
		case k < 17 && g.base == memReg:
			units = append(units, g.spilledPointer())
		case k < 18 && g.base == memReg && loops: // not in loops: a record held there is soon refused
			units = append(units, g.record())
		case k < 19 && g.base != memReg && g.sub == subTail:
			units = append(units, g.tailCall())
		case k < 22 && g.subs != nil && loops:
			units = append(units, g.callTo(g.rng.IntN(len(g.subs))))
		case k < 25 && loops:
			units = append(units, g.loop())
		case k < 27 && loops:
			units = append(units, g.countdown())
		case k < 31:
			units = append(units, unit{code: isa.Program(isa.LdImm64(g.scalar(), g.number()))})
		case k < 36:
			units = append(units, g.idiom())
		default:
			if u, ok := g.instance(&isa.Table[g.rng.IntN(len(isa.Table))], n-len(units)); ok {
				units = append(units, u)
			}
		}
	}
	return units
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
			b.call(u)
		}
		if u.inner != nil {
			top := len(b.prog)
			b.units(u.inner)
			if u.again != nil {
				b.prog = append(b.prog, u.again...)
				last := len(b.prog) - 1
				b.prog[last].Off = int16(top - last - 1)
			}
		}
	}
	at = append(at, len(b.prog))
	for pc, to := range skips {
		b.prog[pc].Off = int16(at[to] - pc - 1)
	}
}

// call appends a call, by itself or through bpf_loop, and gives R1–R5, which it
// leaves without values, new ones.
func (b *builder) call(u unit) {
	if u.loops == isa.RFP {
		b.calls[len(b.prog)] = u.call
		b.prog = append(b.prog, isa.LocalCall(0))
	} else {
		b.prog = append(b.prog, isa.Mov64Reg(isa.R1, u.loops))
		b.calls[len(b.prog)] = u.call
		b.prog = append(b.prog, isa.Program(
			isa.LdFunc(isa.R2, 0),
			isa.Mov64Reg(isa.R3, isa.RFP), isa.ALU64Imm(isa.Add, isa.R3, -memSize), isa.Mov64Imm(isa.R4, 0),
			isa.HelperCall(int32(catalog.FnLoop)))...)
	}
	b.prog = append(b.prog, renew()...)
}

// renew gives R1–R5 numbers after a call.
func renew() []isa.Instruction {
	return isa.Program(
		isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Reg(isa.R2, isa.R7), isa.Mov64Reg(isa.R3, isa.R8),
		isa.Mov64Reg(isa.R4, isa.R6), isa.Mov64Imm(isa.R5, 5))
}
