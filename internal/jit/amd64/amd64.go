// Package amd64 makes machine code of rewritten programs for x86-64.
//
// Every BPF register has a machine register of its own for the whole program,
// so that most instructions become one of the machine's:
//
//	R0   R1   R2   R3   R4   R5   R6   R7   R8   R9   R10  AX   Context  scratch
//	rax  rdi  rsi  r8   r9   r10  rbx  r13  r14  r15  rbp  r11  r12      rcx rdx
//
// rax is where division and cmpxchg want R0 anyway; rcx and rdx are free for
// shift counts, for the upper halves of products, and for the number and the
// operand of an exit.
//
// Each file lowers one family of instructions. What is better than one for one
// stands in fuse.go and in the comments of the rule concerned.
package amd64

import (
	"errors"
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Options shape the code.
type Options struct {
	exec.Features
	// Poll makes backward jumps and local calls spend fuel, as the program may run for long.
	Poll bool
	// Layout tells how a map lies in memory; nil, or not ok, leaves lookups to Go.
	Layout func(m *catalog.MapDef) (l Layout, ok bool)
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
	PerCPU    uint64 // of a per-CPU hash table: CPU 0's value of element 0
}

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

	resume, leave label
}

// Frame is how a function's stack frame is built. Functions that Go enters save nothing.
//
//	┌──────────────────┐
//	│ return address   │
//	├──────────────────┤
//	│ saved registers  │ those of R6 to R9 that the function changes, in order
//	│ rbp              │ the caller's
//	├──────────────────┤ ◄─ rbp = R10
//	│ BPF stack        │
//	└──────────────────┘ ◄─ rsp
type Frame struct {
	// Root marks a function that only Go enters.
	Root  bool
	Saved []isa.Register
}

// native maps BPF's registers.
var native = [...]reg{rax, rdi, rsi, r8, r9, r10, rbx, r13, r14, r15, rbp, r11}

// ErrUnknown is an instruction no rule lowers.
var ErrUnknown = errors.New("unknown instruction")

// compiler makes the code of one program.
type compiler struct {
	assembler
	opts  Options
	prog  *rewrite.Program
	insns []isa.Instruction
	facts facts
	funcs []function

	// What one pass builds.
	fn    *function
	sites []Site
	late  []func()   // code that is rarely run, put behind the function
	zext  isa.RegSet // registers without bits above the lower 32
	zero  zeroFlag   // what the zero flag tells before the instruction at hand
	next  zeroFlag   // and behind it
	err   error
}

// zeroFlag says that the zero flag tells of the low size bytes of a register; size 0: of none.
type zeroFlag struct {
	reg  isa.Register
	size int
}

// function is what lowering needs to know of a function of the program.
type function struct {
	verifier.Subprog
	Frame
	pointer bool  // it needs rbp
	size    int32 // of its stack, in bytes
	counter bool  // it has a may_goto counter, in the lowest eight of them
	entry   label
	leave   label // the epilogue for legacy loads, or none
}

const none = label(-1)

// Compile makes code of a program.
func Compile(p *rewrite.Program, o Options) (*Object, error) {
	c := &compiler{opts: o, prog: p, insns: p.Insns}
	if c.analyse(); c.err == nil {
		c.converge()
	}
	if c.err != nil {
		return nil, c.err
	}
	out := &Object{Text: c.code, Sites: c.sites}
	for i := range c.funcs {
		out.Entries = append(out.Entries, c.at[c.funcs[i].entry])
	}
	out.Slots = c.at[:len(c.insns)]
	for i := range out.Sites {
		s := &out.Sites[i]
		if s.resume != none {
			s.Resume = c.at[s.resume]
		}
		if s.leave != none {
			s.Leave = c.at[s.leave]
		}
	}
	return out, nil
}

// converge writes the code until all places are where the pass before had them.
// Jumps are written long until they are known to reach, so that each pass can
// only shrink, and the passes come to an end.
func (c *compiler) converge() {
	for {
		c.reset()
		c.pass()
		if c.err != nil || equal(c.at, c.prev) {
			return
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// pass writes the whole program. Label n is slot n.
func (c *compiler) pass() {
	c.sites = append(c.sites[:0], Site{Kind: Finish, resume: none, leave: none}, Site{Kind: Returned, resume: none, leave: none})
	for range c.insns {
		c.label()
	}
	for i := range c.funcs {
		c.funcs[i].entry = c.label()
		c.funcs[i].leave = none
	}
	for i := range c.funcs {
		c.fn = &c.funcs[i]
		c.enterFunction()
		for pc := c.fn.Start; pc < c.fn.End && c.err == nil; {
			c.bind(label(pc))
			c.zero, c.next = c.next, zeroFlag{}
			if c.facts.target[pc] {
				c.zext, c.zero = 0, zeroFlag{}
			}
			next := c.lower(pc)
			for pc++; pc < next; pc++ {
				c.bind(label(pc))
			}
		}
		for _, f := range c.late {
			f()
		}
		c.late = c.late[:0]
	}
}

// lower writes the instruction at pc, and those after it that were fused with it,
// and returns the slot to go on at.
func (c *compiler) lower(pc int) (next int) {
	if next := c.fuse(pc); next != 0 {
		return next
	}
	ins := c.insns[pc]
	switch class := ins.Op.Class(); {
	case ins.IsLoadImm64():
		c.loadImm64(pc)
		return pc + 2
	case class == isa.ClassALU64:
		c.alu(ins, size64)
	case class == isa.ClassALU:
		c.alu(ins, size32)
	case class == isa.ClassLDX:
		c.load(pc, ins)
	case class == isa.ClassLD:
		c.legacyLoad(pc, ins)
	case class == isa.ClassST:
		c.storeImm(ins)
	case class == isa.ClassSTX && ins.Op.Mode() == isa.ModeATOMIC:
		c.atomic(ins)
	case class == isa.ClassSTX:
		c.store(ins)
	default:
		c.jumps(pc, ins)
	}
	c.noteZext(pc)
	return pc + 1
}

func (c *compiler) fail(pc int) {
	c.err = fmt.Errorf("slot %d: %w %v", pc, ErrUnknown, c.insns[pc])
}

// noteZext keeps track of which registers have no bits above the lower 32.
func (c *compiler) noteZext(pc int) {
	ins, written := c.insns[pc], c.facts.writes[pc]
	c.zext &^= written
	switch ins.Op.Class() {
	case isa.ClassALU:
		if ins.Op.ALUOp() != isa.End || ins.Imm < 64 {
			c.zext |= written
		}
	case isa.ClassALU64:
		if ins.Op == and64 && ins.Imm >= 0 {
			c.zext |= written
		}
	case isa.ClassLDX:
		if ins.Op.Mode() == isa.ModeMEM && ins.Op.Bytes() < 8 {
			c.zext |= written
		}
	}
}
