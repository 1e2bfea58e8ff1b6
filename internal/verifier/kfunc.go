package verifier

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// kfuncKey names a kfunc as a call does: BTF id and place of its BTF in fd_array.
type kfuncKey struct {
	id int32
	at int16
}

// kfunc is a kernel function the program calls: its row and its prototype.
type kfunc struct {
	*kfuncRow
	spec     *btf.Spec // the kernel's, or a module's
	flags    catalog.KfuncFlag
	proto    *btf.FuncProto
	allowed  bool
	modelled bool
	ops      []string // members that may call it; nil: all
}

// addKfunc looks a called kernel function up (add_kfunc_call).
func (e *env) addKfunc(ins isa.Instruction) *Error {
	if e.p.KernelBTF == nil {
		return e.refuse(errno.ENOTSUPP, "calling kernel function is not supported without CONFIG_DEBUG_INFO_BTF")
	}
	if !e.p.GPL {
		return e.refuse(errno.EINVAL, "cannot call kernel function from non-GPL compatible program")
	}
	if ins.Imm == 0 && ins.Off == 0 {
		return nil // left by a loader where a weak function was not found: never to be reached
	}
	key := kfuncKey{ins.Imm, ins.Off}
	if e.kfuncs[key] != nil {
		return nil
	}
	if len(e.kfuncs) >= 256 {
		return e.refuse(errno.E2BIG, "too many different kernel function calls")
	}
	spec, rows, refusal := e.kfuncHome(ins)
	if refusal != nil {
		return e.also(refusal, "failed to find BTF for kernel function")
	}
	t, err := spec.TypeByID(btf.TypeID(ins.Imm))
	fn, ok := t.(*btf.Func)
	if err != nil || !ok {
		return e.refuse(errno.EINVAL, "kernel btf_id %d is not a function", uint32(ins.Imm))
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return e.refuse(errno.EINVAL, "kernel function btf_id %d does not have a valid func_proto", uint32(ins.Imm))
	}
	k := &kfunc{kfuncRow: kfuncRowsByName[fn.Name], proto: proto, spec: spec}
	if k.kfuncRow == nil || ins.Off != 0 {
		k.kfuncRow = &kfuncRow{name: fn.Name}
	}
	if strings.HasPrefix(fn.Name, "bpf_xdp_metadata_rx_") { // loads for a device are not taken
		return e.refuse(errno.EINVAL, "metadata kfuncs require device-bound program")
	}
	k.modelled = !unmodelled[fn.Name]
	if row := rows(fn.Name); row != nil {
		k.flags, k.allowed, k.ops = row.Flags, row.Allows(e.p.Type, e.p.Attach), row.Ops
	}
	if e.kfuncs == nil {
		e.kfuncs = make(map[kfuncKey]*kfunc)
	}
	e.kfuncs[key] = k
	return nil
}

// kfuncHome returns the types among which a called function is, and where its row is found.
func (e *env) kfuncHome(ins isa.Instruction) (*btf.Spec, func(name string) *catalog.Kfunc, *Error) {
	switch {
	case ins.Off == 0:
		return e.p.KernelBTF, catalog.KfuncByName, nil
	case ins.Off < 0:
		return nil, nil, e.refuse(errno.EINVAL, "negative offset disallowed for kernel module function call")
	case e.p.ModuleByIdx == nil:
		return nil, nil, e.refuse(errno.EPROTO, "kfunc offset > 0 without fd_array is invalid")
	}
	m := e.p.ModuleByIdx(ins.Off)
	if m == nil {
		return nil, nil, e.refuse(errno.EINVAL, "BTF fd for kfunc is not a module BTF")
	}
	return m.BTF, func(name string) *catalog.Kfunc {
		for i := range m.Kfuncs {
			if m.Kfuncs[i].Name == name {
				return &m.Kfuncs[i]
			}
		}
		return nil
	}, nil
}

func (e *env) kfuncOf(ins isa.Instruction) *kfunc { return e.kfuncs[kfuncKey{ins.Imm, ins.Off}] }

// kfuncMeta is what the arguments of a kfunc call have told (struct bpf_kfunc_call_arg_meta).
type kfuncMeta struct {
	k         *kfunc
	ref       uint32
	relReg    isa.Register
	haveConst bool
	constVal  uint64
	dyn       *reg // the initialised dynptr argument, a copy
	iterFrame int
	iterSlot  int
	bufSize   uint64
	bufRdonly bool
	m         *catalog.MapDef
	mapUID    uint32
	subprog   int
	root      *catalog.SpecialField // the list's head or the tree's root
	object    *btfType              // type of the object passed
	owning    bool                  // by an owning reference
}

// checkKfunc checks a call of a kernel function and carries out what it does
// (check_kfunc_call).
func (e *env) checkKfunc(ins isa.Instruction) *Error {
	k := e.aux[e.insn].kfunc
	if k == nil {
		return e.silent(errno.EINVAL, "no kernel function of that number")
	}
	if k.traps {
		return e.refuse(errno.EFAULT, "unexpected __bpf_trap() due to uninitialized variable?")
	}
	if !k.allowed || k.ops != nil && !slices.Contains(k.ops, e.ops.row.Name+":"+e.ops.name) {
		return e.refuse(errno.EACCES, "calling kernel function %s is not allowed", k.name)
	}
	if !k.modelled {
		return e.unsupported("kernel function %s", k.name)
	}
	sleeps := k.flags&kfSleepable != 0
	if sleeps && !e.sleepable() {
		return e.refuse(errno.EACCES, "program must be sleepable to call sleepable kfunc %s", k.name)
	}
	if k.effect.takesLock() {
		if err := e.forkLockFailed(); err != nil {
			return err
		}
	}
	meta := kfuncMeta{k: k}
	if err := e.checkKfuncArgs(&meta); err != nil {
		return err
	}
	if k.throws {
		return e.throw()
	}
	if err := e.kfuncCallback(&meta, ins); err != nil {
		return err
	}
	if err := e.kfuncRegion(&meta, sleeps); err != nil {
		return err
	}
	if k.flags&kfRCUProtected != 0 && !e.inRCU() {
		return e.refuse(errno.EACCES, "kernel func %s requires RCU critical section protection", k.name)
	}
	if meta.relReg != 0 {
		if !e.release(e.regs()[meta.relReg].ref) {
			return e.refuse(errno.EINVAL, "kfunc %s#%d reference has not been acquired before", k.name, ins.Imm)
		}
	}
	if k.effect.inserts() {
		if err := e.disown(&meta); err != nil {
			return err
		}
	}
	regs := e.regs()
	e.clearCallerSaved(regs)
	if err := e.kfuncResult(&meta); err != nil {
		return err
	}
	if k.changesPkt {
		e.dropPktPointers()
	}
	if k.flags&kfIterNext != 0 {
		return e.iterNext(&meta)
	}
	return nil
}

// throw ends the program. Without a callback of its own, what is thrown is what it returns.
func (e *env) throw() *Error {
	e.seenException = true
	if e.exceptionCB == 0 {
		return e.checkReturn(isa.R1, "R1")
	}
	return nil
}

// kfuncRegion enters and leaves regions that are not preempted, interrupted or reclaimed under.
func (e *env) kfuncRegion(meta *kfuncMeta, sleeps bool) *Error {
	st, name := e.st, meta.k.name
	if st.rcuLock && (meta.k.effect == effectRCULock || meta.k.effect == effectRCUUnlock) && e.inTreeCallback() {
		return e.refuse(errno.EACCES, "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback")
	}
	switch eff := meta.k.effect; {
	case st.rcuLock && eff == effectRCULock:
		return e.refuse(errno.EINVAL, "nested rcu read lock (kernel function %s)", name)
	case st.rcuLock && eff == effectRCUUnlock:
		st.eachRegOrIter(func(r *reg) {
			if r.typ.has(rcu) {
				r.typ = r.typ&^(rcu|mayBeNull) | untrusted
			}
		})
		st.rcuLock = false
	case st.rcuLock && sleeps:
		return e.refuse(errno.EACCES, "kernel func %s is sleepable within rcu_read_lock region", name)
	case eff == effectRCULock:
		st.rcuLock = true
	case eff == effectRCUUnlock:
		return e.refuse(errno.EINVAL, "unmatched rcu read unlock (kernel function %s)", name)
	case eff == effectPreemptOff:
		st.preempt++
	case eff == effectPreemptOn:
		if st.preempt == 0 {
			return e.refuse(errno.EINVAL, "unmatched attempt to enable preemption (kernel function %s)", name)
		}
		st.preempt--
	case st.preempt > 0 && sleeps:
		return e.refuse(errno.EACCES, "kernel func %s is sleepable within non-preemptible region", name)
	case st.irqID != 0 && sleeps:
		return e.refuse(errno.EACCES, "kernel func %s is sleepable within IRQ-disabled region", name)
	}
	return nil
}

// eachRegOrIter is eachReg with the slots of iterators.
func (s *state) eachRegOrIter(f func(r *reg)) {
	s.eachReg(f)
	for i := 0; i <= s.cur; i++ {
		for j := range s.frames[i].stack {
			if sl := &s.frames[i].stack[j]; sl.top() == byteIter {
				f(&sl.reg)
			}
		}
	}
}

// kfuncResult gives R0 what the prototype, or the row, says.
func (e *env) kfuncResult(meta *kfuncMeta) *Error {
	r0 := &e.regs()[isa.R0]
	k := meta.k
	ret := btf.UnderlyingType(k.proto.Return)
	ptr, isPtr := ret.(*btf.Pointer)
	if !isPtr {
		if _, void := ret.(*btf.Void); !void {
			e.markUnknown(r0)
			if k.effect.takesLock() {
				r0.setConst(0) // the path where it failed is another
				r0.precise = !e.capable
			}
		}
		return nil
	}
	target := btf.UnderlyingType(ptr.Target)
	switch k.result {
	case resultSlice, resultSliceRW:
		if !meta.haveConst {
			return e.refuse(errno.EFAULT, "verifier bug: bpf_dynptr_slice(_rdwr) no constant size")
		}
		r0.setPtr(ptrToMem | meta.dyn.dyn.flag())
		r0.size = uint32(meta.constVal)
		if k.result == resultSlice {
			r0.typ |= rdonly
		} else if !e.mayWritePkt() {
			return e.refuse(errno.EINVAL, "the prog does not allow writes to packet data")
		}
		r0.dynptr = meta.dyn.id
	case resultCtx:
		t := e.kernelCtx()
		if t == nil {
			return e.silent(errno.EINVAL, "the kernel's BTF does not have the struct behind the context")
		}
		r0.setPtr(ptrToBTF | trusted)
		r0.btf = t
	case resultCast:
		return e.castResult(r0, meta)
	case resultObject:
		if err := e.objectResult(r0, meta); err != nil {
			return err
		}
	default:
		if err := e.protoResult(r0, target, meta); err != nil {
			return err
		}
	}
	null := k.flags&kfRetNull != 0 && !(k.effect == effectRefcountAcquire && meta.owning)
	if null {
		r0.typ |= mayBeNull
		r0.id = e.newID()
	}
	if k.flags&kfAcquire != 0 {
		id := e.acquire()
		if null {
			r0.id = id
		}
		r0.ref = id
	} else if k.effect.peeks() {
		if err := e.setNonOwning(r0); err != nil {
			return err
		}
	}
	if r0.id == 0 && r0.hasLock(e) {
		r0.id = e.newID()
	}
	return nil
}

func (e *env) protoResult(r0 *reg, target btf.Type, meta *kfuncMeta) *Error {
	if _, void := target.(*btf.Void); void {
		e.markUnknown(r0)
		return nil
	}
	if _, _, ok := members(target); ok {
		r0.setPtr(ptrToBTF)
		r0.btf = e.intern(meta.k.spec, target)
		if meta.k.flags&kfRCUProtected != 0 && meta.k.flags&kfIterNext == 0 {
			r0.typ |= rcu
		}
		if meta.k.flags&kfIterNext != 0 {
			if e.st.frames[meta.iterFrame].stack[meta.iterSlot].reg.typ.has(rcu) {
				r0.typ |= rcu
			} else {
				r0.typ |= trusted
			}
		}
		return nil
	}
	size := meta.bufSize
	ro := meta.bufRdonly
	if meta.k.effect == effectSessionCookie {
		size = 8
	}
	if size == 0 {
		n, err := btf.Sizeof(target)
		if err != nil || n == 0 {
			return e.refuse(errno.EINVAL, "kernel function %s returns pointer type %s %s is not supported", meta.k.name, kindName(target), target.TypeName())
		}
		size, ro = uint64(n), true
	}
	r0.setPtr(ptrToMem)
	r0.size = uint32(size)
	if ro {
		r0.typ |= rdonly
	}
	r0.ref = meta.ref
	return nil
}

// castResult is what bpf_rdonly_cast makes of any address: a pointer to a
// struct, or to bytes, that may be read but may fault.
func (e *env) castResult(r0 *reg, meta *kfuncMeta) *Error {
	t, err := e.p.KernelBTF.TypeByID(btf.TypeID(meta.constVal))
	if err != nil {
		return e.refuse(errno.EINVAL, "Unknown type ID %d passed to kfunc bpf_rdonly_cast", meta.constVal)
	}
	t = btf.UnderlyingType(t)
	if _, _, ok := members(t); ok {
		r0.setPtr(ptrToBTF | untrusted)
		r0.btf = e.intern(e.p.KernelBTF, t)
		return nil
	}
	if _, void := t.(*btf.Void); void {
		r0.setPtr(ptrToMem | rdonly | untrusted)
		return nil
	}
	return e.refuse(errno.EINVAL, "kfunc bpf_rdonly_cast type ID argument must be of a struct or void")
}
