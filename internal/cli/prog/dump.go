package prog

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/isa"
)

// dumpOptions are what the command line says.
type dumpOptions struct {
	Jited   bool
	Handle  []string // how a program of a running system is named, instead of Object
	Object  string
	Program string // "" means all of the object

	Opcodes, Linum, Visual bool
	File                   string

	*objects.Options // JSON, Pretty
	BTF              string
	Blind            int
	Retpolines       bool
	Unprivileged     bool
}

func newDump(s *ui.Streams, shared *objects.Options) *cobra.Command {
	o := dumpOptions{Options: shared}
	cmd := &cobra.Command{
		Use:   "dump {xlated|jited} PROG [opcodes] [linum] [visual] [file FILE]",
		Short: "Show programs as the engines run them: BPF after rewriting, or machine code",
		Long: `Shows programs as they run: xlated is BPF after the verifier's and the rewriter's
work, jited the machine code made of it, each with the lines of source it comes from.
An object file is loaded for it; programs that are named otherwise are those of a
machine that skep serve keeps, or of the kernel (--engine linux). The output is that of
bpftool prog dump.

  PROG := { [obj] OBJECT[:PROGRAM] | id N | tag TAG | name NAME | pinned FILE }

  opcodes    show the bytes of each instruction as well
  linum      show file, line and column of source lines
  visual     xlated: write the control-flow graph, for graphviz
  file FILE  write the bytes themselves, of one program, to FILE`,
		Example: `  skep prog dump xlated examples/firewall/firewall.o linum
  skep prog dump jited examples/loops/loops.o:plain opcodes
  skep prog dump xlated examples/loops/loops.o:looped visual | dot -Tsvg >looped.svg`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(args); err != nil {
				return err
			}
			if o.Handle != nil {
				return shared.Run(s, func(v *objects.Verb) error { return dumpLoaded(v, &o) })(cmd, o.Handle)
			}
			return dump(s, &o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.BTF, "btf", "", "take the kernel's types from `file`, not from this machine")
	f.BoolVar(&o.Unprivileged, "unprivileged", false, "load as callers without CAP_BPF and CAP_PERFMON do")
	f.IntVar(&o.Blind, "blind", 0, "keep constants out of code: `0|1|2`, as net.core.bpf_jit_harden")
	f.BoolVar(&o.Retpolines, "retpolines", false, "jited: jump indirectly through retpolines")
	return cmd
}

// handles are the words that name a program of a running system.
var handles = []string{"id", "tag", "name", "pinned"}

// parse reads bpftool's grammar.
func (o *dumpOptions) parse(args []string) error {
	if len(args) < 2 {
		return ui.Usagef("dump: say what, xlated or jited, and of which PROG: see skep prog dump --help")
	}
	switch {
	case objects.Begins(args[0], "jited"):
		o.Jited = true
	case !objects.Begins(args[0], "xlated"):
		return ui.Usagef("dump %s: there are xlated and jited", args[0])
	}
	args = args[1:]
	_, err := os.Stat(args[0])
	known := slices.ContainsFunc(handles, func(h string) bool { return args[0] == h || err != nil && objects.Begins(args[0], h) })
	switch {
	case known && len(args) > 1:
		o.Handle, args = args[:2], args[1:]
	case args[0] == "obj":
		if args = args[1:]; len(args) == 0 {
			return ui.Usagef("dump: obj: no file given")
		}
		fallthrough
	default:
		o.Object = args[0]
		if _, err := os.Stat(o.Object); err != nil { // else the name of the file, whatever it holds
			if at := strings.LastIndexByte(o.Object, ':'); at > 0 {
				o.Object, o.Program = o.Object[:at], o.Object[at+1:]
			}
		}
	}
	for args = args[1:]; len(args) > 0; args = args[1:] {
		word := func(whole string) bool { return objects.Begins(args[0], whole) }
		switch {
		case word("opcodes"):
			o.Opcodes = true
		case word("linum"):
			o.Linum = true
		case word("visual"):
			if o.Jited {
				return ui.Usagef("dump jited: visual is for xlated")
			}
			o.Visual = true
		case word("file"):
			if args = args[1:]; len(args) == 0 {
				return ui.Usagef("dump: file: no name given")
			}
			o.File = args[0]
		default:
			return ui.Usagef("dump: %q: there are opcodes, linum, visual and file", args[0])
		}
	}
	if o.Visual && (o.JSON || o.Pretty) {
		return ui.Usagef("dump: a graph is no JSON")
	}
	return nil
}

// dumper writes one program, wherever it runs.
type dumper struct {
	o    *dumpOptions
	out  *bufio.Writer
	code *skep.Translated
	// lines are the source lines by the slot of the translated program they come first at.
	lines  map[int]skep.LineInfo
	native *nativeCode
	names  isa.Names
	protos []string // of the functions, as C has them; "" where one is not known
	// called names what a call to a function shows behind its distance, nil: its symbol.
	called func(ins isa.Instruction, f *skep.Func) string
}

// nativeCode is machine code, and where in it lines begin.
type nativeCode struct {
	arch string
	text []byte
	// slots are, for each function, those of lines by the offset in the function they begin at.
	slots []map[int]int
}

func dump(s *ui.Streams, o *dumpOptions) error {
	eo := engine.Options{}
	img, err := eo.LoadImage(o.Object, o.BTF)
	if err != nil {
		return err
	}
	if o.Program != "" && img.Program(o.Program) == nil {
		return fmt.Errorf("%s: no program %s: %s", o.Object, o.Program, ui.There(engine.ProgramNames(img.Programs)))
	}
	mo := skep.MachineOptions{
		CPUs: 1, KernelBTF: eo.KernelBTF, Unprivileged: o.Unprivileged, Harden: skep.Harden{Blind: o.Blind, Retpolines: o.Retpolines},
	}
	if o.Jited {
		mo.JIT = skep.JITOn
	}
	m, err := skep.NewMachine(&mo)
	if err != nil {
		return err
	}
	defer m.Close()
	var names []string
	for _, p := range img.Programs {
		if o.Program == "" || p.Name == o.Program {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: it holds no programs", o.Object)
	}
	if o.File != "" && len(names) > 1 {
		return fmt.Errorf("%s: it has %s: name one for file", o.Object, ui.And(engine.ProgramNames(img.Programs)))
	}
	out := bufio.NewWriter(s.Out)
	var all []any
	for i, name := range names {
		coll, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Programs: []string{name}})
		if err != nil {
			return err
		}
		p := coll.Programs[name]
		d := newDumper(o, p, out)
		if len(names) > 1 && !o.JSON && !o.Pretty && !o.Visual {
			if i > 0 {
				fmt.Fprintln(out)
			}
			fmt.Fprintln(out, s.Paint(ui.Bold, fmt.Sprintf("%v  name %s  tag %v", p.Type(), ui.Printable(p.Name()), p.Tag())))
		}
		part, err := d.dump()
		if err == nil && len(names) > 1 {
			part = jsonProgram{name, p.Type().String(), p.Tag().String(), part}
		}
		all = append(all, part)
		coll.Close()
		if err != nil {
			return err
		}
	}
	if o.File == "" && (o.JSON || o.Pretty) {
		if err := printJSON(out, o, all); err != nil {
			return err
		}
	}
	return out.Flush()
}

// jsonProgram is a program among several.
type jsonProgram struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Tag   string `json:"tag"`
	Insns any    `json:"insns"`
}

func printJSON(out *bufio.Writer, o *dumpOptions, all []any) error {
	var v any = all
	if len(all) == 1 {
		v = all[0]
	}
	j := objects.NewJSON(out, o.Pretty)
	err := j.Value(v)
	j.Line()
	return err
}

func newDumper(o *dumpOptions, p *skep.Program, out *bufio.Writer) *dumper {
	d := &dumper{o: o, code: p.Translated(), lines: map[int]skep.LineInfo{}, out: out}
	d.names = isa.Names{Helper: helperName, Imm64: func(ins isa.Instruction, imm uint64) string {
		if ins.Src == isa.PseudoFunc {
			return fmt.Sprintf("subprog[%+d]", ins.Imm)
		}
		switch id, value, off, ok := p.MapAt(imm); {
		case ok && value:
			return fmt.Sprintf("map[id:%d][0]+%d", id, off)
		case ok:
			return fmt.Sprintf("map[id:%d]", id)
		}
		return fmt.Sprintf("%#x", imm)
	}}
	for i := range d.code.Funcs {
		d.protos = append(d.protos, proto(&d.code.Funcs[i]))
	}
	first := map[int32]int{} // of each original instruction
	for slot, orig := range d.code.Orig {
		if _, ok := first[orig]; !ok && d.code.First[slot] {
			first[orig] = slot
		}
	}
	for _, l := range p.Lines() {
		for orig := int32(l.Slot); int(orig) < len(p.Instructions()); orig++ { // what was removed passes its line on
			if slot, ok := first[orig]; ok {
				if _, taken := d.lines[slot]; !taken || orig == int32(l.Slot) {
					d.lines[slot] = l
				}
				break
			}
		}
	}
	if n := p.Native(); n != nil {
		d.native = &nativeCode{arch: n.Arch, text: n.Text}
		for i := range d.code.Funcs {
			d.native.slots = append(d.native.slots, d.slotByOffset(n, &d.code.Funcs[i]))
		}
	}
	return d
}

// dump writes the program; as JSON it returns what is to be written.
func (d *dumper) dump() (any, error) {
	switch {
	case d.o.File != "":
		code := isa.Encode(d.code.Insns, binary.LittleEndian)
		if d.o.Jited {
			code = d.native.text
		}
		return nil, ui.WriteFile(d.o.File, code)
	case d.o.Jited:
		return d.jited(), nil
	case d.o.Visual:
		return nil, d.visual()
	}
	return d.xlated(), nil
}

func (d *dumper) asJSON() bool { return d.o.JSON || d.o.Pretty }

// source writes a line of source as bpftool does.
func (d *dumper) source(l skep.LineInfo) {
	text := ui.Printable(strings.TrimLeft(l.Line, " \t"))
	if text == "" {
		return
	}
	fmt.Fprintf(d.out, "; %s", text)
	if d.o.Linum {
		fmt.Fprintf(d.out, " [file:%s line_num:%d line_col:%d]", ui.Printable(l.File), l.LineNo, l.Column)
	}
	fmt.Fprintln(d.out)
}

// jsonSource are the fields of a line of source.
type jsonSource struct {
	Src     string `json:"src,omitempty"`
	File    string `json:"file,omitempty"`
	LineNum uint32 `json:"line_num,omitempty"` // with linum; 0: not known
	LineCol uint32 `json:"line_col,omitempty"`
}

func (d *dumper) jsonSource(slot int) (s jsonSource) {
	l, ok := d.lines[slot]
	if s.Src = strings.TrimLeft(l.Line, " \t"); !ok || s.Src == "" {
		return jsonSource{}
	}
	if d.o.Linum {
		line, column := uint32(l.LineNo), uint32(l.Column)
		s.File, s.LineNum, s.LineCol = l.File, line, column
	}
	return s
}

// function returns the function that begins at a slot and its number, or nil.
func (d *dumper) function(slot int) (*skep.Func, int) {
	for i := range d.code.Funcs {
		if d.code.Funcs[i].Start == slot {
			return &d.code.Funcs[i], i
		}
	}
	return nil, 0
}

// proto is a function's type as C has it, as far as bpftool does: "" where it is not known.
func proto(f *skep.Func) string {
	if f.Type == nil {
		return ""
	}
	t, ok := f.Type.Type.(*btf.FuncProto)
	if !ok {
		return ""
	}
	var args []string
	for _, p := range t.Params {
		args = append(args, strings.TrimSpace(typeName(p.Type)+" "+p.Name))
	}
	return fmt.Sprintf("%s %s(%s)", typeName(t.Return), f.Type.Name, strings.Join(args, ", "))
}

// typeName is a type's name in C.
func typeName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Pointer:
		return typeName(t.Target) + " *"
	case *btf.Struct:
		return "struct " + t.Name
	case *btf.Union:
		return "union " + t.Name
	case *btf.Enum:
		return "enum " + t.Name
	case *btf.Fwd:
		return t.Kind.String() + " " + t.Name
	case *btf.Const:
		return "const " + typeName(t.Type)
	case *btf.Volatile:
		return "volatile " + typeName(t.Type)
	case *btf.Restrict:
		return "restrict " + typeName(t.Type)
	case *btf.TypeTag:
		return typeName(t.Type)
	case *btf.Void:
		return "void"
	}
	return t.TypeName()
}

func helperName(id int32) string {
	if h := catalog.HelperByID(catalog.HelperID(id)); h != nil {
		return "bpf_" + h.Name
	}
	return ""
}
