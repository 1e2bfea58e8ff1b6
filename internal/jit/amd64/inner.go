package amd64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/isa"
)

// lookupMap writes the lookup in an array of maps, whose elements are the inner maps' headers:
//
//	mov eax, [rsi]
//	cmp eax, max_entries
//	jae absent
//	shl rax, 3
//	mov rcx, base
//	add rax, rcx
//	mov rax, [rax]
//	jmp done
//	absent: xor eax, eax
//	done:
func (c *compiler) lookupMap(m *catalog.MapDef, l code.Layout) {
	absent, done := c.label(), c.label()
	c.rm(size32, opLoad, rax, at(isa.R2, 0))
	c.group1(size32, digitCmp, rax, int32(m.MaxEntries))
	c.jumpIf(condAE, absent)
	c.guard()
	c.shift(size64, digitShl, rax, 3)
	c.movImm(rcx, l.Base)
	c.rr(size64, opAdd, rcx, rax)
	c.rm(size64, opLoad, rax, mem{rax, 0})
	c.jump(done)
	c.bind(absent)
	c.rr(size32, opXor, rax, rax)
	c.bind(done)
}

// lookupInner writes the lookup in an inner map, which has to be asked where it lies:
// an array, or a hash table. Here is the array's:
//
//	mov eax, [rsi]
//	cmp eax, [rdi+max_entries]
//	jae absent
//	imul rax, size
//	add rax, [rdi+base]
//	jmp done
//	absent: xor eax, eax
//	done:
func (c *compiler) lookupInner(pc int) bool {
	m, l, ok := code.Inner(c.prog, pc)
	if !ok {
		return false
	}
	if m.Type == catalog.MapHash {
		return c.lookupHash(m, l)
	}
	absent, done := c.label(), c.label()
	c.rm(size32, opLoad, rax, at(isa.R2, 0))
	c.rm(size32, opCmp+2, rax, at(isa.R1, code.MapMaxEntries))
	c.jumpIf(condAE, absent)
	c.guard()
	c.mulImm(size64, rax, int32(l.ElemSize))
	c.rm(size64, opAdd+2, rax, at(isa.R1, code.MapBase))
	c.jump(done)
	c.bind(absent)
	c.rr(size32, opXor, rax, rax)
	c.bind(done)
	return true
}

// bucketInner does for an inner hash table, whose header is at rdi, what lookupHash
// does with constants: r10d = hash, eax = bucket, rdi = its head, r8 = element 0.
func (c *compiler) bucketInner(keySize int32) {
	c.movImm(r8, uint64(code.HashInit(keySize, 0)))
	c.rm(size32, opAdd+2, r8, at(isa.R1, code.MapSeed))
	c.hashKey(keySize)
	c.mov(size32, rax, r10)
	c.rm(size32, opAnd+2, rax, at(isa.R1, code.MapMask))
	c.rm(size64, opLoad, r8, at(isa.R1, code.MapBase))
	c.rm(size64, opLoad, rdi, at(isa.R1, code.MapBuckets))
	c.mov(size32, rcx, rax)
	c.shift(size64, digitShl, rcx, 2)
	c.rr(size64, opAdd, rcx, rdi)
}
