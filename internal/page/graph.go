package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/isa"
	"github.com/skep-bpf/skep/verify"
)

// functionView is a function's flow graph as the page draws it.
type functionView struct {
	ID            int
	Name          string
	Slot          int
	Insns         int
	Width, Height int
	Blocks        []blockView
	Edges         []edgeView
}

type blockView struct {
	ID         int // counted through all functions
	Slot       int
	X, Y, W, H int
	Class      string
	Title      string
	Lines      []textView
}

type textView struct {
	X, Y  int
	Class string
	Text  string
}

type edgeView struct {
	From, To int // blocks
	D        string
	Class    string
	Title    string
}

// Sizes of a block's text, in pixels.
const (
	charWidth  = 6.7 // of the page's 11 px monospaced font, roughly
	lineHeight = 16
	padX       = 9
	padY       = 6
	maxChars   = 36 // of a line
	maxLines   = 4  // of source in a block
)

// functions finds the functions of the program and draws them.
func (v *program) functions(p *verify.Program, ip *image.Program, printer *isa.Printer, lineOf []int) []*function {
	var c counts
	if v.explored(p) {
		c = counts{slices.Clone(p.Visits), p.Trace.Taken, p.Trace.Fell}
		for slot, n := range p.Trace.PrunedAt { // paths that went no further
			c.over[slot] -= n
		}
		if v.Slot >= 0 && c.over[v.Slot] > 0 {
			c.over[v.Slot]--
		}
	}
	texts := map[int]string{}
	for _, f := range v.Files {
		for _, l := range f.Lines {
			texts[l.ID] = l.raw
		}
	}
	var most uint64
	for _, n := range p.Visits {
		most = max(most, uint64(n))
	}
	v.Data.Block, v.Data.Func = make([]int, len(ip.Insns)), make([]int, len(ip.Insns))
	starts := functionStarts(ip.Insns)
	var list []*function
	blocks := 0
	for i, start := range starts {
		f := &function{start: start, end: len(ip.Insns)}
		if i+1 < len(starts) {
			f.end = starts[i+1]
		}
		f.name = cmp.Or(functionName(ip, start), fmt.Sprintf("func#%d", i))
		f.findBlocks(ip.Insns, c)
		list = append(list, f)

		draw := drawing{v: v, p: p, ip: ip, f: f, printer: printer, texts: texts, lineOf: lineOf, most: most, first: blocks}
		view := draw.function()
		view.ID = i
		if p.Facts != nil && i < len(p.Facts.Subprogs) {
			f.stack = fmt.Sprintf("%d B of stack", p.Facts.Subprogs[i].StackDepth)
		}
		v.Functions = append(v.Functions, view)
		for j, b := range f.blocks {
			for at := b.start; at < b.end; at++ {
				v.Data.Block[at], v.Data.Func[at] = blocks+j, i
			}
		}
		blocks += len(f.blocks)
	}
	return list
}

// drawing is one function being drawn.
type drawing struct {
	v       *program
	p       *verify.Program
	ip      *image.Program
	f       *function
	printer *isa.Printer
	texts   map[int]string // of source lines
	lineOf  []int
	most    uint64
	first   int // number of the function's first block
}

func (d *drawing) function() *functionView {
	lines := make([][]string, len(d.f.blocks))
	l := newLayout(d.f, func(i int) (w, h int) {
		lines[i] = d.blockLines(&d.f.blocks[i])
		chars := 0
		for _, s := range lines[i] {
			chars = max(chars, utf8.RuneCountInString(s))
		}
		return int(float64(chars)*charWidth) + 2*padX, len(lines[i])*lineHeight + 2*padY
	})
	view := &functionView{Name: d.f.name, Slot: d.f.start, Insns: d.f.end - d.f.start, Width: l.width, Height: l.height}
	explored := d.v.explored(d.p)
	ports := l.ports()
	for i := range l.routes {
		r := &l.routes[i]
		e := d.f.blocks[r.from].succ[r.edge]
		view.Edges = append(view.Edges, edgeView{
			From: d.first + r.from, To: d.first + r.to, D: l.path(r, ports[i]),
			Class: edgeClass(e, r.back, explored), Title: edgeTitle(e, r.back, explored),
		})
	}
	for i := range d.f.blocks {
		b, n := &d.f.blocks[i], &l.nodes[i]
		bv := blockView{ID: d.first + i, Slot: b.start, X: n.x, Y: n.y, W: n.w, H: n.h}
		if explored {
			visits := uint64(d.p.Visits[b.start])
			bv.Class = heat(visits, d.most)
			bv.Title = fmt.Sprintf("instructions %d to %d, visited %s times", b.start, b.end-1, count(visits))
			if n := d.p.Trace.PrunedAt[b.start]; n > 0 {
				bv.Title += "; " + plural(n, "path") + " ended here"
			}
			if visits == 0 {
				bv.Title = fmt.Sprintf("instructions %d to %d: no path leads here", b.start, b.end-1)
			}
		}
		if d.v.Slot >= b.start && d.v.Slot < b.end {
			bv.Class += " refused"
		}
		for k, s := range lines[i] {
			t := textView{X: n.x + padX, Y: n.y + padY + lineHeight*k + 12, Text: s}
			if k == 0 {
				t.Class = "head"
			}
			bv.Lines = append(bv.Lines, t)
		}
		view.Blocks = append(view.Blocks, bv)
	}
	return view
}

// blockLines is what a block shows: its slots and visits, then its source, or
// first and last instruction.
func (d *drawing) blockLines(b *block) []string {
	head := fmt.Sprintf("%d–%d", b.start, b.end-1)
	if b.end-b.start == 1 {
		head = fmt.Sprint(b.start)
	}
	if d.v.explored(d.p) {
		head += "  ×" + count(d.p.Visits[b.start])
		if n := d.p.Trace.PrunedAt[b.start]; n > 0 {
			head += "  ✂" + count(n)
		}
	}
	if w := d.v.Why; w != nil {
		for i, p := range w.Pins {
			if p.Class == "why-step" && p.Slot >= b.start && p.Slot < b.end {
				head += "  " + string(rune('①'+min(i-1, 19)))
			}
		}
	}
	list := []string{head}
	seen := map[int]bool{}
	for at := b.start; at < b.end; at++ {
		l := d.lineOf[at]
		if l < 0 || seen[l] || d.texts[l] == "" {
			continue
		}
		seen[l] = true
		if len(list) == maxLines+1 {
			list[maxLines] = "⋯"
			continue
		}
		list = append(list, clip(d.texts[l]))
	}
	for at := b.start; at < b.end; at += width(d.ip.Insns, at) {
		if ins := d.ip.Insns[at]; ins.IsLocalCall() {
			list = append(list, clip("→ "+cmp.Or(functionName(d.ip, at+1+int(ins.Imm)), fmt.Sprint(at+1+int(ins.Imm)))+"()"))
		}
	}
	if len(list) > 1 {
		return list
	}
	text := func(at int) string { return clip(d.printer.Text(d.ip.Insns, at)) }
	last := b.start
	n := 0
	for at := b.start; at < b.end; at += width(d.ip.Insns, at) {
		last = at
		n++
	}
	list = append(list, text(b.start))
	if n > 2 {
		list = append(list, "⋯")
	}
	if n > 1 {
		list = append(list, text(last))
	}
	return list
}

// clip shortens a line to what a block has room for.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxChars {
		return string(r[:maxChars-1]) + "…"
	}
	return s
}

func edgeClass(e edge, back, explored bool) string {
	class := [...]string{edgeNext: "next", edgeJump: "jump", edgeFall: "fall"}[e.kind]
	if back {
		class += " loop"
	}
	if explored && e.count == 0 {
		class += " dead"
	}
	return class
}

func edgeTitle(e edge, back, explored bool) string {
	s := [...]string{edgeNext: "goes on", edgeJump: "the condition holds", edgeFall: "the condition does not hold"}[e.kind]
	if back {
		s += ", a loop"
	}
	switch {
	case !explored:
	case e.count == 0:
		s += ": no path goes here"
	default:
		s += ": " + count(e.count) + " times"
	}
	return s
}
