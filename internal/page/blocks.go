package page

import (
	"slices"

	"github.com/skep-bpf/skep/isa"
)

// function is one function of a program: its slots and their basic blocks.
type function struct {
	name       string
	start, end int // slots, end exclusive
	blocks     []block
	stack      string // what its frame needs, if known
}

// block is a run of slots that is entered at its first and left at its last.
type block struct {
	start, end int // slots, end exclusive
	succ       []edge
}

// edge leads from a block to another of the same function.
type edge struct {
	to    int // index in function.blocks
	kind  edgeKind
	count uint64 // how often the verifier went along it
}

type edgeKind uint8

const (
	edgeNext edgeKind = iota // the only way on
	edgeJump                 // a condition holds
	edgeFall                 // it does not
)

// functionStarts finds the first slots of a program's functions in its code.
func functionStarts(insns []isa.Instruction) []int {
	starts := []int{0}
	for at := 0; at < len(insns); at += width(insns, at) {
		ins := insns[at]
		if ins.IsLocalCall() || ins.IsLoadImm64() && ins.Src == isa.PseudoFunc {
			if to := at + 1 + int(ins.Imm); to > 0 && to < len(insns) {
				starts = append(starts, to)
			}
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

// width is how many slots the instruction at slot at takes.
func width(insns []isa.Instruction, at int) int {
	if insns[at].IsLoadImm64() && at+1 < len(insns) {
		return 2
	}
	return 1
}

// way is a slot that may follow another.
type way struct {
	to   int
	kind edgeKind
}

// ways lists where instruction at may go on, within its function.
func ways(insns []isa.Instruction, at int) []way {
	ins := insns[at]
	next := at + width(insns, at)
	if !ins.Op.Class().IsJump() {
		return []way{{next, edgeNext}}
	}
	switch ins.Op.JumpOp() {
	case isa.Exit:
		return nil
	case isa.Call:
		return []way{{next, edgeNext}}
	case isa.Ja:
		return []way{{at + 1 + ins.JumpOffset(), edgeNext}}
	}
	return []way{{next, edgeFall}, {at + 1 + ins.JumpOffset(), edgeJump}}
}

// counts are how often the verifier came by, by slot: over an instruction and
// on to the next, along a jump, and past it. nil: not known.
type counts struct{ over, taken, fell []uint32 }

// findBlocks cuts a function into basic blocks. Jumps out of it, which the
// verifier refuses, lead nowhere.
func (f *function) findBlocks(insns []isa.Instruction, c counts) {
	leader := map[int]bool{f.start: true}
	for at := f.start; at < f.end; at += width(insns, at) {
		to := ways(insns, at)
		if insns[at].Op.Class().IsJump() && insns[at].Op.JumpOp() != isa.Call {
			leader[at+1] = true
			for _, w := range to {
				leader[w.to] = true
			}
		}
	}
	index := map[int]int{}
	last := map[int]int{} // by block: the slot of its last instruction
	for at := f.start; at < f.end; at += width(insns, at) {
		if leader[at] || len(f.blocks) == 0 {
			index[at] = len(f.blocks)
			f.blocks = append(f.blocks, block{start: at})
		}
		n := len(f.blocks) - 1
		f.blocks[n].end = min(at+width(insns, at), f.end)
		last[n] = at
	}
	for i := range f.blocks {
		b := &f.blocks[i]
		for _, w := range ways(insns, last[i]) {
			to, ok := index[w.to]
			if !ok {
				continue
			}
			counts := [...][]uint32{edgeNext: c.over, edgeJump: c.taken, edgeFall: c.fell}[w.kind]
			n := uint64(0)
			if last[i] < len(counts) {
				n = uint64(counts[last[i]])
			}
			b.succ = append(b.succ, edge{to: to, kind: w.kind, count: n})
		}
	}
}
