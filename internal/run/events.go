package run

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// MaxEventArgs is how many arguments an event has at most (MAX_BPF_FUNC_ARGS).
const MaxEventArgs = 12

// maxEventProgs is how many programs may be attached to an event's record (BPF_TRACE_MAX_PROGS).
const maxEventProgs = 64

// Event is a tracepoint. Programs are attached to it raw, and see what it is raised with, or to its record.
type Event struct {
	name string
	row  *catalog.Event // nil: it has no record
	mu   sync.Mutex     // around changes
	now  atomic.Pointer[attached]
}

// attached is what is attached to an event, the earliest first. It is never changed, only replaced.
type attached struct{ raw, record []tracer }

// Event returns the machine's event with a name, which is made if need be.
func (m *Machine) Event(name string) *Event {
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	e := m.events.all[name]
	if e == nil {
		e = &Event{name: name, row: catalog.EventByName(name)}
		m.events.all[name] = e
	}
	return e
}

// events are a machine's events by name.
type events struct {
	mu     sync.Mutex
	all    map[string]*Event
	printk *Event // bpf_trace_printk, which is raised most
}

// Name is the event's name, without its group.
func (e *Event) Name() string { return e.name }

// Active reports whether anything is attached: if not, raising the event does nothing.
func (e *Event) Active() bool { return e.now.Load() != nil }

// Attach attaches a program, to the record if it is of type tracepoint. Whoever attaches keeps a
// reference to it until it is detached.
func (e *Event) Attach(p *Program, cookie uint64) (detach func(), err errno.Errno) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.copy()
	list := &next.raw
	if p.Info.Type == catalog.ProgTracepoint {
		list = &next.record
		switch {
		case slices.ContainsFunc(*list, func(t tracer) bool { return t.prog == p }):
			return nil, errno.EEXIST
		case len(*list) >= maxEventProgs:
			return nil, errno.E2BIG
		}
	}
	*list = append(*list, tracer{p, cookie})
	e.now.Store(next)
	record := p.Info.Type == catalog.ProgTracepoint
	return func() { e.detach(p, cookie, record) }, 0
}

func (e *Event) detach(p *Program, cookie uint64, record bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.copy()
	list := &next.raw
	if record {
		list = &next.record
	}
	if i := slices.Index(*list, tracer{p, cookie}); i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
	if len(next.raw)+len(next.record) == 0 {
		next = nil
	}
	e.now.Store(next)
}

// Programs are the ids of what is attached to the record.
func (e *Event) Programs() (ids []uint32) {
	if now := e.now.Load(); now != nil {
		for _, t := range now.record {
			ids = append(ids, t.prog.ID())
		}
	}
	return ids
}

func (e *Event) copy() *attached {
	next := &attached{}
	if now := e.now.Load(); now != nil {
		next.raw, next.record = slices.Clone(now.raw), slices.Clone(now.record)
	}
	return next
}

// Arg is an argument that an event is raised with.
type Arg struct {
	kind  argKind
	num   uint64
	prog  *Program
	bytes []byte
	pkt   *packet.Packet
}

type argKind uint8

const (
	argNumber argKind = iota
	argDevice
	argProg
	argBytes
	argPacket
	argDevmapEntry
	argCPUMapEntry
	anyArg
)

// Number is an argument as it is; a negative one is sign-extended.
func Number(v uint64) Arg { return Arg{num: v} }

// DeviceArg is the net_device with an index, ProgArg the bpf_prog of a program, BytesArg the address of bytes, PacketArg the
// xdp_buff or sk_buff of a packet, and DevmapArg the entry of a devmap for a device.
func DeviceArg(ifindex uint32) Arg { return Arg{kind: argDevice, num: uint64(ifindex)} }

// ProgArg is described with DeviceArg.
func ProgArg(p *Program) Arg { return Arg{kind: argProg, prog: p} }

// BytesArg is described with DeviceArg.
func BytesArg(b []byte) Arg { return Arg{kind: argBytes, bytes: b} }

// PacketArg is described with DeviceArg.
func PacketArg(p *packet.Packet) Arg { return Arg{kind: argPacket, pkt: p} }

// DevmapArg is described with DeviceArg.
func DevmapArg(ifindex uint32) Arg { return Arg{kind: argDevmapEntry, num: uint64(ifindex)} }

// CPUMapArg is the entry of a cpumap for a CPU.
func CPUMapArg(cpu uint32) Arg { return Arg{kind: argCPUMapEntry, num: uint64(cpu)} }

// Raise has the event happen on a vCPU that the caller holds and on which nothing runs. One with a record takes the
// arguments that the kernel's has.
func (c *CPU) Raise(e *Event, args ...Arg) error {
	if !e.Active() {
		return nil
	}
	c.epoch.Enter()
	defer c.epoch.Leave()
	return c.raise(e, args)
}

// raise is Raise on a CPU that something may run on.
func (c *CPU) raise(e *Event, args []Arg) error {
	now := e.now.Load()
	if now == nil {
		return nil
	}
	in, err := c.within()
	if err != nil {
		return err
	}
	for _, t := range now.raw {
		if err := in.raw(t, args); err != nil {
			return err
		}
	}
	if len(now.record) == 0 || e.row == nil {
		return nil
	}
	if *c.recording { // some program attached to an event runs on this CPU (bpf_prog_active)
		for _, t := range now.record {
			t.prog.stats[c.id].misses.Add(1)
		}
		return nil
	}
	*c.recording = true
	defer func() { *c.recording = false }()
	for _, t := range now.record {
		in.lentOut = 0
		members, text, err := e.recordOf(in, args, t.prog.Rewritten.Source.KernelBTF)
		if err != nil {
			return err
		}
		b := e.row.Record(members, text)
		room, err := in.lend(len(b))
		if err != nil {
			return err
		}
		copy(room.Bytes(), b)
		if _, err := in.runTracer(t.prog, room.Addr(), &helpers.Traced{Cookie: t.cookie}, nil); err != nil {
			return err
		}
	}
	return nil
}

// raw runs a program on an event's arguments.
func (c *CPU) raw(t tracer, args []Arg) error {
	types := t.prog.Rewritten.Source.KernelBTF
	ctx, err := c.Context()
	if err != nil {
		return err
	}
	c.lentOut = 0
	var pkt *packet.Packet
	for i := range args {
		v, err := c.value(&args[i], types)
		if err != nil {
			return err
		}
		mem.Store64(ctx+8*uint64(i), v)
		if args[i].pkt != nil {
			pkt = args[i].pkt
		}
	}
	_, err = c.runTracer(t.prog, ctx, &helpers.Traced{Cookie: t.cookie}, pkt)
	return err
}

// value is what a program finds of an argument.
func (c *CPU) value(a *Arg, types *btf.Spec) (uint64, error) {
	structure := func(name string) (kstruct.Struct, error) {
		size := 8
		var t *btf.Struct
		if types != nil && types.TypeByName(name, &t) == nil {
			size = max(size, int(t.Size))
		}
		b, err := c.lend(size)
		if err != nil {
			return kstruct.Struct{}, err
		}
		return kstruct.New(types, name, b.Bytes()[:size], b.Addr()), nil
	}
	switch a.kind {
	case argDevice:
		s, err := structure("net_device")
		d := viewedDevice{Struct: s}
		if err == nil {
			d.show(uint32(a.num), c.m.opts.Net)
		}
		return s.Addr, err
	case argDevmapEntry:
		dev, err := c.value(&Arg{kind: argDevice, num: a.num}, types)
		if err != nil {
			return 0, err
		}
		s, err := structure("bpf_dtab_netdev")
		s.Set("dev", dev)
		return s.Addr, err
	case argCPUMapEntry:
		s, err := structure("bpf_cpu_map_entry")
		s.Set("cpu", a.num)
		return s.Addr, err
	case argProg:
		aux, err := structure("bpf_prog_aux")
		if err != nil {
			return 0, err
		}
		aux.Set("id", uint64(a.prog.ID()))
		aux.Text("name", a.prog.Info.Name)
		s, err := structure("bpf_prog")
		s.Set("type", uint64(a.prog.Info.Type))
		s.Set("expected_attach_type", uint64(a.prog.Info.Attach))
		s.Text("tag", string(a.prog.About.Tag[:]))
		s.Set("aux", aux.Addr)
		return s.Addr, err
	case argBytes:
		b, err := c.lend(len(a.bytes) + 1)
		if err != nil {
			return 0, err
		}
		copy(b.Bytes(), a.bytes)
		return b.Addr(), nil
	case argPacket:
		v, err := c.kernelView(types)
		if err != nil {
			return 0, err
		}
		return v.packet(a.pkt, c.m.opts.Net), nil
	}
	return a.num, nil
}

// lend returns zeroed memory for what a program is told of an event, until the next event.
func (c *CPU) lend(n int) (*mem.Block, error) {
	if c.lentOut < len(c.lendings) && c.lendings[c.lentOut].Size() < n {
		c.lendings[c.lentOut].Free()
		c.lendings = slices.Delete(c.lendings, c.lentOut, c.lentOut+1)
	}
	if c.lentOut == len(c.lendings) || c.lendings[c.lentOut].Size() < n {
		b, err := mem.Alloc(max(n, 64))
		if err != nil {
			return nil, err
		}
		c.lendings = slices.Insert(c.lendings, c.lentOut, b)
	}
	b := c.lendings[c.lentOut]
	c.lentOut++
	clear(b.Bytes())
	return b, nil
}

// printed raises the event of what a program has printed.
func (c *CPU) printed(line []byte) {
	e := c.m.events.printk
	if !e.Active() {
		return
	}
	if err := c.raise(e, []Arg{BytesArg(line)}); err != nil && c.failed == nil {
		c.failed = err
	}
}
