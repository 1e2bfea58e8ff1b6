package rewrite

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// inlineLookup writes lookups in arrays known at load time as a comparison and
// an address (array_map_gen_lookup):
//
//	w0 = *(u32 *)(r2 + 0)
//	if r0 >= max_entries goto none
//	r0 *= element size
//	rax = address of value 0 ll
//	r0 += rax
//	goto done
//	none: r0 = 0
//	done:
func inlineLookup(c *code) {
	c.rewrite(func(x *node) bool {
		m := c.fact(x).Map
		if !x.ins.IsHelperCall() || catalog.HelperID(x.ins.Imm) != catalog.FnMapLookupElem || !inlinable(m) {
			return false
		}
		none, done := c.newPlace(), c.newPlace()
		c.emit(isa.LoadMem(isa.W, isa.R0, isa.R2, 0))
		c.jump(isa.JmpImm(isa.Jge, isa.R0, int32(m.MaxEntries), 0), none)
		if c.guard {
			c.emit(isa.Nospec())
		}
		c.emit(isa.ALU64Imm(isa.Mul, isa.R0, int32((m.ValueSize+7)&^7)))
		c.imm64(isa.AX, m.ValueBase)
		c.emit(isa.ALU64Reg(isa.Add, isa.R0, isa.AX))
		c.jump(isa.Goto(0), done)
		c.label(none)
		c.emit(isa.Mov64Imm(isa.R0, 0))
		c.label(done)
		return true
	})
}

// inlinable reports whether m is an array whose figures fit the instructions.
func inlinable(m *catalog.MapDef) bool {
	return m != nil && m.Type == catalog.MapArray && m.ValueBase != 0 &&
		m.MaxEntries < 1<<31 && m.ValueSize < 1<<31-8
}
