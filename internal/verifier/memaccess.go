package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// access is one load or store being checked.
type access struct {
	ptr    isa.Register // holds the address
	off    int          // fixed offset of the instruction
	size   int          // bytes
	write  bool
	val    isa.Register // loaded or stored register, or noReg
	strict bool         // alignment matters whatever the machine
	sx     bool         // sign-extending load
}

// checkAccess checks a load or store and carries out what it does to
// registers and stack (check_mem_access).
func (e *env) checkAccess(a access) *Error {
	regs := e.regs()
	r := &regs[a.ptr]
	if err := e.checkAlignment(r, a.off, a.size, a.strict); err != nil {
		return err
	}
	off := a.off + int(r.off)
	t := r.typ
	load := !a.write && a.val != noReg
	var err *Error
	switch {
	case t == ptrToMapKey:
		if a.write {
			return e.refuse(errno.EACCES, "write to change key R%d not allowed", a.ptr)
		}
		err = e.checkRegion(a.ptr, off, a.size, r.m.KeySize, false)
	case t == ptrToMapValue:
		return e.accessMapValue(a, r, off)
	case t.base() == ptrToMem:
		err = e.accessMem(a, r, off)
	case t == ptrToCtx:
		return e.accessCtx(a, r)
	case t == ptrToStack:
		if err := e.stackBounds(a.ptr, off, a.size, a.write); err != nil {
			return err
		}
		if a.write {
			return e.writeStack(a.ptr, off, a.size, a.val)
		}
		if err := e.readStack(a.ptr, off, a.size, a.val); err != nil {
			return err
		}
		e.narrow(a)
		return nil
	case t.isPkt():
		if a.write && !e.mayWritePkt() {
			return e.refuse(errno.EACCES, "cannot write into packet")
		}
		if err := e.checkLeak(a, "packet"); err != nil {
			return err
		}
		err = e.checkPacket(a.ptr, off, a.size, false)
	case t == ptrToFlowKeys:
		if err := e.checkLeak(a, "flow keys"); err != nil {
			return err
		}
		if off < 0 || off+a.size > catalog.FlowKeysSize {
			return e.refuse(errno.EACCES, "invalid access to flow keys off=%d size=%d", off, a.size)
		}
	case t.isSock():
		if a.write {
			return e.refuse(errno.EACCES, "R%d cannot write into %s", a.ptr, t)
		}
		err = e.checkSock(a.ptr, off, a.size)
	case t == ptrToTPBuffer:
		err = e.checkBuffer(r, a.ptr, "tracepoint", off, a.size)
	case t.base() == ptrToBTF && !t.mayBeNull():
		return e.accessBTF(a, r, off)
	case t == constPtrToMap:
		return e.accessMapPtr(a, r, off)
	case t.base() == ptrToBuf && !t.mayBeNull():
		kind := "rdwr"
		if t.has(rdonly) {
			kind = "rdonly"
			if a.write {
				return e.refuse(errno.EACCES, "R%d cannot write into %s", a.ptr, t)
			}
		}
		err = e.checkBuffer(r, a.ptr, kind, off, a.size)
	case t == ptrToArena:
	default:
		return e.refuse(errno.EACCES, "R%d invalid mem access '%s'", a.ptr, t)
	}
	if err != nil {
		return err
	}
	if load {
		e.markUnknown(&regs[a.val])
		e.narrow(a)
	}
	return nil
}

// narrow cuts a loaded number to the width of the load.
func (e *env) narrow(a access) {
	if a.write || a.val == noReg || a.size == regSize {
		return
	}
	if d := &e.regs()[a.val]; d.typ == scalarValue {
		if a.sx {
			// A negative number is another one than the low bytes it was filled from,
			// which the kernel forgets.
			if d.umax >= 1<<(8*a.size-1) {
				d.clearID()
			}
			d.signExtend(a.size)
		} else {
			d.truncate(a.size)
		}
	}
}

// checkLeak refuses to store an address where user space may read it.
func (e *env) checkLeak(a access, where string) *Error {
	if a.write && a.val != noReg && e.isPointer(&e.regs()[a.val]) {
		return e.refuse(errno.EACCES, "R%d leaks addr into %s", a.val, where)
	}
	return nil
}

// checkAlignment demands natural alignment where the machine, or the kind of
// memory, does (check_ptr_alignment). Packets start two bytes off, so that
// their network headers are aligned.
func (e *env) checkAlignment(r *reg, off, size int, once bool) *Error {
	strict := once || e.strictAlign()
	name := ""
	switch r.typ {
	case ptrToPacket, ptrToPacketMeta:
		const netIPAlign = 2
		if !strict || size == 1 {
			return nil
		}
		if !r.bits.add(tnumConst(uint64(netIPAlign + int64(r.off) + int64(off)))).aligned(uint64(size)) {
			return e.refuse(errno.EACCES, "misaligned packet access off %d+%s+%d+%d size %d", netIPAlign, r.bits, r.off, off, size)
		}
		return nil
	case ptrToFlowKeys:
		name = "flow keys "
	case ptrToMapKey:
		name = "key "
	case ptrToMapValue:
		name = "value "
	case ptrToCtx:
		name = "context "
	case ptrToStack:
		name, strict = "stack ", true
	case ptrToSocket:
		name = "sock "
	case ptrToSockCommon:
		name = "sock_common "
	case ptrToTCPSock:
		name = "tcp_sock "
	case ptrToXDPSock:
		name = "xdp_sock "
	case ptrToArena:
		return nil
	}
	if !strict || size == 1 {
		return nil
	}
	if !r.bits.add(tnumConst(uint64(int64(r.off) + int64(off)))).aligned(uint64(size)) {
		return e.refuse(errno.EACCES, "misaligned %saccess off %s+%d+%d size %d", name, r.bits, r.off, off, size)
	}
	return nil
}

// checkBounds keeps off..off+size inside an object of objSize bytes (__check_mem_access).
func (e *env) checkBounds(n isa.Register, off int64, size int, objSize uint32, zeroOK bool) *Error {
	if off >= 0 && (size > 0 || size == 0 && zeroOK) && uint64(off)+uint64(size) <= uint64(objSize) {
		return nil
	}
	r := &e.regs()[n]
	off32 := int32(off)
	switch r.typ {
	case ptrToMapKey:
		return e.refuse(errno.EACCES, "invalid access to map key, key_size=%d off=%d size=%d", int32(objSize), off32, size)
	case ptrToMapValue:
		return e.refuse(errno.EACCES, "invalid access to map value, value_size=%d off=%d size=%d", int32(objSize), off32, size)
	case ptrToPacket, ptrToPacketMeta, ptrToPacketEnd:
		return e.refuse(errno.EACCES, "invalid access to packet, off=%d size=%d, R%d(id=%d,off=%d,r=%d)", off32, size, n, r.id, off32, int32(objSize))
	}
	return e.refuse(errno.EACCES, "invalid access to memory, mem_size=%d off=%d size=%d", objSize, off32, size)
}

// checkRegion is checkBounds for a pointer with a variable offset (check_mem_region_access).
func (e *env) checkRegion(n isa.Register, off, size int, objSize uint32, zeroOK bool) *Error {
	r := &e.regs()[n]
	lo := r.smin + int64(off)
	if r.smin < 0 && (r.smin == -1<<63 || lo != int64(int32(lo)) || lo < 0) {
		return e.refuse(errno.EACCES, "R%d min value is negative, either use unsigned index or do a if (index >=0) check.", n)
	}
	if err := e.checkBounds(n, lo, size, objSize, zeroOK); err != nil {
		return e.also(err, "R%d min value is outside of the allowed memory range", n)
	}
	if r.umax >= maxVarOff {
		return e.refuse(errno.EACCES, "R%d unbounded memory access, make sure to bounds check any such access", n)
	}
	if err := e.checkBounds(n, int64(r.umax)+int64(off), size, objSize, zeroOK); err != nil {
		return e.also(err, "R%d max value is outside of the allowed memory range", n)
	}
	return nil
}

// checkPacket keeps an access inside what was proven of the packet (check_packet_access).
func (e *env) checkPacket(n isa.Register, off, size int, zeroOK bool) *Error {
	r := &e.regs()[n]
	// The range was proven with the variable part in it, which must not be
	// negative; its upper bound need not be looked at.
	if r.smin < 0 {
		return e.refuse(errno.EACCES, "R%d min value is negative, either use unsigned index or do a if (index >=0) check.", n)
	}
	if r.rng < 0 {
		return e.refuse(errno.EINVAL, "R%d offset is outside of the packet", n)
	}
	if err := e.checkBounds(n, int64(off), size, uint32(r.rng), zeroOK); err != nil {
		return e.also(err, "R%d offset is outside of the packet", n)
	}
	return nil
}

func (e *env) mayWritePkt() bool {
	if e.p.Type == catalog.ProgCGroupSockopt {
		return true
	}
	return e.facts.kind.Flags&catalog.PktWrite != 0
}

func (e *env) checkSock(n isa.Register, off, size int) *Error {
	r := &e.regs()[n]
	if r.smin < 0 {
		return e.refuse(errno.EACCES, "R%d min value is negative, either use unsigned index or do a if (index >=0) check.", n)
	}
	kind := catalog.FieldSock
	switch r.typ {
	case ptrToSockCommon:
		kind = catalog.FieldSockCommon
	case ptrToTCPSock:
		kind = catalog.FieldTCPSock
	case ptrToXDPSock:
		kind = catalog.FieldXDPSock
	}
	if !r.isConst() || catalog.SockField(kind, off+int(int64(r.bits.value)), size) == nil {
		return e.refuse(errno.EACCES, "R%d invalid %s access off=%d size=%d", n, r.typ, off, size)
	}
	return nil
}

// checkBuffer checks memory whose end is only known when it is there; the
// greatest offset is bounded then (__check_buffer_access).
func (e *env) checkBuffer(r *reg, n isa.Register, kind string, off, size int) *Error {
	if off < 0 {
		return e.refuse(errno.EACCES, "R%d invalid %s buffer access: off=%d, size=%d", n, kind, off, size)
	}
	if !r.bits.is(0) {
		return e.refuse(errno.EACCES, "R%d invalid variable buffer offset: off=%d, var_off=%s", n, off, r.bits)
	}
	return nil
}

func (e *env) accessMem(a access, r *reg, off int) *Error {
	ro := r.typ.has(rdonly)
	if r.mayBeNull() {
		return e.refuse(errno.EACCES, "R%d invalid mem access '%s'", a.ptr, r.typ)
	}
	if a.write && ro {
		return e.refuse(errno.EACCES, "R%d cannot write into %s", a.ptr, r.typ)
	}
	if err := e.checkLeak(a, "mem"); err != nil {
		return err
	}
	if ro && r.typ.has(untrusted) {
		return nil // a load that faults reads as zero
	}
	return e.checkRegion(a.ptr, off, a.size, r.size, false)
}

// checkFixedOff demands a pointer with no variable and, unless fixedOK, no
// fixed offset (__check_ptr_off_reg).
func (e *env) checkFixedOff(r *reg, n isa.Register, fixedOK bool) *Error {
	switch {
	case r.off < 0:
		return e.refuse(errno.EACCES, "negative offset %s ptr R%d off=%d disallowed", r.typ, n, r.off)
	case !fixedOK && r.off != 0:
		return e.refuse(errno.EACCES, "dereference of modified %s ptr R%d off=%d disallowed", r.typ, n, r.off)
	case !r.bits.is(0):
		return e.refuse(errno.EACCES, "variable %s access var_off=%s disallowed", r.typ, r.bits)
	}
	return nil
}
