package jit

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/skep-bpf/skep/internal/interp"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// Services is what a VM needs from the run around it, as for the interpreter.
type Services interface {
	// Helper calls a helper function by id and returns its R0.
	Helper(id int32, r1, r2, r3, r4, r5 uint64) uint64
	// Kfunc calls a kernel function as the rewritten instruction names it.
	Kfunc(ins isa.Instruction, r1, r2, r3, r4, r5 uint64) uint64
	// LoadPacket reads 1, 2 or 4 bytes in network order from the packet, for the
	// legacy loads; not ok, with zero, where the packet is too short.
	LoadPacket(off int32, size int) (v uint32, ok bool)
	// TailCall gives the program the last bpf_tail_call chose, once, or nil
	// where it chose none.
	TailCall() *Program
	// Wake wakes who waits on the ring buffer whose header lies at m.
	Wake(m uint64)
	// Redirect says that native code has sent the packet to key of the map whose header lies at m,
	// 0: that it has found nothing there, and it stays.
	Redirect(m uint64, key uint32)
	// Running says that p goes on: a tail call went through, or one that was made
	// in a subprogram has ended and its caller belongs to another program.
	Running(p *Program)
}

// pollSlots is how many slots a run may jump back over or call into between two
// looks at its budget and at the wish to stop.
const pollSlots = 1 << 14

// The native stack: room for the frames of all tail calls out of subprograms
// and for callbacks, of which one chain of local calls takes chainSize at most.
const (
	frameSize = isa.StackSize + 256 // with what rewriting adds, saved registers, exits
	chainSize = isa.MaxCallFrames * frameSize
	stackSize = (isa.MaxTailCalls + 2) * chainSize
)

// VM is the state of one vCPU's runs. It is used by one goroutine at a time.
type VM struct {
	ctx      *exec.Context
	code     *Program // the one running
	services Services

	budget int64 // slots left after ctx.Fuel
	done   <-chan struct{}
	unwind error // why the run is being left: a throw, an interrupt
	cookie uint64

	tails [isa.MaxTailCalls]tail // tail calls out of subprograms under way
	depth int                    // how many

	stack *mem.Block
}

// tail is where a program that was tail-called in a subprogram returns to.
type tail struct {
	code *Program
	ret  uint64
	regs exec.Saved
}

// errThrown unwinds a run after bpf_throw; it never leaves the package.
var errThrown = errors.New("thrown")

// Limits end a run early.
type Limits struct {
	// Budget bounds the run, in slots jumped back over or called into; 0: none.
	Budget int64
	// Done ends the run early once it is closed; nil: never.
	Done <-chan struct{}
}

// New makes a VM for a vCPU.
func New(s Services, cpu int) (*VM, error) {
	stack, err := mem.AllocGuarded(stackSize + exec.ContextSize)
	if err != nil {
		return nil, err
	}
	// Sound: the block is zeroed, aligned, lives as long as the VM, and Context holds no pointers.
	v := &VM{services: s, stack: stack, ctx: (*exec.Context)(mem.Ptr(stack.Addr() + stackSize))}
	v.ctx.Init(cpu, stack.Addr()+stackSize)
	return v, nil
}

// Random is the state of the vCPU's pseudo-random numbers, which native code
// draws by itself as [code.Random] does.
func (v *VM) Random() *uint64 { return &v.ctx.Random }

// Close frees the stack.
func (v *VM) Close() { v.stack.Free() }

// Run runs a program from its start with r1 in R1 and returns R0.
func (v *VM) Run(p *Program, r1 uint64, l Limits) (uint64, error) {
	v.ctx.Running, v.ctx.Tails, v.ctx.Stretch = p.number, 0, briefLimit
	v.ctx.Left = 0 // one run
	s := v.Shot(p, r1)
	s.Fire()
	if r0, left := s.Result(); !left {
		v.redirect()
		return r0, nil
	}
	return v.Serve(p, l)
}

// Shot is a run of a program from its start that can be had again and again: what that
// takes, in one place.
type Shot struct {
	ctx      *exec.Context
	main, r1 uint64
	fuel     int64
}

// Shot prepares runs of p, which is plain (see [Program.Plain]), with r1 in R1. What is
// only of use to programs that leave native code is not set up before they do.
func (v *VM) Shot(p *Program, r1 uint64) Shot { return Shot{v.ctx, p.main, r1, p.fuel} }

// Fire begins the run.
func (s *Shot) Fire() {
	s.ctx.Fuel = s.fuel
	exec.Start(s.ctx, s.main, s.r1)
}

// Result is R0 of the run that Fire began, or left: then it goes on in [VM.Serve]. The
// two are apart so that Go puts both into their caller.
func (s *Shot) Result() (r0 uint64, left bool) { return s.ctx.R[0], s.ctx.Site != exec.SiteFinish }

// Turns runs p once for each of the contexts that lie stride bytes apart from r1 on,
// without coming back in between, and puts the results into verdicts, which lie
// off the Go heap. It returns how many runs are done: all, as many as it does at
// a time, or those before the one that left native code; if left, that one goes on in
// Serve, whose result is its.
func (v *VM) Turns(p *Program, r1, stride uint64, verdicts []uint32) (done int, left bool) {
	n := min(len(verdicts), p.turns)
	c := v.ctx
	c.Fuel = p.fuel
	c.Running, c.Tails, c.Stretch, c.First = p.number, 0, briefLimit, p.number
	c.Row, c.Stride, c.Left, c.Main = r1, stride, uint64(n), p.main
	c.Verdict = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(verdicts))))
	exec.Turns(c)
	left = c.Site != exec.SiteFinish
	done = n - int(c.Left)
	c.Left = 1 // what has left goes on by itself
	return done, left
}

// RunCallback runs a function as a run of its own, as timers do. fn is the
// value a PSEUDO_FUNC load of p gave, or 0 for the first.
func (v *VM) RunCallback(p *Program, fn uint64, args [5]uint64, l Limits) (uint64, error) {
	addr, _, err := p.entry(fn)
	if err != nil {
		return 0, err
	}
	c := v.ctx
	c.Fuel = p.fuel
	c.SP = c.Top
	c.Running, c.Tails, c.Stretch = p.number, 0, briefLimit
	v.prepare(addr, args[0], args[1], args[2], args[3], args[4])
	exec.Enter(c)
	return v.Serve(p, l)
}

// Serve goes on with a run of p that has just left native code for the first time.
func (v *VM) Serve(p *Program, l Limits) (uint64, error) {
	r0, err := v.serve(p, l)
	v.redirect()
	v.ctx.ProbeLen = 0 // what was there may be gone when the next run begins
	return r0, err
}

// redirect hands on what native code has decided of the packet.
func (v *VM) redirect() {
	c := v.ctx
	switch c.Redirect {
	case 0:
		return
	case exec.RedirectNone:
		v.services.Redirect(0, 0)
	default:
		v.services.Redirect(c.Redirect, uint32(c.Key))
	}
	c.Redirect = 0
}

func (v *VM) serve(p *Program, l Limits) (uint64, error) {
	v.code, v.depth, v.unwind = p, 0, nil
	if !p.jumps { // else native code may have gone on to another
		v.ctx.Running, v.ctx.Tails = p.number, 0
	}
	v.budget, v.done = l.Budget, l.Done
	if v.budget == 0 {
		v.budget = math.MaxInt64
	}
	r0 := v.loop()
	switch {
	case v.unwind == nil:
		return r0, nil
	case errors.Is(v.unwind, errThrown):
		return v.caught(p)
	}
	return 0, v.unwind
}

// caught ends a run that threw: the program's exception callback, if it has
// one, makes the result of the cookie; else the cookie is the result.
func (v *VM) caught(p *Program) (uint64, error) {
	v.unwind = nil
	for _, s := range p.Subprogs {
		if !s.Exception {
			continue
		}
		addr, _, err := p.entry(uint64(s.Start))
		if err != nil {
			return 0, err
		}
		v.depth = 0
		v.ctx.SP = v.ctx.Top
		r0 := v.enter(p, addr, v.cookie, 0, 0, 0, 0)
		return r0, v.unwind
	}
	return v.cookie, nil
}

// Call runs a subprogram of the running program on behalf of a helper (a
// callback) and returns its R0. Once the run is being left it does nothing and
// returns 1, which helpers take as the wish to stop.
func (v *VM) Call(fn, r1, r2, r3, r4, r5 uint64) uint64 {
	if v.unwind != nil {
		return 1
	}
	addr, length, err := v.code.entry(fn)
	if err != nil {
		v.unwind = err
		return 1
	}
	if v.ctx.Fuel -= int64(length); v.ctx.Fuel <= 0 && !v.refill() {
		return 1
	}
	code, sp := v.code, v.ctx.SP
	r0 := v.enter(code, addr, r1, r2, r3, r4, r5)
	v.ctx.SP = sp
	if v.unwind != nil {
		return 1
	}
	if v.ctx.Running != code.number {
		v.resume(code)
	}
	v.code = code
	return r0
}

// Throw begins to leave the run, as bpf_throw does; the kfunc calls it.
func (v *VM) Throw(cookie uint64) { v.unwind, v.cookie = errThrown, cookie }

// resume makes p the running program again.
func (v *VM) resume(p *Program) {
	v.code, v.ctx.Running = p, p.number
	v.services.Running(p)
}

// enter runs a function from addr, below the current native stack pointer.
func (v *VM) enter(p *Program, addr, r1, r2, r3, r4, r5 uint64) uint64 {
	if !v.room() {
		return 0
	}
	v.prepare(addr, r1, r2, r3, r4, r5)
	v.code, v.ctx.Running = p, p.number
	exec.Enter(v.ctx)
	return v.loop()
}

// prepare lets the next Enter call the function at addr.
func (v *VM) prepare(addr, r1, r2, r3, r4, r5 uint64) {
	c := v.ctx
	c.Call(addr, exec.Finish)
	c.R[1], c.R[2], c.R[3], c.R[4], c.R[5] = r1, r2, r3, r4, r5
}

// room makes sure that the stack takes one more chain of calls.
func (v *VM) room() bool {
	if v.ctx.SP-v.stack.Addr() < chainSize {
		v.unwind = fmt.Errorf("jit: native stack of %d bytes is used up", stackSize)
		return false
	}
	return true
}

// loop serves native code that has left, and enters it again, until the function
// Go entered returns, with its R0, or the run is being left.
func (v *VM) loop() uint64 {
	c := v.ctx
	for ; ; exec.Enter(c) {
		if c.Running != v.code.number && c.Site >= exec.SiteOwn { // by a tail call
			v.resume(byNumber(c.Running))
		}
		p := v.code
		s := &p.sites[c.Site]
		c.PC = p.base + uint64(s.Resume)
		switch s.Kind {
		case code.Finish:
			return c.R[0]
		case code.Returned:
			v.returned()
		case code.Helper:
			pc := c.PC
			v.redirect() // the helper may decide anew
			r0 := v.services.Helper(s.Insn.Imm, c.R[1], c.R[2], c.R[3], c.R[4], c.R[5])
			c.PC, c.R[0] = pc, r0
		case code.Kfunc:
			pc := c.PC
			v.redirect()
			r0 := v.services.Kfunc(s.Insn, c.R[1], c.R[2], c.R[3], c.R[4], c.R[5])
			c.PC, c.R[0] = pc, r0
		case code.TailCall:
			c.R[0] = v.services.Helper(s.Insn.Imm, c.R[1], c.R[2], c.R[3], c.R[4], c.R[5])
			v.tailCall(s)
		case code.Legacy:
			w, ok := v.services.LoadPacket(int32(c.X), s.Insn.Op.Bytes())
			if c.R[0] = uint64(w); !ok {
				c.PC = p.base + uint64(s.Leave)
			}
		case code.Probe:
			c.X = v.probe(c.X, s.Insn.Op)
		case code.Wake:
			v.services.Wake(c.X)
		case code.Poll:
			v.refill()
		}
		if v.unwind != nil {
			return 0
		}
	}
}

// refill is the poll: it ends the run or gives it fuel until the next one. As a
// call it is also where the scheduler gets hold of the goroutine.
//
//go:noinline
func (v *VM) refill() bool {
	if v.budget <= 0 {
		v.unwind = interp.ErrBudget
		return false
	}
	select {
	case <-v.done:
		v.unwind = interp.ErrInterrupted
		return false
	default:
	}
	v.ctx.Fuel = min(pollSlots, v.budget)
	v.budget -= v.ctx.Fuel
	return true
}

// probe reads at an address that may be anything, 0 where nothing of skep's
// is. The block found is remembered for the rest of the run: while a run lasts none is freed.
func (v *VM) probe(addr uint64, op isa.Opcode) uint64 {
	n := op.Bytes()
	room := mem.Extent(addr)
	if room < uint64(n) {
		return 0
	}
	if room >= 8 {
		v.ctx.ProbeLo, v.ctx.ProbeLen = addr, room-7
	}
	signed := op.Mode() == isa.ModeProbeMEMSX
	switch {
	case n == 1 && signed:
		return uint64(int64(int8(mem.Load8(addr))))
	case n == 1:
		return uint64(mem.Load8(addr))
	case n == 2 && signed:
		return uint64(int64(int16(mem.Load16(addr))))
	case n == 2:
		return uint64(mem.Load16(addr))
	case n == 4 && signed:
		return uint64(int64(int32(mem.Load32(addr))))
	case n == 4:
		return uint64(mem.Load32(addr))
	}
	return mem.Load64(addr)
}
