package run

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// maxFuncArgs is how many arguments a function of a program takes at most: R1 to R5.
const maxFuncArgs = 5

func params(f *btf.Func) int {
	proto, _ := f.Type.(*btf.FuncProto)
	if proto == nil {
		return maxFuncArgs
	}
	return len(proto.Params)
}

// within is where programs run while c is in the midst of a run: the same vCPU to them, with an
// engine of its own. What is attached to programs that run there runs one further within.
func (c *CPU) within() (*CPU, error) {
	if c.inner == nil {
		in, err := newCPU(c.m, c.id)
		if err != nil {
			return nil, err
		}
		in.recording = c.recording
		c.inner = in
	}
	return c.inner, nil
}

// runTraced is a run of p, whose functions are traced, with what is attached to the first.
// The caller has entered the epoch.
func (c *CPU) runTraced(t *traced, done <-chan struct{}, p *Program, args [maxFuncArgs]uint64, pkt *packet.Packet, runs int) (r0 uint64, err error) {
	f, code, now := t.funcs[0], p.code, p
	if t.variant != nil {
		code = t.variant.code
	}
	if f != nil && f.replace != nil {
		f, now = nil, f.replace
		if t := now.tracing.now.Load(); t != nil {
			return c.runTraced(t, done, now, args, pkt, runs)
		}
		code = now.code
	}
	if f != nil && len(f.entry) != 0 {
		if err := c.tell(f.entry, args[:f.args], nil, p, pkt); err != nil {
			return 0, err
		}
	}
	start := c.begin(now, args[0], pkt)
	if args[1]|args[2]|args[3]|args[4] == 0 {
		r0, err = c.vm.run(code, args[0], limits{budget: c.m.opts.Budget, done: done})
	} else {
		r0, err = c.vm.runCallback(code, 0, args, limits{budget: c.m.opts.Budget, done: done})
	}
	c.end(p, start, runs)
	if err == nil && f != nil && len(f.exit) != 0 {
		err = c.tell(f.exit, args[:f.args], &r0, p, pkt)
	}
	if err == nil {
		err, c.failed = c.failed, nil
	}
	return r0, err
}

// moment serves the calls by which a function is told of: what is attached to it runs.
func (c *CPU) moment(ins isa.Instruction, at uint64) uint64 {
	fn, moment, _ := rewrite.TracedCall(ins)
	t := c.prog.tracing.now.Load()
	if t == nil || t.funcs[fn] == nil || c.failed != nil {
		return 0
	}
	f := t.funcs[fn]
	var args [maxFuncArgs]uint64
	for i := range f.args {
		args[i] = mem.Load64(at + 8*uint64(i))
	}
	result := at + 8*uint64(f.args)
	switch {
	case moment == rewrite.Left && len(f.exit) != 0:
		r0 := mem.Load64(result)
		c.failed = c.tell(f.exit, args[:f.args], &r0, c.prog, c.env.Pkt)
	case moment == rewrite.Left:
	case f.replace != nil:
		r0, err := c.instead(f.replace, args)
		c.failed = err
		mem.Store64(result, r0)
		return 1
	case len(f.entry) != 0:
		c.failed = c.tell(f.entry, args[:f.args], nil, c.prog, c.env.Pkt)
	}
	return 0
}

// instead runs p in the place of a function of the program that runs: it decides for that.
func (c *CPU) instead(p *Program, args [maxFuncArgs]uint64) (uint64, error) {
	in, err := c.within()
	if err != nil {
		return 0, err
	}
	in.env.Choice, in.env.Msg, in.env.Seq = c.env.Choice, c.env.Msg, c.env.Seq
	r0, err := in.nested(p, args, c.env.Pkt, 0)
	in.env.Choice, in.env.Msg, in.env.Seq = nil, nil, nil
	if in.env.Redirect.Kind != helpers.RedirectNone {
		c.env.Redirect = in.env.Redirect
	}
	if in.env.Retval != 0 {
		c.env.Retval = in.env.Retval
	}
	return r0, err
}

// nested is a run on c, which is within another.
func (c *CPU) nested(p *Program, args [maxFuncArgs]uint64, pkt *packet.Packet, runs int) (uint64, error) {
	t := p.tracing.now.Load()
	if t == nil {
		t = &untraced
	}
	return c.runTraced(t, nil, p, args, pkt, runs)
}

// untraced is a program that nothing is attached to.
var untraced = traced{funcs: make([]*tracedFunc, 1)}

// tell runs what is attached to a function of p, on its arguments and, if it is left, on its result.
func (c *CPU) tell(list []tracer, args []uint64, result *uint64, p *Program, pkt *packet.Packet) error {
	in, err := c.within()
	if err != nil {
		return err
	}
	e := helpers.Traced{Args: len(args), Left: result != nil}
	if n := p.Native(); n != nil {
		e.IP = n.Addr()
	}
	for _, t := range list {
		e.Cookie = t.cookie
		ctx, err := in.Context()
		if err != nil {
			return err
		}
		for i, a := range args {
			if a, err = in.seen(a, t.prog, pkt); err != nil {
				return err
			}
			mem.Store64(ctx+8*uint64(i), a)
		}
		if result != nil {
			mem.Store64(ctx+8*uint64(len(args)), *result)
		}
		if _, err := in.runTracer(t.prog, ctx, &e, pkt); err != nil {
			return err
		}
	}
	return nil
}

// runTracer runs a program attached to something, unless it runs on this vCPU already, and returns its result, 0 if it did not run.
func (c *CPU) runTracer(p *Program, ctx uint64, e *helpers.Traced, pkt *packet.Packet) (uint64, error) {
	s := &p.stats[c.id]
	if s.active {
		s.misses.Add(1)
		return 0, nil
	}
	s.active = true
	c.env.Traced = *e
	r0, err := c.nested(p, [maxFuncArgs]uint64{ctx}, pkt, 1)
	c.env.Traced = helpers.Traced{}
	s.active = false
	return r0, err
}

// seen is what by, attached to a function, sees of an argument: of a program's packet the kernel's structure.
func (c *CPU) seen(arg uint64, by *Program, pkt *packet.Packet) (uint64, error) {
	if pkt == nil || arg != pkt.Addr() {
		return arg, nil
	}
	v, err := c.kernelView(by.Rewritten.Source.KernelBTF)
	if err != nil {
		return 0, err
	}
	return v.packet(pkt, c.m.opts.Net), nil
}
