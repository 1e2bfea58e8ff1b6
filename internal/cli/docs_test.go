package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skep-bpf/skep/internal/cli/ui"
)

var update = flag.Bool("update", false, "rewrite docs/commands.md")

// TestManual keeps docs/commands.md what the commands' own help says.
func TestManual(t *testing.T) {
	const path = "../../docs/commands.md"
	want := manual(New(ui.New(strings.NewReader(""), &strings.Builder{}, &strings.Builder{})))
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("docs/commands.md is stale: go test ./internal/cli -run Manual -update\n%s", d)
	}
}

// manual is the page of all commands, in the order of the help.
func manual(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n*Made from the commands' help by `go test ./internal/cli -run Manual -update`.*\n\n")
	b.WriteString(root.Long + "\n")
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n    %s\n", cmd.CommandPath(), cmd.Short, cmd.UseLine())
		if cmd.Long != "" {
			fmt.Fprintf(&b, "\n%s\n", asMarkdown(cmd.Long))
		}
		if cmd.LocalFlags().HasFlags() {
			b.WriteString("\n| flag | |\n|---|---|\n")
			cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { b.WriteString(flagRow(f)) })
		}
		if verbs := cmd.Commands(); len(verbs) > 1 {
			b.WriteString("\n| | |\n|---|---|\n")
			for _, verb := range verbs {
				if !verb.Hidden {
					fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(verb.Use, "|", "\\|"), verb.Short)
				}
			}
		}
		fmt.Fprintf(&b, "\n    %s\n", strings.ReplaceAll(strings.TrimSpace(cmd.Example), "\n", "\n  "))
	}
	return b.String()
}

// asMarkdown keeps the lines of paragraphs apart that are grammar or a list.
func asMarkdown(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if strings.Contains(p, " := ") || strings.Contains(p, "\n  ") || strings.HasPrefix(p, "  ") {
			paragraphs[i] = "    " + strings.ReplaceAll(p, "\n", "\n    ")
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// flagRow is a flag as a row of its command's table.
func flagRow(f *pflag.Flag) string {
	if f.Name == "help" {
		return ""
	}
	argument, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if argument != "" {
		name += " " + argument
	}
	switch f.DefValue {
	case "", "false", "0", "[]":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	bars := strings.NewReplacer("|", `\|`)
	return fmt.Sprintf("| `%s` | %s |\n", bars.Replace(name), bars.Replace(usage))
}
