package page

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
	"github.com/skep-bpf/skep/verify"
)

// program is one program as the page shows it.
type program struct {
	Name, Section, Type string
	Verdict             string // accepted, refused, not loaded
	Slot                int    // of a refusal; -1: none in particular
	Why                 *why   // of a refusal
	Figures             []figure
	Files               []*file
	SourceText          bool // the object has the text of its lines, not their numbers alone
	Functions           []*functionView
	Rows                []row
	Data                data
}

// figure is a number about the whole program.
type figure struct{ Name, Value, Title string }

// file is a source file, its lines as far as instructions belong to them.
type file struct {
	Name  string
	Lines []*line
}

type line struct {
	ID     int
	No     int
	Gap    bool // lines are left out above it
	Text   string
	Heat   string
	Visits string
	Pins   []pin // remarks below it

	visits uint64
	raw    string
}

// row is an instruction in the list.
type row struct {
	Slot     int
	Function string // its function begins here
	Stack    string // of that function
	Block    bool   // a basic block begins here
	Text     string
	Heat     string
	Visits   string
	Marks    []mark
	Pins     []pin // remarks below it
}

// mark is a short fact about an instruction; page.js knows what its class means.
type mark struct{ Class, Text string }

// data is what the page's script works on.
type data struct {
	Name string `json:"name"`
	// Steps holds for each step: N less that of the step before, slot, frame, 1 if
	// all is given, number of changes, and for each its place and text.
	Steps []int `json:"steps"`
	// Paths holds for each path: parent, fork, first, end, how, by.
	Paths []int    `json:"paths"`
	Texts []string `json:"texts"`
	Line  []int    `json:"line"`  // by slot: line, or -1
	Block []int    `json:"block"` // by slot: block, counted through all functions
	Func  []int    `json:"func"`  // by slot: function
	// Start is the slot to show first, All the number of steps, kept or not.
	Start     int `json:"start"`
	Processed int `json:"processed"`
	Exits     int `json:"exits"`
	Pruned    int `json:"pruned"`
}

// newProgram gathers what there is to show of a program.
func newProgram(img *image.Image, p *verify.Program) *program {
	ip := img.Program(p.Name)
	v := &program{Name: p.Name, Section: p.Section, Type: p.Type, Slot: -1, Verdict: "accepted"}
	v.refusal(p, ip)
	v.figures(p)
	v.Data = data{Name: p.Name, Steps: []int{}, Paths: []int{}, Texts: []string{}}
	if v.Slot >= 0 {
		v.Data.Start = v.Slot
	}
	lineOf := v.lines(p, ip)
	v.Data.Line = lineOf
	printer := isa.Printer{Dialect: isa.Assembly, Names: names(img, ip)}
	functions := v.functions(p, ip, &printer, lineOf)
	v.rows(p, ip, &printer, functions)
	v.trace(p.Trace)
	return v
}

func (v *program) refusal(p *verify.Program, ip *image.Program) {
	if p.Err == nil {
		return
	}
	v.Verdict, v.Why = "not loaded", &why{Reason: p.Err.Error()}
	var ve *skep.VerifierError
	if !errors.As(p.Err, &ve) {
		return
	}
	v.Verdict, v.Slot = "refused", ve.Slot
	v.Why = newWhy(p, ip, ve)
}

func (v *program) figures(p *verify.Program) {
	add := func(name, value, title string) { v.Figures = append(v.Figures, figure{name, value, title}) }
	add("instructions", count(p.Insns), "slots of 8 bytes")
	if p.Trace == nil {
		return
	}
	add("processed", count(p.Stats.Processed), fmt.Sprintf("instructions on all paths: %.2g %% of the million allowed", 100*p.Budget()))
	ended := p.Trace.Exits + p.Trace.Pruned
	how := fmt.Sprintf("%s to an exit, %s pruned: a state seen before stood for what followed", count(p.Trace.Exits), count(p.Trace.Pruned))
	if n := len(p.Trace.Paths); n > 0 && p.Trace.Paths[n-1].How.String() == "refused" {
		ended++
		how += ", one refused"
	}
	add("paths", count(ended), how)
	add("states", count(p.Stats.TotalStates), fmt.Sprintf("remembered for pruning; at most %s at a time, %s at one instruction", count(p.Stats.PeakStates), count(p.Stats.MaxStatesPerInsn)))
	if p.Facts != nil {
		add("stack", fmt.Sprintf("%d B", p.Stats.StackDepth), "of 512")
	}
}

// lineInfo returns the record that covers a slot, or nil.
func lineInfo(ip *image.Program, slot int) *image.LineInfo {
	i, exact := slices.BinarySearchFunc(ip.Lines, slot, func(l image.LineInfo, slot int) int { return cmp.Compare(l.Slot, slot) })
	if !exact {
		i--
	}
	if slot < 0 || i < 0 {
		return nil
	}
	return &ip.Lines[i]
}

// lines gathers the source lines by file, and returns the line of each slot.
func (v *program) lines(p *verify.Program, ip *image.Program) []int {
	lineOf := make([]int, len(ip.Insns))
	type key struct {
		file string
		no   int
	}
	index := map[key]*line{}
	files := map[string]*file{}
	of := make([]*line, len(ip.Insns))
	for slot := range ip.Insns {
		l := lineInfo(ip, slot)
		if l == nil || l.LineNo == 0 {
			continue
		}
		k := key{l.File, l.LineNo}
		ln := index[k]
		if ln == nil {
			ln = &line{No: l.LineNo, Text: l.Line, raw: strings.TrimSpace(l.Line)}
			index[k] = ln
			f := files[l.File]
			if f == nil {
				f = &file{Name: filepath.Base(l.File)}
				files[l.File] = f
				v.Files = append(v.Files, f)
			}
			f.Lines = append(f.Lines, ln)
		}
		of[slot] = ln
		if v.explored(p) {
			ln.visits += uint64(p.Visits[slot])
		}
		v.SourceText = v.SourceText || ln.raw != ""
	}
	if v.Why != nil {
		for _, pin := range v.Why.Pins {
			ln := index[key{pin.file, pin.line}]
			if pin.Slot >= 0 && of[pin.Slot] != nil {
				ln = of[pin.Slot]
			}
			if ln != nil {
				ln.Pins = append(ln.Pins, pin)
			}
		}
	}
	var most uint64
	for _, ln := range index {
		most = max(most, ln.visits)
	}
	id := 0
	for _, f := range v.Files {
		slices.SortFunc(f.Lines, func(a, b *line) int { return a.No - b.No })
		for i, ln := range f.Lines {
			ln.ID = id
			id++
			ln.Gap = i > 0 && ln.No > f.Lines[i-1].No+1
			if v.explored(p) {
				ln.Heat, ln.Visits = heat(ln.visits, most), count(ln.visits)
			}
		}
	}
	for slot := range lineOf {
		lineOf[slot] = -1
		if of[slot] != nil {
			lineOf[slot] = of[slot].ID
		}
	}
	return lineOf
}

// heat is the CSS class of a count beside the greatest: h0 (never) to h8, by its logarithm.
func heat(n, most uint64) string {
	switch {
	case n == 0:
		return "h0"
	case most <= 1:
		return "h1"
	}
	return "h" + strconv.Itoa(1+int(7*math.Log(float64(n))/math.Log(float64(most))))
}

// names are what instructions call functions, maps and jumps' goals.
func names(img *image.Image, ip *image.Program) isa.Names {
	return isa.Names{
		Helper: func(id int32) string {
			if h := catalog.HelperByID(catalog.HelperID(id)); h != nil {
				return "bpf_" + h.Name
			}
			return ""
		},
		Kfunc: func(id int32, _ int16) string {
			for _, e := range img.Externs {
				if e.Kind == image.ExternFunc && e.Resolved && int32(e.ID) == id {
					return e.Name
				}
			}
			return ""
		},
		Func:  func(slot int) string { return functionName(ip, slot) },
		Label: strconv.Itoa,
		Map: func(_ isa.Register, ref int32) string {
			if int(ref) < len(img.Maps) && ref >= 0 {
				return img.Maps[ref].Name
			}
			return ""
		},
	}
}

func functionName(ip *image.Program, slot int) string {
	for _, f := range ip.Funcs {
		if f.Slot == slot {
			return f.Func.Name
		}
	}
	return ""
}

// rows lists the instructions with what is known of each.
func (v *program) rows(p *verify.Program, ip *image.Program, printer *isa.Printer, functions []*function) {
	var most uint64
	for _, n := range p.Visits {
		most = max(most, uint64(n))
	}
	for _, f := range functions {
		for _, b := range f.blocks {
			for at := b.start; at < b.end; at += width(ip.Insns, at) {
				r := row{Slot: at, Block: at == b.start, Text: printer.Text(ip.Insns, at)}
				if at == f.start {
					r.Function, r.Stack = f.name, f.stack
				}
				if v.explored(p) {
					n := uint64(p.Visits[at])
					r.Heat, r.Visits = heat(n, most), count(n)
					r.Marks = marks(p, at)
				}
				if v.Why != nil {
					for _, pin := range v.Why.Pins {
						if pin.Slot == at {
							r.Pins = append(r.Pins, pin)
						}
					}
				}
				v.Rows = append(v.Rows, r)
			}
		}
	}
}

// explored reports whether the verifier followed any path.
func (v *program) explored(p *verify.Program) bool {
	return p.Trace != nil && p.Trace.Processed > 0 && p.Visits != nil
}

// marks says what holds at an instruction.
func marks(p *verify.Program, slot int) []mark {
	var list []mark
	add := func(class, text string) { list = append(list, mark{class, text}) }
	if n := p.Trace.Remembered[slot]; n > 0 {
		add("state", "●"+count(n))
	}
	if n := p.Trace.PrunedAt[slot]; n > 0 {
		add("pruned", "✂"+count(n))
	}
	if p.Facts == nil || slot >= len(p.Facts.Insns) {
		return list
	}
	f := &p.Facts.Insns[slot]
	if a := f.Access.String(); a != "" {
		add("mem", a)
	}
	switch {
	case f.AlwaysJumps:
		add("always", "always")
	case f.NeverJumps:
		add("never", "never")
	}
	if f.TripBound > 0 {
		add("loop", "loop ≤"+count(f.TripBound))
	}
	if f.HasConst {
		add("key", fmt.Sprintf("[%d]", f.Const))
	}
	return list
}

// trace packs a trace for the page's script.
func (v *program) trace(t *skep.VerifierTrace) {
	if t == nil {
		return
	}
	d := &v.Data
	d.Processed, d.Exits, d.Pruned, d.Texts = t.Processed, t.Exits, t.Pruned, t.Texts
	last := 0
	for i := range t.Steps {
		s := &t.Steps[i]
		full := 0
		if s.Full {
			full = 1
		}
		d.Steps = append(d.Steps, s.N-last, s.Slot, s.Frame, full, len(s.Changes))
		last = s.N
		for _, c := range s.Changes {
			d.Steps = append(d.Steps, int(c.Place), c.Text)
		}
	}
	for i := range t.Paths {
		p := &t.Paths[i]
		d.Paths = append(d.Paths, p.Parent, p.Fork, p.First, p.End, int(p.How), p.By)
	}
}

// count prints a number with its thousands apart.
func count[T int | uint32 | uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n uint32, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}
