package classic

import "encoding/binary"

// State is a program in the middle of a run: what a debugger shows.
type State struct {
	PC     int // index of the instruction that comes next
	A, X   uint32
	M      [MemWords]uint32
	Done   bool   // the program has returned
	Result uint32 // what it returned
}

// Step runs the instruction at PC by the book, which is slower than [VM.Run]
// and ends the same way. The program must have passed [Check] for the machine.
func (s *State) Step(prog []Instruction, m Machine, packet []byte, aux *Aux) {
	if s.Done {
		return
	}
	if aux == nil {
		aux = &noAux
	}
	ins := prog[s.PC]
	s.PC++
	operand := ins.K
	if ins.Code&SrcMask == X {
		operand = s.X
	}
	switch ins.Class() {
	case LD:
		s.load(ins, m, packet, aux)
	case LDX:
		s.loadX(ins, m, packet, aux)
	case ST:
		s.M[ins.K] = s.A
	case STX:
		s.M[ins.K] = s.X
	case ALU:
		s.compute(ins.Code&OpMask, operand, m)
	case JMP:
		s.jump(ins, operand)
	case RET:
		if ins.Code&RvalMask == A {
			s.finish(s.A)
		} else {
			s.finish(ins.K)
		}
	case MISC:
		if ins.Code&MiscMask == TAX {
			s.X = s.A
		} else {
			s.A = s.X
		}
	}
}

func (s *State) finish(result uint32) { s.Done, s.Result = true, result }

// sizes are the bytes of a load, by its size bits.
var sizes = [...]int{W >> 3: 4, H >> 3: 2, B >> 3: 1}

func (s *State) load(ins Instruction, m Machine, packet []byte, aux *Aux) {
	size := sizes[ins.Code&SizeMask>>3]
	switch ins.Code & ModeMask {
	case IMM:
		s.A = ins.K
	case MEM:
		s.A = s.M[ins.K]
	case LEN:
		s.A = packetLength(m, packet, aux)
	case ABS:
		switch anc := ins.Ancillary(); {
		case m == Seccomp:
			s.A = binary.NativeEndian.Uint32(packet[ins.K:])
		case anc != nil && (m != Libpcap || pcapAncillary(ins)):
			v, ok := aux.ancillary(anc.ID, packet, s.A, s.X)
			if s.A = v; !ok {
				s.finish(v)
			}
		default:
			s.fetch(&s.A, uint64(ins.K), size, m, packet, aux)
		}
	case IND:
		s.fetch(&s.A, uint64(s.X)+uint64(ins.K), size, m, packet, aux)
	}
}

func (s *State) loadX(ins Instruction, m Machine, packet []byte, aux *Aux) {
	switch ins.Code & ModeMask {
	case IMM:
		s.X = ins.K
	case MEM:
		s.X = s.M[ins.K]
	case LEN:
		s.X = packetLength(m, packet, aux)
	case MSH:
		if s.fetch(&s.X, uint64(ins.K), 1, m, packet, aux) {
			s.X = s.X & 0xf * 4
		}
	}
}

func packetLength(m Machine, packet []byte, aux *Aux) uint32 {
	if m == Seccomp {
		return SeccompDataSize
	}
	return uint32(max(aux.Length, len(packet)))
}

// fetch loads size bytes at an offset into a register. Where there are none the
// program ends with 0.
func (s *State) fetch(to *uint32, at uint64, size int, m Machine, packet []byte, aux *Aux) bool {
	if m == Libpcap && at >= 1<<31 {
		s.finish(0)
		return false
	}
	v, ok := aux.far(packet, int32(uint32(at)), size)
	if !ok {
		s.finish(0)
		return false
	}
	*to = v
	return true
}

func (s *State) compute(op uint16, v uint32, m Machine) {
	if (op == LSH || op == RSH) && m != Libpcap {
		v %= 32
	}
	switch op {
	case ADD:
		s.A += v
	case SUB:
		s.A -= v
	case MUL:
		s.A *= v
	case DIV, MOD:
		switch {
		case v == 0:
			s.finish(0)
		case op == DIV:
			s.A /= v
		default:
			s.A %= v
		}
	case OR:
		s.A |= v
	case AND:
		s.A &= v
	case XOR:
		s.A ^= v
	case LSH:
		s.A <<= v
	case RSH:
		s.A >>= v
	case NEG:
		s.A = -s.A
	}
}

func (s *State) jump(ins Instruction, v uint32) {
	var yes bool
	switch ins.Code & OpMask {
	case JA:
		s.PC = jumpTarget(s.PC-1, ins.K)
		return
	case JEQ:
		yes = s.A == v
	case JGT:
		yes = s.A > v
	case JGE:
		yes = s.A >= v
	case JSET:
		yes = s.A&v != 0
	}
	if yes {
		s.PC += int(ins.Jt)
	} else {
		s.PC += int(ins.Jf)
	}
}
