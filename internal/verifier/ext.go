package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// asTarget is what an ext program is verified as: a program of its target's type.
func asTarget(p *Program) *Program {
	if p.Type != catalog.ProgExt || p.Target == nil {
		return p
	}
	q := *p
	q.Type, q.Attach = p.Target.Type, p.Target.Attach
	return &q
}

// findReplaced looks up the function that the program replaces (bpf_check_attach_target).
func (e *env) findReplaced() *Error {
	t := e.p.Target
	if e.p.AttachTo == "" {
		return e.refuse(errno.EINVAL, "Tracing programs must provide btf_id")
	}
	if t == nil {
		return e.refuse(errno.EINVAL, "Cannot replace kernel functions")
	}
	f, err := e.targetFunc()
	if err != nil {
		return err
	}
	switch main := &e.subs[0]; {
	case f.Unreliable:
		return e.refuse(errno.EINVAL, "Cannot replace static functions")
	case main.changesPkt && !f.ChangesPkt:
		return e.refuse(errno.EINVAL, "Extension program changes packet data, while original does not")
	case main.mightSleep && !f.MightSleep:
		return e.refuse(errno.EINVAL, "Extension program may sleep, while original does not")
	case t.Type == catalog.ProgExt:
		return e.refuse(errno.EINVAL, "Cannot recursively attach")
	case t.Type == catalog.ProgTracing && (t.Attach == catalog.AttachTraceFEntry || t.Attach == catalog.AttachTraceFExit):
		return e.refuse(errno.EINVAL, "Cannot extend fentry/fexit")
	case e.p.Funcs == nil:
		return e.refuse(errno.EINVAL, "Program extension requires BTF")
	case e.facts.kind.Ctx.Typed:
		return e.unsupported("replacing functions of %s programs", e.facts.kind.Name)
	}
	return e.checkSameProto(e.p.Funcs[0].Func, f.Func)
}

// checkSameProto demands that a function can stand for another (btf_check_func_type_match).
func (e *env) checkSameProto(f, g *btf.Func) *Error {
	for _, fn := range []*btf.Func{f, g} {
		if fn.Linkage != btf.GlobalFunc {
			return e.refuse(errno.EINVAL, "%s() is not a global function", fn.Name)
		}
	}
	fp, gp := f.Type.(*btf.FuncProto), g.Type.(*btf.FuncProto)
	if len(fp.Params) != len(gp.Params) {
		return e.refuse(errno.EINVAL, "%s() has %d args while %s() has %d args", f.Name, len(fp.Params), g.Name, len(gp.Params))
	}
	if fr, gr := btf.UnderlyingType(fp.Return), btf.UnderlyingType(gp.Return); kindName(fr) != kindName(gr) {
		return e.refuse(errno.EINVAL, "Return type %s of %s() doesn't match type %s of %s()", kindName(fr), f.Name, kindName(gr), g.Name)
	}
	for i := range fp.Params {
		if err := e.checkSameParam(i, f.Name, g.Name, btf.UnderlyingType(fp.Params[i].Type), btf.UnderlyingType(gp.Params[i].Type)); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) checkSameParam(i int, f, g string, ft, gt btf.Type) *Error {
	if kindName(ft) != kindName(gt) {
		return e.refuse(errno.EINVAL, "arg%d in %s() is %s while %s() has %s", i, f, kindName(ft), g, kindName(gt))
	}
	fp, isPtr := ft.(*btf.Pointer)
	if !isPtr {
		if fs, gs := argSize(ft), argSize(gt); fs != gs {
			return e.refuse(errno.EINVAL, "arg%d in %s() has size %d while %s() has %d", i, f, fs, g, gs)
		}
		if !isWord(ft) || isStruct(ft) {
			return e.refuse(errno.EINVAL, "arg%d in %s() has unrecognized type", i, f)
		}
		return nil
	}
	fs, gs := btf.UnderlyingType(fp.Target), btf.UnderlyingType(gt.(*btf.Pointer).Target)
	switch {
	case !isStruct(fs):
		return e.refuse(errno.EINVAL, "arg%d in %s() is not a pointer to context", i, f)
	case !isStruct(gs):
		return e.refuse(errno.EINVAL, "arg%d in %s() is not a pointer to context", i, g)
	case fs.TypeName() != gs.TypeName():
		return e.refuse(errno.EINVAL, "arg%d %s(struct %s *) doesn't match %s(struct %s *)", i, f, fs.TypeName(), g, gs.TypeName())
	}
	return nil
}

// CheckReplace says whether an accepted ext program can replace another function than the one it was verified with: p is
// its source, r what was found, to and name are the function's (bpf_check_attach_target).
func CheckReplace(p *Program, r *Result, to *Target, name string) error {
	if p.Target.Type != to.Type || p.Target.Attach != to.Attach {
		return &Error{Errno: errno.EINVAL, Slot: -1, Msg: "the program replaces functions of programs of another type"}
	}
	q := *p
	q.Target, q.AttachTo = to, name
	e := newEnv(&q, Options{})
	defer e.done()
	e.facts.kind = catalog.ProgKindByType(to.Type)
	main := &r.Subprogs[0]
	e.subs = []subprog{{changesPkt: main.ChangesPkt, mightSleep: main.MightSleep}}
	if err := e.findReplaced(); err != nil {
		return err
	}
	return nil
}
