package verify

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/verify"
)

// figures is a row of --stats: what is printed, written as CSV and compared.
type figures struct {
	Object    string `json:"object"`
	Program   string `json:"program"`
	Type      string `json:"type"`
	Verdict   string `json:"verdict"`
	Insns     int    `json:"insns"`
	Processed int    `json:"processed"`
	Total     int    `json:"total_states"`
	Peak      int    `json:"peak_states"`
	MaxStates int    `json:"max_states_per_insn"`
	Stack     int    `json:"stack_depth"`
	Usec      int    `json:"time_usec"`

	p *verify.Program
}

func figuresOf(object string, p *verify.Program) figures {
	f := figures{
		Object: object, Program: p.Name, Type: p.Type, Verdict: "accepted", Insns: p.Insns,
		Processed: p.Stats.Processed, Total: p.Stats.TotalStates, Peak: p.Stats.PeakStates,
		MaxStates: p.Stats.MaxStatesPerInsn, Stack: p.Stats.StackDepth, Usec: int(p.Stats.Time.Microseconds()), p: p,
	}
	if p.Err != nil {
		f.Verdict = "refused"
	}
	return f
}

// column is one figure, by the name that --sort, --filter and CSV know it by.
type column struct {
	name  string
	short string                   // in the table
	text  func(f *figures) *string // nil for numbers
	num   func(f *figures) *int
}

// columns are in the order of the CSV.
var columns = []column{
	{name: "object", text: func(f *figures) *string { return &f.Object }},
	{name: "program", short: "program", text: func(f *figures) *string { return &f.Program }},
	{name: "type", short: "type", text: func(f *figures) *string { return &f.Type }},
	{name: "verdict", short: "verdict", text: func(f *figures) *string { return &f.Verdict }},
	{name: "insns", short: ">insns", num: func(f *figures) *int { return &f.Insns }},
	{name: "processed", short: ">processed", num: func(f *figures) *int { return &f.Processed }},
	{name: "total_states", short: ">states", num: func(f *figures) *int { return &f.Total }},
	{name: "peak_states", short: ">peak", num: func(f *figures) *int { return &f.Peak }},
	{name: "max_states_per_insn", num: func(f *figures) *int { return &f.MaxStates }},
	{name: "stack_depth", short: ">stack", num: func(f *figures) *int { return &f.Stack }},
	{name: "time_usec", short: ">µs", num: func(f *figures) *int { return &f.Usec }},
}

// columnByName finds a column by its name or an unambiguous beginning of it.
func columnByName(name string) (*column, error) {
	var found []*column
	for i := range columns {
		if columns[i].name == name {
			return &columns[i], nil
		}
		if name != "" && strings.HasPrefix(columns[i].name, name) {
			found = append(found, &columns[i])
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	return nil, fmt.Errorf("no column %q: there are %s", name, strings.Join(names, ", "))
}

// compare orders two rows by the column.
func (c *column) compare(a, b *figures) int {
	if c.num != nil {
		return cmp.Compare(*c.num(a), *c.num(b))
	}
	return cmp.Compare(*c.text(a), *c.text(b))
}

// sortRows orders rows by a list of columns: "processed,program^". Behind a
// name, ^ means rising and v falling; without, text rises and numbers fall.
func sortRows(rows []figures, by string) error {
	type key struct {
		c    *column
		down bool
	}
	var keys []key
	for name := range strings.SplitSeq(by, ",") {
		bare, direction := name, byte(0)
		if n := len(name) - 1; n > 0 && (name[n] == '^' || name[n] == 'v') {
			bare, direction = name[:n], name[n]
		}
		c, err := columnByName(bare)
		if err != nil {
			return ui.Usagef("--sort: %w", err)
		}
		keys = append(keys, key{c, direction == 'v' || direction == 0 && c.num != nil})
	}
	slices.SortStableFunc(rows, func(a, b figures) int {
		for _, k := range keys {
			if d := k.c.compare(&a, &b); d != 0 {
				if k.down {
					return -d
				}
				return d
			}
		}
		return 0
	})
	return nil
}

// condition keeps or drops rows.
type condition struct {
	not  bool
	glob string // of the program's name; or
	c    *column
	op   string
	num  int
	text string
}

// operators of conditions, the longer before those they begin with.
var operators = []string{"!=", "<=", ">=", "==", "<", ">", "="}

// parseCondition reads "parse_*", "!test_*" or "processed>=1000".
func parseCondition(text string) (condition, error) {
	for _, op := range operators {
		name, value, ok := strings.Cut(text, op)
		if !ok || name == "" {
			continue
		}
		if strings.ContainsAny(name, "!<>=") { // a shorter one is before it
			continue
		}
		c, err := columnByName(strings.TrimSpace(name))
		if err != nil {
			return condition{}, ui.Usagef("--filter %s: %w", text, err)
		}
		value = strings.TrimSpace(value)
		cond := condition{c: c, op: op, text: value}
		if c.num != nil {
			if cond.num, err = strconv.Atoi(value); err != nil {
				return condition{}, ui.Usagef("--filter %s: %q is no number", text, value)
			}
		} else if op != "=" && op != "==" && op != "!=" {
			return condition{}, ui.Usagef("--filter %s: %s is text: = and != compare it", text, c.name)
		}
		return cond, nil
	}
	glob, not := strings.CutPrefix(text, "!")
	if _, err := path.Match(glob, ""); err != nil || glob == "" || strings.ContainsAny(glob, "<>=") {
		return condition{}, ui.Usagef("--filter %q: neither a pattern of names nor a comparison like processed>1000", text)
	}
	return condition{not: not, glob: glob}, nil
}

func (c *condition) holds(f *figures) bool {
	if c.c == nil {
		ok, _ := path.Match(c.glob, f.Program)
		return ok
	}
	var d int
	if c.c.num != nil {
		d = cmp.Compare(*c.c.num(f), c.num)
	} else {
		d = cmp.Compare(*c.c.text(f), c.text)
	}
	switch c.op {
	case "<":
		return d < 0
	case "<=":
		return d <= 0
	case ">":
		return d > 0
	case ">=":
		return d >= 0
	case "!=":
		return d != 0
	}
	return d == 0
}

// filter are the conditions of all --filter together: every comparison holds,
// no pattern with "!" matches, and one of those without, if there are such.
type filter []condition

func parseFilter(texts []string) (filter, error) {
	var conds filter
	for _, text := range texts {
		c, err := parseCondition(text)
		if err != nil {
			return nil, err
		}
		conds = append(conds, c)
	}
	return conds, nil
}

// names leaves the conditions that can be told before a program is verified.
func (f filter) names() filter {
	var conds filter
	for _, c := range f {
		if c.c == nil {
			conds = append(conds, c)
		}
	}
	return conds
}

func (f filter) keeps(row *figures) bool {
	patterns, matched := false, false
	for i := range f {
		c := &f[i]
		holds := c.holds(row)
		switch {
		case c.c != nil && !holds, c.not && holds:
			return false
		case c.c == nil && !c.not:
			patterns, matched = true, matched || holds
		}
	}
	return matched || !patterns
}

// rows keeps those that fulfil the conditions.
func (f filter) rows(rows []figures) []figures {
	return slices.DeleteFunc(rows, func(row figures) bool { return !f.keeps(&row) })
}
