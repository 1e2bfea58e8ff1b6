// Package code is what every architecture's compiler is given and what it
// gives back: the seam between package jit and its back ends. It also holds what
// they would all find out about a program in the same way.
package code

import (
	"errors"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/isa"
)

// Options shape the code.
type Options struct {
	exec.Features
	// Poll makes backward jumps and local calls spend fuel, as the program may run for long.
	Poll bool
	// Guard puts barriers against speculation behind the checks of what is inlined.
	Guard bool
	// Retpolines makes indirect jumps returns that the processor cannot be taught to
	// guess; only on x86-64, which is where they help.
	Retpolines bool
	// SharedRings leaves the end of ring buffers' records to Go, which shows other
	// processes what lies beyond the end of the data.
	SharedRings bool
	// Clock is how native code may tell the time by itself; nil: that is Go's.
	Clock *Clock
	// Layout tells how a map lies in memory; nil, or not ok, leaves lookups to Go.
	Layout func(m *catalog.MapDef) (l Layout, ok bool)
}

// Clock is a machine whose time is the system's: CLOCK_MONOTONIC.
type Clock struct {
	Boot uint64 // how far the time since boot is ahead, in nanoseconds
}

// Layout is how a map lies in memory: what maps write into their headers (see package maps).
type Layout struct {
	Base      uint64 // value 0 of an array, element 0 of a hash table
	CPUStride uint64 // from one CPU's values to the next CPU's
	ElemSize  uint32 // from one element to the next
	Buckets   uint64 // of a hash table: the list heads
	Mask      uint32 // number of buckets − 1
	Seed      uint32 // of its hash
	ValueOff  uint32 // from an element to its value
	PerCPU    uint64 // of a per-CPU hash table: CPU 0's value of element 0; of a trie: its index
}

// Layout of a hash table's element and of its links; a test in maps' user, run,
// holds these numbers to the originals.
const (
	ElemNext = 0
	ElemHash = 4
	ElemRef  = 12
	ElemKey  = 16
	LinkEnd  = -1 << 31
)

// Layout of a trie's node and index; the same test holds these.
const (
	TrieChild   = 0
	TriePrefix  = 8
	TrieFlags   = 12 // not 0: no value
	TrieData    = 16
	TrieKeyHead = 4 // of a key: the length
	TrieNone    = -1

	TrieIndexBits    = 16
	TrieIndexEntries = 64
)

// Object is machine code that can lie at any address.
type Object struct {
	Text []byte
	// Entries are the offsets of functions, by index.
	Entries []int
	// Sites are the places where the code leaves; the first is [exec.SiteOwn].
	Sites []Site
	// Slots are the offsets of the program's slots.
	Slots []int
}

// SiteKind says why code leaves.
type SiteKind uint8

// Kinds of sites.
const (
	Finish   SiteKind = iota // the run, or the callback, is over
	Returned                 // a program tail-called in a subprogram is
	Helper                   // arguments in R1 to R5, result to R0
	TailCall                 // likewise; if it succeeds the function is replaced
	Kfunc                    // likewise
	Legacy                   // packet load at offset X, result to R0
	Probe                    // load at address X, result to X
	Poll                     // the fuel is used up
	Wake                     // somebody waits on the ring buffer at X
)

// Site is a place where code leaves.
type Site struct {
	Kind SiteKind
	Slot int // of Insn
	Insn isa.Instruction
	// Resume is where to go on, Leave where a legacy load beyond the packet goes: offsets.
	Resume, Leave int
	// Frame is that of the function a tail call replaces.
	Frame Frame
}

// Frame is what tells how a function's stack frame is built; how, each back
// end draws. Functions that Go enters save nothing.
type Frame struct {
	// Root marks a function that only Go enters.
	Root bool
	// Saved are those of R6 to R9 that the function changes, in order.
	Saved []isa.Register
}

// Caller is what a function that is about to be replaced has of its caller's:
// its registers, the return address and, above the frame, the stack pointer.
type Caller struct {
	Regs   exec.Saved
	Return uint64
	SP     uint64
}

// ErrUnknown is an instruction no rule lowers.
var ErrUnknown = errors.New("unknown instruction")
