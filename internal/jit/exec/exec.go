// Package exec holds native code and enters it: executable memory that is never
// writable and executable at once, and the one way in and out of it.
//
//	goroutine stack                       vCPU's native stack
//	┌──────────────────┐                  ┌────────────────┐ guard page
//	│ caller of Enter  │                  │ Context        │
//	│ Enter            │ ── registers ──► │ return address │ of the first function: finish
//	└──────────────────┘ ◄─── an exit ─── │ native frames  │
//	                                      │ saved          │ while outside: five registers
//	                                      └────────────────┘ guard page
//
// Native code runs on a stack of its own. To have something done in Go it
// leaves: its registers go into the [Context] and onto its stack, and [Enter]
// returns; the next Enter takes it up again. So no native frame ever lies under
// a Go frame, and stack growth, garbage collection and profiling meet none.
package exec

import (
	"unsafe"

	"github.com/skep-bpf/skep/isa"
)

// Context is what native code and Go share on one vCPU. It lies off the Go heap
// and holds numbers only. The assembly knows its layout by [Offsets].
type Context struct {
	goSP, goBP uint64 // Go's stack and frame pointer while native code runs, on arm64

	SP   uint64    // native stack pointer; the saved registers lie there, see [Saved]
	PC   uint64    // where the next Enter goes
	Site uint64    // which exit of the code it came out of
	X    uint64    // operand of an exit, and the answer to it
	R    [6]uint64 // BPF's R0 to R5
	AX   uint64    // BPF's hidden register

	exit uint64 // address of the assembly that leaves

	Fuel int64  // slots that may be jumped back over before the next poll
	CPU  uint64 // number of the vCPU

	// ProbeLo and ProbeLen bound the block probing loads found last: addresses
	// with at least 8 readable bytes are those less than ProbeLen from ProbeLo.
	ProbeLo, ProbeLen uint64

	Top uint64 // the native stack's upper end, where Start and Turns begin

	// What Turns goes over: the next R1, how far the one after that is, how many are
	// left, where the next result goes, and the function.
	Row, Stride, Left, Verdict, Main uint64

	Running uint64 // number of the program that runs
	Tails   uint64 // how many tail calls the run has made
	Stretch int64  // how many instructions more may be run by tail calls without a safepoint
	First   uint64 // what Turns sets Running to at each turn

	Random uint64 // state of the vCPU's pseudo-random numbers

	goLR uint64 // Go's return address while native code runs, on arm64

	// Redirect is the header of the map that native code sent the packet to, with Key, since Go
	// looked last; RedirectNone: the packet is not to be sent; 0: nothing was decided.
	Redirect, Key uint64
}

// ContextSize is how much room a [Context] takes at the upper end of a native
// stack, in bytes: a multiple of 16, as arm64 wants stack pointers to be.
const ContextSize = (int(unsafe.Sizeof(Context{})) + 15) &^ 15

// Saved is what lies at [Context].SP while native code is left: the registers
// that BPF functions keep over calls.
type Saved struct {
	link
	R9, R8, R7, FP, R6 uint64
}

// Register is where one of R6 to R9 is kept.
func (s *Saved) Register(r isa.Register) *uint64 {
	switch r {
	case isa.R6:
		return &s.R6
	case isa.R7:
		return &s.R7
	case isa.R8:
		return &s.R8
	}
	return &s.R9
}

// SavedSize is the size of [Saved] in bytes.
const SavedSize = int(unsafe.Sizeof(Saved{}))

// Offsets of the fields of [Context] that code generators use.
const (
	OffExit     = 104
	OffFuel     = 112
	OffCPU      = 120
	OffProbeLo  = 128
	OffProbeLen = 136
	OffRunning  = 192
	OffTails    = 200
	OffStretch  = 208
	OffRandom   = 224
	OffLeft     = 168
	OffRedirect = 240
	OffKey      = 248
)

// RedirectNone is described with [Context.Redirect].
const RedirectNone = 1

// Features are what code generators may use of the processor.
type Features struct {
	BMI2  bool // amd64: SHLX and its kin, RORX, MULX
	MOVBE bool // amd64: byte-swapping loads
	LZCNT bool // amd64: counting leading zeroes
	LSE   bool // arm64: atomic operations in one instruction
	Page4 bool // arm64: pages have 4 KiB, which code for ring buffers counts on
	Sync  bool // arm64: code installed meanwhile needs no ISB before it is entered

	ClockGettime uint64 // amd64: address of clock_gettime(2) for C, 0: none
}

// Sites that every program has: its own come after them.
const (
	SiteFinish   = iota // the function that Go entered has returned
	SiteReturned        // a program that was tail-called in a subprogram has returned
	SiteOwn             // the first of the program's own
)
