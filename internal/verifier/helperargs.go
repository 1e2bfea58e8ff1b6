package verifier

import (
	"bytes"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// callMeta is what the arguments of a call have told so far (struct bpf_call_arg_meta).
type callMeta struct {
	id        catalog.HelperID
	m         *catalog.MapDef
	mapUID    uint32
	raw       bool // the memory argument is only written
	pktAccess bool

	writeReg  isa.Register // memory on the stack that the helper fills, of writeSize bytes
	writeSize int
	maxSize   uint64 // greatest value of the last size argument
	memSize   uint64 // of memory to allocate
	relReg    isa.Register
	ref       uint32
	dynptr    uint32
	subprog   int
	retBTF    *btfType
	kptr      *catalog.SpecialField
	kptrType  *btfType
	// perCPUObject: the result is this CPU's copy of an allocated object.
	perCPUObject bool

	// constKeyInside: the key of an array lookup is a constant below max_entries.
	constKeyInside bool
}

// accepted are the values each kind of argument takes, in the order a refusal names them.
var accepted = map[catalog.ArgType][]regType{
	catalog.ArgMapKey:               memTypes,
	catalog.ArgMapValue:             memTypes,
	catalog.ArgMem:                  memTypes,
	catalog.ArgConstSize:            {scalarValue},
	catalog.ArgConstSizeOrZero:      {scalarValue},
	catalog.ArgConstAllocSizeOrZero: {scalarValue},
	catalog.ArgConstMapPtr:          {constPtrToMap},
	catalog.ArgCtx:                  {ptrToCtx},
	catalog.ArgSockCommon:           {ptrToSockCommon, ptrToSocket, ptrToTCPSock, ptrToXDPSock},
	catalog.ArgBTFIDSockCommon: {ptrToSockCommon, ptrToSocket, ptrToTCPSock, ptrToXDPSock,
		ptrToBTF, ptrToBTF | trusted},
	catalog.ArgSocket:       {ptrToSocket},
	catalog.ArgBTFID:        {ptrToBTF, ptrToBTF | trusted, ptrToBTF | rcu},
	catalog.ArgSpinLock:     {ptrToMapValue, ptrToBTF | allocMem},
	catalog.ArgRingBufMem:   {ptrToMem | ringBufMem},
	catalog.ArgPerCPUBTFID:  {ptrToBTF | perCPUMem, ptrToBTF | perCPUMem | rcu, ptrToBTF | perCPUMem | trusted},
	catalog.ArgFunc:         {ptrToFunc},
	catalog.ArgStack:        {ptrToStack},
	catalog.ArgConstStr:     {ptrToMapValue},
	catalog.ArgTimer:        {ptrToMapValue},
	catalog.ArgKptrXchgDest: {ptrToMapValue, ptrToBTF | allocMem},
	catalog.ArgDynptr:       {ptrToStack, constPtrToDynptr},
}

var memTypes = []regType{ptrToStack, ptrToPacket, ptrToPacketMeta, ptrToMapKey, ptrToMapValue,
	ptrToMem, ptrToMem | ringBufMem, ptrToBuf, ptrToBTF | trusted}

// checkArgType demands a value of a kind the argument takes (check_reg_type).
func (e *env) checkArgType(n isa.Register, arg catalog.Arg, meta *callMeta) *Error {
	r := &e.regs()[n]
	types := accepted[arg.Type.Base()]
	if types == nil {
		return e.unsupported("arguments of kind %d", arg.Type.Base())
	}
	t := r.typ
	if arg.Type.Has(catalog.Rdonly) {
		t &^= rdonly
	}
	if arg.Type.Has(catalog.MaybeNull) {
		t &^= mayBeNull
	}
	if arg.Type.Base() == catalog.ArgMem {
		t &^= dynFlags
	}
	if meta.id == catalog.FnKptrXchg && n == isa.R2 && t.has(allocMem) {
		t &^= allocMem | perCPUMem
	}
	found := false
	for _, want := range types {
		found = found || t == want
	}
	if !found {
		var names []string
		for _, want := range types {
			names = append(names, want.String())
		}
		return e.refuse(errno.EACCES, "R%d type=%s expected=%s", n, r.typ, strings.Join(names, ", "))
	}
	if r.typ.base() != ptrToBTF {
		return nil
	}
	if arg.Type.Base() == catalog.ArgMem || arg.Type.Base() == catalog.ArgMapKey || arg.Type.Base() == catalog.ArgMapValue {
		if !arg.Type.Has(catalog.Rdonly) {
			return e.refuse(errno.EACCES, "%s() may write into memory pointed by R%d type=%s", meta.id, n, r.typ)
		}
		return nil
	}
	return e.checkBTFArg(n, r, arg, meta)
}

// checkBTFArg demands a BTF pointer of the right struct.
func (e *env) checkBTFArg(n isa.Register, r *reg, arg catalog.Arg, meta *callMeta) *Error {
	if r.typ.has(allocMem) || r.typ.has(perCPUMem) {
		if meta.id == catalog.FnKptrXchg && n == isa.R2 {
			return e.checkKptrMatch(n, r, meta.kptr, meta.kptrType)
		}
		return nil
	}
	release := arg.Type.Has(catalog.Release)
	if r.mayBeNull() && (!arg.Type.Has(catalog.MaybeNull) || release) {
		return e.refuse(errno.EACCES, "Possibly NULL pointer passed to helper arg%d", n)
	}
	if meta.id == catalog.FnKptrXchg {
		return e.checkKptrMatch(n, r, meta.kptr, meta.kptrType)
	}
	name := arg.BTF
	if arg.Type.Base() == catalog.ArgBTFIDSockCommon {
		name = "sock_common"
	}
	want := e.kernelStruct(name)
	if want == nil {
		return e.unsupported("struct %s without kernel BTF", name)
	}
	strict := release && meta.id != catalog.FnSkRelease
	if !e.structMatches(r.btf, r.off, want, strict) {
		return e.refuse(errno.EACCES, "R%d is of type %s but %s is expected", n, r.btf.name, want.name)
	}
	return nil
}

// checkArgOffset demands that a pointer goes to a call with an offset its type
// and role allow (check_func_arg_reg_off).
func (e *env) checkArgOffset(n isa.Register, r *reg, t catalog.ArgType) *Error {
	if t.Has(catalog.Release) {
		if t.Base() == catalog.ArgDynptr && r.typ == ptrToStack {
			return nil
		}
		if r.off != 0 {
			return e.refuse(errno.EINVAL, "R%d must have zero offset when passed to release func or trusted arg to kfunc", n)
		}
		return e.checkFixedOff(r, n, false)
	}
	switch r.typ {
	case ptrToStack, ptrToPacket, ptrToPacketMeta, ptrToMapKey, ptrToMapValue, ptrToMem, ptrToMem | rdonly,
		ptrToMem | ringBufMem, ptrToBuf, ptrToBuf | rdonly, ptrToArena, scalarValue:
		return nil
	case ptrToBTF, ptrToBTF | allocMem, ptrToBTF | trusted, ptrToBTF | rcu,
		ptrToBTF | allocMem | nonOwnRef, ptrToBTF | allocMem | nonOwnRef | rcu:
		return e.checkFixedOff(r, n, true)
	case constPtrToDynptr:
		if t.Base() == catalog.ArgDynptr {
			return e.checkFixedOff(r, n, false)
		}
	}
	return e.checkFixedOff(r, n, false)
}

// checkHelperArg checks one argument against its row (check_func_arg).
func (e *env) checkHelperArg(i int, h *helperRow, meta *callMeta) *Error {
	n := isa.R1 + isa.Register(i)
	arg := h.Args[i]
	r := &e.regs()[n]
	if arg.Type == catalog.ArgNone {
		return nil
	}
	if err := e.readReg(n); err != nil {
		return err
	}
	if arg.Type == catalog.ArgAnything {
		if e.isPointer(r) {
			return e.refuse(errno.EACCES, "R%d leaks addr into helper function", n)
		}
		return nil
	}
	if r.typ.isPkt() && !(e.facts.kind.Flags&catalog.PktArg != 0 && meta.pktAccess) {
		return e.refuse(errno.EACCES, "helper access to the packet is not allowed")
	}
	if arg.Type.Base() == catalog.ArgMapValue {
		if err := e.mapValueArg(&arg, meta); err != nil {
			return err
		}
	}
	nullable := arg.Type.Has(catalog.MaybeNull)
	if r.isNull() && nullable {
		if err := e.markPrecise(n); err != nil {
			return err
		}
	} else {
		if err := e.checkArgType(n, arg, meta); err != nil {
			return err
		}
		if err := e.checkArgOffset(n, r, arg.Type); err != nil {
			return err
		}
	}
	if arg.Type.Has(catalog.Release) {
		if err := e.checkReleased(n, r, arg.Type); err != nil {
			return err
		}
		meta.relReg = n
	}
	if r.ref != 0 && arg.Type.Base() != catalog.ArgKptrXchgDest {
		if meta.ref != 0 {
			return e.refuse(errno.EACCES, "more than one arg with ref_obj_id R%d %d %d", n, r.ref, meta.ref)
		}
		meta.ref = r.ref
	}
	return e.bindArg(i, n, r, arg, h, meta)
}

// mapValueArg makes the demand for a value one for what the map's values are.
func (e *env) mapValueArg(arg *catalog.Arg, meta *callMeta) *Error {
	if meta.m == nil {
		return e.refuse(errno.EACCES, "invalid map_ptr to access map->type")
	}
	switch {
	case isSockMap(meta.m):
		if arg.Type != catalog.ArgMapValue {
			return e.refuse(errno.EINVAL, "invalid arg_type for sockmap/sockhash")
		}
		arg.Type = catalog.ArgBTFIDSockCommon
	case meta.m.Type == catalog.MapBloomFilter && meta.id == catalog.FnMapPeekElem:
		arg.Type = catalog.ArgMapValue
	}
	return nil
}

// checkReleased demands something that was acquired.
func (e *env) checkReleased(n isa.Register, r *reg, t catalog.ArgType) *Error {
	if t.Base() != catalog.ArgDynptr {
		if r.ref == 0 && !r.isNull() {
			return e.refuse(errno.EINVAL, "R%d must be referenced when passed to release function", n)
		}
		return nil
	}
	if r.typ != ptrToStack {
		return e.refuse(errno.EINVAL, "cannot release unowned const bpf_dynptr")
	}
	spi, err := e.objectSlot(r, "dynptr", dynptrSlots)
	if err != nil {
		return err
	}
	if spi < 0 || e.frameOf(r).stack[spi].reg.ref == 0 {
		return e.refuse(errno.EINVAL, "arg %d is an unacquired reference", n)
	}
	return nil
}

// bindArg checks what an argument's kind demands of its value, and remembers
// what later arguments and the result depend on.
func (e *env) bindArg(i int, n isa.Register, r *reg, arg catalog.Arg, h *helperRow, meta *callMeta) *Error {
	write := arg.Type.Has(catalog.Write)
	switch arg.Type.Base() {
	case catalog.ArgConstMapPtr:
		if meta.m != nil && (meta.m != r.m || meta.mapUID != r.mapUID) {
			return e.refuse(errno.EINVAL, "timer pointer in R1 map_uid=%d doesn't match map pointer in R2 map_uid=%d", meta.mapUID, r.mapUID)
		}
		meta.m, meta.mapUID = r.m, r.mapUID
	case catalog.ArgMapKey:
		if meta.m == nil {
			return e.refuse(errno.EACCES, "invalid map_ptr to access map->key")
		}
		if err := e.checkMem(n, int(meta.m.KeySize), false, false, nil); err != nil {
			return err
		}
		return e.noteConstKey(r, meta)
	case catalog.ArgMapValue:
		if arg.Type.Has(catalog.MaybeNull) && r.isNull() {
			return nil
		}
		meta.raw = arg.Type.Has(catalog.Uninit)
		return e.checkMem(n, int(meta.m.ValueSize), write, false, meta)
	case catalog.ArgPerCPUBTFID:
		if r.btf == nil {
			return e.refuse(errno.EACCES, "Helper has invalid btf_id in R%d", n)
		}
		meta.retBTF = r.btf
		meta.perCPUObject = r.typ.has(rcu)
	case catalog.ArgSpinLock:
		if e.inTreeCallback() {
			return e.refuse(errno.EACCES, "can't spin_{lock,unlock} in rbtree cb")
		}
		return e.checkLock(n, meta.id == catalog.FnSpinLock, refLock)
	case catalog.ArgTimer:
		if err := e.checkMapField(n, r, catalog.SpecialTimer); err != nil {
			return err
		}
		meta.m, meta.mapUID = r.m, r.mapUID
	case catalog.ArgFunc:
		meta.subprog = int(r.subprog)
	case catalog.ArgMem:
		meta.raw = arg.Type.Has(catalog.Uninit)
		if arg.Type.Has(catalog.FixedSize) {
			if err := e.checkMem(n, int(arg.Size), write, false, meta); err != nil {
				return err
			}
			if arg.Type.Has(catalog.Aligned) {
				return e.checkAlignment(r, 0, int(arg.Size), true)
			}
		}
	case catalog.ArgConstSize, catalog.ArgConstSizeOrZero:
		write := h.Args[i-1].Type.Has(catalog.Write)
		return e.checkSized(n, write, arg.Type.Base() == catalog.ArgConstSizeOrZero, meta)
	case catalog.ArgDynptr:
		return e.checkDynptr(n, arg.Type, 0)
	case catalog.ArgConstAllocSizeOrZero:
		if !r.isConst() {
			return e.refuse(errno.EACCES, "R%d is not a known constant'", n)
		}
		meta.memSize = r.bits.value
		return e.markPrecise(n)
	case catalog.ArgConstStr:
		return e.checkConstStr(n, r)
	case catalog.ArgKptrXchgDest:
		return e.checkKptrDest(n, r, meta)
	}
	return nil
}

// noteConstKey finds out whether the key of an array lookup is a constant inside
// the array: then the lookup cannot fail (get_constant_map_key).
func (e *env) noteConstKey(r *reg, meta *callMeta) *Error {
	m := meta.m
	if m.Type != catalog.MapArray && m.Type != catalog.MapPerCPUArray || r.typ != ptrToStack || !r.isConst() {
		return nil
	}
	if m.Flags&catalog.FlagInnerMap != 0 {
		return nil // the map that is there when it runs may be smaller
	}
	off := int(r.off) + int(int64(r.bits.value))
	s := &e.frameOf(r).stack[slotOf(off)]
	run := func(k byteKind) (n int) {
		for i := byteOf(off); i >= 0 && s.kind[i] == k; i-- {
			n++
		}
		return n
	}
	key := uint64(0)
	if run(byteZero) < int(m.KeySize) {
		if !s.isSpillScalar() || run(byteSpill) != int(m.KeySize) || !s.reg.isConst() {
			return nil
		}
		if e.priv {
			e.bt = backtrack{frame: e.st.cur}
			e.bt.slots[r.frame] |= 1 << slotOf(off)
			if err := e.backtrackFrom(e.st, true, nil); err != nil {
				return err
			}
		}
		key = s.reg.bits.value
	}
	meta.constKeyInside = key < uint64(m.MaxEntries)
	return nil
}

// checkMem demands size bytes that a call may read, or write (check_helper_mem_access).
func (e *env) checkMem(n isa.Register, size int, write, zeroOK bool, meta *callMeta) *Error {
	r := &e.regs()[n]
	ro := func() *Error { return e.refuse(errno.EACCES, "R%d cannot write into %s", n, r.typ) }
	switch r.typ.base() {
	case ptrToPacket, ptrToPacketMeta:
		return e.checkPacket(n, int(r.off), size, zeroOK)
	case ptrToMapKey:
		if write {
			return ro()
		}
		return e.checkRegion(n, int(r.off), size, r.m.KeySize, false)
	case ptrToMapValue:
		if err := e.checkMapRights(r.m, int(r.off), size, write); err != nil {
			return err
		}
		return e.checkMapValue(n, int(r.off), size, zeroOK, true)
	case ptrToMem:
		if r.typ.has(rdonly) && write {
			return ro()
		}
		return e.checkRegion(n, int(r.off), size, r.size, zeroOK)
	case ptrToBuf:
		kind := "rdwr"
		if r.typ.has(rdonly) {
			kind = "rdonly"
			if write {
				return ro()
			}
		}
		return e.checkBuffer(r, n, kind, int(r.off), size)
	case ptrToStack:
		return e.stackInitialised(n, int(r.off), size, zeroOK, write, meta)
	case ptrToBTF:
		return e.accessBTF(access{ptr: n, size: size, write: write, val: noReg}, r, int(r.off))
	case ptrToCtx:
		if !e.facts.rewritesCtx() {
			// The context is ordinary memory: its last byte must be within reach.
			if size == 0 {
				if zeroOK {
					return nil
				}
				return e.silent(errno.EACCES, "no bytes of the context are passed where some are needed")
			}
			return e.checkAccess(access{ptr: n, off: size - 1, size: 1, write: write, val: noReg})
		}
	}
	if zeroOK && size == 0 && r.isNull() {
		return nil
	}
	return e.refuse(errno.EACCES, "R%d type=%s expected=%s", n, r.typ, ptrToStack)
}

// rewritesCtx reports whether the context is not the memory it seems to be.
func (f *progFacts) rewritesCtx() bool {
	switch f.kind.Type {
	case catalog.ProgKprobe, catalog.ProgTracepoint, catalog.ProgRawTracepoint, catalog.ProgRawTracepointWritable,
		catalog.ProgTracing, catalog.ProgLSM, catalog.ProgStructOps, catalog.ProgExt, catalog.ProgSyscall,
		catalog.ProgNetfilter, catalog.ProgLircMode2:
		return false
	}
	return true
}

// checkSized demands memory as large as the size in register n, which follows
// the register with its address (check_mem_size_reg).
func (e *env) checkSized(n isa.Register, write, zeroOK bool, meta *callMeta) *Error {
	r := &e.regs()[n]
	meta.maxSize = r.umax
	m := meta
	if !r.isConst() {
		m = nil // how much gets written is not known
	}
	switch {
	case r.smin < 0:
		return e.refuse(errno.EACCES, "R%d min value is negative, either use unsigned or 'var &= const'", n)
	case r.umin == 0 && !zeroOK:
		return e.refuse(errno.EACCES, "R%d invalid zero-sized read: u64=[%d,%d]", n, r.umin, r.umax)
	case r.umax >= maxVarSize:
		return e.refuse(errno.EACCES, "R%d unbounded memory access, use 'var &= const' or 'if (var < const)'", n)
	}
	if err := e.checkMem(n-1, int(r.umax), write, zeroOK, m); err != nil {
		return err
	}
	return e.markPrecise(n)
}

// checkConstStr demands a constant string in a read-only map (check_reg_const_str).
func (e *env) checkConstStr(n isa.Register, r *reg) *Error {
	_, err := e.constStr(n, r)
	return err
}

func (e *env) constStr(n isa.Register, r *reg) (string, *Error) {
	m := r.m
	if r.typ != ptrToMapValue {
		return "", e.silent(errno.EINVAL, "a string must lie in a map, as string constants do")
	}
	if m.Flags&catalog.FlagRdonlyProg == 0 || m.ReadConst == nil {
		return "", e.refuse(errno.EACCES, "R%d does not point to a readonly map'", n)
	}
	if !r.isConst() {
		return "", e.refuse(errno.EACCES, "R%d is not a constant address'", n)
	}
	if m.Type != catalog.MapArray {
		return "", e.refuse(errno.EACCES, "no direct value access support for this map type")
	}
	if err := e.checkMapValue(n, int(r.off), int(m.ValueSize)-int(r.off), false, true); err != nil {
		return "", err
	}
	off := uint32(r.off) + uint32(r.bits.value)
	b := make([]byte, m.ValueSize-off)
	if !m.ReadConst(off, b) {
		return "", e.refuse(errno.EINVAL, "direct value access on string failed")
	}
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return "", e.refuse(errno.EINVAL, "string is not zero-terminated")
	}
	return string(b[:end]), nil
}

// checkMapField demands the address of a map value's one field of a kind that
// there is only one of (check_map_field_pointer).
func (e *env) checkMapField(n isa.Register, r *reg, kind catalog.SpecialKind) *Error {
	name := specialNames[kind]
	if !r.isConst() {
		return e.refuse(errno.EINVAL, "R%d doesn't have constant offset. %s has to be at the constant offset", n, name)
	}
	if r.m.Value == nil && len(r.m.Special) == 0 {
		return e.refuse(errno.EINVAL, "map '%s' has to have BTF in order to use %s", r.m.Name, name)
	}
	f := findSpecial(r.m.Special, kind)
	if f == nil {
		return e.refuse(errno.EINVAL, "map '%s' has no valid %s", r.m.Name, name)
	}
	if at := int64(r.bits.value) + int64(r.off); at != int64(f.Off) {
		return e.refuse(errno.EINVAL, "off %d doesn't point to 'struct %s' that is at %d", at, name, f.Off)
	}
	return nil
}
