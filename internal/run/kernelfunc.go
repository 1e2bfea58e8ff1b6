package run

import (
	"slices"
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/mem"
)

// kernelFuncs is what is attached to functions of the kernel, the latest first, as its trampolines have them. They run
// where the function is called by [CPU.CallKernel].
type kernelFuncs struct {
	mu  sync.Mutex
	now []kernelTracer // replaced, not changed
}

// kernelTracer is a program attached to a function: by the ids of its types and its own among them, or by its name alone.
type kernelTracer struct {
	types, id uint32
	name      string
	kind      catalog.AttachType
	tracer
}

func (t *kernelTracer) sameFunc(o *kernelTracer) bool {
	return t.types == o.types && t.id == o.id && t.name == o.name
}

// AttachKernelFunc attaches an fentry, fexit or fmod_ret program to the function it was loaded for, where it must not be yet
// (bpf_trampoline_add_prog). Whoever attaches keeps a reference to it until it is detached.
func (m *Machine) AttachKernelFunc(p *Program, cookie uint64) (detach func(), e errno.Errno) {
	t := kernelTracer{p.About.AttachBTF, p.About.AttachBTFType, p.Rewritten.Source.AttachTo, p.Info.Attach, tracer{p, cookie}}
	f := &m.kernelFuncs
	f.mu.Lock()
	defer f.mu.Unlock()
	n, twice := 0, false
	for i := range f.now {
		if o := &f.now[i]; o.sameFunc(&t) {
			n++
			twice = twice || o.prog == p
		}
	}
	switch {
	case n >= MaxTracers:
		return nil, errno.E2BIG
	case twice:
		return nil, errno.EBUSY
	}
	f.now = append([]kernelTracer{t}, f.now...)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		i := slices.Index(f.now, t)
		f.now = slices.Delete(slices.Clone(f.now), i, i+1)
	}, 0
}

// at is what is attached to a function in one way.
func (f *kernelFuncs) at(name string, kind catalog.AttachType) (list []tracer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.now {
		if t := &f.now[i]; t.name == name && t.kind == kind {
			list = append(list, t.tracer)
		}
	}
	return list
}

// CallKernel is a call of a function of the kernel, which is what body does, on a vCPU that the caller holds and on which nothing
// runs. As in the kernel's trampolines fentry programs run first, then fmod_ret programs until one returns something
// else than 0, which is the result in the place of the function's, then fexit programs.
func (c *CPU) CallKernel(name string, args []uint64, body func() uint64) (result uint64, err error) {
	c.epoch.Enter()
	defer c.epoch.Leave()
	in, err := c.within()
	if err != nil {
		return 0, err
	}
	tell := func(kind catalog.AttachType, until func(r0 uint64) bool) error {
		for _, t := range c.m.kernelFuncs.at(name, kind) {
			ctx, err := in.Context()
			if err != nil {
				return err
			}
			for i, a := range args {
				mem.Store64(ctx+8*uint64(i), a)
			}
			e := helpers.Traced{Args: len(args), Cookie: t.cookie, Left: kind != catalog.AttachTraceFEntry}
			if e.Left {
				mem.Store64(ctx+8*uint64(len(args)), result)
			}
			r0, err := in.runTracer(t.prog, ctx, &e, nil)
			if err != nil || until(r0) {
				return err
			}
		}
		return nil
	}
	goOn := func(uint64) bool { return false }
	if err := tell(catalog.AttachTraceFEntry, goOn); err != nil {
		return 0, err
	}
	if err := tell(catalog.AttachModifyReturn, func(r0 uint64) bool { result = r0; return r0 != 0 }); err != nil {
		return 0, err
	}
	if result == 0 {
		result = body()
	}
	return result, tell(catalog.AttachTraceFExit, goOn)
}
