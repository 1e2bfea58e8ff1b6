// Package version is skep version.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/ui"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version and the platform",
		Example: "  skep version",
		Args:    ui.Args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.Out, String())
			return err
		},
	}
}

// String is the version, the platform and the Go release on one line.
func String() string {
	return fmt.Sprintf("skep %s %s/%s %s", build(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// build is the module's version, or the commit it was built from.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	version := info.Main.Version
	if version != "" && version != "(devel)" {
		return version
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if commit == "" {
		return "(devel)"
	}
	return commit + dirty
}
