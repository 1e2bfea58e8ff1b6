package rewrite

import "github.com/skep-bpf/skep/isa"

// resolveImmediates makes addresses of what 64-bit loads name: a map's header,
// a byte of a map's value (resolve_pseudo_ldimm64). A function keeps its
// relative slot, which engines turn into whatever calls it.
func resolveImmediates(c *code) {
	c.rewrite(func(x *node) bool {
		if !x.ins.IsLoadImm64() {
			return false
		}
		m := c.fact(x).Map
		switch x.ins.Src {
		case isa.PseudoMapFD, isa.PseudoMapIdx:
			c.imm64(x.ins.Dst, m.Ptr)
		case isa.PseudoMapValue, isa.PseudoMapIdxValue:
			c.imm64(x.ins.Dst, m.ValueBase+uint64(uint32(x.next)))
		case isa.PseudoBTFID:
			c.fail(x, ErrKernelSymbol)
		default:
			return false
		}
		return true
	})
}
