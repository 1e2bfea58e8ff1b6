package verifier

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// target is the function or tracepoint that a program attaches to, as its context shows it.
type target struct {
	name    string  // of the function or tracepoint
	prog    *Target // the BPF program whose function it is; nil: the kernel's
	loose   bool    // proto is not the function's: it shows five numbers
	hook    string  // without the prefix of its kind
	proto   *btf.FuncProto
	named   *btf.FuncProto // the same with names of the arguments
	hidden  int            // arguments of proto that the context leaves out
	trusted bool           // pointers are good for as long as the program runs
	special []string       // of an iterator's arguments
}

const (
	regArgs  = 5  // of functions whose type is not known
	funcArgs = 12 // most arguments of a function that can be attached to
)

// findTarget looks up what the program attaches to in the types of the kernel
// or of another program (bpf_check_attach_target).
func (e *env) findTarget() *Error {
	if e.p.AttachTo == "" {
		return e.refuse(errno.EINVAL, "Tracing programs must provide btf_id")
	}
	t := &target{hook: e.p.AttachTo}
	e.target = t
	if e.p.Target != nil && e.p.Type == catalog.ProgTracing {
		return e.findTracedProg(t)
	}
	if e.p.KernelBTF == nil {
		return e.unsupported("programs attached to kernel functions without kernel BTF")
	}
	lsm := e.p.Type == catalog.ProgLSM
	switch {
	case lsm:
		return e.findLSM(t)
	case e.p.Attach == catalog.AttachTraceRawTp:
		return e.findTracepoint(t)
	case e.p.Attach == catalog.AttachTraceIter:
		return e.findIter(t)
	case e.p.Attach == catalog.AttachTraceFEntry, e.p.Attach == catalog.AttachTraceFExit, e.p.Attach == catalog.AttachModifyReturn:
		return e.findTraced(t)
	}
	return e.silent(errno.EINVAL, "this program type does not attach in that way")
}

// kernelProto returns the type of a kernel function, or nil.
func (e *env) kernelProto(name string) *btf.FuncProto {
	var fn *btf.Func
	if e.p.KernelBTF.TypeByName(name, &fn) != nil {
		return nil
	}
	proto, _ := fn.Type.(*btf.FuncProto)
	return proto
}

// findFunc sets a target that is a function of the kernel.
func (e *env) findFunc(t *target, name string) *Error {
	t.name = name
	if t.proto = e.kernelProto(name); t.proto == nil {
		return e.unsupported("attaching to %s, which the kernel's BTF does not have", name)
	}
	t.named = t.proto
	return e.checkTraceable(t)
}

func (e *env) findTracepoint(t *target) *Error {
	t.name = t.hook
	t.trusted, t.hidden = true, 1
	var def *btf.Typedef
	if e.p.KernelBTF.TypeByName("btf_trace_"+t.hook, &def) != nil {
		return e.unsupported("attaching to tracepoint %s, which the kernel's BTF does not have", t.name)
	}
	if p, ok := def.Type.(*btf.Pointer); ok {
		t.proto, _ = p.Target.(*btf.FuncProto)
	}
	if t.proto == nil {
		return e.silent(errno.EINVAL, "the tracepoint has no prototype in BTF")
	}
	t.named = t.proto
	// The typedef has no names of arguments; the function that calls the programs has.
	if named := e.kernelProto("__traceiter_" + t.hook); named != nil && len(named.Params) == len(t.proto.Params) {
		t.named = named
	}
	return nil
}

func (e *env) findIter(t *target) *Error {
	var ok bool
	if t.special, ok = iterArgs[t.hook]; !ok {
		return e.silent(errno.EINVAL, "no iterator of that name")
	}
	t.trusted = true
	return e.findFunc(t, "bpf_iter_"+t.hook)
}

func (e *env) findLSM(t *target) *Error {
	t.trusted = !lsmUntrusted[t.hook]
	if err := e.findFunc(t, "bpf_lsm_"+t.hook); err != nil {
		return err
	}
	switch {
	case e.sleepable() && !lsmSleepable[t.hook]:
		return e.refuse(errno.EINVAL, "%s is not sleepable", t.name)
	case !e.p.GPL:
		return e.refuse(errno.EINVAL, "LSM programs must have a GPL compatible license")
	case lsmDisabled[t.hook]:
		return e.refuse(errno.EINVAL, "attach_btf_id %d points to disabled hook %s", e.funcID(t.name), t.name)
	}
	return nil
}

func (e *env) findTraced(t *target) *Error {
	if err := e.findFunc(t, t.hook); err != nil {
		return err
	}
	switch {
	case e.sleepable() && !modifiable(t.name):
		return e.refuse(errno.EINVAL, "%s is not sleepable", t.name)
	case !e.sleepable() && e.p.Attach == catalog.AttachModifyReturn && !modifiable(t.name):
		return e.refuse(errno.EINVAL, "%s() is not modifiable", t.name)
	case traceDenied[t.name]:
		return e.refuse(errno.EINVAL, "Attaching tracing programs to function '%s' is rejected.", t.name)
	case e.p.Attach != catalog.AttachTraceFEntry && traceNoReturn[t.name]:
		return e.refuse(errno.EINVAL, "Attaching fexit/fmod_ret to __noreturn function '%s' is rejected.", t.name)
	}
	return nil
}

func (e *env) funcID(name string) btf.TypeID {
	var fn *btf.Func
	if e.p.KernelBTF.TypeByName(name, &fn) != nil {
		return 0
	}
	id, _ := e.p.KernelBTF.TypeID(fn)
	return id
}

// checkTraceable checks that arguments and result can be passed on (btf_distill_func_proto).
func (e *env) checkTraceable(t *target) *Error {
	if n := len(t.proto.Params); n > funcArgs {
		return e.refuse(errno.EINVAL, "The function %s has %d arguments. Too many.", t.name, n)
	}
	if ret := btf.UnderlyingType(t.proto.Return); argSize(ret) < 0 || isStruct(ret) {
		return e.refuse(errno.EINVAL, "The function %s return type %s is unsupported.", t.name, kindName(ret))
	}
	for i, p := range t.proto.Params {
		at := btf.UnderlyingType(p.Type)
		switch size := argSize(at); {
		case isVoid(at) && i == len(t.proto.Params)-1:
			return e.refuse(errno.EINVAL, "The function %s with variable args is unsupported.", t.name)
		case size < 0 || size > 16:
			return e.refuse(errno.EINVAL, "The function %s arg%d type %s is unsupported.", t.name, i, kindName(at))
		case size == 0:
			return e.refuse(errno.EINVAL, "The function %s has malformed void argument.", t.name)
		}
	}
	return nil
}

// argSize is the size of an argument; -1 if it cannot be passed.
func argSize(t btf.Type) int {
	switch t := t.(type) {
	case nil, *btf.Void:
		return 0
	case *btf.Pointer:
		return regSize
	case *btf.Int:
		return int(t.Size)
	case *btf.Enum:
		return int(t.Size)
	case *btf.Struct:
		return int(t.Size)
	case *btf.Union:
		return int(t.Size)
	}
	return -1
}

func isStruct(t btf.Type) bool {
	_, _, ok := members(t)
	return ok
}

// isWord reports whether an argument is a number, or a struct passed by value.
func isWord(t btf.Type) bool {
	switch t := t.(type) {
	case *btf.Int:
		return t.Size <= regSize && t.Size&(t.Size-1) == 0
	case *btf.Enum, *btf.Struct, *btf.Union:
		return true
	}
	return false
}

// arg returns which argument lies at off in the context; len(t.proto.Params) is the result.
func (t *target) arg(off int) int {
	if t.loose {
		return off / regSize
	}
	end := 0
	for i, p := range t.proto.Params {
		if end += max(regSize, (argSize(btf.UnderlyingType(p.Type))+regSize-1)&^(regSize-1)); off < end {
			return i
		}
	}
	if off < end+(argSize(btf.UnderlyingType(t.proto.Return))+regSize-1)&^(regSize-1) {
		return len(t.proto.Params)
	}
	return len(t.proto.Params) + 1
}

// accessTypedCtx loads an argument of the function the program is attached to (btf_ctx_access).
func (e *env) accessTypedCtx(a access, off int) *Error {
	t := e.target
	if t == nil {
		return e.unsupported("contexts of this program type")
	}
	bad := func() *Error {
		err := e.refuse(errno.EACCES, "invalid bpf_context access off=%d size=%d", off, a.size)
		e.logLine(e.insn, "; ")
		return err
	}
	// explained refuses with a line that says why before the kernel's usual one.
	explained := func(format string, args ...any) *Error {
		why := fmt.Sprintf(format, args...)
		e.logf("%s\n", why)
		err := bad()
		err.Lines = append([]string{why}, err.Lines...)
		err.Msg = why
		return err
	}
	if off < 0 || off >= regSize*funcArgs || a.write || off%a.size != 0 {
		return bad()
	}
	if e.ops != nil {
		if done := e.loadOpsArg(a, off); done {
			return nil
		}
	}
	if off%regSize != 0 {
		return explained("func '%s' offset %d is not multiple of 8", t.name, off)
	}
	arg, args := t.arg(off), len(t.proto.Params)-t.hidden
	if arg > args {
		return explained("func '%s' doesn't have %d-th argument", t.name, arg+1)
	}
	var typ btf.Type
	result := false
	if arg < args {
		typ = btf.UnderlyingType(t.proto.Params[arg+t.hidden].Type)
	} else {
		typ = btf.UnderlyingType(t.proto.Return)
		switch e.p.Attach {
		case catalog.AttachLSMMAC:
			result = true
		case catalog.AttachLSMCGroup, catalog.AttachTraceFExit:
		case catalog.AttachModifyReturn:
			if i, ok := typ.(*btf.Int); !ok || i.Size > regSize {
				return explained("ret type %s not allowed for fmod_ret", kindName(typ))
			}
		default:
			return explained("func '%s' doesn't have %d-th argument", t.name, arg+1)
		}
	}
	if isWord(typ) {
		e.loadWord(a, result)
		return nil
	}
	p, ok := typ.(*btf.Pointer)
	if !ok {
		return explained("func '%s' arg%d '%s' has type %s. Only pointer access is allowed", t.name, arg, nameOf(typ), kindName(typ))
	}
	if a.size != regSize {
		return explained("func '%s' size %d must be 8", t.name, a.size)
	}
	flags := ""
	if arg < len(t.special) {
		flags = t.special[arg]
	}
	if flags == "b" || flags == "r" {
		e.loadBuf(a, flags == "r")
		return nil
	}
	if isVoid(p.Target) || isIntPtr(p) {
		e.loadWord(a, false)
		return nil
	}
	typeFlags, scalar := e.argFlags(t, arg, args, flags)
	if t.prog != nil {
		return e.loadProgCtx(a, p, typeFlags, bad)
	}
	// Only the pointer's own tag counts, not those of typedefs behind it.
	if tag, ok := p.Target.(*btf.TypeTag); ok {
		switch tag.Value {
		case "user":
			typeFlags |= userMem
		case "percpu":
			typeFlags |= perCPUMem
		}
	}
	typ = btf.UnderlyingType(p.Target)
	if _, _, ok := members(typ); !ok {
		return explained("func '%s' arg%d type %s is not a struct", t.name, arg, kindName(typ))
	}
	bt := e.intern(e.p.KernelBTF, typ)
	if flags == "" && e.any {
		e.logf("func '%s' arg%d has btf_id %d type %s '%s'\n", t.name, arg, bt.id, kindName(typ), nameOf(typ))
	}
	if scalar {
		if e.any {
			e.logf("marking pointer arg%d as scalar as it may encode error", arg)
		}
		e.loadWord(a, false)
		return nil
	}
	if a.val == noReg {
		return nil
	}
	dst := &e.regs()[a.val]
	dst.setPtr(ptrToBTF | typeFlags)
	dst.btf = bt
	if typeFlags&mayBeNull != 0 {
		dst.id = e.newID()
	}
	if e.ops != nil {
		return e.castArg(arg, dst, off)
	}
	return nil
}

// argFlags says what an argument that is a pointer may be: NULL, trusted, or no
// pointer at all but an error. flags are those its kind of target lays down.
func (e *env) argFlags(t *target, arg, args int, flags string) (f regType, scalar bool) {
	if flags != "" {
		if strings.Contains(flags, "n") {
			f |= mayBeNull
		}
		if strings.Contains(flags, "t") {
			f |= trusted
		}
		return f, false
	}
	if t.trusted {
		f |= trusted
	}
	if arg < args && strings.HasSuffix(t.named.Params[arg+t.hidden].Name, "__nullable") {
		f |= mayBeNull
	}
	if e.p.Attach == catalog.AttachTraceRawTp && e.p.Type == catalog.ProgTracing {
		mask := mayBeBad[t.hook] >> (4 * arg)
		if mask&1 != 0 {
			f |= mayBeNull
		}
		scalar = mask&2 != 0
	}
	return f, scalar
}

// loadBuf loads an argument that is a buffer of the kernel's, or NULL.
func (e *env) loadBuf(a access, readOnly bool) {
	if a.val == noReg {
		return
	}
	dst := &e.regs()[a.val]
	dst.setPtr(ptrToBuf | mayBeNull)
	if readOnly {
		dst.typ |= rdonly
	}
	dst.id = e.newID()
}

// loadProgCtx loads the argument of another program's function that is its
// context: other structs cannot be read.
func (e *env) loadProgCtx(a access, p *btf.Pointer, flags regType, bad func() *Error) *Error {
	if e.p.KernelBTF == nil {
		return e.unsupported("the context of a traced program without kernel BTF")
	}
	typ := e.targetCtx(e.target.prog, p)
	if typ == nil {
		return bad()
	}
	if a.val == noReg {
		return nil
	}
	dst := &e.regs()[a.val]
	dst.setPtr(ptrToBTF | flags)
	dst.btf = typ
	if flags&mayBeNull != 0 {
		dst.id = e.newID()
	}
	return nil
}

// loadWord loads a number from the context; result: what the hook decided so far.
func (e *env) loadWord(a access, result bool) {
	if a.val == noReg {
		return
	}
	dst := &e.regs()[a.val]
	e.markUnknown(dst)
	if r, ok := e.hookRange(); result && ok {
		dst.cutS32(r.Min, r.Max)
		dst.smin, dst.smax = max(dst.smin, int64(r.Min)), min(dst.smax, int64(r.Max))
		dst.sync()
		return
	}
	e.narrow(a)
}

// hookRange is what an LSM hook may decide (bpf_lsm_get_retval_range).
func (e *env) hookRange() (catalog.Range, bool) {
	if e.p.Type != catalog.ProgLSM || e.target == nil || isVoid(e.target.proto.Return) {
		return catalog.Range{}, false
	}
	if lsmBool[e.target.hook] {
		return catalog.Range{Min: 0, Max: 1}, true
	}
	return catalog.Range{Min: -maxErrno, Max: 0}, true
}

// attachAllows reports whether what the program attaches to permits a helper (bpf_func_proto.allowed).
func (e *env) attachAllows(id catalog.HelperID) bool {
	if e.target == nil {
		return true
	}
	if e.target.prog != nil && (id == catalog.FnDPath || id == catalog.FnSkStorageGet || id == catalog.FnSkStorageDelete) {
		return false // lists of the kernel's own functions
	}
	lsm := e.p.Type == catalog.ProgLSM
	switch id {
	case catalog.FnImaInodeHash, catalog.FnImaFileHash:
		return lsmSleepable[e.target.hook]
	case catalog.FnDPath:
		if lsm {
			return lsmSleepable[e.target.hook]
		}
		return e.p.Attach == catalog.AttachTraceIter || dPathAllowed[e.target.name]
	case catalog.FnSkStorageGet, catalog.FnSkStorageDelete:
		switch {
		case lsm, e.p.Attach == catalog.AttachTraceIter, e.p.Attach == catalog.AttachTraceRawTp:
			return true
		case e.p.Attach == catalog.AttachTraceFEntry, e.p.Attach == catalog.AttachTraceFExit:
			return !strings.HasPrefix(e.target.name, "bpf_sk_storage")
		}
		return false
	case catalog.FnSetsockopt, catalog.FnGetsockopt:
		return !lsm || lsmSockopt[e.target.hook]
	}
	return true
}

func isVoid(t btf.Type) bool {
	_, ok := btf.UnderlyingType(t).(*btf.Void)
	return ok || t == nil
}

func isIntPtr(p *btf.Pointer) bool {
	_, ok := btf.UnderlyingType(p.Target).(*btf.Int)
	return ok
}

func nameOf(t btf.Type) string {
	if n := t.TypeName(); n != "" {
		return n
	}
	return "(anon)"
}
