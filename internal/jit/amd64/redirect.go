package amd64

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// redirectMap writes bpf_redirect_map without flags besides the result for an empty
// entry; false if it is left to Go. It leaves word in the context. Where many packets are run
// on in one go, each one's word has to be picked up by Go, which is called then as ever:
//
//	cmp r8, action mask
//	ja go
//	cmp [left], 0
//	jne go
//	mov esi, esi
//	cmp esi, max_entries
//	jae empty
//	mov rcx, base                    of a devmap_hash: a walk, as in lookupHash
//	lea rax, [rsi*8]
//	cmp [rcx+rax], 0
//	je empty
//	mov rcx, map
//	mov [redirect], rcx
//	mov [key], rsi
//	mov eax, XDP_REDIRECT
//	jmp done
//	empty: mov [redirect], none
//	mov eax, r8d
//	done:                            go: leave; jmp done
func (c *compiler) redirectMap(pc int) bool {
	m, l, ok := code.Lookup(c.prog, &c.opts, pc)
	slots := ok && (m.Type == catalog.MapDevMap || m.Type == catalog.MapCPUMap || m.Type == catalog.MapXSKMap)
	if !slots && (!ok || m.Type != catalog.MapDevMapHash) {
		return false
	}
	const actionMask, redirect = 3, 4 // XDP_REDIRECT
	key, flags := native[isa.R2], native[isa.R3]
	empty, done := c.label(), c.label()
	slow := c.slowHelper(pc)
	c.group1(size64, digitCmp, flags, actionMask)
	c.jumpIf(condA, slow)
	c.group1Mem(size64, digitCmp, context(exec.OffLeft), 0)
	c.jumpIf(condNE, slow)
	c.mov(size32, key, key)
	found := func() {
		c.movImm(rcx, m.Ptr)
		c.rm(size64, opStore, rcx, context(exec.OffRedirect))
		c.rm(size64, opStore, key, context(exec.OffKey))
		c.movImm(rax, redirect)
		c.jump(done)
	}
	if slots {
		c.group1(size32, digitCmp, key, int32(m.MaxEntries))
		c.jumpIf(condAE, empty)
		c.guard()
		c.mov(size64, rax, key)
		c.shift(size64, digitShl, rax, 3)
		c.movImm(rcx, l.Base)
		c.rr(size64, opAdd, rcx, rax)
		c.group1Mem(size64, digitCmp, mem{rax, 0}, 0)
		c.jumpIf(condE, empty)
		found()
	} else {
		c.mov(size64, r11, flags)
		c.mov(size32, r10, key) // its own hash
		c.bucket(l)
		c.walk(m, l, empty, func(label) { found() })
		flags = r11
	}
	c.bind(empty)
	c.rm(size64, opMovI, 0, context(exec.OffRedirect))
	c.imm32(exec.RedirectNone)
	c.mov(size32, rax, flags)
	c.bind(done)
	return true
}
