package page

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"path/filepath"
	"strings"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/verify"
)

// why is what the head of a refused program's section says.
type why struct {
	Reason        string // in the verifier's words
	Where, Source string // file and line, and its text
	// Title is the kind of refusal, Required what the verifier requires in general,
	// Known what it knew in this case.
	Title, Required string
	Known           []template.HTML
	// Pins are remarks at instructions and lines, in the order of the path.
	Pins []pin
}

// pin is a remark that belongs to an instruction and its line.
type pin struct {
	Label string // "1" of a chain; "fix"; "" for the refusal itself
	Class string // bad, why-step or fix
	Text  template.HTML
	Plain string // the same without markup
	Code  string // C, to copy
	Where string // file and line
	Slot  int    // -1: a line only

	file string
	line int
}

// newWhy says why a program was refused.
func newWhy(p *verify.Program, ip *image.Program, ve *skep.VerifierError) *why {
	w := &why{Reason: cmp.Or(ve.Msg, ve.Errno.Error())}
	if l := lineInfo(ip, ve.Slot); l != nil {
		w.Where = fmt.Sprintf("%s:%d", filepath.Base(l.File), l.LineNo)
		w.Source = strings.TrimSpace(l.Line)
	}
	w.Pins = append(w.Pins, pin{Class: "bad", Text: quoted(w.Reason), Slot: ve.Slot})
	if p.Explanation != nil {
		w.explain(p.Explanation)
	}
	return w
}

// explain adds what an explanation says: the kind, and the chain of places.
func (w *why) explain(x *verify.Explanation) {
	if x.Kind != nil {
		w.Title = x.Kind.Title
	}
	w.Required = x.Required
	for _, k := range x.Known {
		w.Known = append(w.Known, quoted(k))
	}
	add := func(label, class, text, code string, at verify.Place) {
		p := pin{Label: label, Class: class, Text: quoted(text), Plain: text, Code: code, Slot: at.Insn, file: at.File, line: at.Line}
		if at.File != "" {
			p.Where = at.String()
		}
		w.Pins = append(w.Pins, p)
	}
	for i, n := range x.Because {
		add(fmt.Sprint(i+1), "why-step", n.Text, "", n.Place)
	}
	if x.Fix.Text != "" {
		add("fix", "fix", x.Fix.Text, x.Fix.Code, x.Fix.Place)
	}
}

// quoted is text whose `names` in backticks are set as code.
func quoted(s string) template.HTML {
	parts := strings.Split(html.EscapeString(s), "`")
	if len(parts)%2 == 0 { // a lone backtick
		return template.HTML(strings.Join(parts, "`"))
	}
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		b.WriteString(part)
	}
	return template.HTML(b.String())
}
