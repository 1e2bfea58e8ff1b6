package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

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
			err = e.refuse(errno.EINVAL, "Unrecognized arg#%d type %s", i, kindName(t))
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
	name := btf.UnderlyingType(p.Target).TypeName()
	if name != "sk_buff" && name != "xdp_buff" {
		return false
	}
	t := e.kernelCtx()
	return t != nil && t.name == name
}

// kfuncBTF demands a pointer of the right struct, as trusted as the row says.
func (e *env) kfuncBTF(i int, n isa.Register, r *reg, target btf.Type, meta *kfuncMeta) *Error {
	flags := meta.k.flags
	if _, _, ok := members(target); !ok {
		if _, void := target.(*btf.Void); void {
			return nil
		}
		return e.refuse(errno.EINVAL, "kernel function %s args#%d pointer type %s %s is not supported", meta.k.name, i, kindName(target), target.TypeName())
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
			meta.k.name, i, kindName(target), want.name, n, got)
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
			return 0, e.refuse(errno.EINVAL, "arg#%d pointer type %s %s must point to scalar, or struct with scalar", i, kindName(target), target.TypeName())
		}
		size, err := btf.Sizeof(target)
		if err != nil {
			return 0, e.refuse(errno.EINVAL, "arg#%d reference type('%s %s') size cannot be determined: %d", i, kindName(target), target.TypeName(), -22)
		}
		return 1, e.checkMemArg(n, r, size)
	}
	if _, void := target.(*btf.Void); !void && !isScalarType(target, 0) {
		return 0, e.refuse(errno.EINVAL, "arg#%d pointer type %s %s must point to void, scalar, or struct with scalar", i, kindName(target), target.TypeName())
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
