package rewrite

import "github.com/skep-bpf/skep/isa"

// maxLoops is how often one activation of a function may pass its may_goto
// instructions (BPF_MAX_LOOPS).
const maxLoops = 8 << 20

// expandMayGoto gives each function with a may_goto a counter below its stack,
// set when it is entered, and counts in it:
//
//	rax = *(u64 *)(r10 - depth)
//	if rax == 0 goto target
//	rax -= 1
//	*(u64 *)(r10 - depth) = rax
func expandMayGoto(c *code) {
	depth := make([]int, len(c.subprogs)) // of functions with a counter: where it lies
	fn, found := 0, false
	for i := range c.nodes {
		x := &c.nodes[i]
		for fn+1 < len(c.subprogs) && int(x.orig) >= c.subprogs[fn+1].Start {
			fn++
		}
		if x.at == nowhere && isMayGoto(x.ins) && depth[fn] == 0 {
			depth[fn] = (c.subprogs[fn].StackDepth+7)&^7 + 8
			c.subprogs[fn].StackDepth = depth[fn]
			found = true
		}
	}
	if !found {
		return
	}
	c.out = make([]node, 0, len(c.nodes))
	fn = -1
	for i := range c.nodes {
		x := &c.nodes[i]
		c.cur = x.orig
		switch {
		case x.at != nowhere:
			c.out = append(c.out, *x)
			if fn+1 < len(c.entry) && x.at == c.entry[fn+1] {
				if fn++; depth[fn] != 0 {
					c.emit(isa.StoreImm(isa.DW, isa.RFP, int16(-depth[fn]), maxLoops))
				}
			}
		case isMayGoto(x.ins):
			off := int16(-depth[fn])
			c.emit(isa.LoadMem(isa.DW, isa.AX, isa.RFP, off))
			c.jump(isa.JmpImm(isa.Jeq, isa.AX, 0, 0), x.to)
			c.emit(isa.ALU64Imm(isa.Sub, isa.AX, 1), isa.StoreMem(isa.DW, isa.RFP, isa.AX, off))
		default:
			c.out = append(c.out, *x)
		}
	}
	c.nodes = c.out
}

func isMayGoto(ins isa.Instruction) bool { return ins.Op == isa.Opcode(isa.ClassJMP)|isa.Jcond }
