package sweep

import (
	"fmt"
	"math"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/isa"
)

// compile makes the loop over records with the filter in it:
//
//	start:  r6 = state; r9 = cursor
//	next:   is there a whole record at r9? else goto out
//	        r8 = its packet; r9 = its end
//	        the translated filter: "exit" with r0 = 0 goes to next, else to match
//	match:  does it follow the run, or begin one? then lengthen it, goto next
//	        r9 = its beginning: another sweep's
//	out:    cursor = r9; exit
func compile(prog []classic.Instruction, swap bool, max int) ([]isa.Instruction, error) {
	if err := classic.Check(prog, classic.Libpcap); err != nil {
		return nil, err
	}
	for pc, ins := range prog {
		if ins.Code == classic.JMP|classic.JA && int32(ins.K) < 0 || ins.Ancillary() != nil {
			return nil, fmt.Errorf("%w: instruction %d: %v", ErrUnfit, pc, ins)
		}
	}
	filter, err := classic.Translate(prog, classic.Libpcap)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	l := &loop{labels: map[label]int{}}
	l.emit(isa.Mov64Reg(regState, isa.R1), isa.LoadMem(isa.DW, regEnd, regState, atCursor))
	l.record(swap, max, usesLength(prog))
	l.filter(filter)
	l.match()
	l.at(out)
	l.emit(isa.StoreMem(isa.DW, regState, regEnd, atCursor), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	return l.link()
}

// label is a place jumps lead to: one of the loop's own, or, from 0 on, an
// instruction of the translated filter.
type label int

const (
	next label = -1 - iota
	match
	out
	extend
	leave
)

// loop is the loop being made.
type loop struct {
	insns  []isa.Instruction
	labels map[label]int
	jumps  []jump
}

// jump is a jump at a slot whose distance is not known yet.
type jump struct {
	slot int
	to   label
}

func (l *loop) emit(ins ...isa.Instruction) { l.insns = append(l.insns, ins...) }

func (l *loop) at(name label) { l.labels[name] = len(l.insns) }

func (l *loop) jump(ins isa.Instruction, to label) {
	l.jumps = append(l.jumps, jump{len(l.insns), to})
	l.emit(ins)
}

func (l *loop) link() ([]isa.Instruction, error) {
	for _, j := range l.jumps {
		distance := l.labels[j.to] - j.slot - 1
		if distance < math.MinInt16 || distance > math.MaxInt16 {
			return nil, fmt.Errorf("%w: a jump over %d instructions", ErrUnfit, distance)
		}
		l.insns[j.slot].Off = int16(distance)
	}
	return l.insns, nil
}

func usesLength(prog []classic.Instruction) bool {
	for _, ins := range prog {
		if ins.Row().Form == classic.FormLen {
			return true
		}
	}
	return false
}

// record emits the look at the next record's header.
func (l *loop) record(swap bool, max int, length bool) {
	word := func(to isa.Register, at int16) {
		l.emit(isa.LoadMem(isa.W, to, regEnd, at))
		if swap {
			l.emit(isa.Bswap(to, 32))
		}
	}
	l.at(next)
	l.emit(
		isa.LoadMem(isa.DW, isa.R2, regState, atEnd),
		isa.Mov64Reg(isa.R1, regEnd),
		isa.ALU64Imm(isa.Add, isa.R1, recordHeader),
	)
	l.jump(isa.JmpReg(isa.Jgt, isa.R1, isa.R2, 0), out)
	word(isa.R3, 8)
	l.jump(isa.JmpImm(isa.Jgt, isa.R3, int32(max), 0), out)
	l.emit(isa.Mov64Reg(isa.R4, isa.R3), isa.ALU64Reg(isa.Add, isa.R4, isa.R1))
	l.jump(isa.JmpReg(isa.Jgt, isa.R4, isa.R2, 0), out)
	if length { // as long as it is here, at least
		word(isa.R5, 12)
		l.emit(
			isa.JmpReg(isa.Jge, isa.R5, isa.R3, 1),
			isa.Mov64Reg(isa.R5, isa.R3),
			isa.StoreMem(isa.W, regState, isa.R5, atLength),
		)
	}
	l.emit(
		isa.Mov64Reg(regPacket, isa.R1),
		isa.Mov64Reg(regEnd, isa.R4),
		isa.LoadMem(isa.DW, isa.R1, regState, atPackets),
		isa.ALU64Imm(isa.Add, isa.R1, 1),
		isa.StoreMem(isa.DW, regState, isa.R1, atPackets),
	)
}

// filter emits the translated program, with its packet loads made loads of
// memory and its exits the ways out.
func (l *loop) filter(prog []isa.Instruction) {
	for pc, ins := range prog {
		l.at(label(pc))
		switch {
		case ins == isa.Mov64Reg(regState, isa.R1):
			// The context, which is here already.
		case ins.Op.Class() == isa.ClassLD && (ins.Op.Mode() == isa.ModeABS || ins.Op.Mode() == isa.ModeIND):
			l.load(ins)
		case ins.IsExit():
			before := prog[pc-1]
			switch {
			case before == isa.Mov32Imm(isa.R0, 0):
				l.jump(isa.Goto(0), next)
			case before == isa.Mov32Imm(isa.R0, before.Imm):
				l.jump(isa.Goto(0), match)
			default:
				l.jump(isa.JmpImm(isa.Jeq, isa.R0, 0, 0), next)
				l.jump(isa.Goto(0), match)
			}
		case ins.Op.Class().IsJump():
			l.jump(ins, label(pc+1+int(ins.Off)))
		default:
			l.emit(ins)
		}
	}
}

// load emits a load of the packet; one beyond it drops the packet.
func (l *loop) load(ins isa.Instruction) {
	size := ins.Op.Bytes()
	base, off := regPacket, int16(0)
	switch {
	case ins.Op.Mode() == isa.ModeIND:
		// The translation has made sure that the sum is below 2^31.
		l.emit(
			isa.Mov32Reg(isa.R1, ins.Src),
			isa.ALU32Imm(isa.Add, isa.R1, ins.Imm),
			isa.ALU64Reg(isa.Add, isa.R1, regPacket),
			isa.Mov64Reg(isa.R2, isa.R1),
			isa.ALU64Imm(isa.Add, isa.R2, int32(size)),
		)
		l.jump(isa.JmpReg(isa.Jgt, isa.R2, regEnd, 0), next)
		base = isa.R1
	case ins.Imm < 0:
		l.jump(isa.Goto(0), next)
		return
	case int(ins.Imm)+size <= math.MaxInt16:
		l.emit(isa.Mov64Reg(isa.R1, regPacket), isa.ALU64Imm(isa.Add, isa.R1, ins.Imm+int32(size)))
		l.jump(isa.JmpReg(isa.Jgt, isa.R1, regEnd, 0), next)
		off = int16(ins.Imm)
	default:
		l.emit(
			isa.Mov32Imm(isa.R1, ins.Imm),
			isa.ALU64Imm(isa.Add, isa.R1, int32(size)),
			isa.ALU64Reg(isa.Add, isa.R1, regPacket),
		)
		l.jump(isa.JmpReg(isa.Jgt, isa.R1, regEnd, 0), next)
		base, off = isa.R1, int16(-size)
	}
	l.emit(isa.LoadMem(ins.Op.SizeBits(), isa.R0, base, off))
	if size > 1 {
		l.emit(isa.ToBE(isa.R0, int32(8*size)))
	}
}

// match emits what is done with a record that matches.
func (l *loop) match() {
	l.at(match)
	l.emit(
		isa.Mov64Reg(isa.R1, regPacket),
		isa.ALU64Imm(isa.Add, isa.R1, -recordHeader),
		isa.LoadMem(isa.DW, isa.R2, regState, atRunEnd),
	)
	l.jump(isa.JmpReg(isa.Jeq, isa.R2, isa.R1, 0), extend)
	l.jump(isa.JmpImm(isa.Jne, isa.R2, 0, 0), leave)
	l.emit(isa.StoreMem(isa.DW, regState, isa.R1, atRunStart))
	l.at(extend)
	l.emit(
		isa.StoreMem(isa.DW, regState, regEnd, atRunEnd),
		isa.LoadMem(isa.DW, isa.R3, regState, atMatched),
		isa.ALU64Imm(isa.Add, isa.R3, 1),
		isa.StoreMem(isa.DW, regState, isa.R3, atMatched),
	)
	l.jump(isa.Goto(0), next)
	l.at(leave)
	// It belongs to the next run, and is counted there.
	l.emit(
		isa.Mov64Reg(regEnd, isa.R1),
		isa.LoadMem(isa.DW, isa.R3, regState, atPackets),
		isa.ALU64Imm(isa.Sub, isa.R3, 1),
		isa.StoreMem(isa.DW, regState, isa.R3, atPackets),
	)
}
