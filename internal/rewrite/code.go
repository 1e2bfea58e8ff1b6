package rewrite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Errors of rewriting.
var (
	// ErrRange: a jump cannot reach its target any more.
	ErrRange = errors.New("jump out of range after rewriting")
	// ErrKernelSymbol: the program takes the address of a variable of the kernel's.
	ErrKernelSymbol = errors.New("kernel variables have no address in user space")
)

// Error is a program that cannot be rewritten.
type Error struct {
	Slot int // of the verified program
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("insn %d: %v", e.Slot, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// place is somewhere jumps can go: a label in the list of nodes, where one does go
// there. Places 0 to n−1 are the slots of the verified program; those of functions and of
// passes follow.
type place int32

const nowhere place = -1

// node is an instruction or a label.
type node struct {
	ins  isa.Instruction // one slot; the first of a 64-bit load
	next int32           // Imm of a 64-bit load's second slot
	orig int32           // slot of the verified program it belongs to
	to   place           // target of a jump, call or function address, or nowhere
	at   place           // of a label, else nowhere
	made bool            // by a pass, so that the verifier knows nothing of it
}

// code is a program on its way through the passes.
//
//	label F0      function 0: calls arrive here
//	  st …        (a prologue, inserted by a pass)
//	label 0       slot 0: jumps arrive here
//	  r6 = r1
//	  …
//	label 7       slot 7: a jump arrives here, too
//	  …
type code struct {
	prog     *verifier.Program
	facts    *verifier.Result
	kind     *catalog.ProgKind // nil when the type is unknown
	nodes    []node
	out      []node // what the running pass writes
	spare    []node // room for the next one's
	cur      int32  // orig of what the pass emits
	places   place  // how many there are
	subprogs []verifier.Subprog
	entry    []place       // of functions, by index
	blind    func() uint32 // see Options
	guard    bool
	doubt    bool
	err      error
}

// contextType is the type whose context a program has: its own, of ext programs the target's.
func contextType(p *verifier.Program) catalog.ProgType {
	if p.Type == catalog.ProgExt && p.Target != nil {
		return p.Target.Type
	}
	return p.Type
}

func newCode(p *verifier.Program, facts *verifier.Result) *code {
	n := len(p.Insns)
	c := &code{prog: p, facts: facts, kind: catalog.ProgKindByType(contextType(p)), places: place(n)}
	c.subprogs = append(c.subprogs, facts.Subprogs...)
	if len(c.subprogs) == 0 {
		c.subprogs = []verifier.Subprog{{End: n, StackDepth: isa.StackSize}}
	}
	starts := make(map[int]place, len(c.subprogs))
	for _, s := range c.subprogs {
		f := c.newPlace()
		c.entry = append(c.entry, f)
		starts[s.Start] = f
	}
	function := func(pc int) place {
		f, ok := starts[pc]
		if !ok {
			panic(fmt.Sprintf("BUG: rewrite: no function at slot %d", pc))
		}
		return f
	}
	labels, count := targets(p.Insns)
	c.nodes = make([]node, 0, n+n/4+count+2*len(c.subprogs))
	next := 0 // function
	for pc := 0; pc < n; pc++ {
		ins := p.Insns[pc]
		if next < len(c.subprogs) && c.subprogs[next].Start == pc {
			c.nodes = append(c.nodes, node{orig: int32(pc), to: nowhere, at: c.entry[next]})
			labels[pc] = true
			next++
		}
		if labels[pc] {
			c.nodes = append(c.nodes, node{orig: int32(pc), to: nowhere, at: place(pc)})
		}
		x := node{ins: ins, orig: int32(pc), to: nowhere, at: nowhere}
		switch {
		case ins.IsLoadImm64():
			pc++
			x.next = p.Insns[pc].Imm
			if ins.Src == isa.PseudoFunc {
				x.to = function(pc + int(ins.Imm))
			}
		case ins.IsLocalCall():
			x.to = function(pc + 1 + int(ins.Imm))
		case isJump(ins):
			x.to = place(pc + 1 + ins.JumpOffset())
		}
		c.nodes = append(c.nodes, x)
	}
	return c
}

// isJump reports whether ins names a target by Off or Imm: conditional or not, may_goto too.
func isJump(ins isa.Instruction) bool {
	return ins.Op.Class().IsJump() && !ins.IsExit() && ins.Op.JumpOp() != isa.Call && ins.Op != isa.Opcode(isa.ClassJMP)|isa.Ja|isa.SrcX
}

// targets marks the slots that jumps go to, and counts the jumps.
func targets(insns []isa.Instruction) (at []bool, jumps int) {
	at = make([]bool, len(insns))
	for pc := 0; pc < len(insns); pc++ {
		switch ins := insns[pc]; {
		case ins.IsLoadImm64():
			pc++
		case !ins.IsLocalCall() && isJump(ins):
			at[pc+1+ins.JumpOffset()] = true
			jumps++
		}
	}
	return at, jumps
}

func (c *code) newPlace() place {
	c.places++
	return c.places - 1
}

// fact is what the verifier found for the instruction x: nothing, where a pass has made it.
func (c *code) fact(x *node) *verifier.InsnFacts {
	if x.made {
		return &noFacts
	}
	return &c.facts.Insns[x.orig]
}

var noFacts = verifier.InsnFacts{Seen: true}

// rewrite runs f over all instructions. f emits what shall stand in x's place
// and returns true, or returns false to leave x as it is. A pass that changes
// nothing writes nothing.
func (c *code) rewrite(f func(x *node) bool) {
	c.out = c.spare[:0]
	done, changed := 0, false // of nodes, those that out has already
	for i := range c.nodes {
		x := &c.nodes[i]
		before := len(c.out)
		c.cur = x.orig
		if x.at != nowhere || !f(x) {
			continue
		}
		if !changed {
			c.out, changed = slices.Grow(c.out, len(c.nodes)+len(c.nodes)/4), true
		}
		c.out = slices.Insert(c.out, before, c.nodes[done:i]...)
		done = i + 1
	}
	if changed {
		c.out = append(c.out, c.nodes[done:]...)
		c.nodes, c.spare = c.out, c.nodes
	}
}

// emit writes instructions of one slot that jump nowhere.
func (c *code) emit(ins ...isa.Instruction) {
	for _, i := range ins {
		c.out = append(c.out, node{ins: i, orig: c.cur, to: nowhere, at: nowhere, made: true})
	}
}

// jump writes a jump to a place.
func (c *code) jump(ins isa.Instruction, to place) {
	c.out = append(c.out, node{ins: ins, orig: c.cur, to: to, at: nowhere, made: true})
}

// imm64 writes a 64-bit load.
func (c *code) imm64(dst isa.Register, v uint64) {
	c.out = append(c.out, node{
		ins:  isa.Instruction{Op: isa.LoadImm64, Dst: dst, Imm: int32(uint32(v))},
		next: int32(uint32(v >> 32)), orig: c.cur, to: nowhere, at: nowhere, made: true,
	})
}

// label puts a place here.
func (c *code) label(p place) { c.out = append(c.out, node{orig: c.cur, to: nowhere, at: p}) }

// fail notes that the instruction x cannot be rewritten.
func (c *code) fail(x *node, err error) {
	if c.err == nil {
		c.err = &Error{Slot: int(x.orig), Err: err}
	}
}

// slots is how many slots the node takes.
func (x *node) slots() int {
	switch {
	case x.at != nowhere:
		return 0
	case x.ins.IsLoadImm64():
		return 2
	}
	return 1
}

// layout gives every node its slot, and jumps their offsets.
func (c *code) layout() (*Program, error) {
	pos := make([]int, c.places)
	for i := range pos {
		pos[i] = -1
	}
	size := 0
	for i := range c.nodes {
		if x := &c.nodes[i]; x.at != nowhere {
			pos[x.at] = size
		} else {
			size += x.slots()
		}
	}
	p := &Program{
		Insns: make([]isa.Instruction, 0, size), Orig: make([]int32, 0, size), First: make([]bool, size),
		Subprogs: c.subprogs, Source: c.prog, Facts: c.facts,
	}
	begun := int32(nowhere) // the slot whose expansion the nodes belong to
	for i := range c.nodes {
		x := &c.nodes[i]
		if x.at != nowhere {
			switch {
			case x.at == place(x.orig): // behind a prologue
				begun = int32(nowhere)
			case c.isEntry(x.at): // before it
				begun = x.orig
			}
			continue
		}
		pc := len(p.Insns)
		p.First[pc], begun = x.orig != begun, x.orig
		ins := x.ins
		if x.to != nowhere {
			if pos[x.to] < 0 {
				panic(fmt.Sprintf("BUG: rewrite: insn %d goes to place %d, which is nowhere", x.orig, x.to))
			}
			var err error
			if ins, err = aim(ins, pos[x.to]-pc-1); err != nil {
				return nil, &Error{Slot: int(x.orig), Err: err}
			}
		}
		p.Insns, p.Orig = append(p.Insns, ins), append(p.Orig, x.orig)
		if x.slots() == 2 {
			p.Insns, p.Orig = append(p.Insns, isa.Instruction{Imm: x.next}), append(p.Orig, x.orig)
		}
	}
	for i := range p.Subprogs {
		p.Subprogs[i].Start = pos[c.entry[i]]
		p.Subprogs[i].End = size
		if i > 0 {
			p.Subprogs[i-1].End = p.Subprogs[i].Start
		}
	}
	return p, nil
}

// isEntry reports whether p is where calls of a function arrive.
func (c *code) isEntry(p place) bool {
	n := place(len(c.prog.Insns)) // entries come first behind the slots
	return p >= n && p < n+place(len(c.entry))
}

// aim points a jump, call or function address delta slots ahead of the next
// slot. A plain goto that would have to go too far becomes a gotol.
func aim(ins isa.Instruction, delta int) (isa.Instruction, error) {
	const goto16, gotol = isa.Opcode(isa.ClassJMP) | isa.Ja, isa.Opcode(isa.ClassJMP32) | isa.Ja
	switch {
	case ins.IsLocalCall(), ins.IsLoadImm64(), ins.Op == gotol:
		ins.Imm = int32(delta)
	case delta == int(int16(delta)):
		ins.Off = int16(delta)
	case ins.Op == goto16:
		return isa.Gotol(int32(delta)), nil
	default:
		return ins, fmt.Errorf("%w: %d slots, at most %d", ErrRange, delta, math.MaxInt16)
	}
	return ins, nil
}
