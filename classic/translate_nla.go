package classic

import "github.com/skep-bpf/skep/isa"

// Registers of the search for a netlink attribute; the rest of a translated
// program leaves them alone. The header under the cursor is fetched to the
// stack, below the scratch slots.
const (
	regCursor = isa.R8
	regEnd    = isa.R9
	headerAt  = -72
)

// attribute emits the search for the attribute of type X from offset A on, or
// within the attribute at offset A, as findAttribute does it. The loop has a
// budget, for the verifier's sake, that no packet exhausts.
func (t *translator) attribute(nested bool) {
	s := search{t: t}
	s.t.emit(isa.Mov32Reg(regCursor, regA))
	t.field(regEnd, skbLen)
	// No header fits behind A.
	t.emit(isa.Mov64Reg(isa.R1, regEnd), isa.ALU64Imm(isa.Sub, isa.R1, attributeHeader))
	s.fail(isa.JmpReg(isa.Jsgt, regCursor, isa.R1, 0))
	if nested {
		s.header()
		t.emit(
			isa.Mov64Reg(regEnd, regCursor),
			isa.ALU64Reg(isa.Add, regEnd, isa.R1),
			isa.ALU64Imm(isa.Add, regCursor, attributeHeader),
		)
	}
	loop := len(t.out)
	s.fail(isa.MayGoto(0))
	t.emit(
		isa.Mov64Reg(isa.R2, regEnd),
		isa.ALU64Reg(isa.Sub, isa.R2, regCursor),
	)
	s.fail(isa.JmpImm(isa.Jslt, isa.R2, attributeHeader, 0))
	s.header()
	t.emit(
		isa.LoadMem(isa.H, isa.R2, isa.R10, headerAt+2),
		isa.ALU64Imm(isa.And, isa.R2, attributeType),
		isa.JmpReg(isa.Jeq, isa.R2, regX, 4), // found
		isa.ALU64Imm(isa.Add, isa.R1, 3),
		isa.ALU64Imm(isa.And, isa.R1, ^3),
		isa.ALU64Reg(isa.Add, regCursor, isa.R1),
	)
	t.emit(isa.Goto(int16(loop - len(t.out) - 1)))
	t.emit(isa.Mov32Reg(regA, regCursor), isa.Goto(1)) // found:
	for _, slot := range s.fails {
		t.out[slot].Off = int16(len(t.out) - slot - 1)
	}
	t.emit(isa.Mov32Imm(regA, 0))
}

// search is one search being emitted.
type search struct {
	t     *translator
	fails []int // jumps to where nothing was found
}

// fail emits a jump to where nothing was found.
func (s *search) fail(ins isa.Instruction) {
	s.fails = append(s.fails, len(s.t.out))
	s.t.emit(ins)
}

// header fetches the header under the cursor, its length to r1, and fails where
// there is none or it says less than itself or more than is left.
func (s *search) header() {
	s.t.emit(
		isa.Mov64Reg(isa.R1, regCtx),
		isa.Mov64Reg(isa.R2, regCursor),
		isa.Mov64Reg(isa.R3, isa.R10),
		isa.ALU64Imm(isa.Add, isa.R3, headerAt),
		isa.Mov64Imm(isa.R4, attributeHeader),
		isa.HelperCall(helperLoadBytes),
	)
	s.fail(isa.JmpImm(isa.Jne, isa.R0, 0, 0))
	s.t.emit(isa.LoadMem(isa.H, isa.R1, isa.R10, headerAt))
	s.fail(isa.JmpImm(isa.Jlt, isa.R1, attributeHeader, 0))
	s.t.emit(isa.Mov64Reg(isa.R2, regEnd), isa.ALU64Reg(isa.Sub, isa.R2, regCursor))
	s.fail(isa.JmpReg(isa.Jsgt, isa.R1, isa.R2, 0))
}
