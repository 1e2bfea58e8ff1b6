package classic

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// runOptions are what run's command line says.
type runOptions struct {
	program
	seccomp bool
	more    []string // further filters of seccomp
	nr      int32
	arch    string
	args    []string
	ip      uint64

	pcaps   []string
	verbose bool
	json    bool
	aux     classic.Aux
	mark    uint32
	iface   uint32
}

func newRun(s *ui.Streams) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run FILE …",
		Short: "Run a program on packets, or seccomp filters on a system call",
		Long: `Runs a program on every packet of the captures (pcap or pcapng, also packed) and
prints what it returned, how often. Ancillary data is what the flags say; the
protocol is that of an Ethernet header.

With --seccomp the programs, in the order they were installed, judge one system
call; what the kernel would do is printed: the strictest of their answers.`,
		Example: `  skep classic run -e 'tcp port 80' -r examples/captures/web.pcap
  skep classic run --seccomp examples/classic/seccomp.bpf --nr 15 --arch X86_64`,
		Args: func(_ *cobra.Command, args []string) error {
			if o.seccomp && len(args) > 0 {
				o.file, o.more = args[0], args[1:]
				return nil
			}
			return o.program.args(nil, args)
		},
		RunE: func(*cobra.Command, []string) error {
			if o.seccomp {
				return o.runSeccomp(s)
			}
			return o.runPackets(s)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.pcaps, "read", "r", nil, "read packets from `file` (may be repeated)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print what is returned for each packet")
	f.BoolVarP(&o.json, "json", "j", false, "print JSON")
	f.Uint32Var(&o.mark, "mark", 0, "ancillary data: mark of the packets")
	f.Uint32Var(&o.iface, "ifindex", 1, "ancillary data: index of their device, 0 for none")
	f.BoolVar(&o.seccomp, "seccomp", false, "run seccomp filters on a system call")
	f.Int32Var(&o.nr, "nr", 0, "seccomp: number of the system call")
	f.StringVar(&o.arch, "arch", "X86_64", "seccomp: its architecture, as AUDIT_ARCH_* or a number")
	f.StringSliceVar(&o.args, "args", nil, "seccomp: its arguments, up to six `numbers` with commas between")
	f.Uint64Var(&o.ip, "ip", 0, "seccomp: the instruction pointer")
	return cmd
}

// call is the system call of the command line.
func (o *runOptions) call() (*classic.SeccompData, error) {
	d := &classic.SeccompData{NR: o.nr, InstructionPointer: o.ip}
	if len(o.args) > len(d.Args) {
		return nil, ui.Usagef("--args: %d arguments; a system call has %d", len(o.args), len(d.Args))
	}
	for i, text := range o.args {
		v, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			n, err := strconv.ParseInt(text, 0, 64)
			if err != nil {
				return nil, ui.Usagef("--args: %s is no number of 64 bits", text)
			}
			v = uint64(n)
		}
		d.Args[i] = v
	}
	name := strings.ToUpper(strings.TrimPrefix(strings.ToUpper(o.arch), "AUDIT_ARCH_"))
	if arch, ok := classic.DefaultSymbols()["AUDIT_ARCH_"+name]; ok {
		d.Arch = arch
		return d, nil
	}
	v, err := strconv.ParseUint(o.arch, 0, 32)
	if err != nil {
		return nil, ui.Usagef("--arch %s: no such architecture, and no number", o.arch)
	}
	d.Arch = uint32(v)
	return d, nil
}

func (o *runOptions) runSeccomp(s *ui.Streams) error {
	d, err := o.call()
	if err != nil {
		return err
	}
	var filters []*classic.VM
	var answers []string
	for _, file := range append([]string{o.file}, o.more...) {
		prog, err := o.readFile(s, file)
		if err != nil {
			return err
		}
		vm, err := classic.NewVM(prog, classic.Seccomp)
		if err != nil {
			return fmt.Errorf("%s: %w", ui.InputName(file), err)
		}
		filters = append(filters, vm)
		answers = append(answers, classic.RunSeccomp([]*classic.VM{vm}, d).String())
	}
	verdict := classic.RunSeccomp(filters, d)
	if o.json {
		return json.NewEncoder(s.Out).Encode(map[string]any{"action": verdict.String(), "value": uint32(verdict), "filters": answers})
	}
	_, err = fmt.Fprintln(s.Out, verdict)
	return err
}

func (o *runOptions) runPackets(s *ui.Streams) error {
	m := o.on()
	if m == classic.Seccomp {
		return ui.Usagef("--machine seccomp looks at no packets: --seccomp")
	}
	if len(o.pcaps) == 0 {
		return ui.Usagef("the captures are missing: --read FILE")
	}
	prog, err := o.read(s)
	if err != nil {
		return err
	}
	vm, err := classic.NewVM(prog, m)
	if err != nil {
		return o.named(err)
	}
	o.aux = classic.Aux{IfIndex: o.iface, HardwareType: 1, Mark: o.mark, Network: 14, Random: rand.Uint32}
	returned := map[uint32]uint64{}
	for _, name := range o.pcaps {
		if err = o.capture(s, name, vm, returned); err != nil {
			break // what came before is worth seeing
		}
	}
	return errors.Join(err, o.report(s, returned))
}

// capture runs the program on a capture.
func (o *runOptions) capture(s *ui.Streams, name string, vm *classic.VM, returned map[uint32]uint64) error {
	r, err := openCapture(s, name)
	if err != nil {
		return err
	}
	defer r.Close()
	for n := 1; ; n++ {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		o.aux.Length = p.Length
		o.aux.Protocol = etherType(p)
		v := vm.Run(p.Data, &o.aux)
		returned[v]++
		if o.verbose {
			if _, err := fmt.Fprintf(s.Out, "packet %d: %d\n", n, v); err != nil {
				return err
			}
		}
	}
}

func openCapture(s *ui.Streams, name string) (*capture.Reader, error) {
	if name == "-" {
		return capture.NewReader("stdin", s.In)
	}
	return capture.Open(name)
}

// etherType is the protocol the kernel would say the packet is of.
func etherType(p capture.Packet) uint16 {
	if p.LinkType != capture.Ethernet || len(p.Data) < 14 {
		return 0
	}
	return uint16(p.Data[12])<<8 | uint16(p.Data[13])
}

func (o *runOptions) report(s *ui.Streams, returned map[uint32]uint64) error {
	var total uint64
	for _, n := range returned {
		total += n
	}
	values := slices.Sorted(maps.Keys(returned))
	if o.json {
		type row struct {
			Value   uint32 `json:"value"`
			Packets uint64 `json:"packets"`
		}
		rows := []row{}
		for _, v := range values {
			rows = append(rows, row{v, returned[v]})
		}
		return json.NewEncoder(s.Out).Encode(map[string]any{"packets": total, "returned": rows})
	}
	t := s.NewTable(">returned", ">packets", ">share")
	for _, v := range values {
		t.Row(fmt.Sprint(v), ui.Count(returned[v]), fmt.Sprintf("%.1f%%", 100*float64(returned[v])/float64(total)))
	}
	return t.Print(s.Out)
}
