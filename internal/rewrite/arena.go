package rewrite

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Address-space casts: the immediate holds the target's space in its upper
// half, the source's in its lower. Space 1 is the arena as user space sees it.
const (
	castToKernel = 1
	castToUser   = 1 << 16
)

// convertArena turns arena pointers into addresses. To a program they are 32
// bits wide: an access goes to the arena's base plus those bits, a cast to user
// space puts the upper bits of the arena's user address before them, a cast
// back takes them off. Loads probe, since a page may not be there.
//
// Arithmetic on such a pointer may leave something in its upper bits; they
// mean nothing, so an access clears them first.
func convertArena(c *code) {
	arena := c.arena()
	if arena == nil {
		return
	}
	c.rewrite(func(x *node) bool {
		const movX = isa.Opcode(isa.ClassALU64) | isa.Mov | isa.SrcX
		ins := x.ins
		switch {
		case ins.Op == movX && ins.Off == 1 && ins.Imm == castToUser && arena.Flags&catalog.FlagNoUserConv == 0:
			c.castToUser(ins, arena)
		case ins.Op == movX && ins.Off == 1:
			c.emit(isa.Mov32Reg(ins.Dst, ins.Src))
		case c.fact(x).Access == verifier.AccessArena:
			ptr := &ins.Dst
			if ins.Op.Class() == isa.ClassLDX {
				ptr = &ins.Src
				ins = probing(ins)
			}
			c.emit(isa.Mov32Reg(*ptr, *ptr))
			c.imm64(isa.AX, arena.ValueBase)
			if c.blind != nil && ins.Op.Class() == isa.ClassST { // its constant will want AX
				c.emit(isa.ALU64Reg(isa.Add, *ptr, isa.AX), ins, isa.Mov32Reg(*ptr, *ptr))
				return true
			}
			c.emit(isa.ALU64Reg(isa.Add, isa.AX, *ptr))
			*ptr = isa.AX
			c.emit(ins)
		default:
			return false
		}
		return true
	})
}

// castToUser makes a user address of a non-NULL pointer.
func (c *code) castToUser(ins isa.Instruction, arena *catalog.MapDef) {
	base := arena.Extra
	if base == 0 {
		base = arena.ValueBase
	}
	done := c.newPlace()
	c.emit(isa.Mov32Reg(ins.Dst, ins.Src))
	c.jump(isa.JmpImm(isa.Jeq, ins.Dst, 0, 0), done)
	c.imm64(isa.AX, base&^(1<<32-1))
	c.emit(isa.ALU64Reg(isa.Or, ins.Dst, isa.AX))
	c.label(done)
}

// arena returns the program's arena: it can name one only.
func (c *code) arena() *catalog.MapDef {
	for i := range c.facts.Insns {
		if m := c.facts.Insns[i].Map; m != nil && m.Type == catalog.MapArena {
			return m
		}
	}
	return nil
}
