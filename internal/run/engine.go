package run

import (
	"github.com/skep-bpf/skep/internal/interp"
	"github.com/skep-bpf/skep/internal/rewrite"
)

// engine is one way of running rewritten programs.
type engine interface {
	// compile makes a program ready; owner is the program it will be part of. forget takes back what
	// tools were told of it.
	compile(p *rewrite.Program, owner *Program) (c code, forget func(), err error)
	// free takes back what compile made, once no run can be in it.
	free(c code)
	// newVM makes the state of one vCPU.
	newVM(c *CPU) (vm, error)
}

// code is a program in the form its engine runs.
type code any

// limits end a run early.
type limits struct {
	budget int64           // in instructions on backward jumps and calls; 0: none
	done   <-chan struct{} // closed: stop
}

// vm runs the engine's code on one vCPU. Helpers that call back re-enter it.
type vm interface {
	run(c code, r1 uint64, l limits) (uint64, error)
	runCallback(c code, fn uint64, args [5]uint64, l limits) (uint64, error)
	call(fn, r1, r2, r3, r4, r5 uint64) uint64
	throw(cookie uint64)
	close()
}

// Errors that end a run from outside.
var (
	ErrInterrupted = interp.ErrInterrupted
	ErrBudget      = interp.ErrBudget
)
