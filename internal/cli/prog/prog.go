// Package prog is skep prog: what there is to know of programs, with bpftool's
// grammar and output.
package prog

import (
	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	cmd := &cobra.Command{
		Use:   "prog COMMAND",
		Short: "Show, load and run programs of a machine or the kernel, as bpftool does",
		Long: `Shows what there is to know of programs, loads and runs them, with bpftool's grammar
and output: those of a machine that skep serve keeps (--machine, SKEP_MACHINE), or of
the kernel (--engine linux). Any beginning of a word stands for it. dump takes object
files too, and needs neither then.

  PROG := { id N | tag TAG | name NAME | pinned FILE }`,
		Example: `  skep prog dump xlated examples/loops/loops.o:plain
  skep prog dump jited examples/loops/loops.o:plain linum
  skep prog show --machine /tmp/machine -f
  sudo skep prog show --engine linux -j`,
	}
	cmd.AddCommand(newDump(s, &o))
	return o.Noun(s, cmd, "show list help dump pin", []objects.VerbRow{
		{Use: "show [PROG]", Aliases: []string{"list"}, Short: "Show programs: types, tags, sizes, where they are pinned (-f)", Do: show},
		{Use: "pin PROG FILE", Short: "Give a program a name in a BPF file system", Do: pin},
	})
}
