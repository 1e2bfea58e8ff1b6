package prog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/isa"
)

// visual writes the control-flow graph of each function for graphviz, drawn as
// bpftool draws it: block 0 is where a function is entered, 1 where it is left.
func (d *dumper) visual() error {
	fmt.Fprintln(d.out, `digraph "DOT graph for eBPF program" {`)
	for i := range d.code.Funcs {
		d.cluster(i, &d.code.Funcs[i])
	}
	_, err := fmt.Fprintln(d.out, "}")
	return err
}

const (
	entryBlock = iota
	exitBlock
	firstBlock
)

// block is a piece of code that is entered at its first instruction only.
type block struct{ start, end, last int } // slots; last is that of the last instruction

func (d *dumper) cluster(index int, f *skep.Func) {
	blocks := d.blocks(f)
	number := map[int]int{} // of blocks, by first slot
	for i, b := range blocks {
		number[b.start] = firstBlock + i
	}
	fmt.Fprintf(d.out, "subgraph \"cluster_%d\" {\n\tstyle=\"dashed\";\n\tcolor=\"black\";\n\tlabel=\"func_%d ()\";\n", index, index)
	fmt.Fprintf(d.out, "\tfn_%d_bb_%d [shape=Mdiamond,style=filled,label=\"ENTRY\"];\n\n", index, entryBlock)
	p := d.printer()
	escape := strings.NewReplacer("<", `\<`, ">", `\>`, "{", `\{`, "}", `\}`, "|", `\|`, "&", `\&`, `"`, `\"`)
	for i, b := range blocks {
		fmt.Fprintf(d.out, "\tfn_%d_bb_%d [shape=record,style=filled,label=\"{", index, firstBlock+i)
		d.each(b.start, b.end, func(slot, _ int) {
			if slot > b.start {
				fmt.Fprint(d.out, " | ")
			}
			fmt.Fprintf(d.out, "%4d: %s\\l\\\n", slot-f.Start, escape.Replace(d.text(p, slot)))
		})
		fmt.Fprint(d.out, "}\"];\n\n")
	}
	fmt.Fprintf(d.out, "\tfn_%d_bb_%d [shape=Mdiamond,style=filled,label=\"EXIT\"];\n\n", index, exitBlock)
	edge := func(from, to int) {
		fmt.Fprintf(d.out, "\tfn_%d_bb_%d:s -> fn_%d_bb_%d:n [style=\"solid,bold\", color=black, weight=10, constraint=true];\n", index, from, index, to)
	}
	edge(entryBlock, firstBlock)
	for i, b := range blocks {
		from := firstBlock + i
		ins := d.code.Insns[b.last]
		switch {
		case ins.IsExit():
			edge(from, exitBlock)
			continue
		case !isJump(ins) || ins.Op.JumpOp() != isa.Ja:
			if i+1 < len(blocks) {
				edge(from, from+1)
			}
		}
		if isJump(ins) {
			edge(from, number[b.last+1+ins.JumpOffset()])
		}
	}
	fmt.Fprintf(d.out, "\tfn_%d_bb_%d:s -> fn_%d_bb_%d:n [style=\"invis\", constraint=true];\n}\n", index, entryBlock, index, exitBlock)
}

// blocks cuts a function where jumps arrive and behind them.
func (d *dumper) blocks(f *skep.Func) (list []block) {
	starts := []int{f.Start}
	d.each(f.Start, f.End, func(slot, slots int) {
		ins := d.code.Insns[slot]
		if isJump(ins) {
			starts = append(starts, slot+1+ins.JumpOffset())
		}
		if (isJump(ins) || ins.IsExit()) && slot+slots < f.End {
			starts = append(starts, slot+slots)
		}
	})
	slices.Sort(starts)
	starts = slices.Compact(starts)
	for i, at := range starts {
		b := block{start: at, end: f.End}
		if i+1 < len(starts) {
			b.end = starts[i+1]
		}
		d.each(b.start, b.end, func(slot, _ int) { b.last = slot })
		list = append(list, b)
	}
	return list
}

func isJump(ins isa.Instruction) bool {
	return ins.Op.Class().IsJump() && !ins.IsExit() && ins.Op.JumpOp() != isa.Call
}
