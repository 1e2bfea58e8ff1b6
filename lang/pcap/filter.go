package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"

	c "github.com/skep-bpf/skep/classic"
)

// Filter is a compiled expression, ready to be asked about packets. It may be
// used by several goroutines at once.
type Filter struct {
	prog []c.Instruction
}

// ErrProgram: a program is not one a Filter can run.
var ErrProgram = errors.New("not a filter program")

// maxSteps bounds a run. Only protochain makes loops, and an AH header can be
// made such that its loop never ends: libpcap's does not.
const maxSteps = 1 << 16

// NewFilter returns a filter of a program, which must only have instructions
// of the classic machine without ancillary loads, jumps within the program
// and a return at the end of every way.
func NewFilter(prog []c.Instruction) (*Filter, error) {
	if len(prog) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrProgram)
	}
	for pc, i := range prog {
		ok := true
		switch i.Code & c.ClassMask {
		case c.JMP:
			next := int64(pc) + 1
			if i.Code&c.OpMask == c.JA {
				to := next + int64(int32(i.K))
				ok = to >= 0 && to < int64(len(prog))
			} else {
				ok = next+int64(max(i.Jt, i.Jf)) < int64(len(prog))
			}
		case c.ST, c.STX:
			ok = i.K < c.MemWords
		case c.LD, c.LDX:
			ok = i.Code&c.ModeMask != c.MEM || i.K < c.MemWords
		case c.ALU:
			op := i.Code & c.OpMask
			ok = op != c.DIV && op != c.MOD || i.Code&c.SrcMask == c.X || i.K != 0
		}
		if ok && pc == len(prog)-1 {
			ok = i.Code&c.ClassMask == c.RET || i.Code == c.JMP|c.JA
		}
		if !ok {
			return nil, fmt.Errorf("%w: instruction %d", ErrProgram, pc)
		}
	}
	return &Filter{prog}, nil
}

// Program returns the filter's program, which must not be changed.
func (f *Filter) Program() []c.Instruction { return f.prog }

// Match reports whether the filter takes a packet that was captured whole.
func (f *Filter) Match(packet []byte) bool { return f.Run(packet, len(packet)) != 0 }

// Run returns how many bytes of a packet the filter takes, 0 for none. wire
// is its length on the wire, of which packet may hold only the beginning: a
// load past its end drops the packet.
func (f *Filter) Run(packet []byte, wire int) uint32 {
	var a, x uint32
	var mem [c.MemWords]uint32
	prog := f.prog
	pc := 0
	for range maxSteps {
		if uint(pc) >= uint(len(prog)) {
			return 0
		}
		i := &prog[pc]
		pc++
		k := i.K
		switch i.Code {
		case c.RET | c.K:
			return k
		case c.RET | c.A:
			return a

		case c.LD | c.W | c.ABS:
			if uint64(k)+4 > uint64(len(packet)) {
				return 0
			}
			a = binary.BigEndian.Uint32(packet[k:])
		case c.LD | c.H | c.ABS:
			if uint64(k)+2 > uint64(len(packet)) {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(packet[k:]))
		case c.LD | c.B | c.ABS:
			if uint64(k) >= uint64(len(packet)) {
				return 0
			}
			a = uint32(packet[k])
		case c.LD | c.W | c.IND:
			at := uint64(x) + uint64(k)
			if at+4 > uint64(len(packet)) {
				return 0
			}
			a = binary.BigEndian.Uint32(packet[at:])
		case c.LD | c.H | c.IND:
			at := uint64(x) + uint64(k)
			if at+2 > uint64(len(packet)) {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(packet[at:]))
		case c.LD | c.B | c.IND:
			at := uint64(x) + uint64(k)
			if at >= uint64(len(packet)) {
				return 0
			}
			a = uint32(packet[at])
		case c.LDX | c.B | c.MSH:
			if uint64(k) >= uint64(len(packet)) {
				return 0
			}
			x = uint32(packet[k]&0xf) << 2
		case c.LD | c.LEN:
			a = uint32(wire)
		case c.LDX | c.LEN:
			x = uint32(wire)
		case c.LD | c.IMM:
			a = k
		case c.LDX | c.IMM:
			x = k
		case c.LD | c.MEM:
			a = mem[k%c.MemWords]
		case c.LDX | c.MEM:
			x = mem[k%c.MemWords]
		case c.ST:
			mem[k%c.MemWords] = a
		case c.STX:
			mem[k%c.MemWords] = x

		case c.JMP | c.JA:
			pc += int(int32(k))
		case c.JMP | c.JEQ | c.K:
			pc += branch(i, a == k)
		case c.JMP | c.JGT | c.K:
			pc += branch(i, a > k)
		case c.JMP | c.JGE | c.K:
			pc += branch(i, a >= k)
		case c.JMP | c.JSET | c.K:
			pc += branch(i, a&k != 0)
		case c.JMP | c.JEQ | c.X:
			pc += branch(i, a == x)
		case c.JMP | c.JGT | c.X:
			pc += branch(i, a > x)
		case c.JMP | c.JGE | c.X:
			pc += branch(i, a >= x)
		case c.JMP | c.JSET | c.X:
			pc += branch(i, a&x != 0)

		case c.MISC | c.TAX:
			x = a
		case c.MISC | c.TXA:
			a = x
		default:
			if i.Code&c.ClassMask != c.ALU {
				return 0
			}
			if i.Code&c.SrcMask == c.X {
				k = x
			}
			switch i.Code & c.OpMask {
			case c.ADD:
				a += k
			case c.SUB:
				a -= k
			case c.MUL:
				a *= k
			case c.DIV:
				if k == 0 {
					return 0
				}
				a /= k
			case c.MOD:
				if k == 0 {
					return 0
				}
				a %= k
			case c.AND:
				a &= k
			case c.OR:
				a |= k
			case c.XOR:
				a ^= k
			case c.LSH:
				a <<= k
			case c.RSH:
				a >>= k
			case c.NEG:
				a = -a
			}
		}
	}
	return 0
}

// branch returns how far a conditional jump goes.
func branch(i *c.Instruction, yes bool) int {
	if yes {
		return int(i.Jt)
	}
	return int(i.Jf)
}
