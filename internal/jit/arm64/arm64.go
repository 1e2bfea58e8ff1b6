// Package arm64 makes machine code of rewritten programs for 64-bit ARM.
//
// Every BPF register has a machine register of its own for the whole program,
// R0 to R9 those of the same number:
//
//	R0 … R9   R10  AX   Context  operand of exits  site, way out  scratch
//	x0 … x9   x29  x10  x11      x13               x16, x17       x12 x14 x15
//
// x29 with the return address above what it points to makes the chain of frames
// that debuggers follow. x18 is the platform's, x28 Go's: nobody touches them. sp
// is a multiple of 16 at all times.
//
// Each file lowers one family of instructions.
package arm64

import (
	"errors"

	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// native maps BPF's registers.
var native = [...]reg{x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x29, x10}

// What is no BPF register: the Context, and the operand of an exit and the answer to it.
const (
	regContext = x11
	regOperand = x13
	regSite    = x16
	regOut     = x17
)

// compiler makes the code of one program.
type compiler struct {
	assembler
	opts  code.Options
	prog  *rewrite.Program
	insns []isa.Instruction
	facts *code.Facts
	funcs []function

	fn    *function
	sites []site
	late  []func() // code that is rarely run, put behind the function
	err   error
}

// function is a function of the program and where its code lies.
type function struct {
	*code.Function
	stack int32 // size of its BPF stack, a multiple of 16
	entry label
	leave label // the epilogue for legacy loads, or none
}

// site is a place where the code leaves, and the places it names.
type site struct {
	code.Site
	resume, leave label
}

const none = label(-1)

// errReach is a program of more than 128 MiB.
var errReach = errors.New("the program is too large for its branches")

// Compile makes code of a program.
func Compile(p *rewrite.Program, o code.Options) (*code.Object, error) {
	facts, err := code.Analyse(p)
	if err != nil {
		return nil, err
	}
	c := &compiler{opts: o, prog: p, insns: p.Insns, facts: facts}
	for i := range facts.Functions {
		f := &facts.Functions[i]
		c.funcs = append(c.funcs, function{Function: f, stack: (f.Size + 15) &^ 15})
	}
	if !c.write(false) && !c.write(true) && c.err == nil {
		c.err = errReach
	}
	if c.err != nil {
		return nil, c.err
	}
	out := &code.Object{Text: c.code, Slots: c.at[:len(c.insns)]}
	for i := range c.funcs {
		out.Entries = append(out.Entries, c.at[c.funcs[i].entry])
	}
	for _, s := range c.sites {
		if s.resume != none {
			s.Resume = c.at[s.resume]
		}
		if s.leave != none {
			s.Leave = c.at[s.leave]
		}
		out.Sites = append(out.Sites, s.Site)
	}
	return out, nil
}

// write writes the whole program; false if a branch does not reach. Label n is slot n.
func (c *compiler) write(far bool) bool {
	c.assembler = assembler{far: far, code: make([]byte, 0, 8*len(c.insns)), at: make([]int, 0, 2*len(c.insns))}
	c.sites = append(c.sites[:0], site{code.Site{Kind: code.Finish}, none, none}, site{code.Site{Kind: code.Returned}, none, none})
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
	return c.err == nil && c.link()
}

// lower writes the instruction at pc and returns the slot to go on at.
func (c *compiler) lower(pc int) (next int) {
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
	case ins.Op == isa.OpNospec:
		c.barrier()
	case class == isa.ClassST:
		c.storeImm(ins)
	case class == isa.ClassSTX && ins.Op.Mode() == isa.ModeATOMIC:
		c.atomic(ins)
	case class == isa.ClassSTX:
		c.put(ins.Op.Bytes(), native[ins.Src], c.operand(ins.Dst, ins.Off))
	default:
		c.jumps(pc, ins)
	}
	return pc + 1
}

func (c *compiler) fail(pc int) { c.err = c.facts.Unknown(pc) }
