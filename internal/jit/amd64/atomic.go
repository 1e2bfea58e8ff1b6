package amd64

import "github.com/skep-bpf/skep/isa"

// atomic lowers atomic operations. On x86 every load acquires and every store
// releases; read-modify-write needs the lock prefix, which xchg implies.
func (c *compiler) atomic(ins isa.Instruction) {
	size, src := ins.Op.Bytes(), native[ins.Src]
	m := at(ins.Dst, ins.Off)
	switch ins.Imm {
	case isa.LoadAcquire:
		c.loadZX(size, native[ins.Dst], at(ins.Src, ins.Off))
	case isa.StoreRelease:
		c.put(size, src, m)
	case isa.AtomicAdd, isa.AtomicOr, isa.AtomicAnd, isa.AtomicXor:
		c.rm(size, simple[isa.Opcode(ins.Imm)].op|opLock, src, m)
	case isa.AtomicAdd | isa.Fetch:
		c.rm(size, opXadd, src, m)
	case isa.AtomicXchg:
		c.rm(size, opXchg, src, m)
	case isa.AtomicCmpXch:
		c.rm(size, opCmpxchg, src, m)
		if size == size32 { // where it succeeds the machine leaves rax alone
			c.mov(size32, rax, rax)
		}
	default:
		c.fetchLoop(simple[isa.Opcode(ins.Imm&^isa.Fetch)].op, size, src, m)
	}
}

// fetchLoop lowers the operations that x86 has only without their result:
//
//	mov rdx, rax          R0's old value; where R0 is named below, rdx is meant
//	mov rax, [m]
//	again: mov rcx, rax
//	op rcx, src
//	lock cmpxchg [m], rcx
//	jne again
//	mov src, rax
//	mov rax, rdx
func (c *compiler) fetchLoop(op opcode, size int, src reg, m mem) {
	operand := src
	c.mov(size64, rdx, rax)
	if src == rax {
		operand = rdx
	}
	if m.base == rax {
		m.base = rdx
	}
	again := c.label()
	c.rm(size, opLoad, rax, m)
	c.bind(again)
	c.mov(size64, rcx, rax)
	c.rr(size, op, operand, rcx)
	c.rm(size, opCmpxchg, rcx, m)
	c.jumpIf(condNE, again)
	if src != rax {
		c.mov(size64, src, rax)
		c.mov(size64, rax, rdx)
	}
}
