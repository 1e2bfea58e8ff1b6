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
// operand of an exit. xmm6 and xmm7 hold Go's stack, and are not touched.
//
// Each file lowers one family of instructions. What is better than one for one
// stands in fuse.go and in the comments of the rule concerned.
package amd64

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// native maps BPF's registers.
var native = [...]reg{rax, rdi, rsi, r8, r9, r10, rbx, r13, r14, r15, rbp, r11}

// compiler makes the code of one program.
type compiler struct {
	assembler
	opts  code.Options
	prog  *rewrite.Program
	insns []isa.Instruction
	facts *code.Facts
	funcs []function

	// What is being built.
	fn    *function
	out   label // the retpoline behind all exits
	sites []site
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

// function is a function of the program and where its code lies.
type function struct {
	*code.Function
	entry label
	leave label // the epilogue for legacy loads, or none
}

// site is a place where the code leaves, and the places it names.
type site struct {
	code.Site
	resume, leave label
}

const none = label(-1)

// Compile makes code of a program.
func Compile(p *rewrite.Program, o code.Options) (*code.Object, error) {
	facts, err := code.Analyse(p)
	if err != nil {
		return nil, err
	}
	c := &compiler{opts: o, prog: p, insns: p.Insns, facts: facts}
	for i := range facts.Functions {
		c.funcs = append(c.funcs, function{Function: &facts.Functions[i]})
	}
	if c.write(); c.err != nil {
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

// write writes the whole program. Label n is slot n.
func (c *compiler) write() {
	n := len(c.insns)
	c.at = make([]int, n, n+n/8+16)
	c.code = make([]byte, 0, 5*n+64)
	for i := range c.at {
		c.at[i] = -1
	}
	c.sites = append(c.sites, site{code.Site{Kind: code.Finish}, none, none}, site{code.Site{Kind: code.Returned}, none, none})
	for i := range c.funcs {
		c.funcs[i].entry = c.label()
		c.funcs[i].leave = none
	}
	if c.opts.Retpolines {
		c.out = c.label()
	}
	for i := range c.funcs {
		c.fn = &c.funcs[i]
		c.enterFunction()
		for pc := c.fn.Start; pc < c.fn.End; {
			c.bind(label(pc))
			c.zero, c.next = c.next, zeroFlag{}
			if c.facts.Target[pc] {
				c.zext, c.zero = 0, zeroFlag{}
			}
			next := c.lower(pc)
			if c.err != nil {
				return
			}
			for pc++; pc < next; pc++ {
				c.bind(label(pc))
			}
		}
		for _, f := range c.late {
			f()
		}
		c.late = c.late[:0]
	}
	if c.opts.Retpolines {
		c.bind(c.out)
		c.jumpMem(context(exec.OffExit))
	}
	c.relax()
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
	case ins.Op == isa.OpNospec:
		c.barrier()
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

func (c *compiler) fail(pc int) { c.err = c.facts.Unknown(pc) }

// noteZext keeps track of which registers have no bits above the lower 32.
func (c *compiler) noteZext(pc int) {
	ins, written := c.insns[pc], c.facts.Writes[pc]
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
