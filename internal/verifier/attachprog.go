package verifier

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// Target is a loaded program that another attaches to: an ext program replaces
// one of its global functions, a tracing program runs when one is entered or left.
type Target struct {
	Type   catalog.ProgType
	Attach catalog.AttachType
	// Replaces is, of ext programs, the type of the program they change.
	Replaces catalog.ProgType
	// Traces: it is itself a tracing program attached to another (attach_tracing_prog).
	Traces bool
	Types  bool         // it has BTF
	Funcs  []TargetFunc // the main program first; empty if BTF does not say what they are
}

// TargetFunc is one function of a target.
type TargetFunc struct {
	Func       *btf.Func
	Unreliable bool // its arguments are not what BTF says
	Exception  bool // the callback of exceptions
	ChangesPkt bool // may move the packet
	MightSleep bool
}

// TargetOf is the target that an accepted program makes.
func TargetOf(p *Program, r *Result) *Target {
	t := &Target{Type: p.Type, Attach: p.Attach, Types: p.BTF != nil || len(p.Funcs) > 0}
	if to := p.Target; to != nil {
		switch p.Type {
		case catalog.ProgExt:
			t.Replaces = to.Type
		case catalog.ProgTracing:
			t.Traces = to.Type == catalog.ProgTracing
		}
	}
	for i, f := range p.Funcs {
		s := &r.Subprogs[i]
		t.Funcs = append(t.Funcs, TargetFunc{
			Func: f.Func, Unreliable: s.Unreliable, Exception: s.Exception, ChangesPkt: s.ChangesPkt, MightSleep: s.MightSleep,
		})
	}
	return t
}

// targetFunc looks up the function of the target that the program attaches to
// (bpf_check_attach_target, which both kinds of programs begin with).
func (e *env) targetFunc() (*TargetFunc, *Error) {
	t := e.p.Target
	if !t.Types {
		return nil, e.refuse(errno.EINVAL, "FENTRY/FEXIT program can only be attached to another program annotated with BTF")
	}
	for i := range t.Funcs {
		f := &t.Funcs[i]
		switch {
		case f.Func.Name != e.p.AttachTo:
			continue
		case f.Exception && e.ext:
			return nil, e.refuse(errno.EINVAL, "Extension programs cannot attach to exception callback")
		case f.Exception:
			return nil, e.refuse(errno.EINVAL, "FENTRY/FEXIT programs cannot attach to exception callback")
		}
		return f, nil
	}
	return nil, e.refuse(errno.EINVAL, "Subprog %s doesn't exist", e.p.AttachTo)
}

// findTracedProg sets a target that is a function of another BPF program.
func (e *env) findTracedProg(t *target) *Error {
	f, err := e.targetFunc()
	if err != nil {
		return err
	}
	if e.p.Target.Traces {
		return e.refuse(errno.EINVAL, "Cannot nest tracing program attach more than once")
	}
	t.name, t.prog = f.Func.Name, e.p.Target
	switch e.p.Attach {
	case catalog.AttachTraceRawTp:
		return e.refuse(errno.EINVAL, "Only FENTRY/FEXIT progs are attachable to another BPF prog")
	case catalog.AttachTraceFEntry, catalog.AttachTraceFExit, catalog.AttachModifyReturn:
	default:
		return e.silent(errno.EINVAL, "only fentry and fexit programs attach to another BPF program")
	}
	if t.loose = f.Unreliable; t.loose {
		t.proto = registers
	} else {
		t.proto = f.Func.Type.(*btf.FuncProto)
	}
	t.named = t.proto
	if err := e.checkTraceable(t); err != nil {
		return err
	}
	switch {
	case e.sleepable():
		return e.refuse(errno.EINVAL, "%s is not sleepable", t.name)
	case e.p.Attach == catalog.AttachModifyReturn:
		return e.refuse(errno.EINVAL, "can't modify return codes of BPF programs")
	}
	return nil
}

// registers stands for the type of a function that BTF does not tell: as many
// numbers as there are registers for arguments.
var registers = func() *btf.FuncProto {
	word := &btf.Int{Name: "u64", Size: regSize}
	proto := &btf.FuncProto{Return: word}
	for range regArgs {
		proto.Params = append(proto.Params, btf.FuncParam{Type: word})
	}
	return proto
}()

// ctxTypes are a program type's context as programs see it and the kernel's own
// behind it: struct __sk_buff, struct sk_buff. They are nil without kernel BTF, one
// struct of which has two members for each type (bpf_ctx_convert).
func (e *env) ctxTypes(t catalog.ProgType) (shown, inside btf.Type) {
	kind := catalog.ProgKindByType(t)
	var convert *btf.Struct
	if kind == nil || e.p.KernelBTF == nil || e.p.KernelBTF.TypeByName("bpf_ctx_convert", &convert) != nil {
		return nil, nil
	}
	name := "BPF_PROG_TYPE_" + strings.ToUpper(kind.Name)
	for _, m := range convert.Members {
		switch m.Name {
		case name + "_prog":
			shown = m.Type
		case name + "_kern":
			inside = m.Type
		}
	}
	return shown, inside
}

// kernelCtx is the kernel's own struct behind the context.
func (e *env) kernelCtx() *btfType {
	_, t := e.ctxTypes(e.p.Type)
	if t == nil || !isStruct(btf.UnderlyingType(t)) {
		return nil
	}
	return e.intern(e.p.KernelBTF, t)
}

// targetCtx is what the kernel has in place of the target's context; nil if p is
// not that context (btf_translate_to_vmlinux).
func (e *env) targetCtx(t *Target, p *btf.Pointer) *btfType {
	typ := t.Type
	if typ == catalog.ProgExt {
		typ = t.Replaces
	}
	shown, inside := e.ctxTypes(typ)
	if inside == nil || !isCtx(typ, shown, p) {
		return nil
	}
	return e.intern(e.p.KernelBTF, inside)
}

// isCtx reports whether a pointer's type is the context shown to programs of a type (btf_is_prog_ctx_type).
func isCtx(typ catalog.ProgType, shown btf.Type, p *btf.Pointer) bool {
	if typ == catalog.ProgKprobe {
		if def, ok := plainType(p.Target).(*btf.Typedef); ok && def.Name == "bpf_user_pt_regs_t" {
			return true
		}
	}
	param := btf.UnderlyingType(p.Target)
	if !isStruct(param) {
		return false
	}
	for _, want := range []btf.Type{shown, btf.UnderlyingType(shown)} {
		switch name := want.TypeName(); {
		case name == "":
			return false
		case name == param.TypeName(),
			name == "__sk_buff" && param.TypeName() == "sk_buff",
			name == "xdp_md" && param.TypeName() == "xdp_buff":
			return true
		}
	}
	return false
}

// plainType is a type without qualifiers and tags, but with typedefs.
func plainType(t btf.Type) btf.Type {
	for {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Restrict:
			t = q.Type
		case *btf.TypeTag:
			t = q.Type
		default:
			return t
		}
	}
}
