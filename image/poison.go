package image

import (
	"fmt"

	"github.com/skep-bpf/skep/isa"
)

// Missing says which thing of the kernel the instruction at a slot of one of the image's programs went without, when linking found
// nothing for it; "" for any other instruction. A program is refused if it can come there.
func (img *Image) Missing(p *Program, slot int) string {
	if slot < 0 || slot >= len(p.Insns) {
		return ""
	}
	ins := p.Insns[slot]
	if ins.Op != isa.Opcode(isa.ClassJMP)|isa.Call || ins.Src != 0 {
		return ""
	}
	if ins.Imm == poisonCORE {
		return "a CO-RE relocation found nothing in the kernel's types"
	}
	i := int(ins.Imm) - poisonKfunc
	if i < 0 || i >= len(img.Externs) {
		return ""
	}
	ext := img.Externs[i]
	if ext.raw.err == nil {
		return fmt.Sprintf("the kernel's types have no function %s", ext.Name)
	}
	return fmt.Sprintf("kernel function %s: %v", ext.Name, ext.raw.err)
}
