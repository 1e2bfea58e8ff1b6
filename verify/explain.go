package verify

import (
	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/explain"
)

// Explanation says why a program is refused: the kind of refusal, what the
// verifier required and knew, the places on the path that this comes from, and
// the change that would help. Its String is text of several lines for a test's log.
type Explanation = explain.Explanation

// Kind is a kind of refusal; each has a page in docs/errors.
type Kind = explain.Kind

// Place is where in a program something is.
type Place = explain.Place

// Note is a place on the path to a refusal, and what happened there.
type Note = explain.Note

// Fix is a change that would help: where, what, and C where it can be given.
type Fix = explain.Fix

// Style is what a piece of an explanation's text is, for those who paint it.
type Style = explain.Style

// Styles.
const (
	Heading = explain.Heading
	Faint   = explain.Faint
	Bad     = explain.Bad
	Good    = explain.Good
)

// Kinds lists the kinds of refusals.
func Kinds() []*Kind { return explain.Kinds() }

// explanation explains a refused program.
func explanation(m *skep.Machine, img *image.Image, p *Program) (*Explanation, error) {
	h, err := m.VerifierHistory(img, p.Name)
	if err != nil {
		return nil, err
	}
	if h == nil { // it never gets to the verifier
		return &Explanation{Reason: p.Err.Error(), At: Place{Insn: -1}, Fix: Fix{Place: Place{Insn: -1}}}, nil
	}
	x := explain.Explain(h)
	if missing := img.Missing(img.Program(p.Name), x.At.Insn); missing != "" {
		x.Known = append(x.Known, missing)
		x.Fix = Fix{Place: Place{Insn: -1}, Text: "Verify against types of a kernel that has it (--btf FILE), or ask first whether it is there: bpf_ksym_exists(), bpf_core_field_exists()."}
	}
	return x, nil
}
