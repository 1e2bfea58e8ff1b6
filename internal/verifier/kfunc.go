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
	if k.flags&kfRCUProtected != 0 && !e.inRCU() {
		return e.refuse(errno.EACCES, "kernel func %s requires RCU critical section protection", k.name)
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

// checkKfuncArgs checks R1–R5 against the prototype (check_kfunc_args).
func (e *env) checkKfuncArgs(meta *kfuncMeta) *Error {
	ps := meta.k.proto.Params
	if len(ps) > 5 {
		return e.refuse(errno.EINVAL, "Function %s has %d > %d args", meta.k.name, len(ps), 5)
	}
	for i := 0; i < len(ps); i++ {
		if hasSuffix(ps[i].Name, "__ign") || hasSuffix(ps[i].Name, "__prog") {
			continue
		}
		n := isa.R1 + isa.Register(i)
		e.scratchReg(n)
		t := btf.UnderlyingType(ps[i].Type)
		var err *Error
		used := 1
		switch t.(type) {
		case *btf.Int, *btf.Enum:
			err = e.kfuncScalar(n, ps[i], meta)
		case *btf.Pointer:
			used, err = e.kfuncPointer(i, ps, meta)
		default:
			err = e.refuse(errno.EINVAL, "Unrecognized arg#%d type %s", i, btfKind(t))
		}
		if err != nil {
			return err
		}
		i += used - 1
	}
	if meta.k.flags&kfRelease != 0 && meta.relReg == 0 {
		return e.refuse(errno.EINVAL, "release kernel function %s expects refcounted PTR_TO_BTF_ID", meta.k.name)
	}
	return nil
}

func (e *env) kfuncScalar(n isa.Register, p btf.FuncParam, meta *kfuncMeta) *Error {
	r := &e.regs()[n]
	if r.typ != scalarValue {
		return e.refuse(errno.EINVAL, "R%d is not a scalar", n)
	}
	switch {
	case hasSuffix(p.Name, "__k"):
		if !r.isConst() {
			return e.refuse(errno.EINVAL, "R%d must be a known constant", n)
		}
		meta.haveConst, meta.constVal = true, r.bits.value
		return e.markPrecise(n)
	case p.Name == "rdonly_buf_size" || p.Name == "rdwr_buf_size":
		if !r.isConst() {
			return e.refuse(errno.EINVAL, "R%d is not a const", n)
		}
		meta.bufSize, meta.bufRdonly = r.bits.value, p.Name == "rdonly_buf_size"
		return e.markPrecise(n)
	}
	return nil
}

// kfuncPointer checks a pointer argument, and with it the size that may follow.
// It returns how many arguments it took.
func (e *env) kfuncPointer(i int, ps []btf.FuncParam, meta *kfuncMeta) (int, *Error) {
	n := isa.R1 + isa.Register(i)
	r := &e.regs()[n]
	p := ps[i]
	ptr := btf.UnderlyingType(p.Type).(*btf.Pointer)
	target := btf.UnderlyingType(ptr.Target)
	name := target.TypeName()
	flags := meta.k.flags
	nullable := hasSuffix(p.Name, "__nullable") || hasSuffix(p.Name, "__opt")
	trustedArgs := flags&(kfTrustedArgs|kfRelease) != 0
	if (trustedArgs || flags&kfRCU != 0) && (r.isNull() || r.mayBeNull()) && !nullable {
		return 0, e.refuse(errno.EACCES, "Possibly NULL pointer passed to trusted arg%d", i)
	}
	if r.ref != 0 {
		meta.ref = r.ref
		if flags&kfRelease != 0 {
			meta.relReg = n
		}
	}
	sized := i+1 < len(ps) && (hasSuffix(ps[i+1].Name, "__sz") || hasSuffix(ps[i+1].Name, "__szk"))
	iterArg := flags&(kfIterNew|kfIterNext|kfIterDestroy) != 0 && i == 0 || hasSuffix(p.Name, "__iter")
	argType := catalog.ArgNone
	if flags&kfRelease != 0 && r.ref != 0 {
		argType = argType.With(catalog.Release)
	}
	checkOff := func() *Error { return e.checkArgOffset(n, r, argType) }

	switch {
	case meta.k.result == resultCtx || e.isKfuncCtx(ptr):
		if err := checkOff(); err != nil {
			return 0, err
		}
		if r.typ != ptrToCtx {
			return 0, e.refuse(errno.EINVAL, "arg#%d expected pointer to ctx, but got %s", i, r.typ)
		}
		return 1, nil
	case hasSuffix(p.Name, "__nullable") && r.isNull():
		return 1, e.markPrecise(n)
	case hasSuffix(p.Name, "__alloc"):
		if flags&(kfTrustedArgs|kfRelease|kfRCU) != 0 {
			if err := e.checkTrusted(n, r, flags); err != nil {
				return 0, err
			}
		}
		if err := checkOff(); err != nil {
			return 0, err
		}
		return 1, e.kfuncAllocated(n, r, meta)
	case hasSuffix(p.Name, "__refcounted_kptr"):
		if err := checkOff(); err != nil {
			return 0, err
		}
		return 1, e.kfuncRefcounted(n, r, meta)
	case name == "bpf_dynptr" || name == "bpf_dynptr_kern":
		if err := e.checkArgOffset(n, r, catalog.ArgDynptr); err != nil {
			return 0, err
		}
		return 1, e.kfuncDynptr(n, p, meta)
	case iterArg:
		if err := checkOff(); err != nil {
			return 0, err
		}
		return 1, e.kfuncIter(n, target, meta)
	case name == "bpf_list_head", name == "bpf_list_node", name == "bpf_rb_root", name == "bpf_rb_node":
		if err := checkOff(); err != nil {
			return 0, err
		}
		return 1, e.kfuncGraph(n, r, name, meta)
	case meta.k.effect == effectIRQSave || meta.k.effect == effectIRQRestore || hasSuffix(p.Name, "__irq_flag"):
		if err := checkOff(); err != nil {
			return 0, err
		}
		return 1, e.kfuncIRQ(n, meta)
	case name == "bpf_res_spin_lock":
		if err := checkOff(); err != nil {
			return 0, err
		}
		return 1, e.kfuncResLock(n, meta)
	case hasSuffix(p.Name, "__str"):
		if r.typ != ptrToMapValue {
			return 0, e.refuse(errno.EINVAL, "arg#%d doesn't point to a const string", i)
		}
		return 1, e.checkConstStr(n, r)
	case hasSuffix(p.Name, "__map"):
		return 1, e.kfuncMap(i, n, r, meta)
	case name == "bpf_wq", name == "bpf_task_work":
		if err := checkOff(); err != nil {
			return 0, err
		}
		return 1, e.kfuncMapField(n, r, name, meta)
	case r.typ.base() == ptrToBTF || r.kernelStruct() != "":
		if err := e.kfuncBTF(i, n, r, target, meta); err != nil {
			return 0, err
		}
		return 1, checkOff()
	}
	if err := checkOff(); err != nil {
		return 0, err
	}
	if _, isFunc := target.(*btf.FuncProto); isFunc {
		if r.typ != ptrToFunc {
			return 0, e.refuse(errno.EINVAL, "arg%d expected pointer to func", i)
		}
		meta.subprog = int(r.subprog)
		return 1, nil
	}
	return e.kfuncMem(i, n, ps, target, sized, meta)
}

// kfuncGraph checks an argument that is a list, a tree, or a node of one.
func (e *env) kfuncGraph(n isa.Register, r *reg, name string, meta *kfuncMeta) *Error {
	switch name {
	case "bpf_list_head":
		return e.kfuncRoot(n, r, catalog.SpecialListHead, meta)
	case "bpf_rb_root":
		return e.kfuncRoot(n, r, catalog.SpecialRBRoot, meta)
	case "bpf_list_node":
		return e.kfuncListNode(n, r, meta)
	}
	return e.kfuncTreeNode(n, r, meta)
}

// kfuncMap checks a map; if one of its fields was passed before, it must be that map.
func (e *env) kfuncMap(i int, n isa.Register, r *reg, meta *kfuncMeta) *Error {
	if r.m == nil && r.typ.base() != ptrToBTF {
		return e.refuse(errno.EINVAL, "pointer in R%d isn't map pointer", n)
	}
	if meta.m != nil && (meta.m != r.m || meta.mapUID != r.mapUID) {
		what, at := "workqueue", isa.R1
		if meta.k.effect == effectTaskWork {
			what, at = "bpf_task_work", isa.R2
		}
		return e.refuse(errno.EINVAL, "%s pointer in R%d map_uid=%d doesn't match map pointer in R%d map_uid=%d", what, at, meta.mapUID, at+1, r.mapUID)
	}
	meta.m, meta.mapUID = r.m, r.mapUID
	if err := e.checkTrusted(n, r, meta.k.flags); err != nil {
		return err
	}
	if err := e.checkArgOffset(n, r, catalog.ArgNone); err != nil {
		return err
	}
	if t := e.kernelStruct("bpf_map"); t != nil {
		return e.kfuncStruct(i, n, r, t.typ, meta)
	}
	return e.silent(errno.EINVAL, "the kernel's BTF has no struct bpf_map")
}

// kfuncMapField checks the work queue or task work in a map value.
func (e *env) kfuncMapField(n isa.Register, r *reg, name string, meta *kfuncMeta) *Error {
	if r.typ != ptrToMapValue {
		return e.refuse(errno.EINVAL, "arg#%d doesn't point to a map value", n-1)
	}
	kind := catalog.SpecialWorkqueue
	if name == "bpf_task_work" {
		kind = catalog.SpecialTaskWork
	}
	meta.m, meta.mapUID = r.m, r.mapUID
	return e.checkMapField(n, r, kind)
}

// kfuncCallback makes the path through the function a kfunc was given.
func (e *env) kfuncCallback(meta *kfuncMeta, ins isa.Instruction) *Error {
	var err *Error
	switch meta.k.effect {
	case effectTreeAdd:
		err = e.pushCallback(meta.subprog, e.lessArgs(meta.root))
	case effectWQCallback:
		err = e.pushAsync(meta.subprog, true, e.timerArgs)
	case effectTaskWork:
		err = e.pushAsync(meta.subprog, true, e.taskWorkArgs)
	}
	if err != nil {
		return e.also(err, "kfunc %s#%d failed callback verification", meta.k.name, ins.Imm)
	}
	return nil
}

// isKfuncCtx reports whether the kernel's own type of the context stands there.
func (e *env) isKfuncCtx(p *btf.Pointer) bool {
	if e.isCtxType(p, 0) {
		return true
	}
	// The other types' structs are plain arguments.
	name := kernelCtxNames[e.p.Type]
	return (name == "sk_buff" || name == "xdp_buff") && btf.UnderlyingType(p.Target).TypeName() == name
}

// kfuncBTF demands a pointer of the right struct, as trusted as the row says.
func (e *env) kfuncBTF(i int, n isa.Register, r *reg, target btf.Type, meta *kfuncMeta) *Error {
	flags := meta.k.flags
	if _, _, ok := members(target); !ok {
		if _, void := target.(*btf.Void); void {
			return nil
		}
		return e.refuse(errno.EINVAL, "kernel function %s args#%d pointer type %s %s is not supported", meta.k.name, i, btfKind(target), target.TypeName())
	}
	if err := e.checkTrusted(n, r, flags); err != nil {
		return err
	}
	return e.kfuncStruct(i, n, r, target, meta)
}

// checkTrusted demands a pointer as trusted as the kfunc's flags say.
func (e *env) checkTrusted(n isa.Register, r *reg, flags catalog.KfuncFlag) *Error {
	if flags&(kfTrustedArgs|kfRelease|kfRCU) == 0 || r.isTrusted() {
		return nil
	}
	if flags&kfRCU == 0 {
		return e.refuse(errno.EINVAL, "R%d must be referenced or trusted", n)
	}
	if !r.typ.has(rcu) {
		return e.refuse(errno.EINVAL, "R%d must be a rcu pointer", n)
	}
	return nil
}

// kfuncStruct demands a pointer to a struct that stands for target (process_kf_arg_ptr_to_btf_id).
func (e *env) kfuncStruct(i int, n isa.Register, r *reg, target btf.Type, meta *kfuncMeta) *Error {
	flags := meta.k.flags
	if (r.typ.base() != ptrToBTF || r.typ&unsafeFlags != 0 && !r.typ.has(rcu)) && r.kernelStruct() == "" {
		return e.refuse(errno.EINVAL, "arg#%d is %s expected %s or socket", i, r.typ, r.typ.base()|r.typ&trustedFlags)
	}
	have := r.btf
	if have == nil {
		have = e.kernelStruct(r.kernelStruct())
	}
	want := e.intern(meta.k.spec, target)
	strict := flags&kfRelease != 0 && r.ref != 0 || have != nil && noCastAlias(have.name, want.name)
	if have == nil || !projection(want.name, have.name) && !e.structMatches(have, r.off, want, strict) {
		got := "?"
		if have != nil {
			got = have.name
		}
		return e.refuse(errno.EINVAL, "kernel function %s args#%d expected pointer to %s %s but R%d has a pointer to STRUCT %s",
			meta.k.name, i, btfKind(target), want.name, n, got)
	}
	return nil
}

// projection reports whether user is what programs are told to call the kernel's struct kern.
func projection(user, kern string) bool {
	return user == "__sk_buff" && kern == "sk_buff" || user == "xdp_md" && kern == "xdp_buff"
}

// noCastAlias reports whether one name is the other with ___init behind: such
// structs do not stand for each other (btf_type_ids_nocast_alias).
func noCastAlias(a, b string) bool {
	return a == b+"___init" || b == a+"___init"
}

// kfuncMem demands memory: of the size that follows, or of the type pointed to.
func (e *env) kfuncMem(i int, n isa.Register, ps []btf.FuncParam, target btf.Type, sized bool, meta *kfuncMeta) (int, *Error) {
	r := &e.regs()[n]
	if !sized {
		if !isScalarType(target, 0) {
			return 0, e.refuse(errno.EINVAL, "arg#%d pointer type %s %s must point to scalar, or struct with scalar", i, btfKind(target), target.TypeName())
		}
		size, err := btf.Sizeof(target)
		if err != nil {
			return 0, e.refuse(errno.EINVAL, "arg#%d reference type('%s %s') size cannot be determined: %d", i, btfKind(target), target.TypeName(), -22)
		}
		return 1, e.checkMemArg(n, r, size)
	}
	if _, void := target.(*btf.Void); !void && !isScalarType(target, 0) {
		return 0, e.refuse(errno.EINVAL, "arg#%d pointer type %s %s must point to void, scalar, or struct with scalar", i, btfKind(target), target.TypeName())
	}
	size := &e.regs()[n+1]
	if size.typ != scalarValue {
		return 0, e.refuse(errno.EINVAL, "R%d is not a scalar", n+1)
	}
	if !(r.isNull() && hasSuffix(ps[i].Name, "__opt")) {
		saved := *r
		null := r.mayBeNull()
		if null {
			e.setNotNull(r)
		}
		var cm callMeta
		err := e.checkSized(n+1, false, true, &cm)
		if err == nil {
			err = e.checkSized(n+1, true, true, &cm)
		}
		if null {
			*r = saved
		}
		if err != nil {
			return 0, e.also(err, "arg#%d arg#%d memory, len pair leads to invalid memory access", i, i+1)
		}
	}
	if hasSuffix(ps[i+1].Name, "__szk") {
		if !size.isConst() {
			return 0, e.refuse(errno.EINVAL, "R%d must be a known constant", n+1)
		}
		meta.haveConst, meta.constVal = true, size.bits.value
		if err := e.markPrecise(n + 1); err != nil {
			return 0, err
		}
	}
	return 2, nil
}

// isScalarType reports whether t is a number or a struct of numbers, nested a few levels.
func isScalarType(t btf.Type, depth int) bool {
	t = btf.UnderlyingType(t)
	switch t := t.(type) {
	case *btf.Int, *btf.Enum:
		return true
	case *btf.Array:
		return depth > 0 && t.Nelems > 0 && isScalarType(t.Type, depth)
	}
	ms, _, ok := members(t)
	if !ok || depth > 3 {
		return false
	}
	for _, m := range ms {
		if !isScalarType(m.Type, depth+1) {
			return false
		}
	}
	return true
}

// kfuncDynptr checks a dynptr argument.
func (e *env) kfuncDynptr(n isa.Register, p btf.FuncParam, meta *kfuncMeta) *Error {
	r := &e.regs()[n]
	t := catalog.ArgDynptr
	if r.typ == constPtrToDynptr {
		t = t.With(catalog.Rdonly)
	}
	uninit := hasSuffix(p.Name, "__uninit")
	clone := uint32(0)
	if uninit {
		t = t.With(catalog.Uninit)
		switch meta.k.effect {
		case effectDynSKB:
			t = t.With(catalog.DynSKB)
		case effectDynXDP:
			t = t.With(catalog.DynXDP)
		case effectDynSKBMeta:
			t = t.With(catalog.DynSKBMeta)
		case effectDynClone:
			switch meta.dyn.dyn {
			case dynKindLocal:
				t = t.With(catalog.DynLocal)
			case dynKindRingBuf:
				t = t.With(catalog.DynRingBuf)
			case dynKindSKB:
				t = t.With(catalog.DynSKB)
			case dynKindXDP:
				t = t.With(catalog.DynXDP)
			case dynKindSKBMeta:
				t = t.With(catalog.DynSKBMeta)
			}
			clone = meta.dyn.ref
		}
	}
	if err := e.checkDynptr(n, t, clone); err != nil {
		return err
	}
	if !uninit {
		d := *e.dynptrOf(r)
		meta.dyn = &d
	}
	return nil
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
			return e.refuse(errno.EINVAL, "kernel function %s returns pointer type %s %s is not supported", meta.k.name, btfKind(target), target.TypeName())
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

// kernelCtx is the kernel's own struct behind the context.
func (e *env) kernelCtx() *btfType {
	if name := kernelCtxNames[e.p.Type]; name != "" {
		return e.kernelStruct(name)
	}
	return nil
}

// kernelCtxNames are the structs that stand behind programs' contexts in the kernel.
var kernelCtxNames = map[catalog.ProgType]string{
	catalog.ProgXDP:          "xdp_buff",
	catalog.ProgSocketFilter: "sk_buff", catalog.ProgSchedCls: "sk_buff", catalog.ProgSchedAct: "sk_buff",
	catalog.ProgCGroupSKB: "sk_buff", catalog.ProgSkSKB: "sk_buff", catalog.ProgLWTIn: "sk_buff",
	catalog.ProgLWTOut: "sk_buff", catalog.ProgLWTXmit: "sk_buff", catalog.ProgLWTSeg6Local: "sk_buff",
	catalog.ProgCGroupSock: "sock", catalog.ProgCGroupSockAddr: "bpf_sock_addr_kern",
	catalog.ProgSockOps: "bpf_sock_ops_kern", catalog.ProgSkMsg: "sk_msg", catalog.ProgFlowDissector: "bpf_flow_dissector",
	catalog.ProgKprobe: "pt_regs", catalog.ProgPerfEvent: "bpf_perf_event_data_kern",
	catalog.ProgCGroupDevice: "bpf_cgroup_dev_ctx", catalog.ProgCGroupSysctl: "bpf_sysctl_kern",
	catalog.ProgCGroupSockopt: "bpf_sockopt_kern", catalog.ProgSkReuseport: "sk_reuseport_kern",
	catalog.ProgSkLookup: "bpf_sk_lookup_kern", catalog.ProgNetfilter: "bpf_nf_ctx",
}
