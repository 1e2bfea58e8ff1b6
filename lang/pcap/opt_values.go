package pcap

import c "github.com/skep-bpf/skep/classic"

// valueNumber stands for a value: what has the same number has the same value,
// on every packet. The number of a value is found by how it is made.
type valueNumber uint32

const unknown valueNumber = 0

// numbering gives numbers to values.
type numbering struct {
	made  []making // by number
	table []uint32 // heads of chains, by hash: number + stamp; 2ⁿ of them
	stamp uint32   // entries below it are of an earlier round
}

// making is how a value is made: an instruction, and one or two operands.
type making struct {
	code   int32
	v0, v1 uint32
	next   uint32 // of the chain
}

// room prepares for as many as n values.
func (t *numbering) room(n int) {
	size := 64
	for size < n {
		size *= 2
	}
	if len(t.table) < size {
		t.table, t.stamp = make([]uint32, size), 0
	}
	t.reset()
}

// reset forgets all values.
func (t *numbering) reset() {
	if t.stamp += uint32(len(t.made)); t.stamp > 1<<30 {
		clear(t.table)
		t.stamp = 0
	}
	t.made = append(t.made[:0], making{code: nop})
}

// of returns the number of the value an instruction makes of operands.
func (t *numbering) of(code int32, v0, v1 uint32) valueNumber {
	h := (uint32(code)*0x9e3779b1 ^ v0*0x85ebca6b ^ v1*0xc2b2ae35) >> 7 & uint32(len(t.table)-1)
	head := t.table[h]
	if head > t.stamp {
		head -= t.stamp
	} else {
		head = 0
	}
	for i := head; i != 0; i = t.made[i].next {
		if m := &t.made[i]; m.code == code && m.v0 == v0 && m.v1 == v1 {
			return valueNumber(i)
		}
	}
	n := uint32(len(t.made))
	t.made = append(t.made, making{code, v0, v1, head})
	t.table[h] = t.stamp + n
	return valueNumber(n)
}

// constant returns the number of a constant.
func (t *numbering) constant(k uint32) valueNumber { return t.of(c.LD|c.IMM, k, 0) }

// isConstant returns the constant a number stands for, if it does.
func (t *numbering) isConstant(v valueNumber) (uint32, bool) {
	m := &t.made[v]
	return m.v0, m.code == c.LD|c.IMM
}

// value follows what a statement does to the values of registers and slots.
// With alter it also makes the statement simpler where its operands are
// known, and removes it where the value is already there.
func (o *optimiser) value(s *stmt, val *[numAtoms]valueNumber, alter bool) {
	t := &o.numbers
	switch code := s.code; code {
	case c.LD | c.ABS | c.W, c.LD | c.ABS | c.H, c.LD | c.ABS | c.B:
		s.put(&val[atomA], t.of(code, s.k, 0), alter)
	case c.LD | c.IND | c.W, c.LD | c.IND | c.H, c.LD | c.IND | c.B:
		v := val[atomX]
		if x, ok := t.isConstant(v); alter && ok {
			s.code = c.LD | c.ABS | code&c.SizeMask
			s.k += x
			v = t.of(s.code, s.k, 0)
			o.changed()
		} else {
			v = t.of(code, s.k, uint32(v))
		}
		s.put(&val[atomA], v, alter)
	case c.LD | c.LEN:
		s.put(&val[atomA], t.of(code, 0, 0), alter)
	case c.LD | c.IMM:
		s.put(&val[atomA], t.constant(s.k), alter)
	case c.LDX | c.IMM:
		s.put(&val[atomX], t.constant(s.k), alter)
	case c.LDX | c.MSH | c.B:
		s.put(&val[atomX], t.of(code, s.k, 0), alter)
	case c.LD | c.MEM, c.LDX | c.MEM:
		v := val[s.k]
		if k, ok := t.isConstant(v); alter && ok {
			s.code, s.k = code&c.ClassMask|c.IMM, k
			o.changed()
		}
		if code == c.LD|c.MEM {
			s.put(&val[atomA], v, alter)
		} else {
			s.put(&val[atomX], v, alter)
		}
	case c.ST:
		s.put(&val[s.k], val[atomA], alter)
	case c.STX:
		s.put(&val[s.k], val[atomX], alter)
	case c.MISC | c.TAX:
		s.put(&val[atomX], val[atomA], alter)
	case c.MISC | c.TXA:
		s.put(&val[atomA], val[atomX], alter)
	case c.ALU | c.NEG:
		if a, ok := t.isConstant(val[atomA]); alter && ok {
			s.code, s.k = c.LD|c.IMM, -a
			val[atomA] = t.constant(s.k)
		} else {
			val[atomA] = t.of(code, uint32(val[atomA]), 0)
		}
	default:
		switch {
		case code == nop || code&c.ClassMask != c.ALU:
		case code&c.SrcMask == c.K:
			o.aluConstant(s, val, alter)
		default:
			o.aluRegister(s, val, alter)
		}
	}
}

// put notes that the statement gives an atom a value, or with alter removes
// it if the atom has that value.
func (s *stmt) put(atom *valueNumber, v valueNumber, alter bool) {
	if alter && v != unknown && *atom == v {
		s.code = nop
	} else {
		*atom = v
	}
}

// aluConstant is value for A op= k.
func (o *optimiser) aluConstant(s *stmt, val *[numAtoms]valueNumber, alter bool) {
	t := &o.numbers
	if alter {
		if s.k == 0 {
			switch s.code & c.OpMask {
			case c.ADD, c.LSH, c.RSH, c.OR, c.XOR:
				s.code = nop
				return
			case c.MUL, c.AND:
				s.code = c.LD | c.IMM
				val[atomA] = t.constant(0)
				return
			case c.DIV:
				o.fail("division by zero")
				return
			case c.MOD:
				o.fail("modulus by zero")
				return
			}
		}
		if a, ok := t.isConstant(val[atomA]); ok {
			o.fold(s, a, s.k)
			val[atomA] = t.constant(s.k)
			return
		}
	}
	val[atomA] = t.of(s.code, uint32(val[atomA]), uint32(t.constant(s.k)))
}

// aluRegister is value for A op= X.
func (o *optimiser) aluRegister(s *stmt, val *[numAtoms]valueNumber, alter bool) {
	t := &o.numbers
	op := s.code & c.OpMask
	a, aKnown := t.isConstant(val[atomA])
	x, xKnown := t.isConstant(val[atomX])
	switch {
	case alter && xKnown && aKnown:
		o.fold(s, a, x)
		val[atomA] = t.constant(s.k)
		return
	case alter && xKnown:
		s.code, s.k = c.ALU|c.K|op, x
		if (op == c.LSH || op == c.RSH) && x > 31 {
			o.fail("shift by more than 31 bits")
		}
		o.changed()
		val[atomA] = t.of(s.code, uint32(val[atomA]), uint32(t.constant(x)))
		return
	case alter && aKnown && a == 0:
		var v valueNumber
		switch op {
		case c.ADD, c.OR, c.XOR:
			s.code, v = c.MISC|c.TXA, val[atomX]
		case c.MUL, c.DIV, c.MOD, c.AND, c.LSH, c.RSH:
			s.code, s.k, v = c.LD|c.IMM, 0, t.constant(0)
		default:
			val[atomA] = t.of(s.code, uint32(val[atomA]), uint32(val[atomX]))
			return
		}
		s.put(&val[atomA], v, true)
		return
	}
	val[atomA] = t.of(s.code, uint32(val[atomA]), uint32(val[atomX]))
}

// fold makes a load of a constant of an operation on two.
func (o *optimiser) fold(s *stmt, a, b uint32) {
	switch s.code & c.OpMask {
	case c.ADD:
		a += b
	case c.SUB:
		a -= b
	case c.MUL:
		a *= b
	case c.DIV:
		if b == 0 {
			o.fail("division by zero")
			return
		}
		a /= b
	case c.MOD:
		if b == 0 {
			o.fail("modulus by zero")
			return
		}
		a %= b
	case c.AND:
		a &= b
	case c.OR:
		a |= b
	case c.XOR:
		a ^= b
	case c.LSH:
		a <<= b
	case c.RSH:
		a >>= b
	}
	s.code, s.k = c.LD|c.IMM, a
	o.changed()
}

// fail notes what the optimiser has found out to have no value.
func (o *optimiser) fail(what string) {
	if o.err == nil {
		o.err = newError(ErrMeaning, 0, 0, "%s", what)
	}
}
