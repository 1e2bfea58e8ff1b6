package rewrite

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// inlineLegacy puts in front of a legacy packet load the case that the bytes
// lie in the directly readable part (bpf_skb_load_helper_8 and its kin); the
// load itself stays for all others: paged bytes, negative offsets, and the
// end of the run where the packet is too short.
//
//	w0 = offset                        r0 = src + imm for LD_IND
//	r1 = *(u64 *)(r6 + data)
//	r2 = *(u64 *)(r6 + data_end)
//	r2 -= r1
//	rax = r0
//	rax += size
//	if rax > r2 goto slow
//	r1 += r0
//	r0 = *(size *)(r1 + 0)
//	r0 = be r0
//	goto done
//	slow: r0 = *(size *)skb[…]
//	done:
//
// r0 to r2 make way for r3 and its neighbours where one of them holds the offset of an LD_IND.
func inlineLegacy(c *code) {
	c.rewrite(func(x *node) bool {
		mode := x.ins.Op.Mode()
		if x.ins.Op.Class() != isa.ClassLD || mode != isa.ModeABS && mode != isa.ModeIND || x.ins.Op.Bytes() == 8 {
			return false
		}
		size := x.ins.Op.Bytes()
		var off, data, end isa.Register
		for _, free := range [...]*isa.Register{&off, &data, &end} {
			*free = isa.R0
			for *free == off && free != &off || *free == data && free == &end || mode == isa.ModeIND && *free == x.ins.Src {
				*free++
			}
		}
		slow, done := c.newPlace(), c.newPlace()
		if mode == isa.ModeABS {
			c.emit(isa.Mov32Imm(off, x.ins.Imm))
		} else {
			c.emit(isa.Mov32Reg(off, x.ins.Src), isa.ALU32Imm(isa.Add, off, x.ins.Imm))
		}
		c.emit(
			isa.LoadMem(isa.DW, data, isa.R6, catalog.FrameData),
			isa.LoadMem(isa.DW, end, isa.R6, catalog.FrameDataEnd),
			isa.ALU64Reg(isa.Sub, end, data),
			isa.Mov64Reg(isa.AX, off),
			isa.ALU64Imm(isa.Add, isa.AX, int32(size)),
		)
		c.jump(isa.JmpReg(isa.Jgt, isa.AX, end, 0), slow)
		if c.guard {
			c.emit(isa.Nospec())
		}
		c.emit(
			isa.ALU64Reg(isa.Add, data, off),
			isa.LoadMem(x.ins.Op.SizeBits(), isa.R0, data, 0),
		)
		if size > 1 {
			c.emit(isa.ToBE(isa.R0, int32(8*size)))
		}
		c.jump(isa.Goto(0), done)
		c.label(slow)
		c.emit(x.ins)
		c.label(done)
		return true
	})
}
