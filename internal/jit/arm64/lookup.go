package arm64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
)

// lookup writes a lookup in a map that is known when the program is compiled;
// false if it is left to Go. Of the registers, R0 to R5 are free: R2 has the
// key, the others are dead behind a call.
func (c *compiler) lookup(pc int) bool {
	m, l, ok := code.Lookup(c.prog, &c.opts, pc)
	if !ok {
		return c.lookupInner(pc)
	}
	switch m.Type {
	case catalog.MapPerCPUArray:
		c.lookupPerCPUArray(m, l)
		return true
	case catalog.MapArrayOfMaps:
		c.lookupMap(m, l)
		return true
	case catalog.MapLPMTrie:
		return c.lookupTrie(m, l)
	case catalog.MapHash, catalog.MapLRUHash, catalog.MapPerCPUHash:
		return c.lookupHash(m, l)
	}
	return false
}

// lookupPerCPUArray writes:
//
//	ldr w3, [key]
//	mov x0, #0
//	cmp w3, #max_entries
//	b.hs done
//	mov x0, #base
//	madd x0, x3, size, x0
//	madd x0, cpu, stride, x0
//	done:
func (c *compiler) lookupPerCPUArray(m *catalog.MapDef, l code.Layout) {
	done := c.label()
	c.access(size32, opLdr, x3, mem{x2, 0})
	c.movImm(x0, 0)
	c.cmpImm(size32, x3, int64(m.MaxEntries))
	c.jumpIf(condHS, done)
	c.guard()
	c.movImm(x0, l.Base)
	c.addProduct(x0, x3, uint64(l.ElemSize))
	c.addCPU(x0, l)
	c.bind(done)
}

// addProduct adds n·v to d. It uses x12.
func (c *compiler) addProduct(d, n reg, v uint64) {
	c.movImm(x12, v)
	c.rrrr(size64, opMadd, d, n, x12, d)
}

// addCPU adds to d how far the vCPU's values are from CPU 0's. It uses x12 and x14.
func (c *compiler) addCPU(d reg, l code.Layout) {
	c.access(size32, opLdr, x14, context(exec.OffCPU))
	c.addProduct(d, x14, l.CPUStride)
}

// lookupHash writes a walk along a bucket's chain, for keys of whole words
// (table.find in package maps says why this needs no lock). What is read of an
// element has an address made of the link to it, so that it is read after the
// link, without a barrier.
//
//	w5 = hash of the key
//	w0 = bucket, x1 = its head, x3 = element 0
//	again: ldr w4, [x1]
//	next:  cmp w4, #0
//	b.le end
//	madd x13, x4, size, x3
//	mov w14, w4                      the element's number, for a per-CPU value
//	ldr w4, [x13, #next]
//	ldr w12, [x13, #hash]
//	cmp w12, w5
//	b.ne next
//	(each word of the key: ldr x12, [x2, #n]; ldr x15, [x13, #key+n]; cmp x12, x15; b.ne next)
//	add x0, x13, #value
//	b done
//	end: b.eq absent                 0: the bucket was never used
//	orr w12, w0, #LinkEnd
//	cmp w4, w12
//	b.ne again                       another bucket's end
//	absent: mov x0, #0
//	done:
func (c *compiler) lookupHash(m *catalog.MapDef, l code.Layout) bool {
	if m.KeySize%4 != 0 || m.KeySize > code.MaxHashKey {
		return false
	}
	again, next, end, absent, done := c.label(), c.label(), c.label(), c.label(), c.label()
	if inner := m.Ptr == 0; inner {
		c.bucketInner(int32(m.KeySize))
	} else {
		c.hash(int32(m.KeySize), l.Seed)
		c.logic(size32, opAndI, opAnd, x0, x5, int64(l.Mask))
		c.movImm(x1, l.Buckets)
		c.rrr(size64, opAddLSL2, x1, x1, x0)
		c.movImm(x3, l.Base)
	}
	c.bind(again)
	c.access(size32, opLdr, x4, mem{x1, 0})
	c.bind(next)
	c.cmpImm(size32, x4, 0)
	c.jumpIf(condLE, end)
	c.movImm(x12, uint64(l.ElemSize))
	c.rrrr(size64, opMadd, x13, x4, x12, x3)
	if m.Type == catalog.MapPerCPUHash {
		c.mov(size32, x14, x4)
	}
	c.access(size32, opLdr, x4, mem{x13, code.ElemNext})
	c.access(size32, opLdr, x12, mem{x13, code.ElemHash})
	c.rrr(size32, opSubs, xzr, x12, x5)
	c.jumpIf(condNE, next)
	for n := int32(0); n < int32(m.KeySize); {
		size := size64
		if n+8 > int32(m.KeySize) {
			size = size32
		}
		c.access(size, opLdr, x12, mem{x2, n})
		c.access(size, opLdr, x15, mem{x13, code.ElemKey + n})
		c.rrr(size, opSubs, xzr, x12, x15)
		c.jumpIf(condNE, next)
		n += int32(size)
	}
	c.found(m, l)
	c.jump(done)
	c.bind(end)
	c.jumpIf(condEQ, absent)
	c.logic(size32, opOrrI, opOrr, x12, x0, code.LinkEnd)
	c.rrr(size32, opSubs, xzr, x4, x12)
	c.jumpIf(condNE, again)
	c.bind(absent)
	c.movImm(x0, 0)
	c.bind(done)
	return true
}

// found makes the address of the value of the element at x13, number x14.
func (c *compiler) found(m *catalog.MapDef, l code.Layout) {
	switch m.Type {
	case catalog.MapPerCPUHash:
		c.movImm(x0, l.PerCPU)
		c.addProduct(x0, x14, uint64(m.ValueSize+7)&^7)
		c.addCPU(x0, l)
		return
	case catalog.MapLRUHash: // a bit that is set is not written again: others read the line
		set := c.label()
		c.access(size32, opLdr, x12, mem{x13, code.ElemRef})
		c.jumpZero(size32, false, x12, set)
		c.movImm(x12, 1)
		c.access(size32, opStr, x12, mem{x13, code.ElemRef})
		c.bind(set)
	}
	c.addImm(size64, x0, x13, int64(l.ValueOff))
}

// hashRegs are the hash's three words.
var hashRegs = [...]reg{x3, x4, x5}

// hash writes jhash (include/linux/jhash.h) of the n bytes at x2, n a multiple
// of 4; the result is in w5. It uses x3, x4 and x12.
func (c *compiler) hash(n int32, seed uint32) {
	c.movImm(x3, uint64(code.HashInit(n, seed)))
	c.hashKey(n)
}

// hashKey is hash from where w3 has what its words begin with.
func (c *compiler) hashKey(n int32) {
	c.mov(size32, x4, x3)
	c.mov(size32, x5, x3)
	off := int32(0)
	words := func(count int32) {
		for i := range count {
			c.access(size32, opLdr, x12, mem{x2, off + 4*i})
			c.rrr(size32, opAdd, hashRegs[i], hashRegs[i], x12)
		}
		off += 4 * count
	}
	for n-off > 12 {
		words(3)
		for _, s := range code.MixSteps {
			c.hashStep(s, opSub, opEor)
			y, z := hashRegs[s.Y], hashRegs[s.Z]
			c.rrr(size32, opAdd, y, y, z)
		}
	}
	words((n - off) / 4)
	for _, s := range code.FinalSteps {
		c.hashStep(s, opEor, opSub)
	}
}

// hashStep writes "x op y; x rotated rol(y, n)".
func (c *compiler) hashStep(s code.HashStep, op, rotated opcode) {
	x, y := hashRegs[s.X], hashRegs[s.Y]
	c.rrr(size32, op, x, x, y)
	c.rol(size32, x12, y, int(s.Rotate))
	c.rrr(size32, rotated, x, x, x12)
}
