package verifier

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// subArg is what a global function demands of one argument, read from its BTF
// prototype and the decl tags on it (struct bpf_subprog_arg_info).
type subArg struct {
	kind catalog.ArgType
	size uint32 // of memory
	t    *btfType
}

// readArgs reads the prototype of function sub (btf_prepare_func_args).
func (e *env) readArgs(sub int) *Error {
	s := &e.subs[sub]
	if s.argsDone {
		return nil
	}
	if s.fn == nil {
		return e.silent(errno.EINVAL, "a function whose parameters are not known")
	}
	proto := s.fn.Type.(*btf.FuncProto)
	if len(proto.Params) > 5 {
		return e.refuse(errno.EINVAL, "Global function %s() with %d > 5 args. Buggy compiler.", s.name, len(proto.Params))
	}
	if s.global {
		switch btf.UnderlyingType(proto.Return).(type) {
		case *btf.Int, *btf.Enum:
		default:
			return e.refuse(errno.EINVAL, "Global function %s() doesn't return scalar. Only those are supported.", s.name)
		}
	}
	args := make([]subArg, len(proto.Params))
	for i, p := range proto.Params {
		a, err := e.readArg(s, i, p)
		if err != nil {
			return err
		}
		args[i] = a
	}
	s.args, s.argsDone = args, true
	return nil
}

// paramTags returns the "arg:" decl tags of parameter i.
func paramTags(fn *btf.Func, i int) map[string]bool {
	tags := make(map[string]bool)
	if i < len(fn.ParamTags) {
		for _, t := range fn.ParamTags[i] {
			if rest, ok := strings.CutPrefix(t, "arg:"); ok {
				tags[rest] = true
			}
		}
	}
	return tags
}

func (e *env) readArg(s *subprog, i int, p btf.FuncParam) (subArg, *Error) {
	tags := paramTags(s.fn, i)
	t := btf.UnderlyingType(p.Type)
	ptr, isPtr := t.(*btf.Pointer)
	if len(tags) > 0 && !s.global {
		return subArg{}, e.refuse(errno.EOPNOTSUPP, "arg#%d type tag is not supported in static functions", i)
	}
	if !isPtr {
		switch t.(type) {
		case *btf.Int, *btf.Enum:
			if len(tags) > 0 {
				return subArg{}, e.refuse(errno.EINVAL, "arg#%d marked as pointer, but it isn't", i)
			}
			return subArg{kind: catalog.ArgAnything}, nil
		}
		return subArg{}, e.refuse(errno.EINVAL, "Arg#%d type %s in %s() is not supported yet.", i, kindName(t), s.name)
	}
	target := btf.UnderlyingType(ptr.Target)
	nullable := !tags["nonnull"]
	switch {
	case tags["ctx"] || e.isCtxType(ptr, i):
		return subArg{kind: catalog.ArgCtx}, nil
	case target.TypeName() == "bpf_dynptr" || target.TypeName() == "bpf_dynptr_kern":
		return subArg{kind: catalog.ArgDynptr.With(catalog.Rdonly)}, nil
	case tags["untrusted"] && len(tags) > 1:
		return subArg{}, e.refuse(errno.EINVAL, "arg#%d untrusted cannot be combined with any other tags", i)
	case tags["untrusted"] && isPlain(target):
		return subArg{kind: catalog.ArgMem.With(catalog.Rdonly).With(catalog.Untrusted)}, nil
	case tags["trusted"] || tags["untrusted"]:
		name := target.TypeName()
		if i := strings.LastIndex(name, "___"); i > 0 {
			name = name[:i] // a flavor of the kernel's struct
		}
		k := e.kernelStruct(name)
		if k == nil {
			return subArg{}, e.refuse(errno.ENOENT, "arg#%d reference type('%s %s') has no matches", i, kindName(target), target.TypeName())
		}
		kind := catalog.ArgBTFID.With(catalog.Trusted)
		if tags["untrusted"] {
			kind = catalog.ArgBTFID.With(catalog.Untrusted)
		}
		if tags["nullable"] {
			kind = kind.With(catalog.MaybeNull)
		}
		return subArg{kind: kind, t: k}, nil
	case tags["arena"]:
		return subArg{kind: catalog.ArgArena}, nil
	}
	if !s.global {
		return subArg{}, e.silent(errno.EINVAL, "a static function is verified where it is called")
	}
	size, err := btf.Sizeof(target)
	if err != nil {
		return subArg{}, e.refuse(errno.EINVAL, "arg#%d reference type('%s %s') size cannot be determined: %d", i, kindName(target), target.TypeName(), -22)
	}
	if _, void := target.(*btf.Void); void {
		return subArg{}, e.refuse(errno.EINVAL, "arg#%d reference type('UNKNOWN ') size cannot be determined: %d", i, -22)
	}
	kind := catalog.ArgMem
	if nullable {
		kind = kind.With(catalog.MaybeNull)
	}
	return subArg{kind: kind, size: uint32(size)}, nil
}

// isPlain reports whether a pointer's target is nothing, or a number.
func isPlain(t btf.Type) bool {
	switch t.(type) {
	case *btf.Void, *btf.Int, *btf.Enum:
		return true
	}
	return false
}

// isCtxType reports whether a pointer's type is the program type's context (btf_is_prog_ctx_type).
func (e *env) isCtxType(p *btf.Pointer, arg int) bool {
	t := plainType(p.Target)
	for {
		def, ok := t.(*btf.Typedef)
		if !ok {
			break
		}
		if def.Name == "bpf_user_pt_regs_t" && (e.p.Type == catalog.ProgKprobe || e.p.Type == catalog.ProgPerfEvent) {
			return true
		}
		t = plainType(def.Type)
	}
	s, ok := t.(*btf.Struct)
	if !ok {
		return false
	}
	if s.Name == e.facts.kind.Ctx.Name {
		return true
	}
	// Names the program types' contexts have for C programs and inside the kernel.
	switch e.p.Type {
	case catalog.ProgKprobe:
		return s.Name == "bpf_user_pt_regs_t" // how programs for old kernels declare it
	case catalog.ProgPerfEvent:
		return s.Name == "bpf_perf_event_data"
	case catalog.ProgSocketFilter, catalog.ProgSchedCls, catalog.ProgSchedAct, catalog.ProgCGroupSKB,
		catalog.ProgLWTIn, catalog.ProgLWTOut, catalog.ProgLWTXmit, catalog.ProgLWTSeg6Local, catalog.ProgSkSKB, catalog.ProgFlowDissector:
		return s.Name == "__sk_buff"
	case catalog.ProgXDP:
		return s.Name == "xdp_md"
	}
	return false
}

// initArgs gives a function that is verified by itself its arguments: the
// context, or whatever its prototype allows.
func (e *env) initArgs(sub int) *Error {
	regs := e.regs()
	s := &e.subs[sub]
	if sub == 0 && !e.ext {
		if s.fn != nil {
			if err := e.readArgs(0); err != nil || len(s.args) != 1 || s.args[0].kind != catalog.ArgCtx {
				s.unreliable = true
			}
		}
		regs[isa.R1].setPtr(ptrToCtx)
		if e.ops != nil {
			e.acquireArgs()
		}
		return nil
	}
	e.logf("Validating %s() func#%d...\n", s.name, sub)
	if err := e.readArgs(sub); err != nil {
		return err
	}
	if s.isException {
		e.st.frames[0].inException = true
		if len(s.args) != 1 || s.args[0].kind != catalog.ArgAnything {
			return e.refuse(errno.EINVAL, "exception cb only supports single integer argument")
		}
	}
	for i, a := range s.args {
		r := &regs[isa.R1+isa.Register(i)]
		null := regType(a.kind) & mayBeNull
		switch a.kind.Base() {
		case catalog.ArgCtx:
			r.setPtr(ptrToCtx)
		case catalog.ArgAnything, catalog.ArgArena:
			e.markUnknown(r)
		case catalog.ArgDynptr:
			e.setConstDynptr(r, dynKindLocal)
		case catalog.ArgMem:
			if a.kind.Has(catalog.Untrusted) {
				r.setPtr(ptrToMem | rdonly | untrusted)
				break
			}
			r.setPtr(ptrToMem | null)
			r.size, r.id = a.size, e.newID()
		case catalog.ArgBTFID:
			r.setPtr(ptrToBTF | null | regType(a.kind)&(trusted|untrusted))
			r.btf, r.id = a.t, e.newID()
		}
	}
	return nil
}

// checkCallArgs checks R1–R5 against the prototype of function sub. For static
// functions the outcome only tells whether the BTF can be relied on
// (btf_check_func_arg_match).
func (e *env) checkCallArgs(sub int, regs *[isa.RFP + 1]reg) *Error {
	s := &e.subs[sub]
	if s.fn == nil {
		return nil
	}
	if s.unreliable {
		return e.silent(errno.EINVAL, "the BTF of this function cannot be relied on")
	}
	err := e.readArgs(sub)
	for i := 0; err == nil && i < len(s.args); i++ {
		err = e.checkCallArg(i, s.args[i], &regs[isa.R1+isa.Register(i)])
	}
	s.unreliable = err != nil
	return err
}

func (e *env) checkCallArg(i int, a subArg, r *reg) *Error {
	n := isa.R1 + isa.Register(i)
	switch a.kind.Base() {
	case catalog.ArgAnything:
		if r.typ != scalarValue {
			return e.refuse(errno.EINVAL, "R%d is not a scalar", n)
		}
	case catalog.ArgCtx:
		if err := e.checkArgOffset(n, r, catalog.ArgNone); err != nil {
			return err
		}
		if r.typ != ptrToCtx {
			return e.refuse(errno.EINVAL, "arg#%d expects pointer to ctx", i)
		}
	case catalog.ArgMem:
		if a.kind.Has(catalog.Untrusted) {
			return nil // whatever it is: loads through it may fault
		}
		if err := e.checkArgOffset(n, r, catalog.ArgNone); err != nil {
			return err
		}
		if err := e.checkMemArg(n, r, int(a.size)); err != nil {
			err.Errno = errno.EINVAL
			return err
		}
		if !a.kind.Has(catalog.MaybeNull) && r.mayBeNull() {
			return e.refuse(errno.EINVAL, "arg#%d is expected to be non-NULL", i)
		}
		if !a.kind.Has(catalog.MaybeNull) && r.isNull() {
			return e.refuse(errno.EINVAL, "arg#%d is expected to be non-NULL", i)
		}
	case catalog.ArgArena:
		if r.typ != ptrToArena && r.typ != scalarValue {
			return e.refuse(errno.EINVAL, "R%d is not a pointer to arena or scalar.", n)
		}
	case catalog.ArgDynptr:
		if err := e.checkArgOffset(n, r, catalog.ArgDynptr); err != nil {
			return err
		}
		return e.checkDynptr(n, a.kind, 0)
	case catalog.ArgBTFID:
		if r.isNull() && a.kind.Has(catalog.MaybeNull) {
			return nil
		}
		meta := callMeta{}
		arg := catalog.Arg{Type: a.kind &^ catalog.ArgType(catalog.Trusted|catalog.Untrusted), BTF: a.t.name}
		if a.kind.Has(catalog.Untrusted) {
			return nil
		}
		if err := e.checkArgType(n, arg, &meta); err != nil {
			return err
		}
		return e.checkArgOffset(n, r, arg.Type)
	}
	return nil
}

// checkMemArg demands size bytes that may be read and written, or NULL (check_mem_reg).
func (e *env) checkMemArg(n isa.Register, r *reg, size int) *Error {
	if r.isNull() {
		return nil
	}
	saved := *r
	null := r.mayBeNull()
	if null {
		e.setNotNull(r)
	}
	err := e.checkMem(n, size, false, true, nil)
	if err == nil {
		err = e.checkMem(n, size, true, true, nil)
	}
	if null {
		*r = saved
	}
	return err
}
