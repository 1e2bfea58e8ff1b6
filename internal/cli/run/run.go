// Package run is skep run: a program on the packets of captures, and what
// became of them.
//
//	options ─▶ image ─▶ engine ─▶ assignments ─▶ packets ─▶ report
package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// Options are what the command line says.
type Options struct {
	Object  string
	Pcaps   []string
	Prog    string
	Section string
	Out     string
	Sets    []string
	Consts  []string
	Decodes []string
	Limit   uint64
	Max     int
	JSON    bool
	Engine  string
	BTF     string
	Clock   string

	engine.Options
}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "run OBJECT",
		Short: "Run a program on the packets of captures",
		Long: `Loads an object file, verifies the program and runs it on every packet of the
captures (pcap or pcapng, also packed with gzip or zstd; - is standard input).
Prints for each verdict packets, bytes and share, then what the maps hold, what
the program traced and how long it took.

Programs of type xdp, sched_cls, sched_act, socket_filter, cgroup_skb and netfilter run,
those of netfilter on IP packets that are at PRE_ROUTING.
Without --pcap the program runs on one packet of 64 zero bytes.

Maps are filled before the run with --set 'map[key]=value', constants set with
--const name=value; both are read by the types of the object: 12, 0x1f, "text",
10.0.0.1, { .packets = 1 }. An LPM key may be a prefix (10.0.0.0/8); a program
array takes the name of a program, a map of maps that of a map. --set @FILE reads
assignments from a file, one a line.

Ring buffers and perf event arrays are read while the program runs: their events
are counted, and shown with --decode 'events=struct event'.`,
		Example: `  skep run examples/firewall/firewall.o --pcap examples/captures/web.pcap
  skep run examples/firewall/firewall.o --pcap examples/captures/web.pcap \
      --set 'block4[203.0.113.0/24]=3' --const closed_port=22 --out passed.pcap`,
		Args: ui.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Object = args[0]
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// The first signal ends the run at the next packet; should that not
			// come, the second ends the process.
			context.AfterFunc(ctx, stop)
			return run(ctx, s, &o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Pcaps, "pcap", "r", nil, "read packets from `file` (may be repeated)")
	f.StringVar(&o.Prog, "prog", "", "run the program of this `name`")
	f.StringVar(&o.Section, "section", "", "run the program of this ELF `section`")
	f.StringVarP(&o.Out, "out", "w", "", "write what passed, as it then was, to `file` (.pcap, .pcapng; .gz, .zst), - for standard output")
	f.StringArrayVar(&o.Sets, "set", nil, "fill a map: `map[key]=value` (may be repeated)")
	f.StringArrayVar(&o.Consts, "const", nil, "set a constant: `name=value` (may be repeated)")
	f.StringArrayVar(&o.Decodes, "decode", nil, "show the events of a ring buffer as a type: `map=type` (may be repeated)")
	f.Uint64VarP(&o.Limit, "count", "c", 0, "stop after `n` packets")
	f.Uint32Var(&o.Repeat, "repeat", 1, "run `n` times on each packet, to measure")
	f.IntVar(&o.Max, "max", 20, "show at most `n` entries of a map and lines of trace (0: all)")
	f.BoolVarP(&o.JSON, "json", "j", false, "print JSON")
	ui.OneOf(f, &o.Engine, "engine", engine.Skep, "who runs it; linux is the kernel beneath, by BPF_PROG_TEST_RUN", engine.Names...)
	f.StringVar(&o.BTF, "btf", "", "relocate against the kernel types in `file`, not this machine's")
	f.IntVar(&o.CPUs, "cpus", 1, "`n` possible CPUs: values of a per-CPU map")
	f.Uint64Var(&o.Seed, "seed", 0, "`n` seeds the programs' random numbers; with --clock fixed a run repeats itself")
	f.BoolVar(&o.Checked, "checked", false, "look at every access and every claim of the verifier; slow")
	f.BoolVar(&o.LinkHeader, "link-header", false, "show socket filters the link header, as packet sockets do; else they begin at the network header, as in a test run")
	ui.OneOf(f, &o.Clock, "clock", "real", "what clocks show; they stand still, or go on as between the packets", "real", "fixed", "packets")
	return cmd
}

func run(ctx context.Context, s *ui.Streams, o *Options) error {
	if err := o.check(); err != nil {
		return err
	}
	w, err := prepare(s, o)
	if err != nil {
		return err
	}
	defer w.coll.Close()
	stop := w.startProgress()
	err = w.packets(ctx)
	stop()
	if bad := (*inputError)(nil); err != nil && !errors.As(err, &bad) {
		return err
	}
	// What was run before an input turned bad is worth seeing.
	return errors.Join(err, w.report())
}

// prepare brings everything up to the first packet: the image, the engine, the
// program, what maps hold before.
func prepare(s *ui.Streams, o *Options) (_ *work, err error) {
	open := engine.ByName(o.Engine)
	img, err := loadImage(o)
	if err != nil {
		return nil, err
	}
	prog, err := choose(img, o)
	if err != nil {
		return nil, err
	}
	w := &work{o: o, s: s, img: img, verdicts: verdictsOf(prog.Type, o.LinkHeader), total: newTotals(o, prog)}
	if w.verdicts == nil {
		return nil, fmt.Errorf("%s: program %s is of type %v, which runs on no packets: xdp, sched_cls, sched_act, socket_filter, cgroup_skb and netfilter do", o.Object, prog.Name, prog.Type)
	}
	if err := ui.NotInput("--out", o.Out, o.Pcaps); err != nil {
		return nil, err
	}
	sets, err := readSets(o.Sets)
	if err != nil {
		return nil, err
	}
	if w.total.decode, err = decodes(img, o.Decodes); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Object, err)
	}

	o.Output = o.Out != ""
	if w.coll, err = open(img, &o.Options); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Object, err)
	}
	defer func() {
		if err != nil {
			w.coll.Close()
		}
	}()
	if w.prog, err = w.coll.Load(prog); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Object, err)
	}
	for _, set := range sets {
		if err := assign(w.coll, img, set); err != nil {
			return nil, fmt.Errorf("%s: --set %s: %w", o.Object, set, err)
		}
	}
	return w, nil
}

// report prints what became of the packets and what maps hold now; on standard
// error when the packets themselves went to standard output.
func (w *work) report() (err error) {
	s := w.s
	if w.o.Out == "-" {
		s = ui.New(s.In, s.Err, s.Err)
	}
	w.total.maps, err = dump(w.coll, w.img, w.total, w.o.Max)
	if err != nil {
		return fmt.Errorf("%s: %w", w.o.Object, err)
	}
	if w.o.JSON {
		return w.total.printJSON(s, w.img.ByteOrder)
	}
	return w.total.print(s, w.img.ByteOrder)
}

// check finds contradictions among the options.
func (o *Options) check() error {
	switch {
	case o.Prog != "" && o.Section != "":
		return ui.Usagef("--prog and --section: either will do")
	case o.Repeat == 0:
		return ui.Usagef("--repeat 0 runs nothing")
	case o.CPUs < 1 || o.CPUs > maxCPUs:
		return ui.Usagef("--cpus %d: 1 to %d", o.CPUs, maxCPUs)
	case o.Max < 0:
		return ui.Usagef("--max %d: 0 or more", o.Max)
	}
	o.Options.Clock = clocks[o.Clock]
	return nil
}

// maxCPUs is the most possible CPUs a run may have (the kernel's NR_CPUS of amd64).
const maxCPUs = 8192

// clocks are the values of --clock.
var clocks = map[string]engine.Clock{
	"real":    engine.RealClock,
	"fixed":   engine.FixedClock,
	"packets": engine.PacketClock,
}

// loadImage reads the object and sets its constants.
func loadImage(o *Options) (*image.Image, error) {
	img, err := o.LoadImage(o.Object, o.BTF)
	if err != nil {
		return nil, err
	}
	for _, c := range o.Consts {
		name, value, ok := strings.Cut(c, "=")
		if !ok || name == "" {
			return nil, ui.Usagef("--const %s: it is not name=value", c)
		}
		if err := img.SetConst(name, value); err != nil {
			return nil, fmt.Errorf("%s: --const %s: %w", o.Object, c, err)
		}
	}
	return img, nil
}

// choose finds the program that the options mean.
func choose(img *image.Image, o *Options) (*image.Program, error) {
	var found []*image.Program
	for _, p := range img.Programs {
		if o.Prog != "" && p.Name != o.Prog || o.Section != "" && p.Section != o.Section {
			continue
		}
		found = append(found, p)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(img.Programs) == 0:
		return nil, fmt.Errorf("%s: no program in it", o.Object)
	case len(found) == 0 && o.Prog != "":
		return nil, fmt.Errorf("%s: no program %s: %s", o.Object, o.Prog, ui.There(engine.ProgramNames(img.Programs)))
	case len(found) == 0:
		return nil, fmt.Errorf("%s: no program in section %s: %s", o.Object, o.Section, ui.There(sections(img.Programs)))
	}
	return nil, fmt.Errorf("%s: %d programs, choose one with --prog: %s", o.Object, len(found), ui.And(engine.ProgramNames(found)))
}

// sections are where programs are, every one once.
func sections(programs []*image.Program) []string {
	var names []string
	for _, p := range programs {
		if !slices.Contains(names, p.Section) {
			names = append(names, p.Section)
		}
	}
	return names
}

// verdictsOf returns how results of a program type read, nil for types that
// run on no packets.
func verdictsOf(t catalog.ProgType, linkHeader bool) func(ret uint32, size int) verdict {
	switch t {
	case catalog.ProgXDP:
		return xdpVerdict
	case catalog.ProgSchedCls, catalog.ProgSchedAct:
		return tcVerdict
	case catalog.ProgSocketFilter:
		if linkHeader {
			return filterVerdict(0)
		}
		return filterVerdict(ethernetHeader)
	case catalog.ProgCGroupSKB:
		return cgroupVerdict
	case catalog.ProgNetfilter:
		return netfilterVerdict
	}
	return nil
}
