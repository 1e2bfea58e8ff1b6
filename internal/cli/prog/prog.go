// Package prog is skep prog: what there is to know of programs, with bpftool's
// grammar and output.
package prog

import (
	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/ui"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prog COMMAND",
		Short: "Look at programs as bpftool does",
		Long:  "Shows what there is to know of programs, with bpftool's grammar and output.",
		Example: `  skep prog dump xlated examples/loops/loops.o:plain
  skep prog dump jited examples/loops/loops.o:plain linum`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDump(s))
	return cmd
}
