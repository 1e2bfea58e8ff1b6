// Package classic is skep classic: programs of the first BPF, written, read,
// checked, run and stepped through.
package classic

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/lang/pcap"
)

// NewCmd returns the command with its own below it.
func NewCmd(s *ui.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "classic COMMAND",
		Short: "Write, check, run and debug classic BPF",
		Long: `Works on programs of classic BPF, the language of tcpdump, socket filters and
seccomp. A program is a file (- is standard input) in any of the ways programs
are handed around: assembly in bpf_asm's grammar, what tcpdump -d, -dd and -ddd
or bpf_asm print, or struct sock_filter as bytes; or, with -e, a filter
expression.

Machines: socket is Linux's socket filter, seccomp its filter of system calls,
libpcap libpcap's interpreter, which also takes backward jumps.`,
		Example: `  skep classic disasm examples/classic/icmp.bpf
  skep classic run -e tcp -r examples/captures/web.pcap`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAsm(s), newDisasm(s), newCheck(s), newRun(s), newDbg(s))
	return cmd
}

// program is how a command line names a program.
type program struct {
	file      string
	expr      string
	link      string
	machine   string
	bigEndian bool
	defines   []string
}

// flags adds what all commands that read a program take.
func (p *program) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&p.expr, "expression", "e", "", "take the program of a filter `expression`, not of a file")
	f.StringVarP(&p.link, "linktype", "y", "EN10MB", "link `type` of the expression")
	ui.OneOfP(f, &p.machine, "machine", "m", "socket", "whose rules", "socket", "seccomp", "libpcap")
	f.BoolVar(&p.bigEndian, "big-endian", false, "bytes are of a big-endian machine")
	f.StringArrayVarP(&p.defines, "define", "D", nil, "`NAME=NUMBER`: a constant of the assembly text (may be repeated)")
}

// args takes the program's file, if there is to be one.
func (p *program) args(_ *cobra.Command, args []string) error {
	switch {
	case p.expr != "" && len(args) > 0:
		return ui.Usagef("-e and %s: either will do", args[0])
	case p.expr == "" && len(args) == 0:
		return ui.Usagef("the FILE of a program or -e EXPRESSION is missing")
	case len(args) > 1:
		return ui.Usagef("%q is too much: one program is meant", args[1])
	case p.expr == "":
		p.file = args[0]
	}
	return nil
}

// machines by name.
var machines = map[string]classic.Machine{
	classic.Socket.String():  classic.Socket,
	classic.Seccomp.String(): classic.Seccomp,
	classic.Libpcap.String(): classic.Libpcap,
}

// on returns the machine.
func (p *program) on() classic.Machine { return machines[p.machine] }

func (p *program) order() binary.ByteOrder {
	if p.bigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// symbols returns the constants of assembly text.
func (p *program) symbols() (classic.Symbols, error) {
	symbols := classic.DefaultSymbols()
	for _, d := range p.defines {
		name, text, _ := strings.Cut(d, "=")
		value, err := strconv.ParseUint(text, 0, 32)
		if err != nil || name == "" {
			return nil, ui.Usagef("--define %s: NAME=NUMBER it must be", d)
		}
		symbols[name] = uint32(value)
	}
	return symbols, nil
}

// read reads the program.
func (p *program) read(s *ui.Streams) ([]classic.Instruction, error) {
	if p.expr != "" {
		link, ok := pcap.LinkTypeByName(p.link)
		if !ok {
			return nil, ui.Usagef("--linktype %s: no such link type", p.link)
		}
		return pcap.CompileProgram(p.expr, link, maxSnaplen, nil)
	}
	return p.readFile(s, p.file)
}

func (p *program) readFile(s *ui.Streams, file string) ([]classic.Instruction, error) {
	symbols, err := p.symbols()
	if err != nil {
		return nil, err
	}
	data, err := s.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return nil, fmt.Errorf("%s: an object file, not classic BPF: skep disasm shows what it holds", ui.InputName(file))
	}
	return classic.Read(ui.InputName(file), data, p.order(), symbols)
}

// maxSnaplen is what expressions return for packets that match: tcpdump's
// default.
const maxSnaplen = 262144
