// Package cli is the skep command: one package per verb below it, joined here.
//
// Exit codes are the same everywhere: 0 all is well; 1 a program was refused, a
// run failed or input is at fault; 2 the command line is wrong. An error is one
// line on standard error that begins with the command's name.
package cli

import (
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/asm"
	"github.com/skep-bpf/skep/internal/cli/bpfmap"
	"github.com/skep-bpf/skep/internal/cli/bpfnet"
	"github.com/skep-bpf/skep/internal/cli/btf"
	"github.com/skep-bpf/skep/internal/cli/cgroup"
	"github.com/skep-bpf/skep/internal/cli/classic"
	"github.com/skep-bpf/skep/internal/cli/conformance"
	"github.com/skep-bpf/skep/internal/cli/disasm"
	"github.com/skep-bpf/skep/internal/cli/exec"
	"github.com/skep-bpf/skep/internal/cli/feature"
	"github.com/skep-bpf/skep/internal/cli/filter"
	"github.com/skep-bpf/skep/internal/cli/ip"
	"github.com/skep-bpf/skep/internal/cli/iter"
	"github.com/skep-bpf/skep/internal/cli/link"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/perf"
	"github.com/skep-bpf/skep/internal/cli/prog"
	"github.com/skep-bpf/skep/internal/cli/run"
	"github.com/skep-bpf/skep/internal/cli/serve"
	"github.com/skep-bpf/skep/internal/cli/structops"
	"github.com/skep-bpf/skep/internal/cli/tc"
	"github.com/skep-bpf/skep/internal/cli/token"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/cli/verify"
	"github.com/skep-bpf/skep/internal/cli/version"
)

// Main runs the command line and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	// A reader that goes away ends the command through EPIPE, after it has
	// cleaned up, not through a signal in the middle.
	signal.Ignore(syscall.SIGPIPE)

	s := ui.New(in, out, errw)
	root := New(s)
	root.SetArgs(nounFirst(root, args))
	cmd, err := root.ExecuteC()
	return ui.Report(errw, cmd.CommandPath(), err)
}

// New returns the skep command with all others below it.
func New(s *ui.Streams) *cobra.Command {
	var root *cobra.Command
	root = &cobra.Command{
		Use:   "skep",
		Short: "Run, verify and look at BPF programs, without root or a kernel",
		Long: `skep is the Linux kernel's BPF system in user space: it loads the object that
clang built for Linux, verifies it by the kernel's rules, runs it on packets and
shows what became of them.

Exit codes: 0 all is well; 1 a program was refused, a run failed or input is at
fault; 2 the command line is wrong.`,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(root, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(ui.FlagError)
	for _, g := range groups(s) {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(conformance.NewCmd(s), version.NewCmd(s))
	objects.Abbreviate(root, nouns)
	root.SetUsageTemplate(withoutAliases(root.UsageTemplate()))
	root.SetHelpCommand(helpCommand(root))
	sayUsage(root.Commands())
	return root
}

// sayUsage has commands, and those below them, say how they are called when
// their arguments are wrong.
func sayUsage(commands []*cobra.Command) {
	for _, cmd := range commands {
		sayUsage(cmd.Commands())
		check := cmd.Args
		if check == nil {
			continue
		}
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return ui.Usagef("%w: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
}

// noCommand says that there is no such command, and which one may be meant.
func noCommand(parent *cobra.Command, name string) error {
	meant := ""
	if like := parent.SuggestionsFor(name); len(like) > 0 {
		meant = fmt.Sprintf("did you mean %s? ", like[0])
	}
	return ui.Usagef("there is no command %q: %ssee %s --help", name, meant, parent.CommandPath())
}

// helpCommand is skep help, which cobra's own does not fail for names there are not.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, left, err := root.Find(args)
			if err != nil || cmd == root && len(left) > 0 {
				return noCommand(root, args[0])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// group are commands that the help lists together.
type group struct {
	id, title string
	commands  []*cobra.Command
}

func groups(s *ui.Streams) []group {
	return []group{
		{"programs", "Programs from object files:", []*cobra.Command{
			run.NewCmd(s), verify.NewCmd(s), disasm.NewCmd(s), asm.NewCmd(s),
		}},
		{"packets", "Packet filters:", []*cobra.Command{filter.NewCmd(s), classic.NewCmd(s)}},
		{"machines", "Machines in user space, and other people's programs on them:", []*cobra.Command{
			exec.NewCmd(s), serve.NewCmd(s), ip.NewCmd(s), tc.NewCmd(s),
		}},
		{"objects", "What is in a machine, in the kernel or in files, as bpftool shows it:", []*cobra.Command{
			prog.NewCmd(s), bpfmap.NewCmd(s), link.NewCmd(s), btf.NewCmd(s), feature.NewCmd(s), bpfnet.NewCmd(s),
			cgroup.NewCmd(s), perf.NewCmd(s), iter.NewCmd(s), structops.NewCmd(s), token.NewCmd(s),
		}},
	}
}

// nouns are the commands that bpftool has too, in its order: a beginning stands
// for the first.
const nouns = "prog map link cgroup perf net feature btf struct_ops iter token"

// nounFirst puts options that stand before one of the nouns behind it, as
// bpftool takes them: skep -j map show.
func nounFirst(root *cobra.Command, args []string) []string {
	n := 0
	for n < len(args) && len(args[n]) > 1 && args[n][0] == '-' && args[n] != "--" {
		switch args[n] {
		case "--engine", "--machine": // with a word of their own
			n++
		}
		n++
	}
	if n == 0 || n >= len(args) {
		return args
	}
	cmd, _, err := root.Find(args[n : n+1])
	if err != nil || !slices.Contains(strings.Fields(nouns), cmd.Name()) {
		return args
	}
	return slices.Concat(args[n:n+1], args[:n], args[n+1:])
}

// withoutAliases takes the list of a command's other names, among which are all
// beginnings of its name, out of its help.
func withoutAliases(template string) string {
	from := strings.Index(template, "{{if gt (len .Aliases) 0}}")
	if from < 0 {
		return template
	}
	end := strings.Index(template[from:], "{{end}}")
	return template[:from] + template[from+end+len("{{end}}"):]
}
