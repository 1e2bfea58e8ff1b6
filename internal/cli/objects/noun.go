package objects

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/ui"
)

// VerbRow is one verb of a noun.
type VerbRow struct {
	Use     string   // its name and grammar: "dump MAP"
	Aliases []string // other names of it
	Short   string
	Long    string
	Example string
	Do      func(*Verb) error
}

// Noun adds verbs to a command. Without a verb it does the first, as bpftool
// does, where a system is named, and else shows its help. order is that of
// bpftool's table: a beginning of a name stands for the first in it that has it.
func (o *Options) Noun(s *ui.Streams, cmd *cobra.Command, order string, rows []VerbRow) *cobra.Command {
	o.Flags(cmd)
	for _, r := range rows {
		cmd.AddCommand(&cobra.Command{
			Use: r.Use, Aliases: r.Aliases, Short: r.Short, Long: r.Long, Example: r.Example,
			Args: cobra.ArbitraryArgs, RunE: o.Run(s, r.Do),
		})
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("there is no command %q", args[0])
		}
		return nil
	}
	first := o.Run(s, rows[0].Do)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !o.Given() {
			return cmd.Help()
		}
		return first(cmd, args)
	}
	cmd.AddCommand(&cobra.Command{
		Use: "help", Short: "Show this help", Hidden: true, Args: cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error { return cmd.Help() },
	})
	Abbreviate(cmd, order)
	return cmd
}

// Abbreviate has each beginning of a name stand for the first command below
// parent, in the given order of names, that has it; but for beginnings of
// commands that are not among them.
func Abbreviate(parent *cobra.Command, order string) {
	owner := map[string]*cobra.Command{}
	for _, c := range parent.Commands() {
		for _, name := range append([]string{c.Name()}, c.Aliases...) {
			owner[name] = c
		}
	}
	names := strings.Fields(order)
	apart := func(short string) bool {
		for name := range owner {
			if strings.HasPrefix(name, short) && !slices.Contains(names, name) {
				return false
			}
		}
		return true
	}
	short := map[string]*cobra.Command{}
	for _, name := range names {
		c := owner[name]
		if c == nil {
			panic("BUG: " + parent.Name() + " has no command " + name)
		}
		for n := 1; n < len(name); n++ {
			if s := name[:n]; owner[s] == nil && short[s] == nil && apart(s) {
				short[s] = c
				c.Aliases = append(c.Aliases, s)
			}
		}
	}
}
