// Package filter is skep filter: tcpdump's filter language on captures and live
// interfaces, and the code it becomes.
//
//	expression ─▶ lang/pcap ─▶ classic.VM ─┐
//	captures ─▶ source ─▶ records ─────────┴▶ output | printer
package filter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/serve"
	"github.com/skep-bpf/skep/lang/pcap"
)

// Options are what the command line says.
type Options struct {
	Expr       string
	ExprFile   string
	Dump       int
	Explain    bool
	Dot        bool
	NoOptimize bool
	Link       string
	ListLinks  bool
	Snaplen    int
	Inputs     []string
	Out        string
	Interface  string
	Machine    string
	Limit      uint64
	Count      bool
	Size       string
	Every      int64
	Files      int
	Numbers    bool

	link      pcap.LinkType
	linkGiven bool
}

// maxSnaplen is libpcap's MAXIMUM_SNAPLEN, the default.
const maxSnaplen = 262144

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "filter [EXPRESSION …]",
		Short: "Filter packets with tcpdump's language, or show what it compiles to",
		Long: `Compiles an expression of pcap-filter(7) to classic BPF, the same instructions
tcpdump makes, and does one of three things with it:

  -d, -dd, -ddd    prints the code: for people, as C, as numbers; --explain shows
                   every step of its making, --dot draws the flow graph
  -w FILE          writes the packets that match: what is read is pcap or pcapng,
                   plain or packed (.gz, .zst), and stays what it is unless the
                   name says otherwise; comments and options of pcapng are kept
  (else)           prints the packets that match, one a line

Packets come from captures (-r, several, - is standard input) or from an
interface (-i), where the kernel runs the filter if it lets us; with --machine, or
SKEP_MACHINE in the environment, from a device of that served machine, or any.
Without -d, -r and -i, standard input is read. -C, -G and -W rotate files as tcpdump does; with
-r, -G goes by the time of the packets.`,
		Example: `  skep filter -d host 127.0.0.1 and port 80
  skep filter -r examples/captures/web.pcap -c 3 tcp port 80
  skep filter 'udp port 53' -r examples/captures/dns.pcap -w passed.pcap`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Expr = strings.Join(args, " ")
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, s, &o)
		},
	}
	f := cmd.Flags()
	f.CountVarP(&o.Dump, "dump", "d", "print the code (-dd: as C, -ddd: as numbers)")
	f.BoolVar(&o.Explain, "explain", false, "with -d: print the code after each step")
	f.BoolVar(&o.Dot, "dot", false, "with -d: print the flow graph for graphviz")
	f.BoolVarP(&o.NoOptimize, "no-optimize", "O", false, "do not optimise the code")
	f.StringVarP(&o.Link, "linktype", "y", "", "compile for this link `type` (EN10MB)")
	f.BoolVarP(&o.ListLinks, "list-linktypes", "L", false, "list the link types")
	f.IntVarP(&o.Snaplen, "snaplen", "s", maxSnaplen, "keep at most `n` bytes of a packet")
	f.StringArrayVarP(&o.Inputs, "read", "r", nil, "read packets from `file` (may be repeated)")
	f.StringVarP(&o.Out, "write", "w", "", "write packets to `file`")
	f.StringVarP(&o.Interface, "interface", "i", "", "read packets from the interface `name`, or any")
	f.StringVar(&o.Machine, "machine", os.Getenv(serve.MachineEnv), "with -i: a device of the machine whose skep serve listens at `PATH`; SKEP_MACHINE in the environment says the same, and '' is the host")
	f.Lookup("machine").DefValue = "" // the manual does not depend on where it is made
	f.StringVarP(&o.ExprFile, "file", "F", "", "read the expression from `file`")
	f.Uint64VarP(&o.Limit, "limit", "c", 0, "stop after `n` packets that match")
	f.BoolVar(&o.Count, "count", false, "print only how many packets match")
	f.StringVarP(&o.Size, "file-size", "C", "", "begin another file after `n` million bytes (or nk, nm, ng)")
	f.Int64VarP(&o.Every, "rotate", "G", 0, "begin another file every `n` seconds; its name takes strftime's conversions")
	f.IntVarP(&o.Files, "files", "W", 0, "with -C: write to `n` files in turn; with -G: stop after n")
	f.BoolVarP(&o.Numbers, "number", "#", false, "print the number of each packet")
	f.BoolP("numeric", "n", true, "addresses and ports are always printed as numbers")
	return cmd
}

func run(ctx context.Context, s *ui.Streams, o *Options) error {
	turns, err := o.check()
	if err != nil {
		return err
	}
	if o.ListLinks {
		return listLinks(s)
	}
	if o.ExprFile != "" {
		text, err := s.ReadFile(o.ExprFile)
		if err != nil {
			return err
		}
		o.Expr = string(text)
	}
	if o.Dump > 0 || o.Explain || o.Dot {
		return show(s, o)
	}
	j := newJob(s, o)
	if o.Out != "" {
		j.out = newOutput(o.Out, turns, o.Interface != "" || o.Out == "-", s.Out)
		defer j.out.abort()
	} else if !o.Count {
		j.printer = newPrinter(s.Out, o.Numbers)
	}
	stop := j.startProgress()
	if o.Interface != "" && o.Machine != "" {
		err = j.machine(ctx)
	} else if o.Interface != "" {
		err = j.live(ctx)
	} else {
		err = j.files(ctx)
	}
	stop()
	if errors.Is(err, errEnough) {
		err = nil
	}
	var bad *inputError
	if err == nil || errors.As(err, &bad) {
		// What matched before an input turned bad is kept.
		err = errors.Join(err, j.finish())
	}
	return err
}

// listLinks prints the link types there are filters for.
func listLinks(s *ui.Streams) error {
	table := s.NewTable("name", ">number", "what it is")
	for _, l := range pcap.LinkTypes() {
		table.Row(l.String(), strconv.Itoa(int(l)), l.Description())
	}
	return table.Print(s.Out)
}

// check finds contradictions among the options.
func (o *Options) check() (*rotation, error) {
	switch {
	case o.Snaplen < 0:
		return nil, ui.Usagef("--snaplen %d: 0 or more", o.Snaplen)
	case o.Expr != "" && o.ExprFile != "":
		return nil, ui.Usagef("--file and an expression: either will do")
	case o.Interface != "" && len(o.Inputs) > 0:
		return nil, ui.Usagef("--interface and --read: either will do")
	case o.Count && o.Out != "":
		return nil, ui.Usagef("--count prints, --write writes: either will do")
	case ui.NotInput("--write", o.Out, o.Inputs) != nil:
		return nil, ui.NotInput("--write", o.Out, o.Inputs)
	case o.Out == "" && (o.Size != "" || o.Every != 0 || o.Files != 0), o.Out == "-" && (o.Size != "" || o.Every != 0):
		return nil, ui.Usagef("-C, -G and -W are about the files of --write")
	case o.Every < 0 || o.Files < 0:
		return nil, ui.Usagef("-G and -W: 1 or more")
	case o.Files > 0 && o.Size == "" && o.Every == 0:
		return nil, ui.Usagef("-W counts the files of -C or -G")
	}
	if o.Snaplen == 0 { // as tcpdump has it
		o.Snaplen = maxSnaplen
	}
	o.link = pcap.Ethernet
	if o.Interface == "any" {
		o.link, _ = pcap.LinkTypeByName("LINUX_SLL2")
	}
	if o.Link != "" {
		var ok bool
		if o.link, ok = pcap.LinkTypeByName(o.Link); !ok {
			return nil, ui.Usagef("--linktype %s: no such link type: skep filter -L lists them", o.Link)
		}
		o.linkGiven = true
	}
	if o.Size == "" && o.Every == 0 {
		return nil, nil
	}
	r := &rotation{every: o.Every, files: o.Files}
	if o.Size != "" {
		var err error
		if r.size, err = parseSize(o.Size); err != nil {
			return nil, ui.Usagef("-C: %w", err)
		}
	}
	return r, nil
}

// compile compiles the expression; a fault in it is shown with a caret.
func (o *Options) compile(s *ui.Streams, link pcap.LinkType, opts *pcap.Options) ([]classic.Instruction, error) {
	opts.NoOptimize = o.NoOptimize
	prog, err := pcap.CompileProgram(o.Expr, link, o.Snaplen, opts)
	var e *pcap.Error
	if errors.As(err, &e) && s.Interactive() {
		fmt.Fprintln(s.Err, e.Caret())
	}
	return prog, err
}

// rate is bytes in a second, for people.
func rate(n int64, took time.Duration) string {
	return ui.Bytes(int64(float64(n)/max(took.Seconds(), 1e-6))) + "/s"
}
