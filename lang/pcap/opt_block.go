package pcap

import c "github.com/skep-bpf/skep/classic"

// peephole replaces sequences of statements of a block, and its jump, by
// shorter ones.
func (o *optimiser) peephole(b *block) {
	if b.stmts.head == nil {
		return
	}
	last := o.peepStatements(b)
	o.peepCompare(b, last)

	if b.code == jset {
		switch b.k {
		case 0:
			b.t.succ = b.f.succ
		case 0xffffffff:
			b.f.succ = b.t.succ
		}
	}
	if x, ok := o.numbers.isConstant(b.val[atomX]); ok && b.code&c.SrcMask == c.X {
		b.code &^= c.X
		b.k = x
	}
	if a, ok := o.numbers.isConstant(b.val[atomA]); ok && b.code&c.SrcMask == c.K {
		var yes bool
		switch b.code & c.OpMask {
		case c.JEQ:
			yes = a == b.k
		case c.JGT:
			yes = a > b.k
		case c.JGE:
			yes = a >= b.k
		case c.JSET:
			yes = a&b.k != 0
		}
		if b.t.succ != b.f.succ {
			o.changed()
		}
		if yes {
			b.f.succ = b.t.succ
		} else {
			b.t.succ = b.f.succ
		}
	}
}

// peepStatements goes over the statements and returns the last one.
func (o *optimiser) peepStatements(b *block) (last *stmt) {
	last = b.stmts.head
	for s := skipNops(b.stmts.head); s != nil; {
		next := skipNops(s.next)
		if next == nil {
			break
		}
		last = next

		// st M[k]; ldx M[k]  →  st M[k]; tax
		if s.code == c.ST && next.code == c.LDX|c.MEM && s.k == next.k {
			next.code = c.MISC | c.TAX
			o.changed()
		}
		// ld #k; tax  →  ldx #k; txa
		if s.code == c.LD|c.IMM && next.code == c.MISC|c.TAX {
			s.code = c.LDX | c.IMM
			next.code = c.MISC | c.TXA
			o.changed()
		}
		if s.code == c.LD|c.IMM && b.outUse&setX == 0 {
			o.peepIndex(s, next)
		}
		s = skipNops(next)
	}
	return last
}

// peepIndex does away with an index that is a constant and X, which may be
// loaded in between, where nobody reads X later:
//
//	ld #k; [ldx 4*([n]&0xf);] add x; tax; ld [x + m]  →  [ldx …;] ld [x + k+m]
func (o *optimiser) peepIndex(s, next *stmt) {
	add := next
	if next.code == c.LDX|c.MSH|c.B {
		add = skipNops(next.next)
	}
	if add == nil || add.code != c.ALU|c.ADD|c.X {
		return
	}
	tax := skipNops(add.next)
	if tax == nil || tax.code != c.MISC|c.TAX {
		return
	}
	load := skipNops(tax.next)
	if load == nil || load.code&c.ClassMask != c.LD || load.code&c.ModeMask != c.IND {
		return
	}
	load.k += s.k
	s.code, add.code, tax.code = nop, nop, nop
	o.changed()
}

// peepCompare does away with the arithmetic, last, before a test for zero,
// where nobody reads its result later.
func (o *optimiser) peepCompare(b *block, last *stmt) {
	if b.code != jeq || b.outUse&setA != 0 {
		return
	}
	switch last.code {
	case c.ALU | c.SUB | c.X:
		if x, ok := o.numbers.isConstant(b.val[atomX]); ok {
			// sub x; jeq #k, with X known  →  jeq #x+k
			b.k += x
			last.code = nop
			o.changed()
		} else if b.k == 0 {
			// sub x; jeq #0  →  jeq x
			last.code = nop
			b.code = c.JMP | c.JEQ | c.X
			o.changed()
		}
	case c.ALU | c.SUB | c.K:
		// sub #m; jeq #k  →  jeq #k+m
		last.code = nop
		b.k += last.k
		o.changed()
	case c.ALU | c.AND | c.K:
		// and #m; jeq #0  →  jset #m, the other way round
		if b.k == 0 {
			b.k = last.k
			b.code = jset
			last.code = nop
			b.t.succ, b.f.succ = b.f.succ, b.t.succ
			o.changed()
		}
	}
}

// deadStores removes statements whose result is written over, or left behind,
// before it is read.
func (o *optimiser) deadStores(b *block) {
	if b.stmts.head == nil {
		return
	}
	var last [numAtoms]*stmt // what has written the atom
	var pending atoms        // written, and not yet read
	for s := b.stmts.head; s != nil; s = s.next {
		pending &^= reads(s.code, s.k)
		if w := writes(s.code, s.k); w != 0 {
			atom := w.first()
			if pending&w != 0 {
				last[atom].code = nop
				o.changed()
			}
			last[atom] = s
			pending |= w
		}
	}
	pending &^= reads(b.code, b.k) | b.outUse
	for ; pending != 0; pending &= pending - 1 {
		last[pending.first()].code = nop
		o.changed()
	}
}
