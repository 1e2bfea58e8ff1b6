package pcap

import (
	"fmt"
	"io"
	"slices"

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

// Dot writes the flow graph for graphviz; text gives an instruction's text.
func (s Stage) Dot(w io.Writer, text func(pc int, ins classic.Instruction) string) error {
	code := s.Code()
	_, err := fmt.Fprintf(w, "digraph %q {\n\tnode [shape=box, fontname=monospace];\n", s.Name)
	for _, b := range s.Blocks() {
		label := ""
		for pc := b.Start; pc < b.End; pc++ {
			label += fmt.Sprintf("%s\\l", text(pc, code[pc]))
		}
		if _, err = fmt.Fprintf(w, "\tb%d [label=\"%s\"];\n", b.Start, label); err != nil {
			return err
		}
		if b.True >= 0 {
			_, err = fmt.Fprintf(w, "\tb%[1]d -> b%[2]d [label=yes];\n\tb%[1]d -> b%[3]d [label=no, style=dashed];\n",
				b.Start, b.True, b.False)
		}
	}
	if err == nil {
		_, err = fmt.Fprintln(w, "}")
	}
	return err
}
