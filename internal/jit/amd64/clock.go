package amd64

// clock writes ktime_get_ns and its kin, which read CLOCK_MONOTONIC and add ahead, where
// the machine's time is the system's and the vDSO has a function to read it; false if it is left to Go:
//
//	push rbp
//	mov rbp, rsp
//	sub rsp, 16                      a struct timespec
//	and rsp, -16                     as C wants it at calls
//	mov edi, CLOCK_MONOTONIC
//	mov rsi, rsp
//	mov rax, clock_gettime
//	call rax
//	imul rax, [rsp], 1e9             seconds
//	add rax, [rsp+8]                 nanoseconds
//	leave
//	(mov rcx, ahead; add rax, rcx)
//
// The function keeps the registers that BPF keeps over calls, and r12. It
// is an indirect call, so not for those who want none.
func (c *compiler) clock(ahead uint64) bool {
	if c.opts.Clock == nil || c.opts.ClockGettime == 0 || c.opts.Retpolines {
		return false
	}
	const monotonic, nanoseconds = 1, 1e9
	c.push(rbp)
	c.mov(size64, rbp, rsp)
	c.group1(size64, digitSub, rsp, 16)
	c.group1(size64, digitAnd, rsp, -16)
	c.movImm(rdi, monotonic)
	c.mov(size64, rsi, rsp)
	c.movImm(rax, c.opts.ClockGettime)
	c.rr(size32, opGroup5, digitCall, rax)
	c.rm(size64, opImul3, rax, mem{rsp, 0})
	c.imm32(nanoseconds)
	c.rm(size64, opAdd+2, rax, mem{rsp, 8})
	c.bytes(0xc9) // leave
	if ahead != 0 {
		c.movImm(rcx, ahead)
		c.rr(size64, opAdd, rcx, rax)
	}
	return true
}
