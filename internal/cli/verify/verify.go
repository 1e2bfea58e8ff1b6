// Package verify is skep verify: what the verifier says of an object's programs.
package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// Options are what the command line says.
type Options struct {
	Object   string
	Progs    []string
	LogLevel uint32
	JSON     bool
	Engine   string
	BTF      string
	Unpriv   bool
	HTML     string // file to write a page to
	Explain  bool
	Format   string

	Kernels   []string
	MinKernel bool

	Stats     bool
	CSV       bool
	Sort      string
	Filters   []string
	filter    filter // parsed
	Compare   string
	Threshold float64 // percent
	Top       int
}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "verify OBJECT",
		Short: "Say which programs the verifier accepts, and why not the others",
		Long: `Verifies the programs of an object file by the kernel's rules, each by itself.
Prints a table, and for each program that is refused the reason, the instruction
and the source line. The exit code is 1 when one is refused.

--explain says why a program is refused: what the verifier knew, where on the path
it knew that from, and what to change, at which line. --format github prints that
as annotations for a pull request (docs/ci.md), and implies it. docs/errors has a
page for each kind of refusal.

Log levels are the kernel's: 1 shows the state at branches, 2 at every
instruction, 4 the statistics alone; they may be added up.

--kernel and --min-kernel answer which releases of Linux load the programs,
without asking one: what a release lacks, and where the program first needs it,
is known from tables (docs/reference/since.md). Of what no table tells, how well
old verifiers track numbers, the answer is "likely". Guards that choose code by
the kernel's types or version are taken as they turn out on this machine, or by
--btf. The exit code is 1 when a release asked for does not load a program.

--stats prints what verification costs: instructions processed of the million
allowed, states, stack, time; --top the source lines that cost most. --sort takes
columns, as processed,program^ (^ rising, v falling), --filter patterns of program
names, !patterns and comparisons (processed>1000). --csv writes a baseline,
--compare reads one: the exit code is 1 when a program processes more than
--threshold percent above it, or is refused. All these imply --stats.

--html writes a page besides, one file without links to others: flow graph, source
and instructions, and what the verifier knew at every step of the paths it
followed, for programs it accepts as well. The key ? lists the page's keys. Of
explorations of many thousand steps the page holds a part; its counts are exact.`,
		Example: `  skep verify examples/firewall/firewall.o
  skep verify --explain examples/refused/refused.o
  skep verify --kernel 5.4,5.10,6.1 --min-kernel examples/loops/loops.o
  skep verify --stats --top 3 examples/balancer/balancer.o
  skep verify --html refused.html examples/refused/refused.o
  skep verify --log-level 2 --prog no_bounds_check examples/refused/refused.o`,
		Args: ui.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Object = args[0]
			kernels := len(o.Kernels) > 0 || o.MinKernel
			stats := o.Stats || o.CSV || o.Sort != "" || len(o.Filters) > 0 || o.Compare != "" || o.Top != 0
			if f := cmd.Flags().Lookup("format"); f.Changed {
				o.Explain = true
			}
			switch {
			case o.Explain && (kernels || stats):
				return ui.Usagef("--explain does not go with --kernel, --min-kernel and the flags of --stats")
			case kernels && stats:
				return ui.Usagef("--kernel and --min-kernel do not go with the flags of --stats")
			}
			if o.HTML != "" {
				if err := writePage(&o); err != nil {
					return err
				}
			}
			switch {
			case o.Explain:
				return runExplain(s, &o)
			case kernels:
				return runKernels(s, &o)
			case stats:
				return runStats(s, &o)
			}
			return run(s, &o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Progs, "prog", nil, "verify only the program of this `name` (may be repeated)")
	f.Uint32Var(&o.LogLevel, "log-level", 0, "print the verifier's log at level `n`")
	f.BoolVarP(&o.JSON, "json", "j", false, "print JSON")
	ui.OneOf(f, &o.Engine, "engine", engine.Skep, "whose verifier; linux is the kernel beneath", engine.Names...)
	f.BoolVar(&o.Unpriv, "unprivileged", false, "apply the rules for callers without CAP_BPF and CAP_PERFMON")
	f.BoolVar(&o.Explain, "explain", false, "say why programs are refused, and what to change")
	ui.OneOf(f, &o.Format, "format", formatText, "how to print explanations", formatText, formatGitHub)
	f.StringVar(&o.BTF, "btf", "", "relocate against the kernel types in `file`, not this machine's")
	f.StringVar(&o.HTML, "html", "", "write a page that shows how the verifier went through the programs to `file`")
	f.StringSliceVar(&o.Kernels, "kernel", nil, "say which of these `releases` of Linux (5.10,6.1; lts: those maintained for years) load the programs")
	f.BoolVar(&o.Stats, "stats", false, "print what verifying each program costs")
	f.BoolVar(&o.CSV, "csv", false, "print the statistics as CSV, a baseline for --compare")
	f.StringVar(&o.Sort, "sort", "", "order the statistics by `columns`: processed,program^")
	f.StringArrayVar(&o.Filters, "filter", nil, "only programs whose name matches `pattern`, !pattern, or processed>1000 (may be repeated)")
	f.StringVar(&o.Compare, "compare", "", "compare with the baseline in `file`")
	f.Float64Var(&o.Threshold, "threshold", 10, "with --compare, the `percent` by which a program may grow")
	f.IntVar(&o.Top, "top", 0, "show the `n` source lines that cost the verifier most")
	f.BoolVar(&o.MinKernel, "min-kernel", false, "say which is the oldest Linux that loads each program")
	return cmd
}

// result is a program and what was said of it.
type result struct {
	prog    *image.Program
	log     string
	refused *refusal // nil: accepted
	stats   stats
}

func run(s *ui.Streams, o *Options) error {
	if o.LogLevel > 7 {
		return ui.Usagef("--log-level %d: 0 to 7", o.LogLevel)
	}
	open := engine.ByName(o.Engine)
	opts := engine.Options{CPUs: 1, Unprivileged: o.Unpriv, VerifyOnly: true}
	img, err := opts.LoadImage(o.Object, o.BTF)
	if err != nil {
		return err
	}
	progs, err := choose(img, o)
	if err != nil {
		return err
	}
	coll, err := open(img, &opts)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Object, err)
	}
	defer coll.Close()

	var results []result
	failed := false
	for _, p := range progs {
		r, err := ask(coll, img, p, o.LogLevel)
		if err != nil {
			return fmt.Errorf("%s: program %s: %w", o.Object, p.Name, err)
		}
		failed = failed || r.refused != nil
		results = append(results, r)
	}
	if o.JSON {
		err = printJSON(s, o, results)
	} else {
		err = print(s, o, results)
	}
	if err == nil && failed {
		err = ui.ErrSilent
	}
	return err
}

// choose returns the programs the options mean: all that load by themselves.
// Those that --filter leaves out by their names are not even verified.
func choose(img *image.Image, o *Options) ([]*image.Program, error) {
	if len(img.Programs) == 0 {
		return nil, fmt.Errorf("%s: no program in it", o.Object)
	}
	names := o.filter.names()
	var progs []*image.Program
	if len(o.Progs) == 0 {
		for _, p := range img.Programs {
			if names.keeps(&figures{Program: p.Name}) {
				progs = append(progs, p)
			}
		}
		if len(progs) == 0 {
			return nil, fmt.Errorf("%s: no program that --filter asks for: %s", o.Object, ui.There(engine.ProgramNames(img.Programs)))
		}
		return progs, nil
	}
	for _, name := range o.Progs {
		p := img.Program(name)
		if p == nil {
			return nil, fmt.Errorf("%s: no program %s: %s", o.Object, name, ui.There(engine.ProgramNames(img.Programs)))
		}
		progs = append(progs, p)
	}
	return progs, nil
}

// Bits of the log level.
const (
	logStates = 1
	logInsns  = 2
)

func ask(coll engine.Collection, img *image.Image, p *image.Program, level uint32) (result, error) {
	r := result{prog: p}
	if p.Err != nil { // it never gets to the verifier
		r.refused = &refusal{Reason: p.Err.Error(), Insn: -1}
		return r, nil
	}
	v, err := coll.Verify(p, level)
	if err != nil {
		return r, err
	}
	r.log, r.stats = v.Log, statsOf(v.Log)
	if v.Refused == nil {
		return r, nil
	}
	if level&(logStates|logInsns) == 0 { // such a log does not say which instruction
		if v, err = coll.Verify(p, logStates); err != nil {
			return r, err
		}
	}
	r.refused = refusalOf(v, p)
	if missing := img.Missing(p, r.refused.Insn); missing != "" {
		r.refused.Reason += ": " + missing
	}
	return r, nil
}

// print writes a table, then the refusals, then the logs that were asked for.
func print(s *ui.Streams, o *Options, results []result) error {
	table := s.NewTable("program", "type", ">insns", "verdict", ">processed", ">states", ">peak")
	for _, r := range results {
		verdict := "accepted"
		if r.refused != nil {
			verdict = "refused"
		}
		table.Row(ui.Printable(r.prog.Name), r.prog.Type.String(), strconv.Itoa(len(r.prog.Insns)), verdict,
			number(r.stats.Processed), number(r.stats.Total), number(r.stats.Peak))
	}
	if err := table.Print(s.Out); err != nil {
		return err
	}
	var b strings.Builder
	lines := true
	for _, r := range results {
		if r.refused == nil {
			continue
		}
		lines = lines && (r.refused.Insn < 0 || len(r.prog.Lines) > 0)
		fmt.Fprintf(&b, "\n%s: %s\n", s.Paint(ui.Red, ui.Printable(r.prog.Name)), ui.Printable(r.refused.Reason))
		if r.refused.Insn >= 0 {
			fmt.Fprintf(&b, "  insn %d: %s\n", r.refused.Insn, r.refused.Text)
		}
		if r.refused.Source != "" {
			fmt.Fprintf(&b, "  %s: %s\n", ui.Printable(r.refused.Where), ui.Printable(r.refused.Source))
		}
	}
	if b.Len() > 0 && o.LogLevel == 0 {
		hint := "skep verify --explain says why, and what to change."
		if !lines {
			hint += " An object compiled with -g shows source lines."
		}
		fmt.Fprintf(&b, "\n%s\n", s.Paint(ui.Faint, hint))
	}
	if o.LogLevel != 0 {
		for _, r := range results {
			fmt.Fprintf(&b, "\n%s\n%s", s.Paint(ui.Bold, "-- "+ui.Printable(r.prog.Name)+" --"), r.log)
		}
	}
	_, err := io.WriteString(s.Out, b.String())
	return err
}

func number(n int) string {
	if n < 0 {
		return ""
	}
	return ui.Count(uint64(n))
}

type jsonResult struct {
	Program  string   `json:"program"`
	Section  string   `json:"section"`
	Type     string   `json:"type"`
	Insns    int      `json:"insns"`
	Accepted bool     `json:"accepted"`
	Refusal  *refusal `json:"refusal,omitempty"`
	Stats    stats    `json:"stats"`
	Log      string   `json:"log,omitempty"`
}

func printJSON(s *ui.Streams, o *Options, results []result) error {
	out := []jsonResult{}
	for _, r := range results {
		j := jsonResult{
			Program: r.prog.Name, Section: r.prog.Section, Type: r.prog.Type.String(), Insns: len(r.prog.Insns),
			Accepted: r.refused == nil, Refusal: r.refused, Stats: r.stats,
		}
		if o.LogLevel != 0 {
			j.Log = r.log
		}
		out = append(out, j)
	}
	enc := json.NewEncoder(s.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}
