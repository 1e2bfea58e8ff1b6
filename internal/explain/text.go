package explain

import (
	"fmt"
	"strconv"
	"strings"
)

// Style is what a piece of text is, for those who paint it.
type Style uint8

// Styles.
const (
	Heading Style = iota
	Faint
	Bad
	Good
)

// String returns the explanation as text of several lines.
func (x *Explanation) String() string {
	return x.Text(func(_ Style, text string) string { return text })
}

// Text returns the explanation as text, of which some pieces are painted.
func (x *Explanation) Text(paint func(Style, string) string) string {
	t := printer{x: x, paint: paint}
	if x.Kind == nil { // it never got to the verifier
		return paint(Bad, x.Reason) + "\n"
	}
	fmt.Fprintf(&t.b, "%s: %s\n", paint(Bad, x.Kind.ID), paint(Heading, x.Kind.Title))
	fmt.Fprintf(&t.b, "%s %s (%s)\n", paint(Faint, "verifier:"), x.Reason, x.Errno)

	t.width = t.gutter()
	notes := x.Because
	if n := len(notes); x.At.Insn >= 0 && (n == 0 || !sameLine(notes[n-1].Place, x.At)) {
		notes = append(notes[:n:n], Note{x.At, "refused here"})
	}
	if len(notes) > 0 {
		t.b.WriteByte('\n')
	}
	for i, n := range notes {
		if i == 0 || !sameLine(notes[i-1].Place, n.Place) {
			t.line(n.Place)
		}
		style := Faint
		if i == len(notes)-1 {
			style = Bad
		}
		t.caret(n.Place, n.Text, style)
	}
	t.b.WriteByte('\n')
	t.list("known", x.Known)
	t.list("required", []string{x.Required})
	t.list("change", []string{x.Fix.Text})
	seen := sameLine(x.Fix.Place, x.At) || x.Fix.File == ""
	for _, n := range notes {
		seen = seen || sameLine(x.Fix.Place, n.Place)
	}
	if x.Fix.Code != "" || !seen {
		t.b.WriteByte('\n')
		if x.Fix.After || !seen && !x.Fix.Before {
			t.line(x.Fix.Place)
		}
	}
	if x.Fix.Code != "" {
		indent := ""
		if x.Fix.Place.File != "" && (x.Fix.Before || x.Fix.After) {
			indent = indentOf(x.Fix.Place.Source)
		}
		for _, l := range strings.Split(x.Fix.Code, "\n") {
			fmt.Fprintf(&t.b, "%s %s %s\n", strings.Repeat(" ", t.width), paint(Good, "+"), paint(Good, expand(indent+l)))
		}
		if x.Fix.Before {
			t.line(x.Fix.Place)
		}
	}
	fmt.Fprintf(&t.b, "\n%s %s\n", paint(Faint, "more:"), x.Kind.Page())
	return t.b.String()
}

type printer struct {
	b     strings.Builder
	x     *Explanation
	paint func(Style, string) string
	width int // of line numbers
}

// inlineAsm are lines of C that stand for many instructions.
func inlineAsm(p Place) bool {
	return p.File != "" && strings.Contains(p.Source, "asm") && strings.Contains(p.Source, "volatile")
}

func sameLine(a, b Place) bool {
	if inlineAsm(a) && inlineAsm(b) {
		return a.Insn == b.Insn
	}
	if a.File != "" || b.File != "" {
		return a.File == b.File && a.Line == b.Line
	}
	return a.Insn == b.Insn
}

// gutter is the width of the widest place.
func (t *printer) gutter() int {
	w := len(label(t.x.At))
	for _, n := range t.x.Because {
		w = max(w, len(label(n.Place)))
	}
	return max(w, len(label(t.x.Fix.Place)))
}

// label is what stands before a line: "refused.c:77", or "insn 7".
func label(p Place) string {
	if p.Insn < 0 && p.File == "" {
		return ""
	}
	return p.String()
}

func (t *printer) line(p Place) {
	text := p.Source
	if p.File == "" || inlineAsm(p) {
		text = p.Asm
	}
	fmt.Fprintf(&t.b, "%*s %s %s\n", t.width, label(p), t.paint(Faint, "|"), expand(text))
}

// caret points at the column of a place and says what is there.
func (t *printer) caret(p Place, text string, style Style) {
	col, n := 0, 1
	if p.File != "" && !inlineAsm(p) {
		col = len(expand(p.Source[:min(max(p.Column-1, 0), len(p.Source))]))
		if id := identifier.FindString(p.Source[min(max(p.Column-1, 0), len(p.Source)):]); id != "" {
			n = len(id)
		}
		if p.Column == 0 {
			col = len(expand(indentOf(p.Source)))
		}
	}
	fmt.Fprintf(&t.b, "%*s %s %*s%s\n", t.width, "", t.paint(Faint, "|"), col, "", t.paint(style, strings.Repeat("^", n)+" "+text))
}

func (t *printer) list(title string, items []string) {
	const indent = 10
	for i, item := range items {
		head := ""
		if i == 0 {
			head = title + ":"
		}
		for j, l := range wrap(item, 100-indent) {
			if j > 0 {
				head = ""
			}
			fmt.Fprintf(&t.b, "%s%s\n", t.paint(Heading, head)+strings.Repeat(" ", indent-len(head)), l)
		}
	}
}

// wrap breaks text into lines of at most n bytes, roughly.
func wrap(text string, n int) (lines []string) {
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// expand replaces tabs, so that columns can be pointed at.
func expand(line string) string { return strings.ReplaceAll(line, "\t", "    ") }

func indentOf(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// Annotation returns the explanation as GitHub shows it at a line of a pull
// request (workflow commands): file is the path from the top of the repository.
func (x *Explanation) Annotation(program, file string) string {
	var b strings.Builder
	b.WriteString("::error ")
	place := x.Fix.Place
	if place.File == "" {
		place = x.At
	}
	if place.File != "" {
		fmt.Fprintf(&b, "file=%s,line=%d,", property(file), place.Line)
		if place.Column > 0 {
			fmt.Fprintf(&b, "col=%d,", place.Column)
		}
	}
	title := "refused"
	if x.Kind != nil {
		title = x.Kind.Title
	}
	fmt.Fprintf(&b, "title=%s::", property(program+": "+title))
	var text []string
	text = append(text, x.Reason)
	if x.At.Line != place.Line && x.At.File != "" {
		text[0] += " (at line " + strconv.Itoa(x.At.Line) + ")"
	}
	text = append(text, x.Known...)
	for _, n := range x.Because {
		if n.File != "" {
			text = append(text, fmt.Sprintf("line %d: %s", n.Line, n.Text))
		}
	}
	if x.Fix.Text != "" {
		text = append(text, "Change: "+x.Fix.Text)
	}
	if x.Fix.Code != "" {
		text = append(text, x.Fix.Code)
	}
	b.WriteString(data(strings.Join(text, "\n")))
	return b.String()
}

// data and property escape as workflow commands ask for.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
