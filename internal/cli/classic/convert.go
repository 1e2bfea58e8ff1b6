package classic

import (
	"encoding/binary"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/isa"
)

// textFormats are the values of --format but for raw and ebpf.
var textFormats = map[string]classic.Format{
	"asm":     classic.Assembly,
	"d":       classic.Listing,
	"dd":      classic.CArray,
	"ddd":     classic.Decimal,
	"c":       classic.AsmC,
	"numbers": classic.AsmLine,
}

const formatHelp = "`format`: asm, d, dd, ddd (as tcpdump), c, numbers (as bpf_asm), raw (bytes) or ebpf (translated)"

// encode writes a program in a format.
func encode(prog []classic.Instruction, format string, m classic.Machine, order binary.ByteOrder) ([]byte, error) {
	if f, ok := textFormats[format]; ok {
		return classic.AppendProgram(nil, prog, f), nil
	}
	switch format {
	case "raw":
		return classic.Encode(prog, order), nil
	case "ebpf":
		insns, err := classic.Translate(prog, m)
		if err != nil {
			return nil, err
		}
		var b []byte
		p := isa.Printer{}
		for pc := range insns {
			b = fmt.Appendf(b, "%4d: %s\n", pc, p.Text(insns, pc))
		}
		return b, nil
	}
	return nil, ui.Usagef("--format %s: there are asm, d, dd, ddd, c, numbers, raw and ebpf", format)
}

// conversion is asm or disasm, which differ in what they print if not told.
type conversion struct {
	program
	format    string
	out       string
	unchecked bool
}

func newAsm(s *ui.Streams) *cobra.Command {
	c := conversion{}
	cmd := &cobra.Command{
		Use:   "asm FILE",
		Short: "Assemble a program",
		Long: `Assembles text in bpf_asm's grammar and prints the program's numbers as bpf_asm
does. Constants have the names of the system's headers (#ETHERTYPE_IP, #IPPROTO_TCP,
#SECCOMP_RET_ALLOW, …) and those of --define.`,
		Example: `  skep classic asm examples/classic/icmp.bpf
  skep classic asm --format c examples/classic/icmp.bpf`,
	}
	c.addTo(cmd, s, "numbers")
	return cmd
}

func newDisasm(s *ui.Streams) *cobra.Command {
	c := conversion{unchecked: true}
	cmd := &cobra.Command{
		Use:   "disasm FILE",
		Short: "Show a program as assembly, as tcpdump does, or translated to eBPF",
		Example: `  tcpdump -ddd port 80 | skep classic disasm -
  skep classic disasm --format ebpf -e 'ip and tcp'`,
	}
	c.addTo(cmd, s, "asm")
	return cmd
}

func (c *conversion) addTo(cmd *cobra.Command, s *ui.Streams, format string) {
	cmd.Args = c.args
	cmd.RunE = func(*cobra.Command, []string) error { return c.run(s) }
	c.flags(cmd)
	cmd.Flags().StringVar(&c.format, "format", format, formatHelp)
	cmd.Flags().StringVarP(&c.out, "out", "o", "", "write to `file`, which appears only when all is well")
	cmd.Flags().BoolVar(&c.unchecked, "unchecked", c.unchecked, "let programs pass that the machine would refuse")
}

func (c *conversion) run(s *ui.Streams) error {
	m := c.on()
	prog, err := c.read(s)
	if err != nil {
		return err
	}
	if !c.unchecked {
		if err := classic.Check(prog, m); err != nil {
			return c.named(err)
		}
	}
	data, err := encode(prog, c.format, m, c.order())
	if err != nil {
		return err
	}
	if c.out != "" {
		return ui.WriteFile(c.out, data)
	}
	_, err = s.Out.Write(data)
	return err
}

// named puts the program's file before an error.
func (p *program) named(err error) error {
	if p.expr != "" {
		return err
	}
	return fmt.Errorf("%s: %w", ui.InputName(p.file), err)
}

func newCheck(s *ui.Streams) *cobra.Command {
	var p program
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a machine takes a program, and why not",
		Long: `Checks a program by the rules of a machine: of a socket filter by those of the
kernel's bpf_check_classic, of seccomp by seccomp_check_filter's besides, of
libpcap by its bpf_validate.`,
		Example: `  skep classic check examples/classic/icmp.bpf
  skep classic check --machine libpcap -e 'ip protochain 6'`,
		Args: p.args,
		RunE: func(*cobra.Command, []string) error {
			m := p.on()
			prog, err := p.read(s)
			if err != nil {
				return err
			}
			if err := classic.Check(prog, m); err != nil {
				return p.named(err)
			}
			_, err = fmt.Fprintf(s.Out, "%d instructions, taken by %v\n", len(prog), m)
			return err
		},
	}
	p.flags(cmd)
	return cmd
}
