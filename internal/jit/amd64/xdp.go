package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/isa"
)

// adjustHead writes bpf_xdp_adjust_head for packets without metadata that keep to
// their room; refusals are Go's, too (see Packet.AdjustHead):
//
//	movsxd rcx, esi
//	mov rdx, [rdi+data]
//	cmp rdx, [rdi+data_meta]
//	jne go
//	add rdx, rcx
//	mov rax, [rdi+hard_start]
//	add rax, reserved
//	cmp rdx, rax
//	jb go
//	lea rcx, [rdx+shortest]
//	cmp rcx, [rdi+data_end]
//	ja go
//	mov [rdi+data], rdx
//	mov [rdi+data_meta], rdx
//	xor eax, eax
//	done:                            go: leave; jmp done
func (c *compiler) adjustHead(pc int) {
	frame := native[isa.R1]
	slow := c.slowHelper(pc)
	c.rr(size64, opMovsxd, rcx, native[isa.R2])
	c.rm(size64, opLoad, rdx, mem{frame, code.PacketData})
	c.rm(size64, opCmp+2, rdx, mem{frame, code.PacketDataMeta})
	c.jumpIf(condNE, slow)
	c.rr(size64, opAdd, rcx, rdx)
	c.rm(size64, opLoad, rax, mem{frame, code.PacketHard})
	c.group1(size64, digitAdd, rax, code.PacketReserved)
	c.rr(size64, opCmp, rax, rdx)
	c.jumpIf(condB, slow)
	c.rm(size64, opLea, rcx, mem{rdx, code.PacketMin})
	c.rm(size64, opCmp+2, rcx, mem{frame, code.PacketDataEnd})
	c.jumpIf(condA, slow)
	c.rm(size64, opStore, rdx, mem{frame, code.PacketData})
	c.rm(size64, opStore, rdx, mem{frame, code.PacketDataMeta})
	c.rr(size32, opXor, rax, rax)
}

// adjustTail writes bpf_xdp_adjust_tail where a packet in one piece becomes shorter:
//
//	movsxd rdx, esi
//	test rdx, rdx
//	jg go
//	test [rdi+xdp_flags], has_frags
//	jne go
//	add rdx, [rdi+data_end]
//	mov rcx, [rdi+data]
//	add rcx, shortest
//	cmp rdx, rcx
//	jb go
//	mov [rdi+data_end], rdx
//	mov [rdi+end], rdx
//	xor eax, eax
//	done:                            go: leave; jmp done
func (c *compiler) adjustTail(pc int) {
	frame := native[isa.R1]
	slow := c.slowHelper(pc)
	c.rr(size64, opMovsxd, rdx, native[isa.R2])
	c.rr(size64, opTest, rdx, rdx)
	c.jumpIf(condG, slow)
	c.rm(size8, opGroup3Byte, digitTest, mem{frame, code.PacketXDPFlags})
	c.imm8(code.PacketHasFrags)
	c.jumpIf(condNE, slow)
	c.rm(size64, opAdd+2, rdx, mem{frame, code.PacketDataEnd})
	c.rm(size64, opLoad, rcx, mem{frame, code.PacketData})
	c.group1(size64, digitAdd, rcx, code.PacketMin)
	c.rr(size64, opCmp, rcx, rdx)
	c.jumpIf(condB, slow)
	c.rm(size64, opStore, rdx, mem{frame, code.PacketDataEnd})
	c.rm(size64, opStore, rdx, mem{frame, code.PacketEnd})
	c.rr(size32, opXor, rax, rax)
}

// adjustMeta writes bpf_xdp_adjust_meta where the metadata keeps to its room:
//
//	movsxd rdx, esi
//	add rdx, [rdi+data_meta]
//	mov rcx, [rdi+hard_start]
//	add rcx, reserved
//	cmp rdx, rcx
//	jb go
//	mov rcx, [rdi+data]
//	sub rcx, rdx                     its length
//	test rcx, ^largest               negative ones fail here, too
//	jne go
//	mov [rdi+data_meta], rdx
//	xor eax, eax
//	done:                            go: leave; jmp done
func (c *compiler) adjustMeta(pc int) {
	frame := native[isa.R1]
	slow := c.slowHelper(pc)
	c.rr(size64, opMovsxd, rdx, native[isa.R2])
	c.rm(size64, opAdd+2, rdx, mem{frame, code.PacketDataMeta})
	c.rm(size64, opLoad, rcx, mem{frame, code.PacketHard})
	c.group1(size64, digitAdd, rcx, code.PacketReserved)
	c.rr(size64, opCmp, rcx, rdx)
	c.jumpIf(condB, slow)
	c.rm(size64, opLoad, rcx, mem{frame, code.PacketData})
	c.rr(size64, opSub, rdx, rcx)
	c.rr(size64, opGroup3, digitTest, rcx)
	c.imm32(^code.PacketMaxMeta)
	c.jumpIf(condNE, slow)
	c.rm(size64, opStore, rdx, mem{frame, code.PacketDataMeta})
	c.rr(size32, opXor, rax, rax)
}

// slowHelper makes a place behind the function where the helper at pc is called in Go, from where
// the code goes on behind what is written until then.
func (c *compiler) slowHelper(pc int) (slow label) {
	slow = c.label()
	c.late = append(c.late, func() {
		c.bind(slow)
		c.exit(code.Helper, pc, c.insns[pc])
		c.jump(label(pc + 1))
	})
	return slow
}
