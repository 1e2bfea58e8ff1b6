package code

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Facts is what is known of a program before its code is made.
type Facts struct {
	Rows          []*isa.Row
	Reads, Writes []isa.RegSet // registers the instruction at the slot reads and writes
	Target        []bool       // some jump goes to the slot, or a function begins there
	Live          []isa.RegSet // registers whose value is needed after the slot
	Functions     []Function
	Heavy         []Heavy

	insns []isa.Instruction
}

// Function is what lowering needs to know of a function of the program.
type Function struct {
	verifier.Subprog
	Frame
	Pointer bool  // it needs R10
	Calls   bool  // it calls functions of the program
	Size    int32 // of its stack, in bytes
	Counter bool  // it has a may_goto counter, in the lowest eight of them
}

// CounterSize is what a may_goto counter takes, in bytes.
const CounterSize = 8

// MaxLoops bounds bpf_loop (BPF_MAX_LOOPS).
const MaxLoops = 8 << 20

// MayGotoBudget is how often one frame may take part in may_goto loops (BPF_MAX_LOOPS).
const MayGotoBudget = 8 << 20

const mayGoto = isa.Opcode(isa.ClassJMP) | isa.Jcond

// Analyse finds what lowering rests on.
func Analyse(p *rewrite.Program) (*Facts, error) {
	n := len(p.Insns)
	f := &Facts{
		Rows: make([]*isa.Row, n), Reads: make([]isa.RegSet, n), Writes: make([]isa.RegSet, n),
		Target: make([]bool, n), Live: make([]isa.RegSet, n), insns: p.Insns, Heavy: FindHeavy(p),
	}
	subs := p.Subprogs
	if len(subs) == 0 {
		subs = []verifier.Subprog{{End: n, StackDepth: isa.StackSize}}
	}
	called := make(map[int]bool)
	for pc := 0; pc < n; pc++ {
		ins := p.Insns[pc]
		row := isa.LookupRewritten(ins)
		switch {
		case ins.IsLoadImm64() && pc+1 < n:
			f.Writes[pc] = isa.Regs(ins.Dst)
			pc++
			continue
		case row == nil:
			return nil, f.Unknown(pc)
		case ins.IsLocalCall():
			called[pc+1+int(ins.Imm)] = true
		case isJump(ins):
			to := pc + 1 + ins.JumpOffset()
			if to < 0 || to >= n {
				return nil, f.Unknown(pc)
			}
			f.Target[to] = true
		}
		f.Rows[pc], f.Reads[pc], f.Writes[pc] = row, row.Reads(ins), row.Writes(ins)
	}
	for pc := range p.Insns {
		if start, ok := f.loop(pc); ok {
			called[start] = true // native code may call it
		}
	}
	for i, s := range subs {
		fn := Function{Subprog: s}
		fn.Root = !called[s.Start] && (i == 0 || s.Callback || s.Exception)
		f.Target[s.Start] = true
		f.frame(&fn)
		f.Functions = append(f.Functions, fn)
	}
	f.liveness()
	return f, nil
}

// Unknown is the error for an instruction that cannot be lowered.
func (f *Facts) Unknown(pc int) error {
	return fmt.Errorf("slot %d: %w %v", pc, ErrUnknown, f.insns[pc])
}

// Callee returns the index of the function that the local call at pc goes to.
func (f *Facts) Callee(pc int) (i int, ok bool) {
	for i := range f.Functions {
		if f.Functions[i].Start == pc+1+int(f.insns[pc].Imm) {
			return i, true
		}
	}
	return 0, false
}

// Callback returns the index of the function that R2 names at the call at pc, if that is plain to see.
func (f *Facts) Callback(pc int) (i int, ok bool) {
	start, ok := f.callback(pc)
	for i := range f.Functions {
		if ok && f.Functions[i].Start == start {
			return i, true
		}
	}
	return 0, false
}

// loop returns where the callback of the bpf_loop at pc begins, if that is plain to see.
func (f *Facts) loop(pc int) (start int, ok bool) {
	if ins := f.insns[pc]; !ins.IsHelperCall() || ins.Imm != int32(catalog.FnLoop) {
		return 0, false
	}
	return f.callback(pc)
}

// callback looks for the load of R2 on the straight way to pc.
func (f *Facts) callback(pc int) (start int, ok bool) {
	for at := pc - 1; at >= 0 && !f.Target[at+1]; at-- {
		if f.Writes[at].Has(isa.R2) {
			ins := f.insns[at]
			return at + 1 + int(ins.Imm), ins.IsLoadImm64() && ins.Src == isa.PseudoFunc
		}
	}
	return 0, false
}

// Const returns the number that r has at pc, if that is plain to see on the straight way there.
func (f *Facts) Const(pc int, r isa.Register) (v uint64, ok bool) {
	for at := pc - 1; at >= 0 && !f.Target[at+1]; at-- {
		if !f.Writes[at].Has(r) {
			continue
		}
		ins := f.insns[at]
		if ins.Op.UsesReg() || ins.Op.ALUOp() != isa.Mov {
			return 0, false
		}
		switch ins.Op.Class() {
		case isa.ClassALU64:
			return uint64(int64(ins.Imm)), true
		case isa.ClassALU:
			return uint64(uint32(ins.Imm)), true
		}
		return 0, false
	}
	return 0, false
}

// frame finds out how large a frame fn needs.
func (f *Facts) frame(fn *Function) {
	fn.Size = (int32(fn.StackDepth) + 7) &^ 7
	var written isa.RegSet
	for pc := fn.Start; pc < fn.End; pc++ {
		ins := f.insns[pc]
		written |= f.Writes[pc]
		if f.Reads[pc].Has(isa.RFP) || ins.IsHelperCall() && ins.Imm == int32(catalog.FnTailCall) {
			fn.Pointer = true
		}
		if _, loop := f.loop(pc); loop || ins.IsLocalCall() {
			fn.Calls = true
		}
		if ins.Op == mayGoto && !fn.Counter {
			fn.Counter, fn.Pointer = true, true
			fn.Size += CounterSize
		}
	}
	if !fn.Pointer {
		fn.Size = 0
	}
	if fn.Root {
		return
	}
	for r := isa.R6; r <= isa.R9; r++ {
		if written.Has(r) {
			fn.Saved = append(fn.Saved, r)
		}
	}
}

// liveness finds which registers' values are still needed, backwards through
// the control flow until nothing changes.
func (f *Facts) liveness() {
	live := f.Live
	before := func(pc int) isa.RegSet { // what is needed before pc
		if f.insns[pc].IsExit() {
			// The caller's, too, if the function does not save them.
			return isa.Regs(isa.R0, isa.R6, isa.R7, isa.R8, isa.R9, isa.RFP)
		}
		return live[pc]&^f.Writes[pc] | f.Reads[pc]
	}
	for changed := true; changed; {
		changed = false
		for pc := len(f.insns) - 1; pc >= 0; pc-- {
			ins := f.insns[pc]
			if pc > 0 && f.insns[pc-1].IsLoadImm64() {
				continue // second half of a load
			}
			next := pc + 1
			if ins.IsLoadImm64() {
				next++
			}
			var after isa.RegSet
			if isJump(ins) {
				after = before(pc + 1 + ins.JumpOffset())
			}
			if !ins.IsExit() && !isGoto(ins) && next < len(f.insns) {
				after |= before(next)
			}
			if after != live[pc] {
				live[pc], changed = after, true
			}
		}
	}
}

// isJump reports whether ins goes, or may go, to another slot of its function.
func isJump(ins isa.Instruction) bool {
	return ins.Op.Class().IsJump() && ins.Op.JumpOp() != isa.Call && !ins.IsExit()
}

// isGoto reports whether ins jumps in any case.
func isGoto(ins isa.Instruction) bool { return ins.Op.Class().IsJump() && ins.Op.JumpOp() == isa.Ja }
