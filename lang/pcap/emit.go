package pcap

import c "github.com/skep-bpf/skep/classic"

// emit lays the blocks out as a program, each before its successors and the
// true branch before the false one, so that all jumps go forward. A jump that
// is too far for 8 bits goes by way of a ja behind it, which moves what is
// before: emission begins anew until no jump needs another.
func (p *program) emit() []c.Instruction {
	for {
		p.walk()
		e := emitter{p: p, prog: make([]c.Instruction, p.size(p.root))}
		e.at = len(e.prog)
		p.walk()
		if e.block(p.root); !e.again {
			return e.prog
		}
	}
}

type emitter struct {
	p     *program
	prog  []c.Instruction
	at    int  // prog[at:] is done
	again bool // some jump was found to be too far
}

// clearLong forgets which jumps were too far, as they may not be next time.
func (p *program) clearLong(b *block) {
	if b == nil || !p.visit(b) {
		return
	}
	b.longT, b.longF = false, false
	p.clearLong(b.t.succ)
	p.clearLong(b.f.succ)
}

// size returns how many instructions the blocks from b on are.
func (p *program) size(b *block) int {
	if b == nil || !p.visit(b) {
		return 0
	}
	return b.size() + p.size(b.t.succ) + p.size(b.f.succ)
}

// size returns how many instructions the block is.
func (b *block) size() int {
	n := b.stmts.len() + 1
	if b.longT {
		n++
	}
	if b.longF {
		n++
	}
	return n
}

// len returns how many instructions of the list are left.
func (l list) len() int {
	n := 0
	for s := l.head; s != nil; s = s.next {
		if s.code != nop {
			n++
		}
	}
	return n
}

// block emits the successors of b, then b before them.
func (e *emitter) block(b *block) {
	if b == nil || !e.p.visit(b) {
		return
	}
	e.block(b.f.succ)
	e.block(b.t.succ)
	e.at -= b.size()
	b.offset = e.at
	code := e.prog[e.at:]
	n := 0
	for s := b.stmts.head; s != nil; s = s.next {
		if s.code == nop {
			continue
		}
		code[n] = c.Instruction{Code: uint16(s.code), K: s.k}
		if s.jt != nil && s.code != c.JMP|c.JA {
			code[n].Jt, code[n].Jf = b.distance(s, s.jt), b.distance(s, s.jf)
		}
		n++
	}
	code[n] = c.Instruction{Code: uint16(b.code), K: b.k}
	if b.t.succ != nil {
		extra := 0
		code[n].Jt = e.jump(b, n, b.t.succ, &b.longT, &extra)
		code[n].Jf = e.jump(b, n, b.f.succ, &b.longF, &extra)
	}
}

// jump returns how far a branch of the jump that is instruction n of b goes:
// to a block, or, if that is too far, to one of the extra ja behind the jump.
func (e *emitter) jump(b *block, n int, to *block, long *bool, extra *int) uint8 {
	off := to.offset - (b.offset + n) - 1
	switch {
	case off < 256:
		return uint8(off)
	case !*long:
		*long, e.again = true, true
		return 0
	}
	*extra++
	e.prog[e.at+n+*extra] = c.Instruction{Code: c.JMP | c.JA, K: uint32(off - *extra)}
	return uint8(*extra - 1)
}

// distance returns how many instructions are between two of the block.
func (b *block) distance(from, to *stmt) uint8 {
	n := 0
	for s := from.next; s != nil && s != to; s = s.next {
		if s.code != nop {
			n++
		}
	}
	return uint8(n)
}
