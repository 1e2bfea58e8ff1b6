package arm64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
)

// lookupMap writes the lookup in an array of maps, whose elements are the inner maps' headers:
//
//	ldr w3, [x2]
//	mov x0, #0
//	cmp w3, #max_entries
//	b.hs done
//	mov x1, base
//	add x1, x1, w3, uxtw #3
//	ldr x0, [x1]
//	done:
func (c *compiler) lookupMap(m *catalog.MapDef, l code.Layout) {
	done := c.label()
	c.access(size32, opLdr, x3, mem{x2, 0})
	c.movImm(x0, 0)
	c.cmpImm(size32, x3, int64(m.MaxEntries))
	c.jumpIf(condHS, done)
	c.guard()
	c.movImm(x1, l.Base)
	c.rrr(size64, opAddUXTW3, x1, x1, x3)
	c.access(size64, opLdr, x0, mem{x1, 0})
	c.bind(done)
}

// lookupInner writes the lookup in an inner map, which has to be asked where it lies:
// an array, or a hash table. Here is the array's:
//
//	ldr w3, [x2]
//	ldr w4, [x1, #max_entries]
//	mov x0, #0
//	cmp w3, w4
//	b.hs done
//	ldr x0, [x1, #base]
//	madd x0, x3, size, x0
//	done:
func (c *compiler) lookupInner(pc int) bool {
	m, l, ok := code.Inner(c.prog, pc)
	if !ok {
		return false
	}
	if m.Type == catalog.MapHash {
		return c.lookupHash(m, l)
	}
	done := c.label()
	c.access(size32, opLdr, x3, mem{x2, 0})
	c.access(size32, opLdr, x4, mem{x1, code.MapMaxEntries})
	c.movImm(x0, 0)
	c.rrr(size32, opSubs, xzr, x3, x4)
	c.jumpIf(condHS, done)
	c.guard()
	c.access(size64, opLdr, x0, mem{x1, code.MapBase})
	c.addProduct(x0, x3, uint64(l.ElemSize))
	c.bind(done)
	return true
}

// bucketInner does for an inner hash table, whose header is at x1, what lookupHash
// does with constants: w5 = hash, w0 = bucket, x1 = its head, x3 = element 0.
func (c *compiler) bucketInner(keySize int32) {
	c.movImm(x3, uint64(code.HashInit(keySize, 0)))
	c.access(size32, opLdr, x12, mem{x1, code.MapSeed})
	c.rrr(size32, opAdd, x3, x3, x12)
	c.hashKey(keySize)
	c.access(size32, opLdr, x12, mem{x1, code.MapMask})
	c.rrr(size32, opAnd, x0, x5, x12)
	c.access(size64, opLdr, x3, mem{x1, code.MapBase})
	c.access(size64, opLdr, x1, mem{x1, code.MapBuckets})
	c.rrr(size64, opAddLSL2, x1, x1, x0)
}
