package verifier

import (
	"encoding/binary"

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

// checkMapAccess demands that programs may read or write values of the map
// (check_map_access_type).
func (e *env) checkMapRights(m *catalog.MapDef, off, size int, write bool) *Error {
	if write && m.Flags&catalog.FlagRdonlyProg != 0 {
		return e.refuse(errno.EACCES, "write into map forbidden, value_size=%d off=%d size=%d", m.ValueSize, off, size)
	}
	if !write && m.Flags&catalog.FlagWronlyProg != 0 {
		return e.refuse(errno.EACCES, "read from map forbidden, value_size=%d off=%d size=%d", m.ValueSize, off, size)
	}
	return nil
}

func isKptr(k catalog.SpecialKind) bool {
	switch k {
	case catalog.SpecialKptrUnref, catalog.SpecialKptrRef, catalog.SpecialKptrPerCPU, catalog.SpecialUptr:
		return true
	}
	return false
}

var specialNames = map[catalog.SpecialKind]string{
	catalog.SpecialSpinLock: "bpf_spin_lock", catalog.SpecialResSpinLock: "bpf_res_spin_lock",
	catalog.SpecialTimer: "bpf_timer", catalog.SpecialWorkqueue: "bpf_wq", catalog.SpecialTaskWork: "bpf_task_work",
	catalog.SpecialKptrUnref: "kptr", catalog.SpecialKptrRef: "kptr", catalog.SpecialKptrPerCPU: "percpu_kptr",
	catalog.SpecialUptr: "uptr", catalog.SpecialListHead: "bpf_list_head", catalog.SpecialListNode: "bpf_list_node",
	catalog.SpecialRBRoot: "bpf_rb_root", catalog.SpecialRBNode: "bpf_rb_node", catalog.SpecialRefcount: "bpf_refcount",
}

// checkMapValue keeps an access inside the value and off its special fields (check_map_access).
func (e *env) checkMapValue(n isa.Register, off, size int, zeroOK, helper bool) *Error {
	r := &e.regs()[n]
	if err := e.checkRegion(n, off, size, r.m.ValueSize, zeroOK); err != nil {
		return err
	}
	for i := range r.m.Special {
		f := &r.m.Special[i]
		if r.smin+int64(off) >= int64(f.Off+f.Size) || uint64(f.Off) >= r.umax+uint64(off)+uint64(size) {
			continue
		}
		if !isKptr(f.Kind) {
			return e.refuse(errno.EACCES, "%s cannot be accessed directly by load/store", specialNames[f.Kind])
		}
		at := uint64(off) + r.bits.value
		switch {
		case helper:
			return e.refuse(errno.EACCES, "%s cannot be accessed indirectly by helper", specialNames[f.Kind])
		case !r.isConst():
			return e.refuse(errno.EACCES, "%s access cannot have variable offset", specialNames[f.Kind])
		case uint64(f.Off) != at:
			return e.refuse(errno.EACCES, "%s access misaligned expected=%d off=%d", specialNames[f.Kind], f.Off, at)
		case size != regSize:
			return e.refuse(errno.EACCES, "%s access size must be BPF_DW", specialNames[f.Kind])
		}
	}
	return nil
}

func (e *env) accessMapValue(a access, r *reg, off int) *Error {
	if err := e.checkLeak(a, "map"); err != nil {
		return err
	}
	if err := e.checkMapRights(r.m, off, a.size, a.write); err != nil {
		return err
	}
	if err := e.checkMapValue(a.ptr, off, a.size, false, false); err != nil {
		return err
	}
	if r.isConst() {
		at := uint32(off) + uint32(r.bits.value)
		for i := range r.m.Special {
			if f := &r.m.Special[i]; f.Off == at && isKptr(f.Kind) {
				return e.accessKptr(a, f)
			}
		}
	}
	if a.write || a.val == noReg {
		return nil
	}
	dst := &e.regs()[a.val]
	if v, ok := e.constFromMap(r, off, a.size, a.sx); ok {
		dst.setConst(v)
		dst.precise = !e.capable
		return nil
	}
	e.markUnknown(dst)
	e.narrow(a)
	return nil
}

// constFromMap reads what a frozen read-only map holds for ever (bpf_map_direct_read).
func (e *env) constFromMap(r *reg, off, size int, sx bool) (uint64, bool) {
	m := r.m
	if !r.isConst() || m.ReadConst == nil || m.Flags&catalog.FlagRdonlyProg == 0 {
		return 0, false
	}
	var b [8]byte
	if !m.ReadConst(uint32(off)+uint32(r.bits.value), b[:size]) {
		return 0, false
	}
	v := binary.LittleEndian.Uint64(b[:])
	if sx {
		v = uint64(signExtend(int64(v), size))
	}
	return v, true
}

// accessCtx checks a load or store of the context by the program type's rows (check_ctx_access).
func (e *env) accessCtx(a access, r *reg) *Error {
	if err := e.checkLeak(a, "ctx"); err != nil {
		return err
	}
	if err := e.checkFixedOff(r, a.ptr, false); err != nil {
		return err
	}
	off := a.off + int(r.off)
	if e.facts.kind.Ctx.Typed {
		return e.accessTypedCtx(a, off)
	}
	f := e.facts.kind.Field(catalog.Access{
		Off: off, Width: a.size, Write: a.write, SignExtend: a.sx,
		Attach: e.p.Attach, Unprivileged: !e.capable,
	})
	if f == nil || e.ctxRefused(f, off, a) {
		err := e.refuse(errno.EACCES, "invalid bpf_context access off=%d size=%d", off, a.size)
		e.logLine(e.insn, "; ")
		return err
	}
	if a.write || a.val == noReg {
		return nil
	}
	dst := &e.regs()[a.val]
	t, ptr := ctxPointers[f.Kind]
	if !ptr {
		e.markUnknown(dst)
		e.narrow(a)
		return nil
	}
	dst.setPtr(t)
	if f.Kind == catalog.FieldBTF {
		dst.typ |= trusted
		if dst.btf = e.kernelStruct(f.BTF); dst.btf == nil {
			return e.unsupported("struct %s without kernel BTF", f.BTF)
		}
	}
	if f.MaybeNull {
		dst.typ |= mayBeNull
		dst.id = e.newID()
	}
	return nil
}

// ctxPointers are the types of context fields that are pointers.
var ctxPointers = map[catalog.FieldKind]regType{
	catalog.FieldPkt:        ptrToPacket,
	catalog.FieldPktMeta:    ptrToPacketMeta,
	catalog.FieldPktEnd:     ptrToPacketEnd,
	catalog.FieldSock:       ptrToSocket,
	catalog.FieldSockCommon: ptrToSockCommon,
	catalog.FieldTCPSock:    ptrToTCPSock,
	catalog.FieldXDPSock:    ptrToXDPSock,
	catalog.FieldFlowKeys:   ptrToFlowKeys,
	catalog.FieldTPBuffer:   ptrToTPBuffer,
	catalog.FieldBTF:        ptrToBTF,
}

// ctxRefused has the rules that a row cannot say.
func (e *env) ctxRefused(f *catalog.Field, off int, a access) bool {
	return false
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

// checkLoad checks LDX and load-acquire.
func (e *env) checkLoad(ins isa.Instruction, strict, sx, trustMismatch bool, ctx string) *Error {
	if err := e.readReg(ins.Src); err != nil {
		return err
	}
	if err := e.writeReg(ins.Dst); err != nil {
		return err
	}
	t := e.regs()[ins.Src].typ
	e.noteAccess(t)
	err := e.checkAccess(access{ptr: ins.Src, off: int(ins.Off), size: ins.Op.Bytes(), val: ins.Dst, strict: strict, sx: sx})
	if err != nil {
		return err
	}
	if err := e.saveType(t, trustMismatch); err != nil {
		return err
	}
	return e.sanityCheck(&e.regs()[ins.Dst], ctx)
}

// checkStore checks STX and store-release.
func (e *env) checkStore(ins isa.Instruction, strict bool) *Error {
	if err := e.readReg(ins.Src); err != nil {
		return err
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	t := e.regs()[ins.Dst].typ
	e.noteAccess(t)
	err := e.checkAccess(access{ptr: ins.Dst, off: int(ins.Off), size: ins.Op.Bytes(), write: true, val: ins.Src, strict: strict})
	if err != nil {
		return err
	}
	return e.saveType(t, false)
}

// checkStoreImm checks ST.
func (e *env) checkStoreImm(ins isa.Instruction) *Error {
	if ins.Op.Mode() != isa.ModeMEM || ins.Src != 0 {
		return e.refuse(errno.EINVAL, "BPF_ST uses reserved fields")
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	t := e.regs()[ins.Dst].typ
	e.noteAccess(t)
	if err := e.checkAccess(access{ptr: ins.Dst, off: int(ins.Off), size: ins.Op.Bytes(), write: true, val: noReg}); err != nil {
		return err
	}
	return e.saveType(t, false)
}

// checkAtomic checks atomic instructions (check_atomic).
func (e *env) checkAtomic(ins isa.Instruction) *Error {
	switch ins.Imm {
	case isa.AtomicAdd, isa.AtomicAdd | isa.Fetch, isa.AtomicAnd, isa.AtomicAnd | isa.Fetch,
		isa.AtomicOr, isa.AtomicOr | isa.Fetch, isa.AtomicXor, isa.AtomicXor | isa.Fetch,
		isa.AtomicXchg, isa.AtomicCmpXch:
		return e.checkRMW(ins)
	case isa.LoadAcquire:
		if err := e.checkLoad(ins, true, false, false, "atomic_load"); err != nil {
			return err
		}
		return e.atomicOK(e.aux[e.insn].ptrType, ins.Src, "loads from")
	case isa.StoreRelease:
		if err := e.checkStore(ins, true); err != nil {
			return err
		}
		return e.atomicOK(e.regs()[ins.Dst].typ, ins.Dst, "stores into")
	}
	return e.refuse(errno.EINVAL, "BPF_ATOMIC uses invalid atomic opcode %02x", ins.Imm)
}

// atomicOK refuses memory that has no atomic access.
func (e *env) atomicOK(t regType, n isa.Register, what string) *Error {
	if t == ptrToCtx || t.isPkt() || t == ptrToFlowKeys || t.isSock() {
		return e.refuse(errno.EACCES, "BPF_ATOMIC %s R%d %s is not allowed", what, n, t)
	}
	return nil
}

func (e *env) checkRMW(ins isa.Instruction) *Error {
	size := ins.Op.Bytes()
	if size < 4 {
		return e.refuse(errno.EINVAL, "invalid atomic operand size")
	}
	if err := e.readReg(ins.Src); err != nil {
		return err
	}
	if err := e.readReg(ins.Dst); err != nil {
		return err
	}
	regs := e.regs()
	if ins.Imm == isa.AtomicCmpXch {
		if err := e.readReg(isa.R0); err != nil {
			return err
		}
		if e.isPointer(&regs[isa.R0]) {
			return e.refuse(errno.EACCES, "R%d leaks addr into mem", isa.R0)
		}
	}
	if e.isPointer(&regs[ins.Src]) {
		return e.refuse(errno.EACCES, "R%d leaks addr into mem", ins.Src)
	}
	t := regs[ins.Dst].typ
	e.noteAccess(t)
	if err := e.atomicOK(t, ins.Dst, "stores into"); err != nil {
		return err
	}
	load := noReg
	if ins.Imm&isa.Fetch != 0 {
		load = ins.Src
		if ins.Imm == isa.AtomicCmpXch {
			load = isa.R0
		}
		if err := e.writeReg(load); err != nil {
			return err
		}
		e.markUnknown(&regs[load])
	}
	a := access{ptr: ins.Dst, off: int(ins.Off), size: size, val: noReg, strict: true}
	// Once without a register, since a pointer may not be read from the stack here.
	if err := e.checkAccess(a); err != nil {
		return err
	}
	if load != noReg {
		a.val = load
		if err := e.checkAccess(a); err != nil {
			return err
		}
		a.val = noReg
	}
	if err := e.saveType(regs[ins.Dst].typ, false); err != nil {
		return err
	}
	a.write = true
	return e.checkAccess(a)
}

// noteAccess remembers what kind of memory the instruction reaches.
func (e *env) noteAccess(t regType) {
	k := accessKind(t)
	switch a := &e.aux[e.insn]; {
	case e.st.speculative:
	case a.access == AccessNone || a.access == k:
		a.access = k
	default:
		a.access = AccessMem // several plain kinds: saveType refuses others
	}
}

func accessKind(t regType) Access {
	switch t.base() {
	case ptrToCtx:
		return AccessCtx
	case ptrToStack:
		return AccessStack
	case ptrToMapValue:
		return AccessMapValue
	case ptrToPacket, ptrToPacketMeta:
		return AccessPacket
	case ptrToSocket, ptrToSockCommon:
		return AccessSock
	case ptrToTCPSock:
		return AccessTCPSock
	case ptrToXDPSock:
		return AccessXDPSock
	case ptrToBTF, constPtrToMap:
		if t.has(allocMem) {
			return AccessMem
		}
		return AccessBTF
	case ptrToArena:
		return AccessArena
	case ptrToFlowKeys:
		return AccessFlowKeys
	case ptrToTPBuffer:
		return AccessTPBuffer
	case ptrToMem:
		if t.has(untrusted) {
			return AccessBTF
		}
	}
	return AccessMem
}

func memOrBTF(t regType) bool { return t.base() == ptrToMem || t.base() == ptrToBTF }

// saveType refuses one instruction that reaches memory to be rewritten on one
// path and other memory on another (save_aux_ptr_type).
func (e *env) saveType(t regType, trustMismatch bool) *Error {
	special := func(t regType) bool {
		switch t.base() {
		case ptrToCtx, ptrToSocket, ptrToSockCommon, ptrToTCPSock, ptrToXDPSock, ptrToBTF, ptrToArena:
			return true
		case ptrToMem:
			return t.has(untrusted)
		}
		return false
	}
	prev := &e.aux[e.insn].ptrType
	switch {
	case *prev == notInit:
		*prev = t
	case t == *prev || !special(t) && !special(*prev):
	case trustMismatch && memOrBTF(t) && memOrBTF(*prev):
		// Whichever it is, the load may fault.
		merged := ptrToBTF
		if t.base() == ptrToMem || prev.base() == ptrToMem {
			merged = ptrToMem
		}
		*prev = merged | (t|*prev)&(untrusted|rdonly)
	default:
		return e.refuse(errno.EINVAL, "same insn cannot be used with different pointers")
	}
	return nil
}

// checkLdAbs checks the packet loads inherited from classic BPF (check_ld_abs).
func (e *env) checkLdAbs(ins isa.Instruction) *Error {
	if e.facts.kind.Flags&catalog.LDAbs == 0 {
		return e.refuse(errno.EINVAL, "BPF_LD_[ABS|IND] instructions not allowed for this program type")
	}
	ind := ins.Op.Mode() == isa.ModeIND
	if ins.Dst != 0 || ins.Off != 0 || ins.Op.SizeBits() == isa.DW || !ind && ins.Src != 0 {
		return e.refuse(errno.EINVAL, "BPF_LD_[ABS|IND] uses reserved fields")
	}
	if err := e.readReg(isa.R6); err != nil {
		return err
	}
	if err := e.checkResources(false, true, "BPF_LD_[ABS|IND]"); err != nil {
		return err
	}
	regs := e.regs()
	if regs[isa.R6].typ != ptrToCtx {
		return e.refuse(errno.EINVAL, "at the time of BPF_LD_ABS|IND R6 != pointer to skb")
	}
	if ind {
		if err := e.readReg(ins.Src); err != nil {
			return err
		}
	}
	if err := e.checkFixedOff(&regs[isa.R6], isa.R6, false); err != nil {
		return err
	}
	e.aux[e.insn].access = AccessPacket
	e.clearCallerSaved(regs)
	e.markUnknown(&regs[isa.R0])
	if e.st.cur == 0 {
		return nil
	}
	// A load beyond the packet ends the program: here, this function.
	e.scratchReg(isa.R0)
	if _, err := e.pushPath(e.insn+1, e.insn); err != nil {
		return err
	}
	regs[isa.R0].setConst(0)
	if err := e.leaveFunc(); err != nil {
		return err
	}
	e.insn--
	return nil
}

// checkLdImm64 gives a register a constant or the address of a map, a map's
// value, a function or a kernel variable (check_ld_imm).
func (e *env) checkLdImm64(ins isa.Instruction) *Error {
	if ins.Op.SizeBits() != isa.DW {
		return e.refuse(errno.EINVAL, "invalid BPF_LD_IMM insn")
	}
	if ins.Off != 0 {
		return e.refuse(errno.EINVAL, "BPF_LD_IMM64 uses reserved fields")
	}
	if err := e.writeReg(ins.Dst); err != nil {
		return err
	}
	a := &e.aux[e.insn]
	dst := &e.regs()[ins.Dst]
	switch ins.Src {
	case 0:
		dst.setConst(isa.Imm64(e.insns, e.insn))
		dst.precise = !e.capable
	case isa.PseudoBTFID:
		*dst = *a.btfVar
	case isa.PseudoFunc:
		sub := e.subprogAt(e.insn + int(ins.Imm) + 1)
		switch {
		case e.p.Funcs == nil:
			return e.refuse(errno.EINVAL, "missing btf func_info")
		case e.subs[sub].global:
			return e.refuse(errno.EINVAL, "callback function not static")
		case sub == 0:
			return e.refuse(errno.EINVAL, "callback function cannot be the main program")
		}
		dst.setPtr(ptrToFunc)
		dst.subprog = int32(sub)
	case isa.PseudoMapValue, isa.PseudoMapIdxValue:
		if a.m.Type == catalog.MapArena {
			e.markUnknown(dst)
			return nil
		}
		dst.setPtr(ptrToMapValue)
		dst.m, dst.off = a.m, int32(a.mapOff)
	default:
		dst.setPtr(constPtrToMap)
		dst.m = a.m
	}
	return nil
}
