package verify

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// loops notes the first jump that closes a circle: before bounded loops, the
// verifier refused those wherever they were.
func (c *collector) loops() {
	insns := c.prog.Insns
	const (
		fresh   = iota
		onPath  // on the way from the function's first slot to here
		settled // and everything behind it
	)
	mark := make([]uint8, len(insns))
	type step struct{ slot, next int } // next of the successors to follow
	for start := range insns {
		if mark[start] != fresh || !c.res.Insns[start].Seen {
			continue
		}
		path := []step{{slot: start}}
		mark[start] = onPath
		for len(path) > 0 {
			top := &path[len(path)-1]
			succ := successors(insns, top.slot)
			if top.next == len(succ) {
				mark[top.slot] = settled
				path = path[:len(path)-1]
				continue
			}
			to := succ[top.next]
			from := top.slot
			top.next++
			if to < 0 || to >= len(insns) {
				continue
			}
			switch mark[to] {
			case onPath:
				c.ability(from, catalog.AbilityLoops)
				return
			case fresh:
				mark[to] = onPath
				path = append(path, step{slot: to})
			}
		}
	}
}

// successors returns the slots that may follow one within its function.
func successors(insns []isa.Instruction, slot int) []int {
	ins := insns[slot]
	switch {
	case ins.IsExit():
		return nil
	case ins.IsLoadImm64():
		return []int{slot + 2}
	case !ins.Op.Class().IsJump() || ins.Op.JumpOp() == isa.Call:
		return []int{slot + 1}
	case ins.Op.JumpOp() == isa.Ja:
		return []int{slot + 1 + ins.JumpOffset()}
	}
	return []int{slot + 1, slot + 1 + ins.JumpOffset()}
}
