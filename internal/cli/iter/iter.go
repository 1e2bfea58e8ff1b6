// Package iter is skep iter: programs that walk a system's objects, as files, with
// bpftool's grammar.
package iter

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	return o.Noun(s, &cobra.Command{
		Use:   "iter COMMAND",
		Short: "Pin iterators of a machine or the kernel, as bpftool does",
		Long: `Loads an iterator's object and pins it: whoever reads the file runs the program, on a
machine that skep serve keeps (--machine, SKEP_MACHINE) or on the kernel (--engine
linux).

  MAP := { id N | name NAME | pinned FILE }`,
		Example: `  skep iter help
  sudo skep iter pin tasks.o /sys/fs/bpf/tasks --engine linux`,
	}, "pin help", []objects.VerbRow{
		{Use: "pin OBJ PATH [map MAP]", Short: "Load an iterator, for the elements of a map if one is named, and pin it", Do: pin},
	})
}

func pin(v *objects.Verb) error {
	file, err := v.Next("OBJ, the object file")
	if err != nil {
		return err
	}
	path, err := v.Next("PATH, where to pin")
	if err != nil {
		return err
	}
	var opts linux.LinkOptions
	if v.Take("map") {
		m, _, err := v.Map()
		if err != nil {
			return err
		}
		defer m.Close()
		opts.Map = m.AsMap()
	}
	if err := v.End(); err != nil {
		return err
	}
	img, err := v.ReadObject(file)
	if err != nil {
		return err
	}
	if len(img.Programs) == 0 {
		return fmt.Errorf("%s: it holds no programs", file)
	}
	if p := img.Programs[0]; p.Type != catalog.ProgTracing || p.Attach != catalog.AttachTraceIter {
		return fmt.Errorf("%s: program %s in section %q is no iterator", file, p.Name, p.Section)
	}
	l, err := v.Load(img, &objects.LoadOptions{})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer l.Close()
	link, err := l.Progs[0].Link(catalog.AttachTraceIter, opts)
	if err != nil {
		return err
	}
	defer link.Close()
	if err := v.PinAt(link.FD(), path); err != nil {
		return err
	}
	return v.Done()
}
