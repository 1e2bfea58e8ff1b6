package amd64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
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
		return c.lookupPerCPUArray(m, l)
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
//	mov eax, [key]
//	mov ecx, cpu
//	cmp eax, max_entries
//	jae absent
//	imul rcx, stride
//	imul rax, size
//	add rax, rcx
//	mov rcx, base
//	add rax, rcx
//	jmp done
//	absent: xor eax, eax
//	done:
func (c *compiler) lookupPerCPUArray(m *catalog.MapDef, l code.Layout) bool {
	absent, done := c.label(), c.label()
	c.rm(size32, opLoad, rax, at(isa.R2, 0))
	c.group1(size32, digitCmp, rax, int32(m.MaxEntries))
	c.jumpIf(condAE, absent)
	c.guard()
	c.mulImm(size64, rax, int32(l.ElemSize))
	c.addCPU(rax, l)
	c.movImm(rcx, l.Base)
	c.rr(size64, opAdd, rcx, rax)
	c.jump(done)
	c.bind(absent)
	c.rr(size32, opXor, rax, rax)
	c.bind(done)
	return true
}

// addCPU adds to dst how far the vCPU's values are from CPU 0's. It uses rcx.
func (c *compiler) addCPU(dst reg, l code.Layout) {
	c.rm(size32, opLoad, rcx, context(exec.OffCPU))
	c.mulImm(size64, rcx, int32(l.CPUStride))
	c.rr(size64, opAdd, rcx, dst)
}

// lookupHash writes a walk along a bucket's chain, for keys of whole words
// (table.find in package maps says why this needs no lock):
//
//	r10 = hash of the key
//	eax = bucket, rdi = its head, r8 = element 0
//	again: mov edx, [rdi]
//	next:  test edx, edx
//	jle end
//	imul rcx, rdx, size
//	add rcx, r8
//	mov edx, [rcx+next]
//	cmp [rcx+hash], r10d
//	jne next
//	(each word of the key: mov r9, [rsi+n]; cmp r9, [rcx+key+n]; jne next)
//	lea rax, [rcx+value]
//	jmp done
//	end: je absent                   0: the bucket was never used
//	lea r9d, [rax+LinkEnd]
//	cmp edx, r9d
//	jne again                        another bucket's end
//	absent: xor eax, eax
//	done:
func (c *compiler) lookupHash(m *catalog.MapDef, l code.Layout) bool {
	if m.KeySize%4 != 0 || m.KeySize > code.MaxHashKey {
		return false
	}
	absent, done := c.label(), c.label()
	if inner := m.Ptr == 0; inner {
		c.bucketInner(int32(m.KeySize))
	} else {
		c.hash(int32(m.KeySize), l.Seed)
		c.bucket(l)
	}
	c.walk(m, l, absent, func(next label) {
		for n := int32(0); n < int32(m.KeySize); {
			size := size64
			if n+8 > int32(m.KeySize) {
				size = size32
			}
			c.rm(size, opLoad, r9, mem{rsi, n})
			c.rm(size, opCmp, r9, mem{rcx, code.ElemKey + n})
			c.jumpIf(condNE, next)
			n += int32(size)
		}
		c.found(m, l)
		c.jump(done)
	})
	c.bind(absent)
	c.rr(size32, opXor, rax, rax)
	c.bind(done)
	return true
}

// bucket finds the bucket of the hash in r10d: its number in eax, its head at rdi, element 0 at r8.
func (c *compiler) bucket(l code.Layout) {
	c.mov(size32, rax, r10)
	c.group1(size32, digitAnd, rax, int32(l.Mask))
	c.movImm(rcx, l.Buckets)
	c.mov(size32, rdi, rax)
	c.shift(size64, digitShl, rdi, 2)
	c.rr(size64, opAdd, rcx, rdi)
	c.movImm(r8, l.Base)
}

// walk goes over the elements with the hash in r10d of a bucket, see lookupHash. element
// looks at the one at rcx and goes to next if it is not what is looked for. Where none is, control
// comes to absent, which is bound behind.
func (c *compiler) walk(m *catalog.MapDef, l code.Layout, absent label, element func(next label)) {
	again, next, end := c.label(), c.label(), c.label()
	c.bind(again)
	c.rm(size32, opLoad, rdx, mem{rdi, 0})
	c.bind(next)
	c.rr(size32, opTest, rdx, rdx)
	c.jumpIf(condLE, end)
	c.rr(size64, opImul3, rcx, rdx)
	c.imm32(int32(l.ElemSize))
	c.rr(size64, opAdd, r8, rcx)
	if m.Type == catalog.MapPerCPUHash {
		c.mov(size32, r11, rdx) // the element's number, for its value
	}
	c.rm(size32, opLoad, rdx, mem{rcx, code.ElemNext})
	c.rm(size32, opCmp, r10, mem{rcx, code.ElemHash})
	c.jumpIf(condNE, next)
	element(next)
	c.bind(end)
	c.jumpIf(condE, absent)
	c.rm(size32, opLea, r9, mem{rax, code.LinkEnd})
	c.rr(size32, opCmp, r9, rdx)
	c.jumpIf(condNE, again)
}

// found makes the address of the value of the element at rcx.
func (c *compiler) found(m *catalog.MapDef, l code.Layout) {
	switch m.Type {
	case catalog.MapPerCPUHash:
		c.mov(size32, rax, r11)
		c.mulImm(size64, rax, int32(m.ValueSize+7)&^7)
		c.addCPU(rax, l)
		c.movImm(rcx, l.PerCPU)
		c.rr(size64, opAdd, rcx, rax)
		return
	case catalog.MapLRUHash: // a bit that is set is not written again: others read the line
		set := c.label()
		c.group1Mem(size32, digitCmp, mem{rcx, code.ElemRef}, 0)
		c.jumpIf(condNE, set)
		c.rm(size32, opMovI, 0, mem{rcx, code.ElemRef})
		c.imm32(1)
		c.bind(set)
	}
	c.rm(size64, opLea, rax, mem{rcx, int32(l.ValueOff)})
}

// hashRegs are the hash's three words.
var hashRegs = [...]reg{r8, r9, r10}

// hash writes jhash (include/linux/jhash.h) of the n bytes at rsi, n a multiple
// of 4; the result is in r10d. It uses rcx, r8 and r9.
func (c *compiler) hash(n int32, seed uint32) {
	c.movImm(r8, uint64(code.HashInit(n, seed)))
	c.hashKey(n)
}

// hashKey is hash from where r8d has what its words begin with.
func (c *compiler) hashKey(n int32) {
	c.mov(size32, r9, r8)
	c.mov(size32, r10, r8)
	off := int32(0)
	words := func(count int32) {
		for i := range count {
			c.rm(size32, opAdd+2, hashRegs[i], mem{rsi, off + 4*i})
		}
		off += 4 * count
	}
	for n-off > 12 {
		words(3)
		for _, s := range code.MixSteps {
			c.hashStep(s, opSub, opXor)
			c.rr(size32, opAdd, hashRegs[s.Z], hashRegs[s.Y])
		}
	}
	words((n - off) / 4)
	for _, s := range code.FinalSteps {
		c.hashStep(s, opXor, opSub)
	}
}

// hashStep writes "x op y; x rotated rol(y, n)".
func (c *compiler) hashStep(s code.HashStep, op, rotated opcode) {
	x, y := hashRegs[s.X], hashRegs[s.Y]
	c.rr(size32, op, y, x)
	c.rotate(size32, rcx, y, uint8(s.Rotate))
	c.rr(size32, rotated, rcx, x)
}
