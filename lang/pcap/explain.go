package pcap

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/classic"
)

// Stage is the state of a compilation after a stage, or a pass of the
// optimiser. It is valid only while Options.Trace is being called with it.
type Stage struct {
	Name string
	prog *program
}

// trace shows a stage to whoever asked for it.
func (o *Options) trace(name string, p *program) {
	if o.Trace != nil {
		o.Trace(Stage{name, p})
	}
}

// Code returns the program the stage would make.
func (s Stage) Code() []classic.Instruction {
	code := s.prog.emit()
	s.prog.walk()
	s.prog.clearLong(s.prog.root)
	return code
}

// Block is a node of the flow graph: the instructions at [Start, End) of
// Stage.Code, of which the last decides which of the blocks at True and False
// comes next; both are -1 where it returns.
type Block struct {
	Start, End  int
	True, False int // by their Start
}

// Blocks returns the flow graph, in the order of the code.
func (s Stage) Blocks() []Block {
	var blocks []Block
	s.prog.emit() // gives the blocks their places
	s.prog.walk()
	var add func(b *block)
	add = func(b *block) {
		if b == nil || !s.prog.visit(b) {
			return
		}
		g := Block{b.offset, b.offset + b.size(), -1, -1}
		if b.t.succ != nil {
			g.True, g.False = b.t.succ.offset, b.f.succ.offset
		}
		blocks = append(blocks, g)
		add(b.t.succ)
		add(b.f.succ)
	}
	add(s.prog.root)
	s.prog.walk()
	s.prog.clearLong(s.prog.root)
	slices.SortFunc(blocks, func(a, b Block) int { return a.Start - b.Start })
	return blocks
}

// Dot writes the flow graph for graphviz. text gives the text of an
// instruction; nil stands for one that leaves out what the edges show.
func (s Stage) Dot(w io.Writer, text func(pc int, ins classic.Instruction) string) error {
	if text == nil {
		text = label
	}
	code := s.Code()
	b := fmt.Appendf(nil, "digraph %q {\n\tlabel=%q;\n\tnode [shape=box, fontname=monospace];\n", s.Name, s.Name)
	for _, k := range s.Blocks() {
		b = fmt.Appendf(b, "\tb%d [label=\"", k.Start)
		for pc := k.Start; pc < k.End; pc++ {
			b = fmt.Appendf(b, "%s\\l", text(pc, code[pc]))
		}
		b = append(b, "\"];\n"...)
		if k.True >= 0 {
			b = fmt.Appendf(b, "\tb%d -> b%d [label=yes];\n\tb%d -> b%d [label=no, style=dashed];\n",
				k.Start, k.True, k.Start, k.False)
		}
	}
	_, err := w.Write(append(b, "}\n"...))
	return err
}

// Explain returns a function for Options.Trace that writes, after each stage,
// how large the program is, and its code block by block if it has changed. In
// front of a block stand the blocks it is reached from.
func Explain(w io.Writer) func(Stage) {
	var last []classic.Instruction
	return func(s Stage) {
		code, blocks := s.Code(), s.Blocks()
		fmt.Fprintf(w, "%s: %d blocks, %d instructions", s.Name, len(blocks), len(code))
		if slices.Equal(code, last) {
			fmt.Fprintln(w, ", as before")
			return
		}
		fmt.Fprintln(w)
		last = code
		listing := strings.SplitAfter(string(classic.AppendProgram(nil, code, classic.Listing)), "\n")
		for _, b := range blocks {
			var from []string
			for _, p := range blocks {
				if p.True == b.Start || p.False == b.Start {
					from = append(from, fmt.Sprintf("%03d", p.End-1))
				}
			}
			if from != nil {
				fmt.Fprintf(w, "  from %s\n", strings.Join(from, ", "))
			}
			for _, line := range listing[b.Start:b.End] {
				fmt.Fprint(w, "\t", line)
			}
		}
	}
}

// label returns an instruction as Dot shows it: of a conditional jump what it
// asks, and not where it goes.
func label(pc int, ins classic.Instruction) string {
	op, asks := map[uint16]string{classic.JEQ: "==", classic.JGT: ">", classic.JGE: ">=", classic.JSET: "&"}[ins.Code&classic.OpMask]
	switch {
	case ins.Class() != classic.JMP || !asks:
		return fmt.Sprintf("%d: %s", pc, ins)
	case ins.Code&classic.SrcMask == classic.X:
		return fmt.Sprintf("%d: A %s X ?", pc, op)
	}
	return fmt.Sprintf("%d: A %s %#x ?", pc, op, ins.K)
}
