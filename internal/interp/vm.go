package interp

import (
	"errors"
	"fmt"
	"math"

	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// Services is what the loop needs from the run around it: helpers and kfuncs
// carry out what instructions cannot.
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
	// Running says that p goes on: a tail call went through, or one that was made
	// in a subprogram has ended and its caller belongs to another program.
	Running(p *Program)
}

// Errors that end a run from outside.
var (
	// ErrInterrupted: Options.Done was closed.
	ErrInterrupted = errors.New("run interrupted")
	// ErrBudget: the run took longer than its budget allows.
	ErrBudget = errors.New("run exceeded its instruction budget")
)

// Depth of the frames one run can stack: each tail call out of a subprogram
// keeps its callers' frames.
const maxFrames = (isa.MaxTailCalls + 1) * isa.MaxCallFrames

// mayGotoBudget is how often one frame may take part in may_goto loops (BPF_MAX_LOOPS).
const mayGotoBudget = 8 << 20

// pollSlots is how many slots a run may jump back over or call into between two
// looks at its budget and at the wish to stop.
const pollSlots = 1 << 14

// frame is one function's activation.
//
//	frames[0]  main program            fp ─► ┌────────────┐ top of the stack block
//	frames[1]  its callee                    │ frameRoom  │
//	   …                               fp ─► ├────────────┤
type frame struct {
	prog    *Program
	ret     int       // slot of the caller to go on at
	saved   [4]uint64 // the caller's R6–R9
	fp      uint64    // R10
	depth   int       // bytes of stack below fp
	mayGoto uint32    // what is left of mayGotoBudget
}

// VM is the state of one vCPU's runs. It is used by one goroutine at a time.
type VM struct {
	reg    [16]uint64 // R0–R10, AX; 16, so that a masked index needs no bounds check
	pc     int        // slot to go on at; exec keeps it in a machine register meanwhile
	code   []isa.Instruction
	depth  int // index of the current frame
	floor  int // frame whose return ends the exec under way
	frames [maxFrames]frame

	tailCalls int
	fuel      int64 // slots left until the next poll
	budget    int64 // slots left after those
	done      <-chan struct{}
	unwind    error // why the run is being left: a throw, a violation, an interrupt
	cookie    uint64

	services Services
	checker  *Checker
	stack    *mem.Block
}

// errThrown unwinds a run after bpf_throw; it never leaves the package.
var errThrown = errors.New("thrown")

// Options of a run.
type Options struct {
	// Checker makes the VM examine each instruction before it carries it out.
	Checker *Checker
	// Budget bounds the run, in slots jumped back over or called into; 0: none.
	Budget int64
	// Done ends the run early once it is closed; nil: never.
	Done <-chan struct{}
}

// New makes a VM that finds helpers in s.
func New(s Services) (*VM, error) {
	stack, err := mem.AllocGuarded(maxFrames * frameRoom)
	if err != nil {
		return nil, err
	}
	return &VM{services: s, stack: stack}, nil
}

// Close frees the stack.
func (vm *VM) Close() { vm.stack.Free() }

// Run runs a program from its start with r1 in R1 and returns R0.
func (vm *VM) Run(p *Program, r1 uint64, opts Options) (uint64, error) {
	return vm.start(p, 0, []uint64{r1}, opts)
}

// RunCallback runs a function as a run of its own, as timers do. fn is the
// value a PSEUDO_FUNC load of p gave, or 0 for the first.
func (vm *VM) RunCallback(p *Program, fn uint64, args [5]uint64, opts Options) (uint64, error) {
	if err := p.callable(int(fn)); err != nil {
		return 0, fmt.Errorf("interp: callback %#x: %w", fn, err)
	}
	return vm.start(p, int(fn), args[:], opts)
}

func (vm *VM) start(p *Program, pc int, args []uint64, opts Options) (uint64, error) {
	vm.depth, vm.floor, vm.tailCalls, vm.unwind, vm.fuel = -1, 0, 0, nil, 0
	vm.checker, vm.done, vm.budget = opts.Checker, opts.Done, opts.Budget
	if vm.budget == 0 {
		vm.budget = math.MaxInt64
	}
	copy(vm.reg[isa.R1:isa.R6], args)
	if vm.checker != nil {
		vm.checker.begin(vm, p)
	}
	vm.push(p, pc, 0)
	if vm.checker != nil {
		vm.checker.entered(vm, len(args))
	}
	vm.exec()
	switch vm.unwind {
	case nil:
		return vm.reg[isa.R0], nil
	case errThrown:
		return vm.caught()
	}
	return 0, vm.unwind
}

// caught ends a run that threw: the exception callback of the program in the
// first frame, if it has one, makes the result of the cookie; else the cookie is
// the result.
func (vm *VM) caught() (uint64, error) {
	p, cookie := vm.frames[0].prog, vm.cookie
	vm.unwind = nil
	for _, s := range p.subprogs {
		if !s.Exception {
			continue
		}
		vm.depth = -1
		vm.reg[isa.R1] = cookie
		vm.push(p, s.Start, 0)
		if vm.checker != nil {
			vm.checker.entered(vm, 1)
		}
		vm.exec()
		return vm.reg[isa.R0], vm.unwind
	}
	return cookie, nil
}

// Call runs a subprogram of the running program on behalf of a helper (a
// callback) and returns its R0. Once the run is being left it does nothing and
// returns 1, which helpers take as the wish to stop.
func (vm *VM) Call(fn, r1, r2, r3, r4, r5 uint64) uint64 {
	if vm.unwind != nil {
		return 1
	}
	p := vm.frames[vm.depth].prog
	if err := p.callable(int(fn)); err != nil {
		vm.unwind = fmt.Errorf("interp: callback %#x: %w", fn, err)
		return 1
	}
	vm.reg[1], vm.reg[2], vm.reg[3], vm.reg[4], vm.reg[5] = r1, r2, r3, r4, r5
	if !vm.spend(p.lengthAt(int(fn))) || !vm.push(p, int(fn), 0) {
		return 1
	}
	if vm.checker != nil {
		vm.checker.entered(vm, 5)
	}
	floor := vm.floor
	vm.floor = vm.depth
	vm.exec()
	vm.floor = floor
	if vm.unwind != nil {
		return 1
	}
	return vm.reg[isa.R0]
}

// Throw begins to leave the run, as bpf_throw does; the kfunc calls it.
func (vm *VM) Throw(cookie uint64) { vm.unwind, vm.cookie = errThrown, cookie }

// push opens a frame for the function at pc and clears its stack, so that runs
// repeat bit for bit even where a program reads what it never wrote.
func (vm *VM) push(p *Program, pc, ret int) bool {
	if vm.depth+1 >= maxFrames {
		vm.unwind = fmt.Errorf("interp: more than %d frames", maxFrames)
		return false
	}
	vm.depth++
	f := &vm.frames[vm.depth]
	f.prog, f.ret, f.mayGoto = p, ret, mayGotoBudget
	f.saved = [4]uint64(vm.reg[isa.R6:isa.R10])
	f.fp = vm.stack.Addr() + uint64(maxFrames-vm.depth)*frameRoom
	vm.clearFrame(f, pc)
	vm.pc, vm.code = pc, p.Insns
	return true
}

// clearFrame prepares f for the function at pc: its stack and its frame pointer.
func (vm *VM) clearFrame(f *frame, pc int) {
	if f.depth = f.prog.depthAt(pc); f.depth != 0 {
		clear(mem.Bytes(f.fp-uint64(f.depth), f.depth))
	}
	vm.reg[isa.RFP] = f.fp
}

// depthAt and lengthAt give the stack in bytes and the slots of the function
// that begins at slot.
func (p *Program) depthAt(slot int) int { return p.subprogs[p.subprogAt[slot]].StackDepth }

func (p *Program) lengthAt(slot int) int {
	s := &p.subprogs[p.subprogAt[slot]]
	return s.End - s.Start
}

// pop closes the current frame and restores what its caller relies on.
func (vm *VM) pop() {
	f := &vm.frames[vm.depth]
	copy(vm.reg[isa.R6:isa.R10], f.saved[:])
	vm.depth--
	if vm.depth >= 0 {
		vm.reg[isa.RFP] = vm.frames[vm.depth].fp
	}
}

// examine asks the checker about the instruction at vm.pc.
func (vm *VM) examine() bool {
	if v := vm.checker.before(vm, vm.pc); v != nil {
		vm.unwind = v
		return false
	}
	return true
}

// spend takes slots from the run's fuel and reports whether the run goes on. A
// jump forward, of negative length, is free.
func (vm *VM) spend(slots int) bool {
	vm.fuel -= int64(max(slots, 0))
	return vm.fuel > 0 || vm.refill()
}

// refill is the poll: it ends the run or gives it fuel until the next one.
func (vm *VM) refill() bool {
	if vm.budget <= 0 {
		vm.unwind = ErrBudget
		return false
	}
	select {
	case <-vm.done:
		vm.unwind = ErrInterrupted
		return false
	default:
	}
	vm.fuel = min(pollSlots, vm.budget)
	vm.budget -= vm.fuel
	return true
}
