package explain

import (
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// spot is a register, or eight bytes of stack, of one frame.
type spot struct {
	frame int
	slot  bool
	index int // of the register or slot
}

// value is what was known of a spot at a moment; nil: nothing, or stack bytes that hold no register.
func (s *story) value(at int, sp spot) *verifier.Value {
	m := &s.h.Steps[at]
	if sp.frame >= len(m.Frames) {
		return nil
	}
	f := m.Frames[sp.frame]
	if !sp.slot {
		return f.Regs[sp.index]
	}
	if sp.index < 0 || sp.index >= len(f.Stack) {
		return nil
	}
	return f.Stack[sp.index].Value
}

func (s *story) slot(at int, sp spot) *verifier.Slot {
	m := &s.h.Steps[at]
	if sp.frame >= len(m.Frames) || sp.index < 0 || sp.index >= len(m.Frames[sp.frame].Stack) {
		return nil
	}
	return m.Frames[sp.frame].Stack[sp.index]
}

// how is what an instruction did to a spot.
type how uint8

const (
	began       how = iota // it was there when the path began: a parameter
	moved                  // from another register, all of it
	halved                 // from another register, 32 bits of it
	extended               // from another register, with its sign
	spilled                // from a register to the stack
	filled                 // from the stack to a register
	passed                 // as an argument of a function of the program
	returned               // as its result
	computed               // by arithmetic, from itself and an operand
	constant               // a constant
	named                  // a 64-bit constant: map, variable, function
	loaded                 // from memory
	stored                 // stack bytes that hold no whole register
	called                 // by a helper or kernel function
	cleared                // by a call: R1–R5
	invalidated            // by a call: what it pointed to is gone
	handed                 // as an argument of a callback
	narrowed               // by a conditional jump
)

// event is one step in the life of a value.
type event struct {
	at   int // the moment of the instruction; -1 for began
	how  how
	to   spot // where the value is after it
	from spot // where it was before
	// other is the register operand of arithmetic, if it has one.
	other    spot
	hasOther bool
}

// before returns what last happened to sp before moment i.
func (s *story) before(i int, sp spot) event {
	for j := i - 1; j >= 0; j-- {
		if e, ok := s.happened(j, sp); ok {
			e.to = sp
			return e
		}
	}
	return event{at: -1, how: began, to: sp, from: sp}
}

// happened tells what the instruction of moment j did to sp, if anything.
func (s *story) happened(j int, sp spot) (event, bool) {
	e := event{at: j, from: sp}
	d0, d1 := s.depth(j), s.depth(j+1)
	ins := s.insn(j)
	in := func(r int) spot { return spot{frame: d0, index: r} }
	switch {
	case d1 > d0 && sp.frame == d1: // a call into this frame
		if sp.slot || sp.index == 10 {
			return e, false
		}
		if ins.IsLocalCall() {
			e.how, e.from = passed, in(sp.index)
		} else {
			e.how = handed
		}
		return e, true
	case d1 < d0 && sp.frame == d1 && !sp.slot && sp.index <= 5: // back to this frame
		switch {
		case sp.index != 0:
			e.how = cleared
		case s.h.Steps[j].Frames[d0].Callback:
			e.how = called
		default:
			e.how, e.from = returned, in(0)
		}
		return e, true
	case d1 == d0 && sp.frame == d0 && !sp.slot:
		if e, ok := s.wrote(j, ins, sp); ok {
			return e, true
		}
	}
	if sp.slot {
		a, b := s.slot(j, sp), s.slot(j+1, sp)
		if a == b {
			return e, false
		}
		if ins.Op.Class() == isa.ClassSTX && ins.Op.Mode() == isa.ModeMEM && b != nil && b.Value != nil {
			e.how, e.from = spilled, in(int(ins.Src))
			return e, true
		}
	}
	v0, v1 := s.value(j, sp), s.value(j+1, sp)
	switch {
	case v0 == v1 && !sp.slot:
		return e, false
	case v0.Set() && v0.Pointer() && (v1 == nil || !v1.Pointer()) && isCall(ins):
		e.how = invalidated
	case isJump(ins) && v0 != nil && v1 != nil:
		e.how = narrowed
	case sp.slot && isCall(ins):
		e.how = called
	case sp.slot:
		e.how = stored
	default:
		return e, false // an id, a precision mark
	}
	return e, true
}

func isCall(ins isa.Instruction) bool {
	return ins.IsHelperCall() || ins.IsKfuncCall() || ins.IsLocalCall() || ins.IsExit()
}

// isJump reports a conditional jump.
func isJump(ins isa.Instruction) bool {
	if !ins.Op.Class().IsJump() {
		return false
	}
	switch ins.Op.JumpOp() {
	case isa.Call, isa.Exit, isa.Ja:
		return false
	}
	return true
}

// wrote tells how an instruction writes a register of its own frame, if it does.
func (s *story) wrote(j int, ins isa.Instruction, sp spot) (event, bool) {
	e := event{at: j, from: sp}
	in := func(r isa.Register) spot { return spot{frame: sp.frame, index: int(r)} }
	dst := int(ins.Dst) == sp.index
	switch ins.Op.Class() {
	case isa.ClassALU, isa.ClassALU64:
		if !dst {
			return e, false
		}
		wide := ins.Op.Class() == isa.ClassALU64
		switch {
		case ins.Op.ALUOp() != isa.Mov:
			e.how = computed
			if ins.Op.UsesReg() && ins.Op.ALUOp() != isa.End && ins.Op.ALUOp() != isa.Neg {
				e.other, e.hasOther = in(ins.Src), true
			}
		case !ins.Op.UsesReg():
			e.how = constant
		case ins.Off != 0:
			e.how, e.from = extended, in(ins.Src)
		case wide:
			e.how, e.from = moved, in(ins.Src)
		default:
			e.how, e.from = halved, in(ins.Src)
		}
		return e, true
	case isa.ClassLD:
		switch {
		case ins.IsLoadImm64():
			e.how = named
			return e, dst
		case sp.index == 0:
			e.how = loaded
			return e, true
		case sp.index <= 5:
			e.how = cleared
			return e, true
		}
	case isa.ClassLDX:
		if !dst {
			return e, false
		}
		e.how = loaded
		p := s.value(j, in(ins.Src))
		if p != nil && p.Kind() == "fp" && p.Fixed() {
			at := spot{frame: p.Frame(), slot: true, index: slotOf(p.Offset() + int(ins.Off))}
			if v := s.value(j, at); v != nil {
				e.how, e.from = filled, at
			}
		}
		return e, true
	case isa.ClassSTX:
		if ins.Op.Mode() != isa.ModeATOMIC || ins.Imm&1 == 0 { // BPF_FETCH
			return e, false
		}
		r := ins.Src
		if ins.Imm == isa.AtomicCmpXch {
			r = isa.R0
		}
		e.how = loaded
		return e, int(r) == sp.index
	default:
		if ins.Op.JumpOp() == isa.Call && ins.Op.Class() == isa.ClassJMP {
			switch {
			case sp.index == 0:
				e.how = called
				return e, true
			case sp.index <= 5:
				e.how = cleared
				return e, true
			}
		}
	}
	return e, false
}

// slotOf is the slot that the byte at off from the frame pointer lies in.
func slotOf(off int) int { return (-off - 1) / 8 }

// maxLineage bounds how far a value is followed back.
const maxLineage = 256

// lineage follows the value of sp at moment i back to where it comes from. The
// newest event is first; the last is its origin.
func (s *story) lineage(i int, sp spot) []event {
	var list []event
	for len(list) < maxLineage {
		e := s.before(i, sp)
		list = append(list, e)
		switch e.how {
		case moved, halved, extended, spilled, filled, passed, returned:
		case narrowed, invalidated:
		case computed:
			// A pointer moved by a number stays what it is; a number combined with another is new.
			v, o := s.value(e.at, e.from), (*verifier.Value)(nil)
			if e.hasOther {
				o = s.value(e.at, e.other)
			}
			switch {
			case o != nil && o.Pointer() && v != nil && v.Scalar():
				e.from = e.other
			case o != nil && v != nil && v.Scalar() && o.Scalar():
				if _, known := o.Const(); !known {
					if _, known := v.Const(); !known || s.insn(e.at).Op.ALUOp() != isa.Add {
						return list
					}
					e.from = e.other
				}
			}
		default:
			return list
		}
		i, sp = e.at, e.from
	}
	return list
}

// origin is the last of a lineage.
func origin(list []event) event { return list[len(list)-1] }

// find returns the newest event of a kind.
func find(list []event, h how) (event, bool) {
	for _, e := range list {
		if e.how == h {
			return e, true
		}
	}
	return event{}, false
}
