package pcap

import (
	"math/bits"
)

// redirectEdges leads each edge past the tests whose answer is known on it.
func (o *optimiser) redirectEdges() {
	for level := int32(1); level <= o.p.root.level; level++ {
		for b := o.levels[level]; b != nil; b = b.link {
			o.redirect(&b.t)
			o.redirect(&b.f)
		}
	}
}

// redirect leads one edge on, as far as it goes.
func (o *optimiser) redirect(e *edge) {
	b := e.succ
	if b.t.succ == nil {
		return
	}
	if b.t.succ == b.f.succ && !conflict(e.pred, b.t.succ) {
		o.changed()
		e.succ = b.t.succ
	}
again:
	for i, w := range e.dom {
		for ; w != 0; w &= w - 1 {
			d := o.edges[i*64+bits.TrailingZeros64(w)]
			if to := known(e.succ, d); to != nil && !conflict(e.pred, to) {
				o.done = false
				if e.succ = to; to.t.succ == nil {
					return
				}
				goto again
			}
		}
	}
}

// conflict reports whether b finds another value than from left in something
// that is read after b.
func conflict(from, b *block) bool {
	for use := b.outUse; use != 0; use &= use - 1 {
		if i := use.first(); from.val[i] != b.val[i] {
			return true
		}
	}
	return false
}

// known returns where b's test leads on a way over edge d, nil where that is
// not known.
func known(b *block, d *edge) *block {
	code, yes := d.code, true
	if code < 0 {
		code, yes = -code, false
	}
	if b.code != code || b.val[atomA] != d.pred.val[atomA] {
		return nil
	}
	if b.operand == d.pred.operand {
		// The same test.
		if yes {
			return b.t.succ
		}
		return b.f.succ
	}
	if yes && code == jeq {
		return b.f.succ // equal to something else
	}
	return nil
}

// pullUp moves tests next to others of the same value, which saves loading it
// again, through chains of tests that lead to the same block when they hold
// (or), or when they do not (and).
func (o *optimiser) pullUp() {
	o.findInEdges()
	for level := int32(1); level <= o.p.root.level; level++ {
		for b := o.levels[level]; b != nil; b = b.link {
			if b.in != nil {
				o.pull(b, false)
				o.pull(b, true)
			}
		}
	}
}

// way returns the edge where the test holds, or does not.
func (b *block) way(holds bool) *edge {
	if holds {
		return &b.t
	}
	return &b.f
}

// inChain reports whether d is a test of the chain that begins with b, and
// only of it: it shares with b the edge out of the chain.
func (d *block) inChain(b *block, out bool) bool {
	return d != nil && d.way(out).succ == b.way(out).succ && hasBit(d.dom, b.id)
}

// pull looks, down the chain that begins with b, for a test of another value
// and behind it for one of b's value, and moves the latter before the former.
// along is the way along the chain, all its tests share the other one.
//
//	b(A) → … → diff(B) → … → same(A) → …    becomes
//	b(A) → … → same(A) → diff(B) → … → …
func (o *optimiser) pull(b *block, along bool) {
	val := b.in.pred.val[atomA]
	for e := b.in.next; e != nil; e = e.next {
		if e.pred.val[atomA] != val {
			return
		}
	}
	diff := edgeTo(b.in.pred, b)
	atTop := true
	for {
		d := diff.succ
		if !d.inChain(b, !along) {
			return
		}
		if d.val[atomA] != val {
			break
		}
		diff = d.way(along)
		atTop = false
	}
	same := diff.succ.way(along)
	for {
		d := same.succ
		if !d.inChain(b, !along) {
			return
		}
		if d.val[atomA] == val {
			break
		}
		same = d.way(along)
	}

	pulled := same.succ
	same.succ = pulled.way(along).succ
	pulled.way(along).succ = diff.succ
	if atTop {
		for e := b.in; e != nil; e = e.next {
			edgeTo(e.pred, b).succ = pulled
		}
	} else {
		diff.succ = pulled
	}
	o.done = false
}

// edgeTo returns the edge from one block to another, the true one if both are.
func edgeTo(from, to *block) *edge {
	if from.t.succ == to {
		return &from.t
	}
	return &from.f
}
