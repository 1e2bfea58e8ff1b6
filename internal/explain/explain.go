package explain

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/internal/verifier"
)

// Explanation is why a program was refused.
type Explanation struct {
	Kind   *Kind
	Errno  string // "EACCES"
	Reason string // in the verifier's words, or in ours where it has none
	At     Place  // where it was refused
	// Required is what the kind of refusal requires in general, Known what was
	// known in this case.
	Required string
	Known    []string
	// Because are the places that knowledge comes from, in the order of the path.
	Because []Note
	Fix     Fix
}

// Note is a place on the path and what happened there.
type Note struct {
	Place
	Text string
}

// Fix is a change that would help.
type Fix struct {
	Place         // the line to change, or before or after which to add something
	Text   string // what to do
	Code   string // C, "" where there is nothing to copy
	Before bool   // Code goes before the line, unless After
	After  bool   // Code goes after the line
}

// Place is where in a program something is.
type Place struct {
	Insn   int    // slot; -1: the program as a whole
	Asm    string // text of the instruction
	File   string // "" without line information
	Line   int
	Column int    // in bytes, from 1; 0: not known
	Source string // text of the line
}

// String returns "file.c:12", or "insn 7" where no line is known.
func (p Place) String() string {
	switch {
	case p.File != "":
		return fmt.Sprintf("%s:%d", filepath.Base(p.File), p.Line)
	case p.Insn >= 0:
		return fmt.Sprintf("insn %d", p.Insn)
	}
	return "the program"
}

// Explain says why the program was refused that h is the history of.
func Explain(h *verifier.History) *Explanation {
	s := newStory(h)
	x := s.x
	kind := s.refine(KindOf(h.Err))
	if kind == nil { // cannot be: a test sees to it that every message has a row
		kind = KindByID("internal")
	}
	x.Kind = kind
	x.Required = kind.Requires
	if why := explainers[kind.ID]; why != nil {
		why(s)
	} else {
		s.whyAny()
	}
	s.finish()
	return x
}

// finish fills what an explainer left out.
func (s *story) finish() {
	x := s.x
	if x.Fix.Text == "" {
		x.Fix.Text = x.Kind.Fix
	}
	if x.Fix.Place == (Place{}) {
		x.Fix.Place = x.At
	}
	if s.h.Cut && !s.kindIs("too-complex") {
		s.know("the path is longer than what is remembered of it: where some values come from is not known")
	}
	// The path in order, each place and text once.
	var notes []Note
	for at := range len(s.h.Steps) + 1 {
		for _, n := range s.notes[at] {
			if k := len(notes); k > 0 && notes[k-1].Place.String() == n.Place.String() && notes[k-1].Text == n.Text {
				continue
			}
			notes = append(notes, n)
		}
	}
	x.Because = append(notes, x.Because...)
}

// know adds a fact.
func (s *story) know(format string, args ...any) {
	if t := sentence(fmt.Sprintf(format, args...)); !slices.Contains(s.x.Known, t) {
		s.x.Known = append(s.x.Known, t)
	}
}

// note adds what happened at a moment of the path.
func (s *story) note(at int, format string, args ...any) {
	if at < 0 || at >= len(s.h.Steps) {
		return
	}
	t := fmt.Sprintf(format, args...)
	for _, n := range s.notes[at] {
		if n.Text == t {
			return
		}
	}
	s.notes[at] = append(s.notes[at], Note{s.placeOf(at), t})
}

// fixAt, fixBefore and fixAfter say what to change at, or add before or after, a moment's line.
func (s *story) fixAt(p Place, code, format string, args ...any) {
	s.x.Fix = Fix{Place: p, Code: code, Text: sentence(fmt.Sprintf(format, args...))}
}

func (s *story) fixBefore(p Place, code, format string, args ...any) {
	s.fixAt(p, code, format, args...)
	s.x.Fix.Before = true
}

func (s *story) fixAfter(p Place, code, format string, args ...any) {
	s.fixAt(p, code, format, args...)
	s.x.Fix.After = true
}

// sentence begins with a capital letter, unless with a name, and ends with a full stop.
func sentence(t string) string {
	if t == "" {
		return t
	}
	first, _, _ := strings.Cut(t, " ")
	if !strings.ContainsAny(first, "_`()") {
		t = strings.ToUpper(t[:1]) + t[1:]
	}
	if !strings.ContainsAny(t[len(t)-1:], ".!?;}") {
		t += "."
	}
	return t
}
