package run

import (
	"math/rand/v2"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// CPU is a virtual CPU: whoever has acquired it owns it, and everything in it,
// until Release.
type CPU struct {
	busy atomic.Bool
	_    [63]byte // the flags of neighbours stay off this one's cache line

	id     int
	m      *Machine
	epoch  mem.Holder
	vm     vm
	native *jit.VM // what is behind vm, where that is native code
	env    helpers.Env
	random *uint64 // state of its pseudo-random numbers
	pkt    *packet.Packet
	prog   *Program       // the one running
	ctx    uint64         // what the run began with in R1
	retval int32          // what runs begin with, see BeginWith
	outer  unsafe.Pointer // labels of the goroutine before the run
	lent   region         // map value a timer callback is given

	inner  *CPU        // where programs run that are attached to this one's; nil: none did
	view   *kernelView // what they see of packets
	failed error       // of theirs, that ends the run

	lendings  []*mem.Block // what programs attached to events see of their arguments
	lentOut   int          // how many of these are in use
	recording *bool        // a program attached to an event's record runs on this CPU, here or further within

	// The next run of armed on the vCPU's own packet is like the last: there is nothing
	// to set up or to reset, and nobody asks how long it takes. Whoever begins another
	// run, or to measure time, disarms; shot and runs are what such a run needs.
	armed atomic.Pointer[Program]
	last  *Program // whose run was the last that came this way
	shot  jit.Shot
	runs  *atomic.Uint64

	scratch *mem.Block // a few bytes programs may be pointed at
	context *mem.Block // see Context
}

func newCPU(m *Machine, id int) (*CPU, error) {
	c := &CPU{id: id, m: m, recording: new(bool), epoch: m.Epoch.Holder(id), random: new(uint64)}
	vm, err := m.engine.newVM(c)
	if err != nil {
		return nil, err
	}
	c.vm = vm
	if n, ok := vm.(*nativeVM); ok {
		c.native = n.vm
		c.random = n.vm.Random()
	}
	*c.random = rand.NewPCG(m.opts.Seed, uint64(id)+1).Uint64()
	if c.pkt, err = packet.New(); err != nil {
		vm.close()
		return nil, err
	}
	if c.scratch, err = mem.Alloc(64); err != nil {
		vm.close()
		c.pkt.Free()
		return nil, err
	}
	c.env = helpers.Env{Host: m, CPU: id, Call: vm.call, Readable: readable, Printed: c.printed}
	return c, nil
}

func readable(addr, n uint64) bool { return n <= mem.Extent(addr) }

func (c *CPU) close() {
	if c.inner != nil {
		c.inner.close()
	}
	c.view.free()
	for _, b := range c.lendings {
		b.Free()
	}
	c.vm.close()
	c.env.Close()
	c.pkt.Free()
	c.scratch.Free()
	if c.context != nil {
		c.context.Free()
	}
}

// Acquire takes a vCPU: the one that goes with the caller's P if it is idle,
// else any other, else the first that is released.
func (m *Machine) Acquire() *CPU {
	// The pin only makes it likely that nobody else wants this vCPU; the swap decides.
	c := m.cpus[procPin()%len(m.cpus)]
	ok := c.busy.CompareAndSwap(false, true)
	procUnpin()
	if ok {
		return c
	}
	return m.wait(m.cpus)
}

// AcquireNear takes the vCPU with the given id if it is idle, else any other.
func (m *Machine) AcquireNear(id int) *CPU {
	c := m.cpus[id]
	if c.busy.CompareAndSwap(false, true) {
		return c
	}
	return m.wait(m.cpus)
}

// AcquireCPU takes the vCPU with the given id, waiting until it is released.
func (m *Machine) AcquireCPU(id int) *CPU {
	c := m.cpus[id]
	if c.busy.CompareAndSwap(false, true) {
		return c
	}
	return m.wait(m.cpus[id : id+1])
}

// wait takes the first of the given vCPUs that is idle.
//
// A waiter counts itself before it looks, a releaser looks for waiters after it
// has released: one of the two sees the other.
func (m *Machine) wait(among []*CPU) *CPU {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiters.Add(1)
	defer m.waiters.Add(-1)
	for {
		for _, c := range among {
			if c.busy.CompareAndSwap(false, true) {
				return c
			}
		}
		m.idle.Wait()
	}
}

// Release gives the vCPU back.
func (c *CPU) Release() {
	c.busy.Store(false)
	if c.m.waiters.Load() != 0 {
		c.m.mu.Lock()
		c.m.idle.Broadcast()
		c.m.mu.Unlock()
	}
}

// ID is the number programs see as smp_processor_id.
func (c *CPU) ID() int { return c.id }

// Packet is the vCPU's own packet, for hooks to fill before a run.
func (c *CPU) Packet() *packet.Packet { return c.pkt }

// ContextSize is how much room [CPU.Context] has, in bytes.
const ContextSize = 256

// Context returns the address of zeroed room for a context that is no packet's.
func (c *CPU) Context() (uint64, error) {
	if c.context == nil {
		b, err := mem.Alloc(ContextSize)
		if err != nil {
			return 0, err
		}
		c.context = b
	}
	clear(c.context.Bytes())
	return c.context.Addr(), nil
}

// Choose has the next runs choose a socket; nil: they do not.
func (c *CPU) Choose(ch *socket.Choice) { c.env.Choice = ch }

// Enter says for which place at a control group programs run from now on; the zero
// place is a run by hand, whose storages begin with zeroes.
func (c *CPU) Enter(p maps.GroupPlace) { c.env.Enter(p) }

// Happen has the next runs look at what happens to a connection; nil: they do not.
func (c *CPU) Happen(o *helpers.SockOps) { c.env.Ops = o }

// CallAs has the next runs make system calls as s does; nil: they make none.
func (c *CPU) CallAs(s helpers.Syscalls) { c.env.Syscalls = s }

// WriteTo has f take what programs write to the file that an iterator is read by, until it is told nil.
func (c *CPU) WriteTo(f func([]byte)) { c.env.Seq = f }

// Send has the next runs decide on a message; nil: they do not.
func (c *CPU) Send(m *packet.Message) { c.env.Msg = m }

// Redirect is what the last run decided with bpf_redirect and its kin.
func (c *CPU) Redirect() *helpers.Redirect { return &c.env.Redirect }

// BeginWith has the next runs begin with what bpf_get_retval reads; without it that is 0.
func (c *CPU) BeginWith(retval int32) { c.retval = retval }

// Retval is the value bpf_set_retval left, or the one the run began with.
func (c *CPU) Retval() int32 { return c.env.ReadRetval() }

// ShowRetval says where in their context the next programs see that value, which is put there
// before each; 0: nowhere.
func (c *CPU) ShowRetval(at uint64) { c.env.RetvalAt = at }

// Access has the next runs look at a sysctl; nil: they do not.
func (c *CPU) Access(s *helpers.Sysctl) { c.env.Sysctl = s }

// Run runs a program with ctx in R1 and returns R0. pkt is the packet its
// helpers work on, nil for program types without one. Errors are faults of
// skep, or the machine's budget; a program by itself cannot fail.
func (c *CPU) Run(p *Program, ctx uint64, pkt *packet.Packet) (uint64, error) {
	if pkt == c.pkt && ctx == pkt.Addr() {
		return c.RunPacket(p)
	}
	return c.RunUntil(nil, p, ctx, pkt)
}

// RunPacket is [CPU.Run] on the vCPU's own packet. This is the way of small programs,
// where each instruction on the way counts.
func (c *CPU) RunPacket(p *Program) (uint64, error) {
	if p != c.armed.Load() {
		return c.RunUntil(nil, p, c.pkt.Addr(), c.pkt)
	}
	c.epoch.Enter()
	c.shot.Fire()
	r0, left := c.shot.Result()
	mem.StoreRelease(c.runs, c.runs.Load()+1)
	if left {
		return c.serve(p)
	}
	c.epoch.Leave()
	return r0, nil
}

// serve ends a run that left native code, and has been counted.
func (c *CPU) serve(p *Program) (uint64, error) {
	r0, err := c.native.Serve(p.native, jit.Limits{Budget: c.m.opts.Budget})
	if c.used() {
		c.armed.Store(nil)
	}
	c.epoch.Leave()
	return r0, err
}

// arm prepares the next run to be like the one of p that has ended, if it can be. Where
// programs take turns it would not be.
func (c *CPU) arm(p *Program) {
	if again := c.last == p; !again {
		c.last = p
		return
	}
	if !p.plain || c.prog != p || c.env.Pkt != c.pkt || c.ctx != c.pkt.Addr() || c.used() {
		return
	}
	c.shot, c.runs = c.native.Shot(p.native, c.ctx), &p.stats[c.id].runs
	c.armed.Store(p)
	if c.m.stats.Load() || p.tracing.now.Load() != nil { // CountTime and Trace tell first and disarm then
		c.armed.Store(nil)
	}
}

// RunUntil is [CPU.Run] that gives up with [ErrInterrupted] once done is closed.
func (c *CPU) RunUntil(done <-chan struct{}, p *Program, ctx uint64, pkt *packet.Packet) (uint64, error) {
	c.epoch.Enter()
	if t := p.tracing.now.Load(); t != nil {
		r0, err := c.runTraced(t, done, p, [maxFuncArgs]uint64{ctx}, pkt, 1)
		c.epoch.Leave()
		return r0, err
	}
	start := c.begin(p, ctx, pkt)
	r0, err := c.vm.run(p.code, ctx, limits{budget: c.m.opts.Budget, done: done})
	c.end(p, start, 1)
	c.epoch.Leave()
	return r0, err
}

// callback runs the callback fn of p for a special field of a value of m. The
// caller has entered the epoch.
func (c *CPU) callback(p *Program, fn uint64, m *catalog.MapDef, value uint64) (uint64, error) {
	start := c.begin(p, 0, nil)
	c.lent = region{value, uint64(m.ValueSize)}
	args := [maxFuncArgs]uint64{m.Ptr, c.keyOf(m, value), value}
	code, fn := p.callback(fn)
	r0, err := c.vm.runCallback(code, fn, args, limits{budget: c.m.opts.Budget})
	c.lent = region{}
	c.end(p, start, 1)
	return r0, err
}

// region is a piece of off-heap memory.
type region struct{ addr, size uint64 }

// begin resets what belongs to a single run. It returns when the run began, or
// 0 when nobody wants to know.
func (c *CPU) begin(p *Program, ctx uint64, pkt *packet.Packet) (start int64) {
	c.ctx = ctx
	c.env.Pkt = pkt
	if c.armed.Load() != nil {
		c.armed.Store(nil)
	}
	if c.m.opts.Labels {
		c.outer = profLabel()
	}
	c.running(p)
	c.env.TailCall, c.env.Retval = nil, c.retval
	if at := c.env.RetvalAt; at != 0 {
		mem.Store32(at, uint32(c.retval))
	}
	if c.env.Redirect.Kind != helpers.RedirectNone {
		c.env.Redirect = helpers.Redirect{}
	}
	if c.m.stats.Load() {
		start = nanotime()
	}
	return start
}

// running makes p the program that helpers see.
func (c *CPU) running(p *Program) {
	c.prog = p
	c.env.Prog = p.acts
	if p.labels != nil {
		c.label(p)
	}
}

// end counts what began with begin: mostly one run.
func (c *CPU) end(p *Program, start int64, runs int) {
	p.count(c.id, runs)
	if start != 0 {
		p.stats[c.id].time.Add(nanotime() - start)
		p.stats[c.id].timed.Add(1)
	}
	if c.m.opts.Labels {
		setProfLabel(c.outer)
	}
	c.arm(p)
}

// used reports whether a run has left something in env that belongs to it alone.
func (c *CPU) used() bool {
	return c.env.TailCall != nil || c.env.Retval != 0 || c.env.Redirect.Kind != helpers.RedirectNone
}
