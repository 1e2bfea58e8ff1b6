// Package btf is skep btf: types of objects and kernels, as bpftool btf shows them.
package btf

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/btfdump"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var shared objects.Options
	cmd := &cobra.Command{
		Use:   "btf COMMAND",
		Short: "Show the types of an object or a kernel, as a list or as C",
		Long: `Shows BTF, the types that objects and kernels come with, in bpftool's grammar and
with its output. Types of files are shown by dump file; those that programs and maps
came with are asked of a machine that skep serve keeps (--machine, SKEP_MACHINE), or of
the kernel (--engine linux).`,
		Example: `  skep btf dump file examples/firewall/firewall.o
  skep btf dump file examples/firewall/firewall.o format c
  skep btf show --machine /tmp/machine
  sudo skep btf dump id 1 format c --engine linux`,
	}
	cmd.AddCommand(newDumpCmd(s, &shared))
	return shared.Noun(s, cmd, "show list help dump", []objects.VerbRow{
		{Use: "show [id N]", Aliases: []string{"list"}, Short: "Show sets of types, and the programs and maps that have them", Do: show},
	})
}

// Options are what the command line of dump says.
type Options struct {
	*objects.Options
	File   string // or Object
	Object []string
	Format string
	Roots  []int
	Base   string
}

func newDumpCmd(s *ui.Streams, shared *objects.Options) *cobra.Command {
	o := Options{Options: shared}
	cmd := &cobra.Command{
		Use:   "dump {file FILE | id N | prog PROG | map MAP [key|value|kv|all]} [format raw|c] [root_id N …]",
		Short: "Show the types of a file, or what a program or map came with",
		Long: `Shows the BTF of an ELF file, or of a file that is nothing but BTF, such as
/sys/kernel/btf/vmlinux; - is standard input. Format raw, the default, is a list
of types as they lie there; c is a header a compiler makes the same types of, as
vmlinux.h is one. root_id shows only these types and, in C, what they need; so do key
and value of a map's.

The types of a kernel module build on those of vmlinux beside it; -B names another
base.

  PROG := { id N | tag TAG | name NAME | pinned FILE }
  MAP  := { id N | name NAME | pinned FILE }`,
		Example: `  skep btf dump file examples/firewall/firewall.o
  skep btf dump file examples/firewall/firewall.o format c root_id 11
  skep btf dump -j file examples/firewall/firewall.o
  sudo skep btf dump map name counts value format c --engine linux`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(args); err != nil {
				return ui.Usagef("%w: %s", err, cmd.UseLine())
			}
			if o.Object != nil {
				return shared.Run(s, func(v *objects.Verb) error { return dumpObject(v, &o) })(cmd, o.Object)
			}
			return dump(s, &o)
		},
	}
	cmd.Flags().StringVarP(&o.Base, "base-btf", "B", "", "`file` that split BTF builds on")
	return cmd
}

// parse reads bpftool's grammar: words, of which any beginning will do.
func (o *Options) parse(args []string) error {
	o.Format = "raw"
	word := objects.Begins
	if len(args) > 0 && !word(args[0], "file") {
		for _, kind := range []string{"id", "map", "prog"} {
			if word(args[0], kind) {
				var err error
				args, err = o.parseObject(kind, args)
				if err != nil {
					return err
				}
				break
			}
		}
	}
	for len(args) > 0 {
		if len(args) < 2 {
			return fmt.Errorf("%q wants a word behind it", args[0])
		}
		key, value := args[0], args[1]
		args = args[2:]
		switch {
		case word(key, "file") && o.Object == nil:
			o.File = value
		case word(key, "format"):
			if value != "raw" && value != "c" {
				return fmt.Errorf("format %q: there are raw and c", value)
			}
			o.Format = value
			if value == "c" && len(args) > 0 && word(args[0], "unsorted") {
				args = args[1:] // as it is in any case
			}
		case word(key, "root_id"):
			id, err := strconv.ParseUint(value, 10, 31)
			if err != nil || id == 0 {
				return fmt.Errorf("root_id %q: not the number of a type", value)
			}
			o.Roots = append(o.Roots, int(id))
		default:
			return fmt.Errorf("%q: there are file, id, prog, map, format and root_id", key)
		}
	}
	switch {
	case o.File == "" && o.Object == nil:
		return fmt.Errorf("no file")
	case o.Format == "c" && (o.JSON || o.Pretty):
		return fmt.Errorf("format c is no JSON")
	}
	return nil
}

// parseObject takes the words that name an object: its kind, how it is named, its
// name, and of a map what of its types.
func (o *Options) parseObject(kind string, args []string) ([]string, error) {
	n := 3
	if kind == "id" {
		n = 2
	}
	if len(args) < n {
		return nil, fmt.Errorf("%q wants more words behind it", args[0])
	}
	o.Object = append([]string{kind}, args[1:n]...)
	args = args[n:]
	if kind != "map" || len(args) == 0 {
		return args, nil
	}
	for _, part := range []string{"key", "value", "all", "kv"} {
		if objects.Begins(args[0], part) {
			o.Object = append(o.Object, part)
			return args[1:], nil
		}
	}
	return args, nil
}

func dump(s *ui.Streams, o *Options) error {
	b, err := load(s, o)
	if err != nil {
		return err
	}
	return o.write(s.Out, b, ui.InputName(o.File))
}

// write writes the types asked for; name is what they are of.
func (o *Options) write(out io.Writer, b *rawbtf.BTF, name string) error {
	ids := o.Roots
	if ids == nil {
		for id := b.First(); id < b.Count(); id++ {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if id >= b.Count() {
			return fmt.Errorf("%s: no type %d: there are %d", name, id, b.Count()-1)
		}
	}
	switch {
	case o.Format == "c":
		return btfdump.WriteC(out, b, ids)
	case o.JSON || o.Pretty:
		return btfdump.WriteJSON(out, b, ids, o.Pretty)
	}
	return btfdump.WriteRaw(out, b, ids)
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
