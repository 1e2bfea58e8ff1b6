package verify

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/verify"
)

// runStats prints what verification costs, or compares it with a baseline.
func runStats(s *ui.Streams, o *Options) error {
	if o.Threshold < 0 {
		return ui.Usagef("--threshold %v: not negative", o.Threshold)
	}
	if o.CSV && (o.JSON || o.Top > 0 || o.Compare != "") {
		return ui.Usagef("--csv does not go with --json, --top and --compare")
	}
	if o.Top < 0 {
		return ui.Usagef("--top %d: not negative", o.Top)
	}
	var err error
	if o.filter, err = parseFilter(o.Filters); err != nil {
		return err
	}
	r, err := report(o)
	if err != nil {
		return err
	}
	var rows []figures
	failed := false
	for _, p := range r.Programs {
		rows = append(rows, figuresOf(filepath.Base(o.Object), p))
	}
	rows = o.filter.rows(rows)
	if o.Sort != "" {
		if err := sortRows(rows, o.Sort); err != nil {
			return err
		}
	}
	for i := range rows {
		failed = failed || rows[i].p.Err != nil
	}
	switch {
	case o.Compare != "":
		return runCompare(s, o, rows)
	case o.CSV:
		err = writeCSV(s.Out, rows)
	case o.JSON:
		err = printStatsJSON(s, o, rows)
	default:
		err = printStats(s, o, rows)
	}
	if err == nil && failed {
		err = ui.ErrSilent
	}
	return err
}

func printStats(s *ui.Streams, o *Options, rows []figures) error {
	var titles []string
	for _, c := range columns {
		if c.short != "" {
			titles = append(titles, c.short)
		}
	}
	table := s.NewTable(append(titles, ">budget")...)
	for i := range rows {
		f := &rows[i]
		var cells []string
		for _, c := range columns {
			switch {
			case c.short == "":
			case c.num != nil:
				cells = append(cells, ui.Count(uint64(*c.num(f))))
			default:
				cells = append(cells, ui.Printable(*c.text(f)))
			}
		}
		table.Row(append(cells, percent(f.p.Budget()))...)
	}
	if err := table.Print(s.Out); err != nil {
		return err
	}
	for i := range rows {
		if o.Top == 0 {
			break
		}
		if err := printTop(s, rows[i].p, o.Top); err != nil {
			return err
		}
	}
	return nil
}

// printTop shows the lines that cost most.
func printTop(s *ui.Streams, p *verify.Program, n int) error {
	fmt.Fprintf(s.Out, "\n%s\n", s.Paint(ui.Bold, ui.Printable(p.Name)))
	table := s.NewTable(">processed", ">share", "line", "source")
	for _, h := range p.Hot(n) {
		table.Row(ui.Count(h.Visits), percent(h.Share), ui.Printable(h.Place.String()), ui.Printable(strings.TrimSpace(h.Source)))
	}
	return table.Print(s.Out)
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

type jsonHot struct {
	Where  string  `json:"where"`
	Insn   int     `json:"insn"`
	Source string  `json:"source,omitempty"`
	Visits uint64  `json:"processed"`
	Share  float64 `json:"share"`
}

type jsonStats struct {
	figures
	Budget float64   `json:"budget"`
	Top    []jsonHot `json:"top,omitempty"`
}

func printStatsJSON(s *ui.Streams, o *Options, rows []figures) error {
	out := []jsonStats{}
	for _, f := range rows {
		j := jsonStats{figures: f, Budget: f.p.Budget()}
		for _, h := range f.p.Hot(o.Top) {
			j.Top = append(j.Top, jsonHot{h.Place.String(), h.Insn, strings.TrimSpace(h.Source), h.Visits, h.Share})
		}
		out = append(out, j)
	}
	return printIndented(s, out)
}

func writeCSV(w io.Writer, rows []figures) error {
	out := csv.NewWriter(w)
	var record []string
	for _, c := range columns {
		record = append(record, c.name)
	}
	out.Write(record) // errors stay, for Flush
	for i := range rows {
		record = record[:0]
		for _, c := range columns {
			if c.num != nil {
				record = append(record, strconv.Itoa(*c.num(&rows[i])))
			} else {
				record = append(record, *c.text(&rows[i]))
			}
		}
		out.Write(record)
	}
	out.Flush()
	return out.Error()
}

// readCSV reads what writeCSV wrote. Columns may be missing or be more, in any
// order, but for program, verdict and processed.
func readCSV(r io.Reader) ([]figures, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	heading, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("empty")
	}
	if err != nil {
		return nil, err
	}
	at := make([]*column, len(heading))
	have := map[string]bool{}
	for i, name := range heading {
		for j := range columns {
			if columns[j].name == name {
				at[i], have[name] = &columns[j], true
			}
		}
	}
	for _, name := range []string{"program", "verdict", "processed"} {
		if !have[name] {
			return nil, fmt.Errorf("no column %s: skep verify --stats --csv writes such files", name)
		}
	}
	var rows []figures
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		var f figures
		for i, text := range record {
			switch c := at[i]; {
			case c == nil:
			case c.text != nil:
				*c.text(&f) = text
			default:
				n, err := strconv.Atoi(text)
				if err != nil || n < 0 {
					line, _ := in.FieldPos(i)
					return nil, fmt.Errorf("line %d: %s %q is no number", line, c.name, text)
				}
				*c.num(&f) = n
			}
		}
		rows = append(rows, f)
	}
}

// change is a program before and after; one of the two is nil for those that came or went.
type change struct {
	before, after *figures
	worse         string // why it fails, or ""
}

func runCompare(s *ui.Streams, o *Options, rows []figures) error {
	file, err := os.Open(o.Compare)
	if err != nil {
		return err
	}
	defer file.Close()
	base, err := readCSV(file)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Compare, err)
	}
	base = o.filter.rows(base)
	changes := pair(base, rows, o.Threshold)
	if o.JSON {
		err = printChangesJSON(s, changes)
	} else {
		err = printChanges(s, changes)
	}
	for _, c := range changes {
		if err == nil && c.worse != "" {
			err = ui.ErrSilent
		}
	}
	return err
}

// pair puts programs beside those of the baseline that have the same name and,
// if the baseline knows objects, are of the same object. A baseline may hold
// several objects: its other programs are left out.
func pair(base, rows []figures, threshold float64) []change {
	var changes []change
	used := map[*figures]bool{}
	objects := map[string]bool{"": true}
	for i := range rows {
		after := &rows[i]
		objects[after.Object] = true
		c := change{after: after}
		for j := range base {
			if b := &base[j]; b.Program == after.Program && (b.Object == "" || b.Object == after.Object) && !used[b] {
				c.before, used[b] = b, true
				break
			}
		}
		c.worse = worse(c.before, after, threshold)
		changes = append(changes, c)
	}
	for j := range base {
		if b := &base[j]; !used[b] && objects[b.Object] {
			changes = append(changes, change{before: b})
		}
	}
	return changes
}

// worse says why a change is one to fail for.
func worse(before, after *figures, threshold float64) string {
	switch {
	case after.Verdict == "refused" && (before == nil || before.Verdict != "refused"):
		return "refused"
	case before == nil || after.Verdict == "refused":
		return ""
	case before.Verdict == "accepted" && float64(after.Processed) > float64(before.Processed)*(1+threshold/100):
		return fmt.Sprintf("more than %v %% over the baseline", threshold)
	}
	return ""
}

func printChanges(s *ui.Streams, changes []change) error {
	table := s.NewTable("program", "verdict", ">processed", ">was", ">change", ">states", ">was", "")
	for _, c := range changes {
		switch {
		case c.after == nil:
			table.Row(ui.Printable(c.before.Program), "gone", "", ui.Count(uint64(c.before.Processed)), "", "", ui.Count(uint64(c.before.Total)))
		case c.before == nil:
			table.Row(ui.Printable(c.after.Program), c.after.Verdict, ui.Count(uint64(c.after.Processed)), "", "new",
				ui.Count(uint64(c.after.Total)), "", c.worse)
		default:
			style := ui.Plain
			if c.worse != "" {
				style = ui.Red
			}
			table.Styled(style, ui.Printable(c.after.Program), c.after.Verdict,
				ui.Count(uint64(c.after.Processed)), ui.Count(uint64(c.before.Processed)), growth(c.before.Processed, c.after.Processed),
				ui.Count(uint64(c.after.Total)), ui.Count(uint64(c.before.Total)), c.worse)
		}
	}
	return table.Print(s.Out)
}

// growth returns "+12.5%".
func growth(before, after int) string {
	switch {
	case before == after:
		return "0.0%"
	case before == 0:
		return "+∞"
	}
	return fmt.Sprintf("%+.1f%%", 100*(float64(after)/float64(before)-1))
}

type jsonChange struct {
	Program string   `json:"program"`
	Before  *figures `json:"before,omitempty"`
	After   *figures `json:"after,omitempty"`
	Worse   string   `json:"worse,omitempty"`
}

func printChangesJSON(s *ui.Streams, changes []change) error {
	out := []jsonChange{}
	for _, c := range changes {
		j := jsonChange{Before: c.before, After: c.after, Worse: c.worse}
		if c.after != nil {
			j.Program = c.after.Program
		} else {
			j.Program = c.before.Program
		}
		out = append(out, j)
	}
	return printIndented(s, out)
}
