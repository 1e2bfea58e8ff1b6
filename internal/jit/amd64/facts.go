package amd64

import (
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// facts is what is known of the program before the first pass.
type facts struct {
	rows          []*isa.Row
	reads, writes []isa.RegSet // registers the instruction at the slot reads and writes
	target        []bool       // some jump goes to the slot, or a function begins there
	live          []isa.RegSet // registers whose value is needed after the slot
}

// counterSize is what a may_goto counter takes.
const counterSize = 8

// analyse finds what lowering rests on.
func (c *compiler) analyse() {
	n := len(c.insns)
	c.facts = facts{
		rows: make([]*isa.Row, n), reads: make([]isa.RegSet, n), writes: make([]isa.RegSet, n),
		target: make([]bool, n), live: make([]isa.RegSet, n),
	}
	subs := c.prog.Subprogs
	if len(subs) == 0 {
		subs = []verifier.Subprog{{End: n, StackDepth: isa.StackSize}}
	}
	called := make(map[int]bool)
	for pc := 0; pc < n; pc++ {
		ins := c.insns[pc]
		row := isa.LookupRewritten(ins)
		switch {
		case ins.IsLoadImm64() && pc+1 < n:
			c.facts.writes[pc] = isa.Regs(ins.Dst)
			pc++
			continue
		case row == nil:
			c.fail(pc)
			return
		case ins.IsLocalCall():
			called[pc+1+int(ins.Imm)] = true
		case isJump(ins):
			to := pc + 1 + ins.JumpOffset()
			if to < 0 || to >= n {
				c.fail(pc)
				return
			}
			c.facts.target[to] = true
		}
		c.facts.rows[pc], c.facts.reads[pc], c.facts.writes[pc] = row, row.Reads(ins), row.Writes(ins)
	}
	for i, s := range subs {
		f := function{Subprog: s}
		f.Root = !called[s.Start] && (i == 0 || s.Callback || s.Exception)
		c.facts.target[s.Start] = true
		c.frame(&f)
		c.funcs = append(c.funcs, f)
	}
	c.liveness()
}

// frame finds out how large a frame f needs.
func (c *compiler) frame(f *function) {
	f.size = (int32(f.StackDepth) + 7) &^ 7
	var written isa.RegSet
	for pc := f.Start; pc < f.End; pc++ {
		ins := c.insns[pc]
		written |= c.facts.writes[pc]
		if c.facts.reads[pc].Has(isa.RFP) || ins.IsHelperCall() && ins.Imm == tailCall {
			f.pointer = true
		}
		if ins.Op == mayGoto && !f.counter {
			f.counter, f.pointer = true, true
			f.size += counterSize
		}
	}
	if !f.pointer {
		f.size = 0
	}
	if f.Root {
		return
	}
	for r := isa.R6; r <= isa.R9; r++ {
		if written.Has(r) {
			f.Saved = append(f.Saved, r)
		}
	}
}

// liveness finds which registers' values are still needed, backwards through
// the control flow until nothing changes.
func (c *compiler) liveness() {
	live := c.facts.live
	before := func(pc int) isa.RegSet { // what is needed before pc
		if c.insns[pc].IsExit() {
			// The caller's, too, if the function does not save them.
			return isa.Regs(isa.R0, isa.R6, isa.R7, isa.R8, isa.R9, isa.RFP)
		}
		return live[pc]&^c.facts.writes[pc] | c.facts.reads[pc]
	}
	for changed := true; changed; {
		changed = false
		for pc := len(c.insns) - 1; pc >= 0; pc-- {
			ins := c.insns[pc]
			if pc > 0 && c.insns[pc-1].IsLoadImm64() {
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
			if !ins.IsExit() && !isGoto(ins) && next < len(c.insns) {
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
