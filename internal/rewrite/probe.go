package rewrite

import (
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// probeLoads marks loads through kernel pointers that may be stale, so that a
// fault reads as zero (BPF_PROBE_MEM, BPF_PROBE_MEMSX).
func probeLoads(c *code) {
	c.rewrite(func(x *node) bool {
		if c.fact(x).Access != verifier.AccessBTF || x.ins.Op.Class() != isa.ClassLDX {
			return false
		}
		c.emit(probing(x.ins))
		return true
	})
}

// probing returns the load in its probing mode.
func probing(ins isa.Instruction) isa.Instruction {
	mode := isa.ModeProbeMEM
	if ins.Op.Mode() == isa.ModeMEMSX {
		mode = isa.ModeProbeMEMSX
	}
	ins.Op = ins.Op&^0xe0 | mode
	return ins
}
