// Package disasm is skep disasm: programs as text, with their source lines.
package disasm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/isa"
)

// Options are what the command line says.
type Options struct {
	File      string
	Progs     []string
	Dialect   string
	Source    bool
	BigEndian bool // of raw code
}

// dialects are the values of --dialect.
var dialects = map[string]isa.Dialect{
	"assembly": isa.Assembly,
	"kernel":   isa.Kernel,
	"llvm":     isa.LLVM,
}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "disasm FILE",
		Short: "Show programs as assembly text, with their source lines",
		Long: `Shows the programs of an object file, or the instructions of a file that holds
nothing else (8 bytes each, as in skep asm -o).

The assembly dialect is what skep asm reads. The kernel dialect is that of the
verifier's log, llvm that of llvm-objdump -d. FILE may be - for standard input.`,
		Example: `  skep disasm examples/firewall/firewall.o
  skep disasm --prog plain --dialect kernel examples/loops/loops.o`,
		Args: ui.Args(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.File = args[0]
			return run(s, &o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Progs, "prog", nil, "show only the program of this `name` (may be repeated)")
	ui.OneOf(f, &o.Dialect, "dialect", "assembly", "whose text", "assembly", "kernel", "llvm")
	f.BoolVar(&o.Source, "source", true, "show source lines")
	f.BoolVar(&o.BigEndian, "big-endian", false, "raw code is of a big-endian machine")
	return cmd
}

func run(s *ui.Streams, o *Options) error {
	dialect := dialects[o.Dialect]
	data, err := s.ReadFile(o.File)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(s.Out)
	if bytes.HasPrefix(data, []byte("\x7fELF")) {
		err = object(s, out, o, dialect, data)
	} else {
		err = raw(out, o, dialect, data)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// raw shows bare instructions.
func raw(out io.Writer, o *Options, dialect isa.Dialect, data []byte) error {
	var order binary.ByteOrder = binary.LittleEndian
	if o.BigEndian {
		order = binary.BigEndian
	}
	name := ui.InputName(o.File)
	if len(o.Progs) > 0 {
		return fmt.Errorf("%s: raw code has no programs to choose from", name)
	}
	if len(data) == 0 {
		return fmt.Errorf("%s: it is empty", name)
	}
	prog, err := isa.Decode(data, order)
	if err != nil {
		return fmt.Errorf("%s: neither an ELF file nor raw code: %w", name, err)
	}
	p := isa.Printer{Dialect: dialect, Names: isa.Names{Helper: helperName}}
	return p.Listing(out, prog)
}

// object shows the programs of an object file.
func object(s *ui.Streams, out io.Writer, o *Options, dialect isa.Dialect, data []byte) error {
	name := ui.InputName(o.File)
	img, err := image.Load(bytes.NewReader(data), name, nil)
	if err != nil {
		return err
	}
	for _, want := range o.Progs {
		if img.Program(want) == nil {
			return fmt.Errorf("%s: no program %s: %s", name, want, ui.There(engine.ProgramNames(img.Programs)))
		}
	}
	first := true
	for _, p := range img.Programs {
		if len(o.Progs) > 0 && !slices.Contains(o.Progs, p.Name) {
			continue
		}
		if !first {
			fmt.Fprintln(out)
		}
		first = false
		heading := fmt.Sprintf("; %s: section %s, type %v, %d instructions", p.Name, p.Section, p.Type, len(p.Insns))
		fmt.Fprintln(out, s.Paint(ui.Bold, ui.Printable(heading)))
		if p.Err != nil {
			fmt.Fprintln(out, s.Paint(ui.Red, "; cannot be loaded: "+ui.OneLine(p.Err.Error())))
		}
		printer := isa.Printer{Dialect: dialect, Names: names(img, p)}
		if o.Source {
			printer.Source = source(s, p)
		}
		if err := printer.Listing(out, p.Insns); err != nil {
			return err
		}
	}
	return nil
}

// names gives the printer what the object knows.
func names(img *image.Image, p *image.Program) isa.Names {
	return isa.Names{
		Helper: helperName,
		Func: func(slot int) string {
			for _, f := range p.Funcs {
				if f.Slot == slot {
					return f.Func.Name
				}
			}
			return ""
		},
		Kfunc: func(id int32, _ int16) string {
			for _, e := range img.Externs {
				if e.Kind == image.ExternFunc && e.Resolved && int32(e.ID) == id {
					return e.Name
				}
			}
			return ""
		},
		Map: func(src isa.Register, ref int32) string {
			if (src == isa.PseudoMapIdx || src == isa.PseudoMapIdxValue) && ref >= 0 && int(ref) < len(img.Maps) {
				return img.Maps[ref].Name
			}
			return ""
		},
	}
}

func helperName(id int32) string {
	if h := catalog.HelperByID(catalog.HelperID(id)); h != nil {
		return "bpf_" + h.Name
	}
	return ""
}

// source gives the lines a program was compiled from, each where its
// instructions begin, as the verifier's log does.
func source(s *ui.Streams, p *image.Program) func(int) []string {
	at := map[int][]string{}
	var last image.LineInfo
	for _, l := range p.Lines {
		text := strings.TrimSpace(l.Line)
		if text == "" || l.LineNo == last.LineNo && l.File == last.File {
			continue
		}
		last = l
		at[l.Slot] = append(at[l.Slot], ui.Printable(text)+s.Paint(ui.Faint, fmt.Sprintf(" @ %s:%d", ui.Printable(base(l.File)), l.LineNo)))
	}
	return func(slot int) []string { return at[slot] }
}

// base is what follows a path's last slash.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
