// Package interp is the interpreter: the slow, obviously right engine, and the
// judge of every faster one.
//
// A [VM] runs programs that internal/rewrite made, for one vCPU. The loop in
// exec.go says what each instruction means, and nothing else; sem.go holds the
// arithmetic that is not Go's own. With a [Checker] set, every instruction is
// first examined: what it reads must be initialised, what it touches must be
// the run's, what it passes must be what the helper's row demands, and the
// registers must lie inside what the verifier claimed. The loop is the same
// in both modes, so checked and unchecked runs cannot differ in meaning.
package interp

import (
	"fmt"
	"strings"

	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Program is a rewritten program made ready for the loop.
type Program struct {
	*rewrite.Program
	// Owner is whatever whoever prepared the program wants to find in it again.
	Owner any

	subprogs []verifier.Subprog
	// subprogAt is the index of the subprogram that begins at a slot, or -1.
	subprogAt []int16
	// rows are isa's, by slot, for the checker; nil for the second slot of a
	// 64-bit load.
	rows []*isa.Row
}

// frameRoom is the stack every call frame gets: the most the verifier grants,
// and room for the slots that rewriting passes add below it.
const frameRoom = isa.StackSize + 64

// Prepare makes a program ready. An error is a fault of the stage before, since
// verified programs have no unknown opcodes, stray jumps or unresolved maps.
func Prepare(p *rewrite.Program) (*Program, error) {
	out := &Program{Program: p, subprogs: p.Subprogs, subprogAt: make([]int16, len(p.Insns)), rows: make([]*isa.Row, len(p.Insns))}
	if len(p.Insns) == 0 {
		return nil, fmt.Errorf("interp: empty program")
	}
	if len(out.subprogs) == 0 {
		out.subprogs = []verifier.Subprog{{End: len(p.Insns), StackDepth: isa.StackSize}}
	}
	for i := range out.subprogAt {
		out.subprogAt[i] = -1
	}
	for i, s := range out.subprogs {
		if s.Start < 0 || s.Start >= len(p.Insns) || s.StackDepth > frameRoom {
			return nil, fmt.Errorf("interp: subprogram %d at slot %d with %d bytes of stack", i, s.Start, s.StackDepth)
		}
		out.subprogAt[s.Start] = int16(i)
	}
	for pc := 0; pc < len(p.Insns); pc++ {
		if err := out.admit(pc); err != nil {
			return nil, fmt.Errorf("interp: slot %d: %w", pc, err)
		}
		if p.Insns[pc].IsLoadImm64() {
			pc++
		}
	}
	return out, nil
}

// admit says why the loop could not carry out the instruction at pc.
func (p *Program) admit(pc int) error {
	ins := p.Insns[pc]
	p.rows[pc] = isa.LookupRewritten(ins)
	if ins.Dst > isa.AX || ins.Src > isa.AX {
		return fmt.Errorf("no register r%d", max(ins.Dst, ins.Src))
	}
	target := pc
	switch class := ins.Op.Class(); {
	case ins.IsLoadImm64():
		if pc+1 >= len(p.Insns) {
			return fmt.Errorf("64-bit load is cut")
		}
		if ins.Src == isa.PseudoFunc {
			return p.callable(pc + 1 + int(ins.Imm))
		}
		if ins.Src != 0 {
			return fmt.Errorf("unresolved 64-bit load (source %d)", ins.Src)
		}
	case ins.IsLocalCall():
		return p.callable(pc + 1 + int(ins.Imm))
	case class.IsJump() && !ins.IsExit() && ins.Op.JumpOp() != isa.Call:
		target = pc + 1 + ins.JumpOffset()
	}
	if target < 0 || target >= len(p.Insns) {
		return fmt.Errorf("jump to slot %d", target)
	}
	if !known(p.rows[pc]) {
		return fmt.Errorf("unknown instruction %#02x (offset %d, immediate %d)", uint8(ins.Op), ins.Off, ins.Imm)
	}
	return nil
}

func (p *Program) callable(slot int) error {
	if slot < 0 || slot >= len(p.subprogAt) || p.subprogAt[slot] < 0 {
		return fmt.Errorf("no subprogram at slot %d", slot)
	}
	return nil
}

// known reports whether the loop has a case for a form: all of isa's table but
// address-space casts, which rewriting removes, and of the forms rewriting
// makes the probing loads.
func known(row *isa.Row) bool {
	return row != nil && row.Name != "addr_space_cast" && !strings.HasPrefix(row.Name, "arena_")
}
