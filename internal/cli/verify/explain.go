package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/verify"
)

// Values of --format.
const (
	formatText   = "text"
	formatGitHub = "github"
)

// runExplain says of each refused program why, and what to change.
func runExplain(s *ui.Streams, o *Options) error {
	if o.JSON && o.Format != formatText {
		return ui.Usagef("--json does not go with --format %s", o.Format)
	}
	r, err := report(o)
	if err != nil {
		return err
	}
	failed := false
	for _, p := range r.Programs {
		failed = failed || p.Err != nil
	}
	switch {
	case o.JSON:
		err = printExplainJSON(s, r)
	case o.Format == formatGitHub:
		err = printAnnotations(s, o, r)
	default:
		err = printExplain(s, r)
	}
	if err == nil && failed {
		err = ui.ErrSilent
	}
	return err
}

// printExplain writes a paragraph per refused program.
func printExplain(s *ui.Streams, r *verify.Report) error {
	styles := map[verify.Style]ui.Style{
		verify.Heading: ui.Bold, verify.Faint: ui.Faint, verify.Bad: ui.Red, verify.Good: ui.Green,
	}
	var b strings.Builder
	for _, p := range r.Programs {
		if p.Err == nil {
			fmt.Fprintf(&b, "%s: %s\n", s.Paint(ui.Bold, ui.Printable(p.Name)), s.Paint(ui.Green, "accepted"))
		}
	}
	for _, p := range r.Programs {
		if p.Explanation == nil {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s: %s\n", s.Paint(ui.Bold, ui.Printable(p.Name)), s.Paint(ui.Red, "refused"))
		b.WriteString(p.Explanation.Text(func(style verify.Style, text string) string { return s.Paint(styles[style], text) }))
	}
	_, err := io.WriteString(s.Out, b.String())
	return err
}

// The JSON of --explain; docs/explain.md describes it.
type jsonExplained struct {
	Program     string           `json:"program"`
	Section     string           `json:"section"`
	Type        string           `json:"type"`
	Insns       int              `json:"insns"`
	Accepted    bool             `json:"accepted"`
	Explanation *jsonExplanation `json:"explanation,omitempty"`
}

type jsonExplanation struct {
	Kind     string     `json:"kind,omitempty"`
	Title    string     `json:"title,omitempty"`
	Page     string     `json:"page,omitempty"`
	Errno    string     `json:"errno,omitempty"`
	Reason   string     `json:"reason"`
	At       *jsonPlace `json:"at,omitempty"`
	Required string     `json:"required,omitempty"`
	Known    []string   `json:"known,omitempty"`
	Because  []jsonNote `json:"because,omitempty"`
	Fix      *jsonFix   `json:"fix,omitempty"`
}

type jsonPlace struct {
	Insn   int    `json:"insn"` // -1: the program as a whole
	Asm    string `json:"asm,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Source string `json:"source,omitempty"`
}

type jsonNote struct {
	jsonPlace
	Text string `json:"text"`
}

type jsonFix struct {
	jsonPlace
	Text string `json:"text"`
	Code string `json:"code,omitempty"`
	Goes string `json:"code_goes,omitempty"` // "before", "after" or "at" the line
}

func placeJSON(p verify.Place) jsonPlace {
	return jsonPlace{Insn: p.Insn, Asm: p.Asm, File: p.File, Line: p.Line, Column: p.Column, Source: p.Source}
}

func explanationJSON(x *verify.Explanation) *jsonExplanation {
	j := &jsonExplanation{Errno: x.Errno, Reason: x.Reason, Required: x.Required, Known: x.Known}
	if x.Kind == nil {
		return j
	}
	j.Kind, j.Title, j.Page = x.Kind.ID, x.Kind.Title, x.Kind.Page()
	at := placeJSON(x.At)
	j.At = &at
	for _, n := range x.Because {
		j.Because = append(j.Because, jsonNote{placeJSON(n.Place), n.Text})
	}
	j.Fix = &jsonFix{jsonPlace: placeJSON(x.Fix.Place), Text: x.Fix.Text, Code: x.Fix.Code}
	switch {
	case x.Fix.Code == "":
	case x.Fix.Before:
		j.Fix.Goes = "before"
	case x.Fix.After:
		j.Fix.Goes = "after"
	default:
		j.Fix.Goes = "at"
	}
	return j
}

func printExplainJSON(s *ui.Streams, r *verify.Report) error {
	out := []jsonExplained{}
	for _, p := range r.Programs {
		j := jsonExplained{Program: p.Name, Section: p.Section, Type: p.Type, Insns: p.Insns, Accepted: p.Err == nil}
		if p.Explanation != nil {
			j.Explanation = explanationJSON(p.Explanation)
		}
		out = append(out, j)
	}
	enc := json.NewEncoder(s.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// printAnnotations writes a workflow command per refused program, which GitHub
// shows at the line to change.
func printAnnotations(s *ui.Streams, o *Options, r *verify.Report) error {
	for _, p := range r.Programs {
		x := p.Explanation
		if x == nil {
			continue
		}
		file := x.Fix.File
		if file == "" {
			file = x.At.File
		}
		if _, err := fmt.Fprintln(s.Out, x.Annotation(p.Name, sourcePath(file, o.Object))); err != nil {
			return err
		}
	}
	return nil
}

// sourcePath finds the path of a source file from here. BTF has it as the
// compiler was given it: absolute, or from where the compiler ran, which is
// mostly the object's folder or one above.
func sourcePath(file, object string) string {
	if file == "" {
		return ""
	}
	if filepath.IsAbs(file) {
		if here, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(here, file); err == nil && filepath.IsLocal(rel) {
				return filepath.ToSlash(rel)
			}
		}
		return file
	}
	exists := func(p string) bool {
		st, err := os.Stat(p)
		return err == nil && st.Mode().IsRegular()
	}
	dirs := []string{"."}
	for dir := filepath.Dir(object); ; dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
		if dir == filepath.Dir(dir) || dir == "." {
			break
		}
	}
	for _, dir := range dirs {
		if p := filepath.Join(dir, file); exists(p) {
			return filepath.ToSlash(p)
		}
	}
	if p := filepath.Join(filepath.Dir(object), filepath.Base(file)); exists(p) {
		return filepath.ToSlash(p)
	}
	return filepath.ToSlash(filepath.Clean(file))
}
