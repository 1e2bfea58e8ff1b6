package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/verify"
)

// report verifies the object's programs for the modes that say more than the verdict.
func report(o *Options) (*verify.Report, error) {
	if o.Engine != engine.Skep {
		return nil, ui.Usagef("--explain, --kernel, --min-kernel, --stats and --top are of skep's own verifier: not with --engine %s", o.Engine)
	}
	if o.LogLevel != 0 {
		return nil, ui.Usagef("--log-level does not go with --explain, --kernel, --min-kernel, --stats and --top")
	}
	opts := engine.Options{CPUs: 1}
	img, err := opts.LoadImage(o.Object, o.BTF)
	if err != nil {
		return nil, err
	}
	progs, err := choose(img, o)
	if err != nil {
		return nil, err
	}
	r, err := verify.Image(img, &verify.Options{Programs: engine.ProgramNames(progs), KernelBTF: opts.KernelBTF, Unprivileged: o.Unpriv, Explain: o.Explain})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Object, err)
	}
	return r, nil
}

// kernelRow is what was said of one program.
type kernelRow struct {
	p        *verify.Program
	verdicts []verify.Verdict
	min      *verify.Verdict // asked for, and there is one
}

// runKernels answers which kernels load the programs.
func runKernels(s *ui.Streams, o *Options) error {
	var kernels []verify.Kernel
	for _, name := range o.Kernels {
		if name == "lts" {
			kernels = append(kernels, verify.LongTerm()...)
			continue
		}
		k, err := verify.ParseKernel(name)
		if err != nil {
			return ui.Usagef("--kernel: %w", err)
		}
		kernels = append(kernels, k)
	}
	r, err := report(o)
	if err != nil {
		return err
	}
	var rows []kernelRow
	failed := false
	for _, p := range r.Programs {
		row := kernelRow{p: p}
		for _, k := range kernels {
			v := p.On(k)
			row.verdicts = append(row.verdicts, v)
			failed = failed || !v.OK()
		}
		if o.MinKernel {
			if v, ok := p.MinKernel(); ok {
				row.min = &v
			}
		}
		failed = failed || p.Err != nil
		rows = append(rows, row)
	}
	if o.JSON {
		err = printKernelsJSON(s, rows)
	} else {
		err = printKernels(s, o, kernels, rows)
	}
	if err == nil && failed {
		err = ui.ErrSilent
	}
	return err
}

func printKernels(s *ui.Streams, o *Options, kernels []verify.Kernel, rows []kernelRow) error {
	titles := []string{"program", "type"}
	for _, k := range kernels {
		titles = append(titles, k.String())
	}
	if o.MinKernel {
		titles = append(titles, "oldest")
	}
	table := s.NewTable(titles...)
	for _, row := range rows {
		cells := []string{ui.Printable(row.p.Name), row.p.Type}
		for _, v := range row.verdicts {
			cells = append(cells, string(v.Answer))
		}
		switch {
		case !o.MinKernel:
		case row.min == nil:
			cells = append(cells, string(verify.Refused))
		case row.min.Answer == verify.Likely:
			cells = append(cells, row.min.Kernel.String()+" (likely)")
		default:
			cells = append(cells, row.min.Kernel.String())
		}
		table.Row(cells...)
	}
	if err := table.Print(s.Out); err != nil {
		return err
	}
	var b strings.Builder
	for _, row := range rows {
		explainKernels(&b, s, row)
	}
	_, err := io.WriteString(s.Out, b.String())
	return err
}

// explainKernels writes the reasons of one program's verdicts, each with all the
// kernels it holds for.
func explainKernels(b *strings.Builder, s *ui.Streams, row kernelRow) {
	name := s.Paint(ui.Red, ui.Printable(row.p.Name))
	if row.p.Err != nil {
		fmt.Fprintf(b, "\n%s: refused by every verifier known: %s\n", name, ui.OneLine(row.p.Err.Error()))
		return
	}
	verdicts := row.verdicts
	if row.min != nil {
		for i := range row.p.Needs { // what keeps it from being older
			n := &row.p.Needs[i]
			if !n.Likely && n.Since == row.min.Kernel {
				fmt.Fprintf(b, "\n%s: %v is the oldest: %s\n%s", name, row.min.Kernel, n, placeLines(n.Place))
				break
			}
		}
		if !slices.Contains(verdicts, *row.min) {
			verdicts = append(slices.Clip(verdicts), *row.min)
		}
	}
	told := map[*verify.Need]bool{}
	for i, v := range verdicts {
		if v.Missing == nil || told[v.Missing] {
			continue
		}
		told[v.Missing] = true
		var on []string
		for _, other := range verdicts[i:] {
			if other.Missing == v.Missing {
				on = append(on, other.Kernel.String())
			}
		}
		word := "missing"
		if v.Answer == verify.Likely {
			word = "missing, and maybe needed"
		}
		fmt.Fprintf(b, "\n%s: %s on %s: %s\n%s", name, word, strings.Join(on, ", "), v.Missing, placeLines(v.Missing.Place))
	}
}

// placeLines shows where something is needed.
func placeLines(at verify.Place) string {
	var b strings.Builder
	if at.Insn >= 0 {
		fmt.Fprintf(&b, "  insn %d\n", at.Insn)
	}
	if at.File != "" {
		fmt.Fprintf(&b, "  %s: %s\n", ui.Printable(at.String()), ui.Printable(strings.TrimSpace(at.Source)))
	}
	return b.String()
}

type jsonNeed struct {
	What   string `json:"what"`
	Since  string `json:"since"`
	Commit string `json:"commit,omitempty"`
	Insn   int    `json:"insn"`
	Where  string `json:"where,omitempty"`
	Source string `json:"source,omitempty"`
}

type jsonVerdict struct {
	Kernel  string        `json:"kernel"`
	Loads   verify.Answer `json:"loads"`
	Missing *jsonNeed     `json:"missing,omitempty"`
}

type jsonKernels struct {
	Program string        `json:"program"`
	Section string        `json:"section"`
	Type    string        `json:"type"`
	Refusal string        `json:"refusal,omitempty"`
	Kernels []jsonVerdict `json:"kernels,omitempty"`
	Oldest  *jsonVerdict  `json:"oldest,omitempty"`
}

func printKernelsJSON(s *ui.Streams, rows []kernelRow) error {
	out := []jsonKernels{}
	for _, row := range rows {
		j := jsonKernels{Program: row.p.Name, Section: row.p.Section, Type: row.p.Type}
		if row.p.Err != nil {
			j.Refusal = row.p.Err.Error()
		}
		for _, v := range row.verdicts {
			j.Kernels = append(j.Kernels, verdictJSON(v))
		}
		if row.min != nil {
			v := verdictJSON(*row.min)
			j.Oldest = &v
		}
		out = append(out, j)
	}
	return printIndented(s, out)
}

func verdictJSON(v verify.Verdict) jsonVerdict {
	j := jsonVerdict{Kernel: v.Kernel.String(), Loads: v.Answer}
	if n := v.Missing; n != nil {
		j.Missing = &jsonNeed{What: n.What, Since: n.Since.String(), Commit: n.Commit, Insn: n.Place.Insn}
		if n.Place.File != "" {
			j.Missing.Where, j.Missing.Source = n.Place.String(), strings.TrimSpace(n.Place.Source)
		}
	}
	return j
}

// printIndented writes a value as JSON for people and programs.
func printIndented(s *ui.Streams, v any) error {
	enc := json.NewEncoder(s.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
