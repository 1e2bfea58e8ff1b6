// Package btf is skep btf: types of objects and kernels, as bpftool btf shows them.
package btf

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/btfdump"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "btf COMMAND",
		Short: "Show the types of an object or a kernel, as a list or as C",
		Long: `Shows BTF, the types that objects and kernels come with, in bpftool's grammar
and with its output.`,
		Example: `  skep btf dump file examples/firewall/firewall.o
  skep btf dump file examples/firewall/firewall.o format c`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDumpCmd(s))
	return cmd
}

// Options are what the command line of dump says.
type Options struct {
	File   string
	Format string
	Roots  []int
	Base   string
	JSON   bool
	Pretty bool
}

func newDumpCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "dump file FILE [format raw|c] [root_id N …]",
		Short: "Show the types of a file",
		Long: `Shows the BTF of an ELF file, or of a file that is nothing but BTF, such as
/sys/kernel/btf/vmlinux; - is standard input. Format raw, the default, is a list
of types as they lie there; c is a header a compiler makes the same types of, as
vmlinux.h is one. root_id shows only these types and, in C, what they need.

The types of a kernel module build on those of vmlinux beside it; -B names another
base.`,
		Example: `  skep btf dump file examples/firewall/firewall.o
  skep btf dump file examples/firewall/firewall.o format c root_id 11
  skep btf dump -j file examples/firewall/firewall.o`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(args); err != nil {
				return ui.Usagef("%w: %s", err, cmd.UseLine())
			}
			return dump(s, &o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Base, "base-btf", "B", "", "`file` that split BTF builds on")
	f.BoolVarP(&o.JSON, "json", "j", false, "print JSON")
	f.BoolVarP(&o.Pretty, "pretty", "p", false, "print JSON with line breaks")
	return cmd
}

// parse reads bpftool's grammar: words, of which any beginning will do.
func (o *Options) parse(args []string) error {
	o.Format = "raw"
	word := func(w, whole string) bool { return w != "" && len(w) <= len(whole) && whole[:len(w)] == w }
	for len(args) > 0 {
		if len(args) < 2 {
			return fmt.Errorf("%q wants a word behind it", args[0])
		}
		key, value := args[0], args[1]
		args = args[2:]
		switch {
		case word(key, "file"):
			o.File = value
		case word(key, "format"):
			if value != "raw" && value != "c" {
				return fmt.Errorf("format %q: there are raw and c", value)
			}
			o.Format = value
		case word(key, "root_id"):
			id, err := strconv.ParseUint(value, 10, 31)
			if err != nil || id == 0 {
				return fmt.Errorf("root_id %q: not the number of a type", value)
			}
			o.Roots = append(o.Roots, int(id))
		default:
			return fmt.Errorf("%q: there are file, format and root_id", key)
		}
	}
	switch {
	case o.File == "":
		return fmt.Errorf("no file")
	case o.Format == "c" && (o.JSON || o.Pretty):
		return fmt.Errorf("format c is no JSON")
	}
	return nil
}

func dump(s *ui.Streams, o *Options) error {
	b, err := load(s, o)
	if err != nil {
		return err
	}
	ids := o.Roots
	if ids == nil {
		for id := b.First(); id < b.Count(); id++ {
			ids = append(ids, id)
		}
	}
	for _, id := range o.Roots {
		if id >= b.Count() {
			return fmt.Errorf("%s: no type %d: there are %d", ui.InputName(o.File), id, b.Count()-1)
		}
	}
	switch {
	case o.Format == "c":
		return btfdump.WriteC(s.Out, b, ids)
	case o.JSON || o.Pretty:
		return btfdump.WriteJSON(s.Out, b, ids, o.Pretty)
	}
	return btfdump.WriteRaw(s.Out, b, ids)
}

// load reads a file's types, and before them those they build on.
func load(s *ui.Streams, o *Options) (*rawbtf.BTF, error) {
	var base *rawbtf.BTF
	name := o.Base
	if dir, file := filepath.Split(o.File); name == "" && dir == "/sys/kernel/btf/" && file != "vmlinux" {
		name = filepath.Join(dir, "vmlinux")
	}
	if name != "" {
		var err error
		if base, err = read(s, name, nil); err != nil {
			return nil, err
		}
	}
	return read(s, o.File, base)
}

func read(s *ui.Streams, name string, base *rawbtf.BTF) (*rawbtf.BTF, error) {
	if name != "-" {
		if st, err := os.Stat(name); err == nil && st.IsDir() {
			return nil, fmt.Errorf("%s: is a directory", name)
		}
	}
	data, err := s.ReadFile(name)
	if err != nil {
		return nil, err
	}
	b, err := btfdump.Load(data, base)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ui.InputName(name), err)
	}
	return b, nil
}
