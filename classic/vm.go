package classic

import "encoding/binary"

// VM is a program made ready to run. It never changes, so that any number of
// goroutines may run it at once.
type VM struct {
	code []step
	back int // backward jumps a run may take
}

// maxBackward bounds the runs of libpcap's programs with loops. The deepest a
// packet can lead one, over chained IPv6 headers of 8 bytes, stays far below.
const maxBackward = 1 << 20

// NewVM makes a program ready for a machine, whose rules it must keep: see [Check].
func NewVM(prog []Instruction, m Machine) (*VM, error) {
	if err := Check(prog, m); err != nil {
		return nil, err
	}
	return &VM{code: lower(prog, m), back: maxBackward}, nil
}

// Run runs the program on a packet and returns what it returns: for filters,
// how many bytes to keep. A nil aux stands for an empty one. A load beyond the
// packet and a division by an X of zero end the program with 0.
//
// Programs for [Seccomp] take struct seccomp_data as their packet.
func (vm *VM) Run(packet []byte, aux *Aux) uint32 {
	var a, x uint32
	var m [MemWords]uint32
	if aux == nil {
		aux = &noAux
	}
	back := vm.back
	code := vm.code
	size := len(packet)
	for pc := uint(0); pc < uint(len(code)); {
		s := &code[pc]
		pc++
		k := int(s.k)
		switch s.op {
		// Offsets known before the run are below 2^31 here.
		case opLdAbsB:
			if k >= size {
				return 0
			}
			a = uint32(packet[k])
		case opLdAbsH:
			if k > size-2 {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(packet[k:]))
		case opLdAbsW:
			if k > size-4 {
				return 0
			}
			a = binary.BigEndian.Uint32(packet[k:])

		case opLdIndB, opLdIndH, opLdIndW:
			v, ok := indirect(packet, x+s.k, s.size)
			if !ok {
				if v, ok = aux.far(packet, int32(x+s.k), int(s.size)); !ok {
					return 0
				}
			}
			a = v
		case opLdIndPcap:
			if uint64(x)+uint64(s.k)+uint64(s.size) > uint64(size) {
				return 0
			}
			a, _ = indirect(packet, x+s.k, s.size)
		case opLdFar:
			v, ok := aux.far(packet, int32(s.k), int(s.size))
			if !ok {
				return 0
			}
			a = v
		case opLdAncillary:
			v, ok := aux.ancillary(Ancillary(s.k), packet, a, x)
			if !ok {
				return v
			}
			a = v
		case opLdWord:
			if k > size-4 {
				return 0
			}
			a = binary.NativeEndian.Uint32(packet[k:])

		case opLdLen:
			a = uint32(max(aux.Length, size))
		case opLdxLen:
			x = uint32(max(aux.Length, size))
		case opLdImm:
			a = s.k
		case opLdxImm:
			x = s.k
		case opLdMem:
			a = m[k%MemWords]
		case opLdxMem:
			x = m[k%MemWords]
		case opLdxMSH:
			if k >= size {
				return 0
			}
			x = uint32(packet[k]&0xf) << 2
		case opLdxMSHFar:
			v, ok := aux.far(packet, int32(s.k), 1)
			if !ok {
				return 0
			}
			x = v & 0xf << 2
		case opSt:
			m[k%MemWords] = a
		case opStx:
			m[k%MemWords] = x

		case opAddK:
			a += s.k
		case opAddX:
			a += x
		case opSubK:
			a -= s.k
		case opSubX:
			a -= x
		case opMulK:
			a *= s.k
		case opMulX:
			a *= x
		case opDivK:
			a /= s.k
		case opDivX:
			if x == 0 {
				return 0
			}
			a /= x
		case opModK:
			a %= s.k
		case opModX:
			if x == 0 {
				return 0
			}
			a %= x
		case opOrK:
			a |= s.k
		case opOrX:
			a |= x
		case opAndK:
			a &= s.k
		case opAndX:
			a &= x
		case opXorK:
			a ^= s.k
		case opXorX:
			a ^= x
		case opLshK:
			a <<= s.k
		case opRshK:
			a >>= s.k
		case opLshX:
			a <<= x & s.k
		case opRshX:
			a >>= x & s.k
		case opNeg:
			a = -a
		case opTax:
			x = a
		case opTxa:
			a = x

		case opJa:
			pc = uint(s.jt)
		case opJaBack:
			if back--; back < 0 {
				return 0
			}
			pc = uint(s.jt)
		case opJeqK:
			pc = uint(s.jf)
			if a == s.k {
				pc = uint(s.jt)
			}
		case opJgtK:
			pc = uint(s.jf)
			if a > s.k {
				pc = uint(s.jt)
			}
		case opJgeK:
			pc = uint(s.jf)
			if a >= s.k {
				pc = uint(s.jt)
			}
		case opJsetK:
			pc = uint(s.jf)
			if a&s.k != 0 {
				pc = uint(s.jt)
			}
		case opJeqX:
			pc = uint(s.jf)
			if a == x {
				pc = uint(s.jt)
			}
		case opJgtX:
			pc = uint(s.jf)
			if a > x {
				pc = uint(s.jt)
			}
		case opJgeX:
			pc = uint(s.jf)
			if a >= x {
				pc = uint(s.jt)
			}
		case opJsetX:
			pc = uint(s.jf)
			if a&x != 0 {
				pc = uint(s.jt)
			}

		case opRetK:
			return s.k
		case opRetA:
			return a

		// Two instructions in one step: a load and the jump it is for.
		case opLdAbsBJeq:
			if k >= size {
				return 0
			}
			a = uint32(packet[k])
			pc = uint(s.jf)
			if a == s.k2 {
				pc = uint(s.jt)
			}
		case opLdAbsHJeq:
			if k > size-2 {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(packet[k:]))
			pc = uint(s.jf)
			if a == s.k2 {
				pc = uint(s.jt)
			}
		case opLdAbsWJeq:
			if k > size-4 {
				return 0
			}
			a = binary.BigEndian.Uint32(packet[k:])
			pc = uint(s.jf)
			if a == s.k2 {
				pc = uint(s.jt)
			}
		case opLdAbsHJset:
			if k > size-2 {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(packet[k:]))
			pc = uint(s.jf)
			if a&s.k2 != 0 {
				pc = uint(s.jt)
			}
		case opLdIndHJeq:
			v, ok := indirect(packet, x+s.k, 2)
			if !ok {
				if v, ok = aux.far(packet, int32(x+s.k), 2); !ok {
					return 0
				}
			}
			a = v
			pc = uint(s.jf)
			if a == s.k2 {
				pc = uint(s.jt)
			}
		}
	}
	return 0
}

// indirect loads size bytes at an offset within the packet. Of what lies beyond
// it [Aux.far] decides.
func indirect(packet []byte, at uint32, size uint8) (uint32, bool) {
	if at >= 1<<31 || int(at) > len(packet)-int(size) {
		return 0, false
	}
	i := int(at)
	switch size {
	case 1:
		return uint32(packet[i]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(packet[i:])), true
	}
	return binary.BigEndian.Uint32(packet[i:]), true
}
