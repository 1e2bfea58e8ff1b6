package run

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/interp"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// interpreter is the engine that internal/interp is.
type interpreter struct{}

func (interpreter) compile(p *rewrite.Program, owner *Program) (code, func(), error) {
	c, err := interp.Prepare(p)
	if err != nil {
		return nil, nil, err
	}
	c.Owner = owner
	return c, func() {}, nil
}

func (interpreter) free(code) {}

func (interpreter) newVM(c *CPU) (vm, error) {
	inner, err := interp.New(services{c})
	if err != nil {
		return nil, err
	}
	v := &interpVM{vm: inner}
	if c.m.opts.Checked {
		v.checker = newChecker(c)
	}
	return v, nil
}

type interpVM struct {
	vm      *interp.VM
	checker *interp.Checker
}

func (v *interpVM) options(l limits) interp.Options {
	return interp.Options{Checker: v.checker, Budget: l.budget, Done: l.done}
}

func (v *interpVM) run(c code, r1 uint64, l limits) (uint64, error) {
	return v.vm.Run(c.(*interp.Program), r1, v.options(l))
}

func (v *interpVM) runCallback(c code, fn uint64, args [5]uint64, l limits) (uint64, error) {
	return v.vm.RunCallback(c.(*interp.Program), fn, args, v.options(l))
}

func (v *interpVM) call(fn, r1, r2, r3, r4, r5 uint64) uint64 {
	return v.vm.Call(fn, r1, r2, r3, r4, r5)
}

func (v *interpVM) throw(cookie uint64) { v.vm.Throw(cookie) }
func (v *interpVM) close()              { v.vm.Close() }

// services is a CPU as its interpreter sees it.
type services struct{ c *CPU }

// Helper calls a helper function; newProgram has made sure that it exists.
func (s services) Helper(id int32, r1, r2, r3, r4, r5 uint64) uint64 {
	return helpers.Table[id](&s.c.env, r1, r2, r3, r4, r5)
}

// Kfunc calls a kernel function of the running program.
func (s services) Kfunc(ins isa.Instruction, r1, r2, r3, r4, r5 uint64) uint64 {
	if _, _, ok := rewrite.TracedCall(ins); ok {
		return s.c.moment(ins, r1)
	}
	k := s.c.prog.kfuncs[kfuncKey{ins.Imm, ins.Off}]
	if k.name == throwName {
		s.c.vm.throw(r1)
		return 0
	}
	return k.call(&s.c.env, r1, r2, r3, r4, r5)
}

// LoadPacket serves the legacy loads.
func (s services) LoadPacket(off int32, size int) (uint32, bool) {
	return s.c.env.Pkt.LoadAbs(off, size)
}

// Wake wakes who waits on a ring buffer.
func (s services) Wake(m uint64) { s.c.m.Maps.ByPtr(m).(*maps.RingBuf).Signal() }

// TailCall hands over what bpf_tail_call left.
func (s services) TailCall() *interp.Program {
	p, ok := s.c.env.TailCall.(*Program)
	s.c.env.TailCall = nil
	if !ok {
		return nil
	}
	return p.current().(*interp.Program)
}

// Running makes helpers see the program that goes on.
func (s services) Running(p *interp.Program) { s.c.running(p.Owner.(*Program)) }

// newChecker makes checked mode's judge of the runs on c.
func newChecker(c *CPU) *interp.Checker {
	return &interp.Checker{
		Map: func(ptr uint64) *catalog.MapDef {
			if !mem.Readable(ptr, 16) { // a header, or else ByPtr would fault
				return nil
			}
			if m := c.m.Maps.ByPtr(ptr); m != nil {
				return m.Def()
			}
			return nil
		},
		Helper: func(p *interp.Program, id catalog.HelperID) *catalog.Helper {
			acts := p.Owner.(*Program).acts
			return catalog.ProgKindByType(acts.Type).Helper(id, acts.Attach)
		},
		Kfunc: func(p *interp.Program, call isa.Instruction, args [5]uint64, r0 uint64) interp.Region {
			k := p.Owner.(*Program).kfuncs[kfuncKey{call.Imm, call.Off}]
			switch k.name {
			case "bpf_dynptr_slice", "bpf_dynptr_slice_rdwr":
				return interp.Region{Addr: r0, Size: args[3], Writable: k.name == "bpf_dynptr_slice_rdwr", Name: "slice of a dynptr"}
			}
			return interp.Region{}
		},
		Regions: c.regions,
	}
}

// regions appends the memory the run on c may reach without having been given
// it: context, packet, metadata and the packet's socket.
func (c *CPU) regions(r []interp.Region) []interp.Region {
	if c.lent.addr != 0 {
		key := c.scratch
		r = append(r,
			interp.Region{Addr: c.lent.addr, Size: c.lent.size, Writable: true, Name: "map value"},
			interp.Region{Addr: key.Addr(), Size: uint64(key.Size()), Name: "map key"})
	}
	pkt := c.env.Pkt
	if pkt == nil || c.ctx != pkt.Addr() {
		r = append(r, interp.Region{Addr: c.ctx, Size: mem.Extent(c.ctx), Writable: true, Name: "context"})
		for _, s := range c.env.Sockets() {
			r = append(r, interp.Region{Addr: s, Size: mem.Extent(s), Name: "socket"})
		}
	}
	if pkt == nil {
		return r
	}
	r = append(r,
		interp.Region{Addr: pkt.Addr(), Size: uint64(packet.FrameSize), Writable: true, Name: "context"},
		interp.Region{Addr: pkt.Data, Size: pkt.DataEnd - pkt.Data, Writable: true, Name: "packet"})
	if pkt.DataMeta < pkt.Data {
		r = append(r, interp.Region{Addr: pkt.DataMeta, Size: pkt.Data - pkt.DataMeta, Writable: true, Name: "packet metadata"})
	}
	if at := pkt.Sock; at != 0 {
		r = append(r, interp.Region{Addr: at, Size: mem.Extent(at), Name: "socket"})
	}
	if at := pkt.FlowKeys; at != 0 {
		r = append(r, interp.Region{Addr: at, Size: catalog.FlowKeysSize, Writable: true, Name: "flow keys"})
	}
	return r
}
