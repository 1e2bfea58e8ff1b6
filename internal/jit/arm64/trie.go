package arm64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
)

// Registers of the walk through a trie. Node numbers are 32 bits wide.
const (
	trieLength = x0 // of the key
	trieSize   = x1 // of a node
	trieBase   = x3 // address of node 0
	trieNode   = x4 // number of the node at hand
	trieFound  = x5 // of the best one so far, plus one; 0: none
	trieAddr   = x13
	triePrefix = x14 // of the node at hand
)

// lookupTrie writes the walk for the longest prefix, for keys of 4, 8 or 16 bytes
// (LPMTrie.longest in package maps, whose index says why this needs no lock). A node
// is read behind the link to it, of which its address is made; whether it has a
// value, before that.
//
//	ldr w0, [x2]
//	cmp w0, #bits of a key
//	b.hi absent
//	mov w5, #0
//	ldr w4, [link to the root]
//	(where the index tells, w5 and w4 from it instead)
//	mov x3, node 0; mov x1, #size
//	walk: cmn w4, #1                 none
//	b.eq end
//	madd x13, x4, x1, x3
//	ldr w14, [x13, #prefix]
//	cmp w14, w0
//	b.hi end
//	w15 = how many bits of key and node are the same
//	cmp w15, w14
//	b.lo end
//	add x12, x13, #flags
//	ldar w12, [x12]
//	cbnz w12, inner
//	add w5, w4, #1
//	inner: cmp w14, #bits of a key
//	b.hs end
//	x15 = bit w14 of the key
//	add x12, x13, x15, lsl #2
//	ldr w4, [x12, #child]
//	b walk
//	end: cbz w5, absent
//	mov x0, value of node −1
//	madd x0, x5, x1, x0
//	b done
//	absent: mov w0, #0
//	done:
func (c *compiler) lookupTrie(m *catalog.MapDef, l code.Layout) bool {
	data := int32(m.KeySize) - code.TrieKeyHead
	if data != 4 && data != 8 && data != 16 {
		return false
	}
	walk, inner, end, absent, done := c.label(), c.label(), c.label(), c.label(), c.label()
	c.access(size32, opLdr, trieLength, mem{x2, 0})
	c.cmpImm(size32, trieLength, int64(8*data))
	c.jumpIf(condHI, absent)
	c.movImm(trieFound, 0)
	c.movImm(x12, l.Buckets)
	c.access(size32, opLdr, trieNode, mem{x12, 0})
	if l.PerCPU != 0 {
		c.trieIndex(l)
	}
	c.movImm(trieBase, l.Base)
	c.movImm(trieSize, uint64(l.ElemSize))
	c.bind(walk)
	c.cmpImm(size32, trieNode, code.TrieNone)
	c.jumpIf(condEQ, end)
	c.rrrr(size64, opMadd, trieAddr, trieNode, trieSize, trieBase)
	c.access(size32, opLdr, triePrefix, mem{trieAddr, code.TriePrefix})
	c.rrr(size32, opSubs, xzr, triePrefix, trieLength)
	c.jumpIf(condHI, end)
	c.trieMatch(data)
	c.rrr(size32, opSubs, xzr, x15, triePrefix)
	c.jumpIf(condLO, end)
	c.addImm(size64, x12, trieAddr, code.TrieFlags)
	c.exclusive(size32, opLdar, xzr, x12, x12)
	c.jumpZero(size32, false, x12, inner)
	c.addImm(size32, trieFound, trieNode, 1)
	c.bind(inner)
	c.cmpImm(size32, triePrefix, int64(8*data))
	c.jumpIf(condHS, end)
	c.trieBit()
	c.rrr(size64, opAddLSL2, x12, trieAddr, x15)
	c.access(size32, opLdr, trieNode, mem{x12, code.TrieChild})
	c.jump(walk)
	c.bind(end)
	c.jumpZero(size32, true, trieFound, absent)
	c.movImm(x0, l.Base-uint64(l.ElemSize)+uint64(l.ValueOff))
	c.rrrr(size64, opMadd, x0, trieFound, trieSize, x0)
	c.jump(done)
	c.bind(absent)
	c.movImm(x0, 0)
	c.bind(done)
	return true
}

// trieIndex writes the step over the first levels:
//
//	cmp w0, #16
//	b.lo root
//	mov x1, index
//	ldar w12, [x1]                   the sequence
//	tst w12, #1
//	b.ne root
//	ldrh w14, [x2, #4]
//	rev16 w14, w14
//	add x14, x1, x14, lsl #3
//	ldr x14, [x14, #entries]
//	dmb ishld
//	ldr w15, [x1]
//	cmp w12, w15
//	b.ne root
//	mov w5, w14
//	lsr x14, x14, #32
//	sub w4, w14, #1
//	root:
func (c *compiler) trieIndex(l code.Layout) {
	root := c.label()
	c.cmpImm(size32, trieLength, code.TrieIndexBits)
	c.jumpIf(condLO, root)
	c.movImm(x1, l.PerCPU)
	c.exclusive(size32, opLdar, xzr, x12, x1)
	c.logic(size32, opAndsI, opAnds, xzr, x12, 1)
	c.jumpIf(condNE, root)
	c.access(size16, opLdr, x14, mem{x2, code.TrieKeyHead})
	c.rr(size32, opRev16, x14, x14)
	c.rrr(size64, opAddLSL3, x14, x1, x14)
	c.access(size64, opLdr, x14, mem{x14, code.TrieIndexEntries})
	c.op(opDmbLd)
	c.access(size32, opLdr, x15, mem{x1, 0})
	c.rrr(size32, opSubs, xzr, x12, x15)
	c.jumpIf(condNE, root)
	c.mov(size32, trieFound, x14)
	c.lsr(size64, x14, x14, 32)
	c.addImm(size32, trieNode, x14, -1)
	c.bind(root)
}

// trieMatch writes w15 = how many leading bits the key and the node share, of data bytes each:
//
//	ldr x15, [x2, #4]
//	ldr x12, [x13, #data]
//	eor x15, x15, x12
//	cbnz x15, first                  16 bytes: else the second eight
//	ldr x15, [x2, #12]
//	ldr x12, [x13, #data+8]
//	eor x15, x15, x12
//	rev x15, x15; clz x15, x15
//	add w15, w15, #64
//	b done
//	first: rev x15, x15; clz x15, x15
//	done:
func (c *compiler) trieMatch(data int32) {
	size, rev := size64, opRev64
	if data == 4 {
		size, rev = size32, opRev32
	}
	load := func(n int32) {
		c.access(size, opLdr, x15, mem{x2, code.TrieKeyHead + n})
		c.access(size, opLdr, x12, mem{trieAddr, code.TrieData + n})
		c.rrr(size, opEor, x15, x15, x12)
	}
	count := func() {
		c.rr(size32, rev, x15, x15)
		c.rr(size, opClz, x15, x15)
	}
	load(0)
	if data <= 8 {
		count()
		return
	}
	first, done := c.label(), c.label()
	c.jumpZero(size64, false, x15, first)
	load(8)
	count()
	c.addImm(size32, x15, x15, 64)
	c.jump(done)
	c.bind(first)
	count()
	c.bind(done)
}

// trieBit writes x15 = bit w14 of the key, counted from the most significant one of its first byte:
//
//	lsr w15, w14, #3
//	add x15, x15, x2
//	ldrb w15, [x15, #4]
//	and w14, w14, #7
//	lsl w15, w15, w14
//	ubfx w15, w15, #7, #1
func (c *compiler) trieBit() {
	c.lsr(size32, x15, triePrefix, 3)
	c.rrr(size64, opAdd, x15, x15, x2)
	c.access(size8, opLdr, x15, mem{x15, code.TrieKeyHead})
	c.logic(size32, opAndI, opAnd, triePrefix, triePrefix, 7)
	c.rrr(size32, opLslv, x15, x15, triePrefix)
	c.bitfield(size32, opUbfm, x15, x15, 7, 7)
}
