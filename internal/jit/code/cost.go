package code

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// Heavy is a slot whose code may take as long as many instructions: a lookup in
// a trie, which goes by a node for each bit of the key where it has bad luck.
type Heavy struct {
	Slot  int
	Extra int // in instructions
}

// nodeCost is a trie's node in instructions: some 7 ns, where a lookup in a hash
// table has 2 ns for each of the instructions it consists of.
const nodeCost = 4

// FindHeavy returns the heavy slots of a program, in order.
func FindHeavy(p *rewrite.Program) (list []Heavy) {
	if p.Facts == nil || p.Orig == nil {
		return nil
	}
	for pc, ins := range p.Insns {
		if !ins.IsHelperCall() || catalog.HelperID(ins.Imm) != catalog.FnMapLookupElem {
			continue
		}
		if m := p.Facts.Insns[p.Orig[pc]].Map; m != nil && m.Type == catalog.MapLPMTrie {
			list = append(list, Heavy{pc, 8 * (int(m.KeySize) - TrieKeyHead) * nodeCost})
		}
	}
	return list
}

// Cost is what running through slots from to end−1 takes, in instructions.
func Cost(heavy []Heavy, from, end int) int {
	n := end - from
	for _, h := range heavy {
		if h.Slot >= from && h.Slot < end {
			n += h.Extra
		}
	}
	return n
}

// RunCost bounds what a run of p takes, in instructions, where the verifier has walked
// as many of them as any run can have.
func RunCost(p *rewrite.Program, heavy []Heavy, walked int) int {
	if len(heavy) == 0 {
		return walked
	}
	most := 0
	for _, h := range heavy {
		most = max(most, h.Extra)
	}
	for _, ins := range p.Insns {
		if ins.IsLocalCall() || isJump(ins) && ins.JumpOffset() < 0 || ins.IsLoadImm64() && ins.Src == isa.PseudoFunc {
			// A lookup has three instructions before it, its two arguments and its check, at least.
			return walked * (1 + most/4)
		}
	}
	return Cost(heavy, 0, len(p.Insns)) // each slot is passed once
}
