package amd64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/isa"
)

// Registers of the walk through a trie. Node numbers are 32 bits wide.
const (
	trieLength = rax // of the key
	trieNode   = rdx // number of the node at hand
	trieFound  = r10 // of the best one so far, plus one; 0: none
	trieBase   = r9  // address of node 0
	trieAddr   = rcx // of the node at hand
	triePrefix = r8  // its prefix
)

// lookupTrie writes the walk for the longest prefix, for keys of 4, 8 or 16 bytes
// (LPMTrie.longest in package maps, whose index says why this needs no lock):
//
//	mov eax, [rsi]
//	cmp eax, bits of a key
//	ja absent
//	xor r10d, r10d
//	mov rdi, link to the root
//	mov edx, [rdi]
//	(where the index tells, r10d and edx from it instead)
//	mov r9, node 0
//	walk: cmp edx, none
//	je end
//	imul rcx, rdx, size
//	add rcx, r9
//	mov r8d, [rcx+prefix]
//	cmp r8d, eax
//	ja end
//	edi = how many bits of key and node are the same
//	cmp edi, r8d
//	jb end
//	cmp [rcx+flags], 0
//	jne inner
//	lea r10d, [rdx+1]
//	inner: cmp r8d, bits of a key
//	jae end
//	edi = bit r8 of the key
//	mov edx, [rcx+4*rdi]
//	jmp walk
//	end: test r10d, r10d
//	je absent
//	imul rax, r10, size
//	mov rcx, value of node −1
//	add rax, rcx
//	jmp done
//	absent: xor eax, eax
//	done:
func (c *compiler) lookupTrie(m *catalog.MapDef, l code.Layout) bool {
	data := int32(m.KeySize) - code.TrieKeyHead
	if !c.opts.BMI2 || !c.opts.LZCNT || data != 4 && data != 8 && data != 16 {
		return false
	}
	walk, inner, end, absent, done := c.label(), c.label(), c.label(), c.label(), c.label()
	c.rm(size32, opLoad, trieLength, at(isa.R2, 0))
	c.group1(size32, digitCmp, trieLength, 8*data)
	c.jumpIf(condA, absent)
	c.rr(size32, opXor, trieFound, trieFound)
	c.movImm(rdi, l.Buckets)
	c.rm(size32, opLoad, trieNode, mem{rdi, 0})
	if l.PerCPU != 0 {
		c.trieIndex(l)
	}
	c.movImm(trieBase, l.Base)
	c.bind(walk)
	c.group1(size32, digitCmp, trieNode, code.TrieNone)
	c.jumpIf(condE, end)
	c.rr(size64, opImul3, trieAddr, trieNode)
	c.imm32(int32(l.ElemSize))
	c.rr(size64, opAdd, trieBase, trieAddr)
	c.rm(size32, opLoad, triePrefix, mem{trieAddr, code.TriePrefix})
	c.rr(size32, opCmp, trieLength, triePrefix)
	c.jumpIf(condA, end)
	c.trieMatch(data)
	c.rr(size32, opCmp, triePrefix, rdi)
	c.jumpIf(condB, end)
	c.group1Mem(size32, digitCmp, mem{trieAddr, code.TrieFlags}, 0)
	c.jumpIf(condNE, inner)
	c.rm(size32, opLea, trieFound, mem{trieNode, 1})
	c.bind(inner)
	c.group1(size32, digitCmp, triePrefix, 8*data)
	c.jumpIf(condAE, end)
	c.trieBit()
	c.shift(size32, digitShl, rdi, 2)
	c.rr(size64, opAdd, rdi, trieAddr)
	c.rm(size32, opLoad, trieNode, mem{trieAddr, code.TrieChild})
	c.jump(walk)
	c.bind(end)
	c.rr(size32, opTest, trieFound, trieFound)
	c.jumpIf(condE, absent)
	c.rr(size64, opImul3, rax, trieFound)
	c.imm32(int32(l.ElemSize))
	c.movImm(rcx, l.Base-uint64(l.ElemSize)+uint64(l.ValueOff))
	c.rr(size64, opAdd, rcx, rax)
	c.jump(done)
	c.bind(absent)
	c.rr(size32, opXor, rax, rax)
	c.bind(done)
	return true
}

// trieIndex writes the step over the first levels:
//
//	cmp eax, 16
//	jb root
//	mov rdi, index
//	mov ecx, [rdi]                   the sequence
//	test cl, 1
//	jne root
//	movzx r8d, word [rsi+4]
//	rol r8w, 8
//	shl r8d, 3
//	add r8, rdi
//	mov r8, [r8+entries]
//	cmp ecx, [rdi]
//	jne root
//	mov r10d, r8d
//	shr r8, 32
//	lea edx, [r8-1]
//	root:
func (c *compiler) trieIndex(l code.Layout) {
	root := c.label()
	c.group1(size32, digitCmp, trieLength, code.TrieIndexBits)
	c.jumpIf(condB, root)
	c.movImm(rdi, l.PerCPU)
	c.rm(size32, opLoad, rcx, mem{rdi, 0})
	c.rr(size8, opGroup3Byte, digitTest, rcx)
	c.imm8(1)
	c.jumpIf(condNE, root)
	c.rm(size32, opMovzxW, r8, at(isa.R2, code.TrieKeyHead))
	c.shift(size16, digitRol, r8, 8)
	c.shift(size32, digitShl, r8, 3)
	c.rr(size64, opAdd, rdi, r8)
	c.rm(size64, opLoad, r8, mem{r8, code.TrieIndexEntries})
	c.rm(size32, opCmp+2, rcx, mem{rdi, 0})
	c.jumpIf(condNE, root)
	c.mov(size32, trieFound, r8)
	c.shift(size64, digitShr, r8, 32)
	c.rm(size32, opLea, trieNode, mem{r8, -1})
	c.bind(root)
}

// trieMatch writes edi = how many leading bits the key and the node share, of data bytes each:
//
//	mov rdi, [rsi+4]
//	xor rdi, [rcx+data]
//	jne first                        16 bytes: else the second eight
//	mov rdi, [rsi+12]
//	xor rdi, [rcx+data+8]
//	bswap rdi; lzcnt rdi, rdi
//	add edi, 64
//	jmp done
//	first: bswap rdi; lzcnt rdi, rdi
//	done:
func (c *compiler) trieMatch(data int32) {
	size := size64
	if data == 4 {
		size = size32
	}
	load := func(n int32) {
		c.rm(size, opLoad, rdi, mem{native[isa.R2], code.TrieKeyHead + n})
		c.rm(size, opXor+2, rdi, mem{trieAddr, code.TrieData + n})
	}
	count := func() {
		c.bswap(size, rdi)
		c.rr(size, opLzcnt, rdi, rdi)
	}
	load(0)
	if data <= 8 {
		count()
		return
	}
	first, done := c.label(), c.label()
	c.jumpIf(condNE, first)
	load(8)
	count()
	c.group1(size32, digitAdd, rdi, 64)
	c.jump(done)
	c.bind(first)
	count()
	c.bind(done)
}

// trieBit writes edi = bit r8 of the key, counted from the most significant one of its first byte:
//
//	mov edi, r8d
//	shr edi, 3
//	add rdi, rsi
//	movzx edi, byte [rdi+4]
//	and r8d, 7
//	shlx edi, edi, r8d
//	shr edi, 7
//	and edi, 1
func (c *compiler) trieBit() {
	c.mov(size32, rdi, triePrefix)
	c.shift(size32, digitShr, rdi, 3)
	c.rr(size64, opAdd, native[isa.R2], rdi)
	c.rm(size32, opMovzxB, rdi, mem{rdi, code.TrieKeyHead})
	c.group1(size32, digitAnd, triePrefix, 7)
	c.vex(size32, opShlx, rdi, triePrefix, rdi)
	c.shift(size32, digitShr, rdi, 7)
	c.group1(size32, digitAnd, rdi, 1)
}
