package bpfsys

import (
	"unsafe"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/testrun"
	"github.com/skep-bpf/skep/internal/verifier"
)

// linkTracing follows bpf_tracing_prog_attach: a program goes to what it was loaded for, or, an ext
// program, to the function with the type id of the program target, where these are given. Of the kernel's functions
// only those that test runs call happen here.
func (c *call) linkTracing(p *run.Program, target int32, id uint32, cookie uint64) (int32, errno.Errno) {
	switch attach := p.Info.Attach; p.Info.Type {
	case catalog.ProgTracing:
		if attach != catalog.AttachTraceFEntry && attach != catalog.AttachTraceFExit && attach != catalog.AttachModifyReturn {
			return 0, errno.EINVAL
		}
	case catalog.ProgExt:
		if attach != 0 {
			return 0, errno.EINVAL
		}
	case catalog.ProgLSM:
		if attach != catalog.AttachLSMMAC {
			return 0, errno.EINVAL
		}
	}
	if (target != 0) != (id != 0) || target != 0 && p.Info.Type != catalog.ProgExt {
		return 0, errno.EINVAL
	}
	l := &Link{typ: LinkTracing, attach: p.Info.Attach, cookie: cookie}
	if p.Rewritten.Source.Target == nil {
		if e := c.s.newLink(l, p); e != 0 {
			return 0, e
		}
		var e errno.Errno
		if l.unhook, e = c.s.m.AttachKernelFunc(p, cookie); e != 0 {
			l.Close()
			return 0, e
		}
		return c.install(l)
	}
	var to *run.Program
	if target != 0 {
		o, f, e := open[*run.Program](c, target)
		if e != 0 {
			return 0, e
		}
		defer f.Put()
		to = o
	}
	own := p.About.Target
	own.Lock()
	defer own.Unlock()
	switch {
	case own.Prog == nil && to == nil: // it was attached already
		return 0, errno.EINVAL
	case to == nil || to == own.Prog && id == p.About.AttachBTFType:
		to, id = own.Prog, p.About.AttachBTFType
	default:
		src := p.Rewritten.Source
		if err := verifier.CheckReplace(src, p.Rewritten.Facts, verifier.TargetOf(to.Rewritten.Source, to.Rewritten.Facts), funcName(to, id)); err != nil {
			return 0, numberOf(err)
		}
	}
	fn, ok := to.FuncIndex(funcName(to, id))
	if !ok {
		return 0, errno.EINVAL
	}
	if e := c.s.newLink(l, p); e != 0 {
		return 0, e
	}
	traced, e := to.Trace(fn, traceKinds[p.Info.Attach], p, cookie)
	if e != 0 {
		l.Close()
		return 0, e
	}
	l.traced, l.target, l.targetType = traced, to, id
	if own.Prog != to {
		to.Acquire()
		own.Close() // where it was to go first keeps nobody alive from now on
	}
	own.Prog = nil // the link has it
	return c.install(l)
}

// traceKinds says by attach type when a program runs; ext programs have none.
var traceKinds = map[catalog.AttachType]run.TraceKind{
	0: run.TraceReplace, catalog.AttachTraceFEntry: run.TraceEntry, catalog.AttachTraceFExit: run.TraceExit,
}

// funcName is the name of a function of a program by its type; "?", which none has, if it is no such type.
func funcName(p *run.Program, id uint32) string {
	types := p.Rewritten.Source.BTF
	if types == nil {
		return "?"
	}
	if t, err := types.TypeByID(btf.TypeID(id)); err == nil && t.TypeName() != "" {
		return t.TypeName()
	}
	return "?"
}

// runTracing follows bpf_prog_test_run_tracing, which takes neither data nor a context.
func (c *call) runTracing(a *testRun, p *run.Program) (e errno.Errno) {
	if a.Flags|a.Cpu|a.BatchSize != 0 {
		return errno.EINVAL
	}
	c.s.sockets.sweep() // whatever is attached runs
	out, err := testrun.Run(c.s.m, p, &testrun.Input{Near: c.who.near()})
	if err != nil {
		e = numberOf(err)
	} else {
		e = c.put(unsafe.Offsetof(a.Retval), u32bytes(out.Ret))
	}
	c.s.testFinished(e)
	return e
}
