package interp

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Checker examines a run, instruction by instruction, before the VM carries it
// out. What it finds is never the program's fault, since the verifier has
// accepted it: it is a fault of the verifier, the rewriter, a helper or the loop.
//
// It keeps its own picture of the run: which registers hold a value, which
// memory belongs to the run, what the next instruction must find if the loop
// means what isa's rows say.
type Checker struct {
	// Map returns the facts of the map whose header lies at ptr, nil if none does.
	Map func(ptr uint64) *catalog.MapDef
	// Helper returns the row of a helper for the running program.
	Helper func(p *Program, id catalog.HelperID) *catalog.Helper
	// Kfunc returns the memory that a kernel function's result names, given its
	// call instruction; a Size of 0: none. A nil Kfunc knows of none.
	Kfunc func(p *Program, call isa.Instruction, args [5]uint64, r0 uint64) Region
	// Regions appends the memory of the run whose bounds may move between
	// instructions: the context and the packet.
	Regions func([]Region) []Region

	frames  [maxFrames]checkedFrame
	ctx     uint64   // what the main program's R1 held
	granted []Region // memory the run was given on its way
	moving  []Region // reused by find
	expect  expectation
	trips   map[tripKey]uint32 // how often jumps back were taken in this run
}

// Region is memory a run may touch.
type Region struct {
	Addr, Size uint64
	Writable   bool
	Name       string
}

func (r Region) holds(addr uint64, n uint64) bool {
	return addr >= r.Addr && addr-r.Addr <= r.Size && n <= r.Size-(addr-r.Addr)
}

// checkedFrame is what the checker knows of one frame of the VM.
type checkedFrame struct {
	init isa.RegSet // registers that hold a value
	call pendingCall
}

// pendingCall is a call under way: its result is looked at when the next
// original instruction begins.
type pendingCall struct {
	row   *catalog.Helper  // of a helper
	kfunc *isa.Instruction // of a kernel function
	args  [5]uint64
}

// expectation is what isa's rows say the instruction just carried out must have done.
type expectation struct {
	ins   isa.Instruction
	pc    int // its slot
	reg   bool
	value uint64
	jump  bool
	next  int
}

// Violation is a fault of skep that checked mode found. It always says: the
// verifier promised what did not hold, or a stage after it broke the promise.
type Violation struct {
	Program string
	Slot    int // rewritten
	Orig    int // as the verifier saw it
	Ins     isa.Instruction
	Reg     isa.Register
	Value   uint64 // of Reg
	Claim   string // what does not hold
}

func (v *Violation) Error() string {
	return fmt.Sprintf("BUG: program %q, insn %d (rewritten %d: %v): R%d = %#x: %s",
		v.Program, v.Orig, v.Slot, v.Ins, v.Reg, v.Value, v.Claim)
}

const (
	argRegs    = isa.RegSet(1<<isa.R1 | 1<<isa.R2 | 1<<isa.R3 | 1<<isa.R4 | 1<<isa.R5)
	kernelRegs = isa.RegSet(1<<isa.RFP | 1<<isa.AX)
)

// begin starts a new run.
func (c *Checker) begin(vm *VM, p *Program) {
	c.granted = c.granted[:0]
	c.expect = expectation{}
	clear(c.trips)
	c.ctx = vm.reg[isa.R1]
	c.know(p)
}

// entered is told of a frame that the run or a callback opened, with nargs arguments.
func (c *Checker) entered(vm *VM, nargs int) {
	c.expect = expectation{}
	f := c.open(vm, nargs)
	if vm.depth == 0 {
		return
	}
	call := &c.frames[vm.depth-1].call
	if call.row == nil {
		return
	}
	f.init = kernelRegs | argRegs&(2<<callbackArgs(call.row.ID)-1)
	if call.row.ID == catalog.FnForEachMapElem {
		if m := c.Map(call.args[0]); m != nil {
			c.grant(Region{Addr: vm.reg[isa.R2], Size: uint64(m.KeySize), Name: "map key"})
			c.grant(Region{Addr: vm.reg[isa.R3], Size: uint64(m.ValueSize), Writable: true, Name: "map value"})
		}
	}
}

// replaced is told that a tail call gave the current frame to another program.
func (c *Checker) replaced(vm *VM) {
	c.expect = expectation{}
	clear(c.trips)
	c.know(vm.frames[vm.depth].prog)
	c.open(vm, 1)
}

// callbackArgs is how many arguments a helper gives its callback.
func callbackArgs(id catalog.HelperID) int {
	switch id {
	case catalog.FnLoop, catalog.FnUserRingBufDrain:
		return 2
	case catalog.FnFindVma:
		return 3
	case catalog.FnForEachMapElem:
		return 4
	}
	return 5
}

// open starts the picture of the VM's current frame.
func (c *Checker) open(vm *VM, nargs int) *checkedFrame {
	f := &c.frames[vm.depth]
	*f = checkedFrame{init: kernelRegs | argRegs&(2<<nargs-1)}
	return f
}

// know grants the map values that a program's code names directly.
func (c *Checker) know(p *Program) {
	if p.Source == nil || p.Facts == nil {
		return
	}
	for pc, ins := range p.Source.Insns {
		if m := p.Facts.Insns[pc].Map; ins.IsLoadImm64() && m != nil && m.ValueBase != 0 {
			c.grant(Region{Addr: m.ValueBase, Size: uint64(m.ValueSize), Writable: m.Flags&catalog.FlagRdonlyProg == 0, Name: "value of map " + m.Name})
		}
	}
}

func (c *Checker) grant(r Region) {
	for i := range c.granted {
		if g := &c.granted[i]; g.Addr == r.Addr && g.Size == r.Size {
			return
		}
	}
	c.granted = append(c.granted, r)
}

// before examines the instruction at pc.
func (c *Checker) before(vm *VM, pc int) *Violation {
	f := &c.frames[vm.depth]
	p := vm.frames[vm.depth].prog
	if v := c.settle(vm, pc); v != nil {
		return v
	}
	if p.First == nil || p.First[pc] {
		c.finishCall(vm, f, p)
		orig := p.orig(pc)
		if v := c.embed(vm, p, pc, orig); v != nil {
			return v
		}
		if v := c.facts(vm, p, pc, orig); v != nil {
			return v
		}
		if src := p.source(orig); src != nil && src.IsHelperCall() && !p.Insns[pc].IsHelperCall() {
			// A call that rewriting wrote out: the same demands, the same result.
			if v := c.examineHelper(vm, f, p, pc, catalog.HelperID(src.Imm)); v != nil {
				return v
			}
		}
	}
	return c.examine(vm, f, p, pc)
}

// orig is the verified program's slot of a rewritten slot.
func (p *Program) orig(pc int) int {
	if p.Orig == nil {
		return pc
	}
	return int(p.Orig[pc])
}

// source is the verified program's instruction, nil where none is known.
func (p *Program) source(orig int) *isa.Instruction {
	if p.Source == nil || orig >= len(p.Source.Insns) {
		return nil
	}
	return &p.Source.Insns[orig]
}

// expanded reports whether the slot was made by rewriting rather than by the
// program's author: its accesses reach maps' and contexts' insides.
func (p *Program) expanded(pc int) bool {
	return p.First != nil && (!p.First[pc] || pc+1 < len(p.First) && !p.First[pc+1] && !p.Insns[pc].IsLoadImm64())
}

func violation(p *Program, vm *VM, pc int, reg isa.Register, format string, args ...any) *Violation {
	name := ""
	if p.Source != nil {
		name = p.Source.Name
	}
	return &Violation{
		Program: name, Slot: pc, Orig: p.orig(pc), Ins: p.Insns[pc], Reg: reg, Value: vm.reg[reg&15],
		Claim: fmt.Sprintf(format, args...),
	}
}

// settle compares what the last instruction did with what isa's row says.
func (c *Checker) settle(vm *VM, pc int) *Violation {
	e := c.expect
	c.expect = expectation{}
	switch {
	case e.reg && vm.reg[e.ins.Dst&15] != e.value:
		return violation(vm.frames[vm.depth].prog, vm, e.pc, e.ins.Dst, "isa's row says %#x", e.value)
	case e.jump && pc != e.next:
		return violation(vm.frames[vm.depth].prog, vm, e.pc, e.ins.Dst, "went to slot %d, isa's row says %d", pc, e.next)
	}
	return nil
}

// predict notes what isa's row says the instruction will do.
func (c *Checker) predict(vm *VM, ins isa.Instruction, row *isa.Row, pc int) {
	b := uint64(int64(ins.Imm))
	if ins.Op.UsesReg() {
		b = vm.reg[ins.Src&15]
	}
	a := vm.reg[ins.Dst&15]
	switch class := ins.Op.Class(); {
	case class.IsALU() && row.Sem != nil:
		c.expect = expectation{ins: ins, pc: pc, reg: true, value: row.Sem(a, b)}
	case class.IsJump() && row.Test != nil:
		next := pc + 1
		if row.Test(a, b) {
			next += int(ins.Off)
		}
		c.expect = expectation{ins: ins, pc: pc, jump: true, next: next}
	}
}

// examine checks one instruction against the registers and the memory of the run.
func (c *Checker) examine(vm *VM, f *checkedFrame, p *Program, pc int) *Violation {
	ins := p.Insns[pc]
	row := p.rows[pc]
	switch {
	case ins.Op == opCall:
		return c.examineCall(vm, f, p, pc)
	case ins.IsExit():
		return c.examineExit(vm, f, p, pc)
	}
	for reg := isa.R0; reg <= isa.AX; reg++ {
		if row.Reads(ins).Has(reg) && !f.init.Has(reg) {
			return violation(p, vm, pc, reg, "read while uninitialised")
		}
	}
	c.predict(vm, ins, row, pc)
	f.init |= row.Writes(ins)
	switch ins.Op.Class() {
	case isa.ClassLD:
		if ins.Op != isa.LoadImm64 {
			f.init &^= argRegs
		}
	case isa.ClassLDX:
		if mode := ins.Op.Mode(); mode == isa.ModeProbeMEM || mode == isa.ModeProbeMEMSX {
			return nil // may reach anything
		}
		return c.access(vm, p, pc, ins.Src, false)
	case isa.ClassST:
		if ins.Op == isa.OpNospec {
			return nil
		}
		return c.access(vm, p, pc, ins.Dst, true)
	case isa.ClassSTX:
		base, write := ins.Dst, true
		if ins.Op.Mode() == isa.ModeATOMIC && ins.Imm == isa.LoadAcquire {
			base, write = ins.Src, false
		}
		return c.access(vm, p, pc, base, write)
	}
	return nil
}

// access checks the memory a load or store reaches through base.
func (c *Checker) access(vm *VM, p *Program, pc int, base isa.Register, write bool) *Violation {
	ins := p.Insns[pc]
	addr, n := vm.reg[base&15]+uint64(int64(ins.Off)), uint64(ins.Op.Bytes())
	if ins.Op.Mode() == isa.ModeATOMIC && addr%n != 0 {
		return violation(p, vm, pc, base, "atomic access at %#x is not aligned", addr)
	}
	if why := c.may(vm, addr, n, write); why != "" {
		trusted := p.expanded(pc) || p.Facts != nil && p.Facts.Insns[p.orig(pc)].Access == verifier.AccessBTF
		if trusted && mem.Readable(addr, int(n)) {
			return nil
		}
		return violation(p, vm, pc, base, "%s", why)
	}
	return nil
}

// may says why the run may not touch n bytes at addr; "" if it may.
func (c *Checker) may(vm *VM, addr, n uint64, write bool) string {
	verb := "read"
	if write {
		verb = "write"
	}
	r, ok := c.find(vm, addr, n)
	switch {
	case !ok:
		return fmt.Sprintf("%s of %d bytes at %#x is in no memory of the run", verb, n, addr)
	case write && !r.Writable:
		return fmt.Sprintf("write of %d bytes at %#x into read-only %s", n, addr, r.Name)
	}
	return ""
}

// find returns the region of the run that holds n bytes at addr.
func (c *Checker) find(vm *VM, addr, n uint64) (Region, bool) {
	for d := vm.depth; d >= 0; d-- {
		f := &vm.frames[d]
		if r := (Region{Addr: f.fp - uint64(f.depth), Size: uint64(f.depth), Writable: true, Name: "stack"}); r.holds(addr, n) {
			return r, true
		}
	}
	if c.Regions != nil {
		c.moving = c.Regions(c.moving[:0])
	}
	var found Region
	ok := false
	for _, list := range [][]Region{c.moving, c.granted} {
		for _, r := range list {
			if r.holds(addr, n) && (!ok || r.Writable) {
				found, ok = r, true
			}
		}
	}
	return found, ok
}

// examineExit checks a return and hands R0's state to the caller.
func (c *Checker) examineExit(vm *VM, f *checkedFrame, p *Program, pc int) *Violation {
	if vm.depth == 0 {
		if !f.init.Has(isa.R0) && (p.Facts == nil || !p.Facts.Void) {
			return violation(p, vm, pc, isa.R0, "returned while uninitialised")
		}
		return nil
	}
	caller := &c.frames[vm.depth-1]
	if caller.call.row == nil { // a local call, not a callback
		caller.init = caller.init&^isa.Regs(isa.R0) | f.init&isa.Regs(isa.R0)
	}
	return nil
}
